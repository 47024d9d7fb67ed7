//! How providers differ from OpenAI's own API, as data.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11. Where a cell is wrong
//! the provider answers 400 or 422 and names the member, and the call is repeated without it.

/// What one provider wants differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quirks {
    /// Members it refuses that an answer can do without: they are left out, with a warning.
    pub drops: &'static [&'static str],
    /// Members it knows under another name.
    pub renames: &'static [(&'static str, &'static str)],
    /// Members that are asked for by name but mean "the default": never sent.
    pub omits: &'static [&'static str],
    /// Requests that bring one of these members must go elsewhere.
    pub rules_out: &'static [&'static str],
    /// Does it refuse `stream_options`? It then sends usage without being asked.
    pub no_stream_options: bool,
}

const GROQ: Quirks = Quirks {
    drops: &["logprobs", "top_logprobs", "logit_bias"],
    renames: &[],
    omits: &["store", "metadata", "prediction", "service_tier"],
    rules_out: &["n"],
    no_stream_options: false,
};

const MISTRAL: Quirks = Quirks {
    drops: &["logprobs", "top_logprobs", "logit_bias", "user"],
    renames: &[("seed", "random_seed"), ("max_completion_tokens", "max_tokens")],
    omits: &["store", "metadata", "prediction", "service_tier", "stream_options"],
    rules_out: &[],
    no_stream_options: true,
};

const CEREBRAS: Quirks = Quirks {
    drops: &["frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"],
    renames: &[],
    omits: &["service_tier", "store", "metadata"],
    rules_out: &[],
    no_stream_options: false,
};

/// A provider's quirks by its name, in any case. Unknown ones are taken to speak OpenAI's API.
pub fn of(provider: &str) -> Quirks {
    match provider.to_ascii_lowercase().as_str() {
        "groq" => GROQ,
        "mistral" => MISTRAL,
        "cerebras" => CEREBRAS,
        _ => Quirks::default(),
    }
}
