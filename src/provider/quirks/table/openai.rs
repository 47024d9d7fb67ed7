//! OpenAI's own row.

use crate::provider::quirks::Bound;
use crate::provider::quirks::Ids;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Reasoning;
use crate::provider::quirks::table::ANY_MESSAGE;
use crate::provider::quirks::table::PLAIN;

pub(super) const ROW: Quirks = Quirks {
    name: "openai",
    usual: OPENAI,
    models: &[
        ("gpt-4o-audio*", Policy { gives: &["audio"], ..GPT_4O }),
        ("gpt-audio*", Policy { gives: &["audio"], ..OPENAI_TALKS }),
        ("gpt-4o*", GPT_4O),
        ("gpt-4.1*", Policy { gives: &["files"], ..OPENAI_TALKS }),
        ("gpt-4*", OPENAI_TALKS),
        ("gpt-3.5*", OPENAI_TALKS),
        ("gpt-5-chat*", OPENAI_TALKS),
        ("gpt-5*", Policy { gives: &["files"], ..OPENAI_THINKS }),
        ("o1*", OPENAI_THINKS),
        ("o3*", OPENAI_THINKS),
        ("o4*", OPENAI_THINKS),
    ],
};

const OPENAI: Policy = Policy {
    messages: MessageRules {
        knows_developer: true,
        reasoning: Reasoning::LeftOut,
        ids: Ids::AtMost(40),
        ..ANY_MESSAGE
    },
    stops: Some(4),
    ..PLAIN
};

/// OpenAI's models that do not think.
const OPENAI_TALKS: Policy = Policy { drops: &["reasoning_effort"], ..OPENAI };

const GPT_4O: Policy = Policy {
    bound: Bound { unless_set: None, most: Some(16_384), least: None },
    gives: &["files"],
    ..OPENAI_TALKS
};

/// OpenAI's models that do.
const OPENAI_THINKS: Policy = Policy {
    drops: &[
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    ],
    renames: &[("max_tokens", "max_completion_tokens")],
    ..OPENAI
};
