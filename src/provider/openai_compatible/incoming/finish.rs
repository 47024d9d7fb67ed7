//! Why an answer ends, in OpenAI's words.

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// What a provider's `finish_reason` means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finish {
    /// One of OpenAI's own words.
    Known,
    /// This one of OpenAI's, in words of the provider's own.
    Means(&'static str),
    /// It has not ended.
    NotYet,
    /// The provider broke the answer off.
    Failed(Fault),
}

impl Finish {
    /// Reads a reason. One that nobody knows is taken for a plain end.
    pub(super) fn read(reason: &str) -> Self {
        match reason {
            "stop" | "length" | "tool_calls" | "content_filter" | "function_call" => {
                return Self::Known;
            }
            _ => {}
        }
        match reason.to_ascii_lowercase().as_str() {
            "" | "null" | "none" => Self::NotYet,
            "length"
            | "max_tokens"
            | "max_length"
            | "max_output_tokens"
            | "model_length"
            | "model_context_window_exceeded"
            | "context_length_exceeded" => Self::Means("length"),
            "tool_calls" | "tool_call" | "tool_use" => Self::Means("tool_calls"),
            "content_filter"
            | "content_filtered"
            | "sensitive"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "refusal"
            | "guardrail_intervened" => Self::Means("content_filter"),
            "insufficient_system_resource" => Self::failed(FaultKind::Busy, reason),
            "error"
            | "network_error"
            | "model_error"
            | "malformed_function_call"
            | "abort"
            | "aborted"
            | "cancelled" => Self::failed(FaultKind::Server, reason),
            _ => Self::Means("stop"),
        }
    }

    fn failed(kind: FaultKind, reason: &str) -> Self {
        Self::Failed(Fault::new(kind, format!("the answer ended with finish_reason {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reason: &str, expected: &Finish) {
        assert_eq!(&Finish::read(reason), expected, "{reason}");
    }

    #[test]
    fn reasons_are_put_into_openais_words() {
        for known in ["stop", "length", "tool_calls", "content_filter", "function_call"] {
            check(known, &Finish::Known);
        }
        for (reason, meaning) in [
            ("eos", "stop"),
            ("end_turn", "stop"),
            ("COMPLETE", "stop"),
            ("whatever_comes_next", "stop"),
            ("MAX_TOKENS", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("sensitive", "content_filter"),
        ] {
            check(reason, &Finish::Means(meaning));
        }
        check("", &Finish::NotYet);
        for (reason, kind) in [
            ("network_error", FaultKind::Server),
            ("error", FaultKind::Server),
            ("insufficient_system_resource", FaultKind::Busy),
        ] {
            let message = format!("the answer ended with finish_reason {reason}");
            check(reason, &Finish::Failed(Fault::new(kind, message)));
        }
    }
}
