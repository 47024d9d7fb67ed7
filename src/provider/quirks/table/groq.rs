//! Groq's row.

use crate::catalog::ImageLimits;
use crate::provider::quirks::Bound;
use crate::provider::quirks::Effort;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Reasoning;
use crate::provider::quirks::table::ANY_MESSAGE;
use crate::provider::quirks::table::LOGS;
use crate::provider::quirks::table::LOGS_AND_EFFORT;
use crate::provider::quirks::table::LOW_TO_HIGH;
use crate::provider::quirks::table::PLAIN;

pub(super) const ROW: Quirks = Quirks {
    name: "groq",
    usual: GROQ,
    models: &[
        (
            "openai/gpt-oss*",
            Policy { effort: LOW_TO_HIGH, lacks: &["n", "json_with_tools"], ..GROQ_THINKS },
        ),
        (
            "qwen/qwen3*",
            Policy {
                effort: Effort::Words(&[
                    ("minimal", "none"),
                    ("low", "default"),
                    ("medium", "default"),
                    ("high", "default"),
                    ("xhigh", "default"),
                    ("max", "default"),
                ]),
                ..GROQ_THINKS
            },
        ),
        (
            "groq/compound*",
            Policy {
                lacks: &["n", "json_schema", "tools", "functions"],
                // Uncertain, but a longer answer has not been seen.
                bound: Bound { unless_set: None, most: Some(8_192), least: None },
                ..GROQ
            },
        ),
        ("meta-llama/llama-4*", Policy { lacks: &["n", "json_with_tools"], ..GROQ }),
    ],
};

const GROQ: Policy = Policy {
    takes: Some(&[
        "citation_options",
        "compound_custom",
        "disable_tool_validation",
        "documents",
        "exclude_domains",
        "frequency_penalty",
        "function_call",
        "functions",
        "include_domains",
        "include_reasoning",
        "max_completion_tokens",
        "presence_penalty",
        "reasoning_format",
        "search_settings",
        "seed",
        "stream_options",
        "user",
    ]),
    drops: LOGS_AND_EFFORT,
    lacks: &["n", "json_schema", "json_with_tools"],
    messages: MessageRules {
        takes: Some(&["function_call"]),
        reasoning: Reasoning::LeftOut,
        ..ANY_MESSAGE
    },
    // Its page on vision: five images, and 4 MB of base64 in one request.
    images: ImageLimits { count: Some(5), each_bytes: None, total_bytes: Some(4_000_000) },
    ..PLAIN
};

/// Groq's models that think.
const GROQ_THINKS: Policy = Policy {
    drops: LOGS,
    messages: MessageRules { reasoning: Reasoning::Renamed, ..GROQ.messages },
    ..GROQ
};
