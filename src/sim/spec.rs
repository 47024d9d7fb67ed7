//! What a simulated provider is: its wire, its keys, its models and how it talks.

use std::time::Duration;

use super::chaos::Chaos;
use super::cloudflare;
use super::recital::Continuing;

/// Everything a [`SimServer`](crate::sim::SimServer) needs to start.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The providers it hosts, each under its own path prefix. Of two with one name the last wins.
    pub providers: Vec<ProviderSpec>,
    /// How many requests each provider remembers. 0 keeps the counters alone, for benchmarks.
    pub keep_records: usize,
}

impl SimConfig {
    /// These providers, each remembering its last 10,000 requests.
    #[must_use]
    pub fn new(providers: Vec<ProviderSpec>) -> Self {
        Self { providers, keep_records: 10_000 }
    }
}

/// Whose wire a provider speaks: headers, answers, errors and what it refuses. How those that speak
/// OpenAI's differ from it stands in `dialect.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The reference, and tolerant: no field is refused.
    OpenAi,
    /// 400 for unknown fields, `x_groq`, per-day request and per-minute token headers.
    Groq,
    /// 422 for unknown fields, usage on the last chunk, bare error objects.
    Mistral,
    /// 400 for penalties, `time_info`, bare error objects, resets as fractions of seconds.
    Cerebras,
    /// Its own API, `generateContent`: the key in `x-goog-api-key`, 400 for unknown names anywhere,
    /// no headers, no end mark.
    Gemini,
    /// Gemini behind OpenAI's wire: tool calls without an index, errors in a list.
    GeminiCompat,
    /// Its own API, `/v1/messages`: the key in `x-api-key`, 400 for unknown fields and for turns out
    /// of order.
    Anthropic,
    /// Its own API, `/api/chat`: lines of JSON, arguments as objects, prompts cut to the window.
    Ollama,
    /// Ollama behind OpenAI's wire: every call has index 0, `tool_choice` is not noticed.
    OllamaCompat,
    /// OpenAI's wire under an account's path; 400 for content that is no string, errors in a list.
    Cloudflare,
    /// No schemas, no images; thoughts have to come back within a tool loop.
    DeepSeek,
    /// Running usage on every chunk, errors as of a web server; older models, see
    /// [`ModelSpec::older`].
    Nvidia,
    /// Comments before data, `reasoning_details`, usage always at the end.
    OpenRouter,
    /// Thoughts inside the text, usage on the last chunk.
    Together,
    /// Thoughts inside the text, figures that are no integers among the usage.
    SambaNova,
    /// A router: whatever wire stands behind it, here one that repeats a call's name.
    HuggingFace,
    /// Content is a string; errors are an id and a message.
    Cohere,
    /// Schemas are not noticed, a call and the end in one chunk, error codes that are numbers as text.
    Zai,
}

impl Flavour {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::OpenAi,
        Self::Groq,
        Self::Mistral,
        Self::Cerebras,
        Self::Gemini,
        Self::GeminiCompat,
        Self::Anthropic,
        Self::Ollama,
        Self::OllamaCompat,
        Self::Cloudflare,
        Self::DeepSeek,
        Self::Nvidia,
        Self::OpenRouter,
        Self::Together,
        Self::SambaNova,
        Self::HuggingFace,
        Self::Cohere,
        Self::Zai,
    ];

    /// The flavour of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }

    /// For people and for [`from_name`](Self::from_name).
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Groq => "groq",
            Self::Mistral => "mistral",
            Self::Cerebras => "cerebras",
            Self::Gemini => "gemini",
            Self::GeminiCompat => "gemini-compat",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::OllamaCompat => "ollama-compat",
            Self::Cloudflare => "cloudflare",
            Self::DeepSeek => "deepseek",
            Self::Nvidia => "nvidia",
            Self::OpenRouter => "openrouter",
            Self::Together => "together",
            Self::SambaNova => "sambanova",
            Self::HuggingFace => "huggingface",
            Self::Cohere => "cohere",
            Self::Zai => "zai",
        }
    }

    /// What follows the provider's name in the base URL a client is given.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Gemini => "v1beta",
            Self::GeminiCompat => "v1beta/openai",
            Self::Ollama | Self::DeepSeek => "",
            Self::Cloudflare => cloudflare::VERSION,
            Self::OpenRouter => "api/v1",
            Self::Cohere => "compatibility/v1",
            Self::Zai => "api/paas/v4",
            _ => "v1",
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests, counted when they arrive.
    Requests,
    /// Prompt and completion tokens together, in this room's own counting.
    Tokens,
}

impl What {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// At most `max` in any stretch of time as long as `window`, per key and model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSpec {
    /// What is counted.
    pub what: What,
    /// How long a use counts.
    pub window: Duration,
    /// The most there may be in one window.
    pub max: u64,
    /// Used before the server started: how much, and how long after the start it comes back.
    pub spent: Option<(u64, Duration)>,
}

/// One model of a provider.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// As requests name it; may contain slashes.
    pub name: String,
    /// What it allows each key.
    pub limits: Vec<LimitSpec>,
    /// Prompt tokens it can hold, in this room's own counting; `None` = any number.
    pub context: Option<u64>,
    /// Fields refused for this model beyond what the flavour refuses.
    pub refuses: Vec<String>,
    /// Does it think before it answers?
    pub reasoning: bool,
    /// Is it one of NVIDIA's older ones? Those want `parallel_tool_calls: false` beside tools, and know
    /// schemas as `guided_json` alone.
    pub older: bool,
    /// What it says; `None` = what its provider says.
    pub answer: Option<Answer>,
}

impl ModelSpec {
    /// A model with no limit of any kind.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            limits: Vec::new(),
            context: None,
            refuses: Vec::new(),
            reasoning: false,
            older: false,
            answer: None,
        }
    }

    /// The same model with one more limit.
    #[must_use]
    pub fn limit(mut self, what: What, window: Duration, max: u64) -> Self {
        self.limits.push(LimitSpec { what, window, max, spent: None });
        self
    }

    /// Its tokens-a-minute limit.
    pub(super) fn minute_tokens(&self) -> Option<u64> {
        let minute = Duration::from_secs(60);
        let limit = |it: &&LimitSpec| it.what == What::Tokens && it.window == minute;
        self.limits.iter().find(limit).map(|it| it.max)
    }
}

/// How fast a provider talks. Zero means without any sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Before the first chunk of a stream, and before a whole answer begins to be written.
    pub first_token: Duration,
    /// Between two content chunks; a whole answer waits for all of them together.
    pub per_chunk: Duration,
}

/// Where a provider's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Made from the question. Tools and JSON mode are honoured.
    Woven(Voice),
    /// This text, whatever is asked; tools and JSON mode are ignored.
    Fixed(String),
    /// What [`recital`](crate::sim::recital) makes of the question; an answer that was begun by
    /// another model is gone on with in this way. Tools and JSON mode are ignored.
    Recited(Continuing),
}

/// The manner of a woven answer, so that a reader sees who spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// Matter-of-fact.
    #[default]
    Plain,
    /// Short sentences.
    Brisk,
    /// Opens with the filler that a gateway is expected to remove.
    Warm,
    /// Weighs things.
    Scholarly,
}

/// One simulated provider.
#[derive(Clone, Debug)]
pub struct ProviderSpec {
    /// In paths, lower case: `/<name>/v1/chat/completions`, or the flavour's own.
    pub name: String,
    /// Whose wire it speaks.
    pub flavour: Flavour,
    /// Bearer keys it accepts. Empty: any or none, and all callers share one quota.
    pub keys: Vec<String>,
    /// Its models. Empty: any name is accepted, with no limit.
    pub models: Vec<ModelSpec>,
    /// How fast it talks.
    pub pace: Pace,
    /// What it says.
    pub answer: Answer,
    /// Characters in one content chunk of a stream; `None` = one word a chunk.
    pub chunk_chars: Option<usize>,
    /// Fields it takes although its flavour refuses them.
    pub tolerates: Vec<String>,
    /// The share of requests (0 to 1) that fails before the first content, and the seed that says
    /// which; `None` = none do.
    pub flaky: Option<(f64, u64)>,
    /// Faults of every kind, on top of that; `None` = none.
    pub chaos: Option<Chaos>,
}

impl ProviderSpec {
    /// A provider that takes any key and any model and answers at once. `name` is lower-cased.
    #[must_use]
    pub fn new(name: &str, flavour: Flavour) -> Self {
        Self {
            name: name.to_lowercase(),
            flavour,
            keys: Vec::new(),
            models: Vec::new(),
            pace: Pace::default(),
            answer: Answer::Woven(Voice::default()),
            chunk_chars: None,
            tolerates: Vec::new(),
            flaky: None,
            chaos: None,
        }
    }

    /// The same provider, accepting one more key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.keys.push(key.to_owned());
        self
    }

    /// The same provider with one more model.
    #[must_use]
    pub fn model(mut self, model: ModelSpec) -> Self {
        self.models.push(model);
        self
    }
}
