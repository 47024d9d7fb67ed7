//! The rows. A family of models that differs takes its provider's row and changes what it must.

mod cloudflare;
mod groq;
mod mistral;
pub(super) mod native;
mod nvidia;
mod openai;

use crate::catalog::ImageLimits;
use crate::provider::quirks::AfterResult;
use crate::provider::quirks::Bound;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Ids;
use crate::provider::quirks::Merge;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Reasoning;
use crate::provider::quirks::Schema;

/// OpenAI's API as those who copy it know it.
const PLAIN: Policy = Policy {
    takes: None,
    drops: &[],
    renames: &[],
    values: &[],
    lacks: &[],
    no_stream_options: false,
    bound: NO_BOUND,
    warmest: None,
    stops: None,
    effort: Effort::Plain,
    schema: Schema::ResponseFormat,
    tool_words: &[],
    messages: ANY_MESSAGE,
    images: NO_LIMITS,
};

const ANY_MESSAGE: MessageRules = MessageRules {
    takes: None,
    knows_developer: false,
    plain_content: false,
    refuses_empty: false,
    marks_prefill: false,
    merges: Merge::Nothing,
    after_result: AfterResult::Anyone,
    reasoning: Reasoning::AsItIs,
    ids: Ids::Free,
};

const NO_BOUND: Bound = Bound { unless_set: None, most: None };
const NO_LIMITS: ImageLimits = ImageLimits { count: None, each_bytes: None, total_bytes: None };

/// For those that know the answer's bound by its older name alone.
const OLD_BOUND: (&str, &str) = ("max_completion_tokens", "max_tokens");

/// `reasoning_effort` for models that think a little, more or much, and never not at all.
const LOW_TO_HIGH: Effort =
    Effort::Words(&[("none", "low"), ("minimal", "low"), ("xhigh", "high"), ("max", "high")]);

/// What several providers refuse, and one that takes no `reasoning_effort` either.
const LOGS: &[&str] = &["logprobs", "top_logprobs", "logit_bias"];
const LOGS_AND_EFFORT: &[&str] = &["logprobs", "top_logprobs", "logit_bias", "reasoning_effort"];

const CEREBRAS: Policy = Policy {
    takes: Some(&[
        "clear_thinking",
        "disable_reasoning",
        "max_completion_tokens",
        "prediction",
        "reasoning_format",
        "seed",
        "stream_options",
        "user",
    ]),
    drops: &[
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
    ],
    lacks: &["n", "functions", "https_images"],
    // Where none is set some 16,000 tokens are taken off the minute's quota in advance, which
    // leaves room for one call or two a minute.
    bound: Bound { unless_set: Some(4_096), most: None },
    messages: MessageRules { takes: Some(&["name"]), reasoning: Reasoning::LeftOut, ..ANY_MESSAGE },
    ..PLAIN
};

const CEREBRAS_THINKS: Policy = Policy {
    drops: &["frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"],
    effort: LOW_TO_HIGH,
    ..CEREBRAS
};

const DEEPSEEK: Policy = Policy {
    renames: &[OLD_BOUND],
    lacks: &["n", "json_schema"],
    effort: Effort::PlainOrOff,
    messages: MessageRules { reasoning: Reasoning::WithTools, ..ANY_MESSAGE },
    ..PLAIN
};

const OPENROUTER: Policy = Policy {
    lacks: &["n", "json_schema"],
    effort: Effort::Nested,
    messages: MessageRules { reasoning: Reasoning::Renamed, ..ANY_MESSAGE },
    ..PLAIN
};

const SAMBANOVA: Policy = Policy {
    drops: &[
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "seed",
        "reasoning_effort",
    ],
    lacks: &["n", "https_images"],
    ..PLAIN
};

const COHERE: Policy = Policy {
    drops: &[
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "parallel_tool_calls",
        "reasoning_effort",
        "top_k",
        "min_p",
        "repetition_penalty",
    ],
    renames: &[OLD_BOUND],
    values: &[
        ("tool_choice", "\"required\"", "\"REQUIRED\""),
        ("tool_choice", "\"none\"", "\"NONE\""),
        ("tool_choice", "\"auto\"", ""),
    ],
    lacks: &["n", "functions", "json_with_tools", "tool_choice_function", "https_images"],
    warmest: Some(1.0),
    tool_words: &["additionalProperties", "$schema"],
    messages: MessageRules { plain_content: true, reasoning: Reasoning::LeftOut, ..ANY_MESSAGE },
    ..PLAIN
};

const ZAI: Policy = Policy {
    renames: &[OLD_BOUND, ("user", "user_id")],
    lacks: &["json_schema", "tool_choice", "tool_choice_function"],
    bound: Bound { unless_set: None, most: Some(32_768) },
    warmest: Some(1.0),
    stops: Some(1),
    effort: Effort::OnOrOff,
    ..PLAIN
};

/// Gemini's endpoint in OpenAI's form, for those who name it with `"kind": "openai"`.
const GEMINI: Policy = Policy {
    takes: Some(&[
        "extra_body",
        "frequency_penalty",
        "max_completion_tokens",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stream_options",
    ]),
    drops: &["logprobs", "top_logprobs", "logit_bias", "user"],
    lacks: &["functions", "https_images"],
    effort: Effort::Words(&[("minimal", "low"), ("xhigh", "high"), ("max", "high")]),
    messages: MessageRules { reasoning: Reasoning::LeftOut, ..ANY_MESSAGE },
    ..PLAIN
};

/// Ollama's endpoint in OpenAI's form. What it ignores counts as refused.
const OLLAMA: Policy = Policy {
    drops: &["logit_bias", "logprobs", "top_logprobs", "user"],
    renames: &[OLD_BOUND],
    lacks: &["n", "tool_choice", "tool_choice_function", "https_images"],
    effort: Effort::Words(&[("minimal", "low"), ("xhigh", "high"), ("max", "high")]),
    messages: MessageRules { reasoning: Reasoning::Renamed, ..ANY_MESSAGE },
    ..PLAIN
};

/// A provider nobody here has heard of.
pub(super) const STRANGER: Quirks = Quirks { name: "", usual: PLAIN, models: &[] };

/// Those whose API is OpenAI's, more or less.
pub(super) const ALL: &[Quirks] = &[
    groq::ROW,
    mistral::ROW,
    Quirks { name: "cerebras", usual: CEREBRAS, models: &[("gpt-oss*", CEREBRAS_THINKS)] },
    Quirks {
        name: "deepseek",
        usual: DEEPSEEK,
        models: &[
            ("deepseek-chat", Policy { drops: &["reasoning_effort"], ..DEEPSEEK }),
            ("deepseek-reasoner", Policy { drops: LOGS_AND_EFFORT, ..DEEPSEEK }),
        ],
    },
    cloudflare::ROW,
    nvidia::ROW,
    Quirks {
        name: "openrouter",
        usual: OPENROUTER,
        models: &[("openai/*", Policy { lacks: &["n"], ..OPENROUTER })],
    },
    Quirks { name: "together", usual: Policy { renames: &[OLD_BOUND], ..PLAIN }, models: &[] },
    Quirks {
        name: "sambanova",
        usual: SAMBANOVA,
        models: &[(
            "gpt-oss*",
            Policy {
                drops: &[
                    "frequency_penalty",
                    "presence_penalty",
                    "logit_bias",
                    "logprobs",
                    "top_logprobs",
                    "seed",
                ],
                effort: LOW_TO_HIGH,
                ..SAMBANOVA
            },
        )],
    },
    Quirks { name: "huggingface", usual: PLAIN, models: &[] },
    Quirks { name: "cohere", usual: COHERE, models: &[] },
    Quirks { name: "zai", usual: ZAI, models: &[] },
    openai::ROW,
    Quirks {
        name: "gemini",
        usual: GEMINI,
        models: &[("*gemini-2*", Policy { lacks: native::GEMINI_2.lacks, ..GEMINI })],
    },
    Quirks { name: "ollama", usual: OLLAMA, models: &[] },
    // Two that differ in their errors alone.
    Quirks { name: "modelscope", usual: PLAIN, models: &[] },
    Quirks { name: "opencodezen", usual: PLAIN, models: &[] },
    Quirks {
        name: "kilo",
        usual: Policy { lacks: &["json_object", "json_schema"], ..PLAIN },
        models: &[],
    },
    Quirks {
        name: "aihorde",
        usual: Policy { lacks: &["tools", "functions", "json_object", "json_schema"], ..PLAIN },
        models: &[],
    },
    Quirks { name: "reka", usual: Policy { lacks: &["json_object"], ..PLAIN }, models: &[] },
];
