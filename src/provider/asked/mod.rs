//! A request as it is to be asked: the caller's members with the gateway's edits made.

mod effort;
mod format;
#[cfg(test)]
mod tests;
mod tools;

use serde_json::Value;

use crate::openai::ChatRequest;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

pub(super) use effort::Effort;
pub(super) use format::{Format, no_json_mode};
pub(super) use tools::{Choice, Function};

/// Stands in reports for members nobody here has heard of.
const UNHEARD_OF: &str = "unknown_fields";

/// Members that speak to the gateway, or mean "the default", or ask for nothing an answer shows:
/// no other dialect has a place for them, and nothing is lost without them.
const SILENT: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "response_format",
    "functions",
    "function_call",
    "model_type",
    "model_scale",
    "model_name",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
];

/// Members with a name of their own in reports, if a dialect does without them.
const SPARED: &[&str] = &[
    "audio",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "min_p",
    "modalities",
    "moderation",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "repetition_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// The request of a call.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    request: &'a ChatRequest,
    edits: &'a RequestEdits,
}

impl<'a> Asked<'a> {
    pub(super) fn of(call: &'a Call) -> Self {
        Self { request: &call.request, edits: &call.edits }
    }

    /// A member's JSON text; `None` when it is absent, `null` or left out.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        if self.edits.leave_out.iter().any(|it| it == key) {
            return None;
        }
        match self.edits.set.iter().rev().find(|(it, _)| *it == key) {
            Some((_, json)) => Some(&**json).filter(|it| *it != "null"),
            None => self.request.member(key),
        }
    }

    /// A member as a value; `None` also where it can't be read.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// A member that is a string.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// The messages, as JSON text.
    pub(super) fn messages(&self) -> &'a str {
        self.get("messages").unwrap_or("[]")
    }

    /// A member that is a number.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// A list of strings that may be written as one string.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => {
                many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The most tokens the answer may have.
    pub(super) fn max_tokens(&self) -> Option<u64> {
        let most = self.get("max_completion_tokens").or_else(|| self.get("max_tokens"));
        most.and_then(|it| it.parse().ok())
    }

    /// Is the answer to be streamed?
    pub(super) fn stream(&self) -> bool {
        self.request.stream
    }

    /// The members a dialect does without, other than those it has `taken`.
    pub(super) fn dropped(&self, taken: &[&str]) -> Vec<&'static str> {
        let goes = |it: &str| !taken.contains(&it) && self.get(it).is_some();
        let mut dropped: Vec<_> = SPARED.iter().copied().filter(|it| goes(it)).collect();
        let bound = ["max_tokens", "max_completion_tokens", "tools", "tool_choice"];
        let known = |it: &str| [SILENT, SPARED, &bound].iter().any(|list| list.contains(&it));
        if self.request.member_names().any(|it| !known(it) && goes(it)) {
            dropped.push(UNHEARD_OF);
        }
        dropped
    }
}

/// A member that is not what it must be: any provider would refuse it.
fn unreadable(member: &str, fault: &serde_json::Error) -> Fault {
    let mut fault = Fault::new(FaultKind::BadRequest, format!("{member} can't be read: {fault}"));
    fault.param = Some(member.into());
    fault
}
