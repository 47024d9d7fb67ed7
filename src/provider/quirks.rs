//! How providers differ from OpenAI's own API, as data.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11. Where a cell is wrong
//! the provider answers 400 or 422 and names the member, and the call is repeated without it.

/// What one provider wants differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quirks {
    /// Whose quirks they are, in lower case: its errors are read by what is known of it.
    pub name: &'static str,
    /// Members it refuses that an answer can do without: they are left out, with a warning.
    pub drops: &'static [&'static str],
    /// Members it knows under another name.
    pub renames: &'static [(&'static str, &'static str)],
    /// Values it knows under another name: the member, OpenAI's value and its own, as JSON text.
    pub values: &'static [(&'static str, &'static str, &'static str)],
    /// Members that are asked for by name but mean "the default": never sent.
    pub omits: &'static [&'static str],
    /// Requests that bring one of these members must go elsewhere.
    pub rules_out: &'static [&'static str],
    /// Does it refuse `stream_options`? It then sends usage without being asked.
    pub no_stream_options: bool,
    /// Must the content of a message be a string, where it is text alone?
    pub plain_content: bool,
    /// The `max_tokens` for requests that set none, where its own default cuts answers short.
    pub max_tokens: Option<u32>,
    /// How it takes `reasoning_effort`.
    pub effort: Effort,
    /// How it takes a JSON schema.
    pub schema: Schema,
}

/// How a provider is told how long to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effort {
    /// `reasoning_effort`, as OpenAI has it.
    #[default]
    Plain,
    /// `reasoning: {"effort": …}`.
    Nested,
    /// `thinking: {"type": "enabled" | "disabled"}`.
    OnOrOff,
}

/// How a provider is told the answer's JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Schema {
    /// `response_format`, as OpenAI has it.
    #[default]
    ResponseFormat,
    /// The schema itself as `guided_json`.
    GuidedJson,
}

/// `Quirks::default()`, which a constant can't call.
const NONE: Quirks = Quirks {
    name: "",
    drops: &[],
    renames: &[],
    values: &[],
    omits: &[],
    rules_out: &[],
    no_stream_options: false,
    plain_content: false,
    max_tokens: None,
    effort: Effort::Plain,
    schema: Schema::ResponseFormat,
};

/// For those that know the answer's bound by its older name alone.
const OLD_BOUND: (&str, &str) = ("max_completion_tokens", "max_tokens");

const ALL: &[Quirks] = &[
    Quirks {
        name: "groq",
        drops: &["logprobs", "top_logprobs", "logit_bias"],
        omits: &["store", "metadata", "prediction", "service_tier"],
        rules_out: &["n"],
        ..NONE
    },
    Quirks {
        name: "mistral",
        drops: &["logprobs", "top_logprobs", "logit_bias", "user", "reasoning_effort"],
        renames: &[("seed", "random_seed"), OLD_BOUND],
        values: &[("tool_choice", "\"required\"", "\"any\"")],
        omits: &["store", "metadata", "prediction", "service_tier", "stream_options"],
        no_stream_options: true,
        ..NONE
    },
    Quirks {
        name: "cerebras",
        drops: &["frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"],
        omits: &["service_tier", "store", "metadata"],
        ..NONE
    },
    Quirks { name: "deepseek", renames: &[OLD_BOUND], ..NONE },
    Quirks {
        name: "cloudflare",
        drops: &[
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "parallel_tool_calls",
            "reasoning_effort",
        ],
        plain_content: true,
        // It stops after 256 tokens unless told otherwise. What is allowed here counts towards the
        // model's window, and the smallest holds 7,968.
        max_tokens: Some(4_096),
        ..NONE
    },
    Quirks { name: "nvidia", renames: &[OLD_BOUND], schema: Schema::GuidedJson, ..NONE },
    Quirks { name: "openrouter", effort: Effort::Nested, ..NONE },
    Quirks { name: "together", renames: &[OLD_BOUND], ..NONE },
    Quirks { name: "sambanova", ..NONE },
    Quirks { name: "huggingface", ..NONE },
    Quirks {
        name: "cohere",
        drops: &[
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "parallel_tool_calls",
            "reasoning_effort",
        ],
        renames: &[OLD_BOUND],
        plain_content: true,
        ..NONE
    },
    Quirks {
        name: "zai",
        renames: &[OLD_BOUND, ("user", "user_id")],
        effort: Effort::OnOrOff,
        ..NONE
    },
    Quirks { name: "openai", ..NONE },
];

/// A provider's quirks by its name, in any case. Unknown ones are taken to speak OpenAI's API.
pub fn of(provider: &str) -> Quirks {
    let own = ALL.iter().find(|it| it.name.eq_ignore_ascii_case(provider));
    own.copied().unwrap_or_default()
}
