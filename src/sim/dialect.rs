//! How the flavours that speak OpenAI's wire differ from OpenAI's own API, as data.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11. Where they say nothing
//! a flavour is as tolerant as OpenAI's.

use super::request::{Ask, Format, ToolChoice};
use super::spec::Flavour;

/// One flavour's way with OpenAI's wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// The top-level members it takes beyond [`COMMON`]; `None`: unknown ones are not noticed.
    pub(super) takes: Option<&'static [&'static str]>,
    /// Members it refuses by name although others are not noticed.
    pub(super) refuses: &'static [&'static str],
    /// Members of messages that it refuses.
    pub(super) refuses_in_messages: &'static [&'static str],
    /// Members that change nothing: `n`, `tool_choice`.
    pub(super) ignores: &'static [&'static str],
    pub(super) images: Images,
    pub(super) schema: Schema,
    pub(super) logprobs: bool,
    pub(super) thought: Thought,
    pub(super) calls: Calls,
    pub(super) figures: Figures,
    /// Does the last delta come with the reason for the end?
    pub(super) fused: bool,
    /// Stands before a stream's first event.
    pub(super) before_stream: &'static str,
    /// Stands before a whole answer.
    pub(super) before_whole: &'static str,
}

/// Which images are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Images {
    /// Those in the request and those at an address.
    Any,
    /// Those in the request.
    Data,
    No,
}

/// What becomes of a JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    ResponseFormat,
    /// It may also be a `guided_json`.
    Guided,
    Refused,
    /// It changes nothing.
    Ignored,
}

/// Where thoughts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thought {
    Hidden,
    /// In this member.
    Member(&'static str),
    /// In `reasoning`, and once more in `reasoning_details`.
    Detailed,
    /// At the beginning of the text, between tags.
    Tags,
    /// In a part of content that is a list.
    Part,
}

/// How a stream tells tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// The name first, then the arguments in fragments.
    Fragments,
    /// In fragments that all bring id and name.
    Repeated,
    /// Each in one piece.
    Whole,
    /// Each in one piece, beside empty content.
    WithContent,
    /// Each in one piece without its index.
    Unnumbered,
    /// Each in one piece, and all have index 0.
    Zeros,
}

/// Where a stream tells the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figures {
    /// In a chunk of its own, when that is asked for.
    Asked,
    /// In a chunk of its own, always.
    Extra,
    /// On the chunk with the finish reason.
    Finish,
    /// On the chunk with the finish reason, inside `x_groq`, and where it is asked for.
    Groq,
    /// When asked for on every chunk, so far.
    Running,
}

/// The top-level members every flavour takes.
pub(super) const COMMON: &[&str] = &[
    "max_tokens",
    "messages",
    "model",
    "parallel_tool_calls",
    "response_format",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

const OPENAI: Dialect = Dialect {
    takes: None,
    refuses: &[],
    refuses_in_messages: &[],
    ignores: &[],
    images: Images::Any,
    schema: Schema::ResponseFormat,
    logprobs: true,
    thought: Thought::Hidden,
    calls: Calls::Fragments,
    figures: Figures::Asked,
    fused: false,
    before_stream: "",
    before_whole: "",
};

static GROQ: Dialect = Dialect {
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
        "metadata",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "reasoning_format",
        "search_settings",
        "seed",
        "service_tier",
        "stream_options",
        "user",
    ]),
    refuses_in_messages: &["name", "reasoning_content", "reasoning_details"],
    logprobs: false,
    thought: Thought::Member("reasoning"),
    calls: Calls::Whole,
    figures: Figures::Groq,
    ..OPENAI
};

static MISTRAL: Dialect = Dialect {
    // `stream_options` was refused in 2025 and is tolerated since.
    takes: Some(&[
        "frequency_penalty",
        "guardrails",
        "metadata",
        "n",
        "prediction",
        "presence_penalty",
        "prompt_mode",
        "random_seed",
        "safe_prompt",
        "stream_options",
    ]),
    refuses_in_messages: &["reasoning", "reasoning_content", "reasoning_details"],
    logprobs: false,
    thought: Thought::Part,
    calls: Calls::WithContent,
    figures: Figures::Finish,
    fused: true,
    ..OPENAI
};

static CEREBRAS: Dialect = Dialect {
    takes: Some(&[
        "clear_thinking",
        "logprobs",
        "max_completion_tokens",
        "prediction",
        "reasoning_effort",
        "reasoning_format",
        "seed",
        "stream_options",
        "top_logprobs",
        "user",
    ]),
    images: Images::Data,
    logprobs: false,
    thought: Thought::Member("reasoning"),
    calls: Calls::Whole,
    figures: Figures::Finish,
    ..OPENAI
};

static CLOUDFLARE: Dialect = Dialect {
    refuses: &["logit_bias", "logprobs", "parallel_tool_calls", "reasoning_effort", "top_logprobs"],
    images: Images::Data,
    logprobs: false,
    thought: Thought::Member("reasoning_content"),
    calls: Calls::Whole,
    figures: Figures::Finish,
    ..OPENAI
};

static GEMINI: Dialect = Dialect {
    takes: Some(&[
        "audio",
        "extra_body",
        "frequency_penalty",
        "max_completion_tokens",
        "modalities",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stream_options",
        "user",
    ]),
    images: Images::Data,
    logprobs: false,
    calls: Calls::Unnumbered,
    ..OPENAI
};

static OLLAMA: Dialect = Dialect {
    ignores: &["n", "tool_choice"],
    images: Images::Data,
    logprobs: false,
    thought: Thought::Member("reasoning"),
    calls: Calls::Zeros,
    ..OPENAI
};

static DEEPSEEK: Dialect = Dialect {
    images: Images::No,
    schema: Schema::Refused,
    thought: Thought::Member("reasoning_content"),
    figures: Figures::Finish,
    before_stream: ": keep-alive\n\n",
    before_whole: "\n\n\n",
    ..OPENAI
};

static NVIDIA: Dialect = Dialect {
    takes: Some(&[
        "chat_template_kwargs",
        "frequency_penalty",
        "guided_json",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "n",
        "nvext",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stream_options",
        "top_logprobs",
        "user",
    ]),
    schema: Schema::Guided,
    thought: Thought::Member("reasoning_content"),
    figures: Figures::Running,
    ..OPENAI
};

static OPENROUTER: Dialect = Dialect {
    ignores: &["n"],
    thought: Thought::Detailed,
    figures: Figures::Extra,
    before_stream: ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
    ..OPENAI
};

static TOGETHER: Dialect =
    Dialect { thought: Thought::Tags, figures: Figures::Finish, calls: Calls::Whole, ..OPENAI };

static SAMBANOVA: Dialect = Dialect {
    ignores: &["n"],
    images: Images::Data,
    logprobs: false,
    thought: Thought::Tags,
    figures: Figures::Extra,
    ..OPENAI
};

static HUGGINGFACE: Dialect =
    Dialect { thought: Thought::Member("reasoning"), calls: Calls::Repeated, ..OPENAI };

static COHERE: Dialect = Dialect {
    refuses: &["logit_bias", "logprobs", "parallel_tool_calls", "reasoning_effort", "top_logprobs"],
    ignores: &["n"],
    images: Images::Data,
    logprobs: false,
    figures: Figures::Finish,
    ..OPENAI
};

static ZAI: Dialect = Dialect {
    schema: Schema::Ignored,
    thought: Thought::Member("reasoning_content"),
    calls: Calls::Whole,
    figures: Figures::Finish,
    fused: true,
    ..OPENAI
};

static PLAIN: Dialect = OPENAI;

impl Flavour {
    /// Its way with OpenAI's wire. Those with wires of their own are looked through by readers of
    /// their own, and refuse nothing here.
    pub(super) fn dialect(self) -> &'static Dialect {
        match self {
            Self::OpenAi | Self::Gemini | Self::Anthropic | Self::Ollama => &PLAIN,
            Self::Groq => &GROQ,
            Self::Mistral => &MISTRAL,
            Self::Cerebras => &CEREBRAS,
            Self::GeminiCompat => &GEMINI,
            Self::OllamaCompat => &OLLAMA,
            Self::Cloudflare => &CLOUDFLARE,
            Self::DeepSeek => &DEEPSEEK,
            Self::Nvidia => &NVIDIA,
            Self::OpenRouter => &OPENROUTER,
            Self::Together => &TOGETHER,
            Self::SambaNova => &SAMBANOVA,
            Self::HuggingFace => &HUGGINGFACE,
            Self::Cohere => &COHERE,
            Self::Zai => &ZAI,
        }
    }

    /// The request as this flavour's model hears it.
    pub(super) fn heard(self, mut ask: Ask) -> Ask {
        let dialect = self.dialect();
        if dialect.ignores.contains(&"n") {
            ask.n = 1;
        }
        if dialect.ignores.contains(&"tool_choice") {
            ask.tool_choice = ToolChoice::Auto;
        }
        match (dialect.schema, ask.guided_json.take()) {
            (Schema::Guided, Some(schema)) => ask.format = Format::Schema(schema),
            (Schema::Ignored, _) if matches!(ask.format, Format::Schema(_)) => {
                ask.format = Format::Text;
            }
            _ => {}
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(flavour: Flavour, rest: &str) -> Ask {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{rest}}}"#);
        flavour.heard(Ask::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_ignored_changes_nothing() {
        assert_eq!(heard(Flavour::SambaNova, r#""n":3"#).n, 1);
        assert_eq!(heard(Flavour::OpenAi, r#""n":3"#).n, 3);
        let none = r#""tool_choice":"none""#;
        assert_eq!(heard(Flavour::OllamaCompat, none).tool_choice, ToolChoice::Auto);
        assert_eq!(heard(Flavour::OpenAi, none).tool_choice, ToolChoice::None);
    }

    #[test]
    fn a_schema_is_heard_where_each_flavour_takes_it() {
        let format = r#""response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#;
        assert_eq!(heard(Flavour::Zai, format).format, Format::Text);
        assert!(matches!(heard(Flavour::OpenAi, format).format, Format::Schema(_)));
        let guided = r#""guided_json":{}"#;
        assert!(matches!(heard(Flavour::Nvidia, guided).format, Format::Schema(_)));
        assert_eq!(heard(Flavour::OpenAi, guided).format, Format::Text);
    }

    #[test]
    fn every_name_reads_back() {
        for flavour in Flavour::ALL {
            assert_eq!(Flavour::from_name(flavour.name()), Some(*flavour));
        }
        assert_eq!(Flavour::from_name("nobody"), None);
    }
}
