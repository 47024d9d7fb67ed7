//! The rows. A family of models that differs takes its provider's row and changes what it must.

use crate::catalog::ImageLimits;
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

const CLOUDFLARE: Policy = Policy {
    drops: &[
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "parallel_tool_calls",
        "reasoning_effort",
        "min_p",
    ],
    lacks: &["json_object", "json_schema", "https_images"],
    // It stops after 256 tokens unless told otherwise. What is allowed here counts towards the
    // model's window, and the smallest holds 7,968.
    bound: Bound { unless_set: Some(4_096), most: None },
    messages: MessageRules { plain_content: true, reasoning: Reasoning::LeftOut, ..ANY_MESSAGE },
    ..PLAIN
};

/// The models its page on JSON mode lists.
const CLOUDFLARE_JSON: Policy = Policy { lacks: &["https_images"], ..CLOUDFLARE };

const NVIDIA: Policy = Policy {
    drops: &["reasoning_effort"],
    renames: &[OLD_BOUND],
    schema: Schema::GuidedJson,
    messages: MessageRules { plain_content: true, merges: Merge::Systems, ..ANY_MESSAGE },
    // Some 180 KB go inline; for more the older models want an upload of its own.
    images: ImageLimits { count: None, each_bytes: Some(180_000), total_bytes: None },
    ..PLAIN
};

/// Newer models: a schema is taken as OpenAI has it, and images of any size.
const NVIDIA_NEW: Policy = Policy { schema: Schema::ResponseFormat, images: NO_LIMITS, ..NVIDIA };

/// Models whose template wants the roles to take turns.
const NVIDIA_TURNS: MessageRules = MessageRules { merges: Merge::SameRole, ..NVIDIA.messages };

/// A `chat_template_kwargs` member says whether they think.
const fn nvidia_template(member: &'static str) -> Policy {
    Policy { drops: &[], effort: Effort::Template(member), ..NVIDIA_NEW }
}

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
    Quirks {
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
                    bound: Bound { unless_set: None, most: Some(8_192) },
                    ..GROQ
                },
            ),
            ("meta-llama/llama-4*", Policy { lacks: &["n", "json_with_tools"], ..GROQ }),
        ],
    },
    Quirks {
        name: "mistral",
        usual: MISTRAL,
        models: &[("mistral-small-latest", MISTRAL_THINKS), ("mistral-small-26*", MISTRAL_THINKS)],
    },
    Quirks { name: "cerebras", usual: CEREBRAS, models: &[("gpt-oss*", CEREBRAS_THINKS)] },
    Quirks {
        name: "deepseek",
        usual: DEEPSEEK,
        models: &[
            ("deepseek-chat", Policy { drops: &["reasoning_effort"], ..DEEPSEEK }),
            ("deepseek-reasoner", Policy { drops: LOGS_AND_EFFORT, ..DEEPSEEK }),
        ],
    },
    Quirks {
        name: "cloudflare",
        usual: CLOUDFLARE,
        models: &[
            ("@cf/meta/llama-3*", CLOUDFLARE_JSON),
            (
                "@cf/deepseek-ai/deepseek-r1-distill*",
                Policy { lacks: &["https_images", "tools"], ..CLOUDFLARE_JSON },
            ),
            (
                "@cf/qwen/qwen3-30b*",
                Policy { bound: Bound { most: Some(32_768), ..CLOUDFLARE.bound }, ..CLOUDFLARE },
            ),
        ],
    },
    Quirks {
        name: "nvidia",
        usual: NVIDIA,
        models: &[
            ("openai/gpt-oss*", Policy { drops: &[], effort: LOW_TO_HIGH, ..NVIDIA_NEW }),
            ("nvidia/nemotron-3*", nvidia_template("enable_thinking")),
            ("deepseek-ai/deepseek-v*", nvidia_template("thinking")),
            ("qwen/qwen3*", nvidia_template("enable_thinking")),
            ("z-ai/glm-*", nvidia_template("enable_thinking")),
            ("moonshotai/*", NVIDIA_NEW),
            ("mistralai/mistral-large-3*", Policy { messages: NVIDIA_TURNS, ..NVIDIA_NEW }),
            ("mistralai/*", Policy { messages: NVIDIA_TURNS, ..NVIDIA }),
            ("google/gemma*", Policy { messages: NVIDIA_TURNS, ..NVIDIA_NEW }),
            // "This model only supports single tool-calls at once!"
            ("meta/llama-3*", Policy { lacks: &["parallel_tools"], ..NVIDIA }),
        ],
    },
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
    Quirks {
        name: "openai",
        usual: OPENAI,
        models: &[
            (
                "gpt-4o*",
                Policy { bound: Bound { unless_set: None, most: Some(16_384) }, ..OPENAI_TALKS },
            ),
            ("gpt-4*", OPENAI_TALKS),
            ("gpt-3.5*", OPENAI_TALKS),
            ("gpt-5-chat*", OPENAI_TALKS),
            ("gpt-5*", OPENAI_THINKS),
            ("o1*", OPENAI_THINKS),
            ("o3*", OPENAI_THINKS),
            ("o4*", OPENAI_THINKS),
        ],
    },
    Quirks {
        name: "gemini",
        usual: GEMINI,
        models: &[("*gemini-2*", Policy { lacks: GEMINI_2.lacks, ..GEMINI })],
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

/// What Gemini's own wire can't say.
pub(super) const GEMINI_NATIVE: Quirks = Quirks {
    name: "gemini",
    usual: Policy { lacks: &["functions", "https_images"], ..PLAIN },
    models: &[("*gemini-2*", GEMINI_2), ("*gemma*", GEMINI_2)],
};

/// The same before the third generation, and Gemma.
const GEMINI_2: Policy =
    Policy { lacks: &["functions", "https_images", "json_with_tools"], ..PLAIN };

/// What Ollama's own wire can't say.
pub(super) const OLLAMA_NATIVE: Quirks = Quirks {
    name: "ollama",
    usual: Policy {
        lacks: &["n", "functions", "tool_choice", "tool_choice_function", "https_images"],
        ..PLAIN
    },
    models: &[],
};

/// What Anthropic's own wire can't say.
pub(super) const ANTHROPIC_NATIVE: Quirks = Quirks {
    name: "anthropic",
    usual: Policy { lacks: &["n", "functions", "json_object", "json_schema"], ..PLAIN },
    models: &[],
};
