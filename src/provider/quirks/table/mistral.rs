//! Mistral's row.

use crate::provider::quirks::AfterResult;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Ids;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Reasoning;
use crate::provider::quirks::table::ANY_MESSAGE;
use crate::provider::quirks::table::OLD_BOUND;
use crate::provider::quirks::table::PLAIN;

pub(super) const ROW: Quirks = Quirks {
    name: "mistral",
    usual: MISTRAL,
    models: &[("mistral-small-latest", MISTRAL_THINKS), ("mistral-small-26*", MISTRAL_THINKS)],
};

const MISTRAL: Policy = Policy {
    takes: Some(&[
        "frequency_penalty",
        "guardrails",
        "n",
        "presence_penalty",
        "prompt_mode",
        "random_seed",
        "safe_prompt",
    ]),
    drops: &["logprobs", "top_logprobs", "logit_bias", "user", "reasoning_effort"],
    renames: &[("seed", "random_seed"), OLD_BOUND],
    values: &[("tool_choice", "\"required\"", "\"any\"")],
    lacks: &["functions"],
    no_stream_options: true,
    warmest: Some(1.5),
    messages: MessageRules {
        takes: Some(&["prefix"]),
        refuses_empty: true,
        marks_prefill: true,
        // Not all of its models insist on it; which do is not known.
        after_result: AfterResult::Assistant,
        reasoning: Reasoning::LeftOut,
        ids: Ids::Nine,
        ..ANY_MESSAGE
    },
    ..PLAIN
};

/// The small models since 2603 think, or don't.
const MISTRAL_THINKS: Policy = Policy {
    drops: &["logprobs", "top_logprobs", "logit_bias", "user"],
    effort: Effort::Words(&[
        ("minimal", "none"),
        ("low", "none"),
        ("medium", "high"),
        ("xhigh", "high"),
        ("max", "high"),
    ]),
    ..MISTRAL
};
