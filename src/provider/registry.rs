//! The providers this program knows by name, as data. Any other provider that speaks a known wire
//! needs a limits file with its URL and no row here.

use crate::catalog::Kind;

/// One provider known by name.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its usual name.
    pub name: &'static str,
    /// Other names people know it by.
    pub synonyms: &'static [&'static str],
    /// The wire it speaks, as the limits file's `kind` writes it.
    pub kind: &'static str,
    /// What stands before the wire's own paths, e.g. before `/chat/completions`.
    pub base_url: &'static str,
    /// The variables that may hold its keys, the preferred one first. None at all: it runs on the
    /// user's own machine, asks for no key, and is used only where its URL is given.
    pub key_variables: &'static [&'static str],
}

impl BuiltIn {
    /// Does it run on the user's own machine?
    pub fn is_local(&self) -> bool {
        self.key_variables.is_empty()
    }
}

/// The wires a limits file may name.
pub const KINDS: &[(&str, Kind)] = &[
    ("openai", Kind::OpenAi),
    ("gemini", Kind::Gemini),
    ("ollama", Kind::Ollama),
    ("cloudflare", Kind::Cloudflare),
    ("anthropic", Kind::Anthropic),
];

/// The provider called `name`, in any case, by its usual name or a synonym.
pub fn find(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|it| {
        let mut names = std::iter::once(&it.name).chain(it.synonyms);
        names.any(|known| known.eq_ignore_ascii_case(name))
    })
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "Groq",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.groq.com/openai/v1",
        key_variables: &["GROQ_APIKEY", "GROQ_API_KEY"],
    },
    BuiltIn {
        name: "Gemini",
        synonyms: &[],
        kind: "gemini",
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        key_variables: &["GEMINI_APIKEY", "GEMINI_API_KEY", "GOOGLE_AI_KEY", "GOOGLE_API_KEY"],
    },
    BuiltIn {
        name: "Mistral",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.mistral.ai/v1",
        key_variables: &["MISTRAL_APIKEY", "MISTRAL_API_KEY"],
    },
    BuiltIn {
        name: "Cerebras",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.cerebras.ai/v1",
        key_variables: &["CEREBRAS_APIKEY", "CEREBRAS_API_KEY"],
    },
    BuiltIn {
        name: "DeepSeek",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.deepseek.com",
        key_variables: &["DEEPSEEK_APIKEY", "DEEPSEEK_API_KEY"],
    },
    BuiltIn {
        name: "Nvidia",
        synonyms: &["nim"],
        kind: "openai",
        base_url: "https://integrate.api.nvidia.com/v1",
        key_variables: &["NVIDIA_APIKEY", "NVIDIA_API_KEY"],
    },
    BuiltIn {
        name: "OpenRouter",
        synonyms: &[],
        kind: "openai",
        base_url: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_APIKEY", "OPENROUTER_API_KEY"],
    },
    BuiltIn {
        name: "Together",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.together.xyz/v1",
        key_variables: &["TOGETHER_APIKEY", "TOGETHER_API_KEY"],
    },
    BuiltIn {
        name: "Cloudflare",
        synonyms: &[],
        kind: "cloudflare",
        base_url: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1",
        key_variables: &["CLOUDFLARE_APIKEY", "CLOUDFLARE_API_KEY", "CLOUDFLARE_API_TOKEN"],
    },
    BuiltIn {
        name: "Ollama",
        synonyms: &[],
        kind: "ollama",
        base_url: "http://localhost:11434",
        key_variables: &[],
    },
    BuiltIn {
        name: "OllamaCloud",
        synonyms: &[],
        kind: "ollama",
        base_url: "https://ollama.com",
        key_variables: &["OLLAMA_APIKEY", "OLLAMA_API_KEY"],
    },
    BuiltIn {
        name: "SambaNova",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.sambanova.ai/v1",
        key_variables: &["SAMBANOVA_APIKEY", "SAMBANOVA_API_KEY"],
    },
    BuiltIn {
        name: "HuggingFace",
        synonyms: &[],
        kind: "openai",
        base_url: "https://router.huggingface.co/v1",
        key_variables: &["HUGGINGFACE_APIKEY", "HUGGINGFACE_API_KEY", "HF_TOKEN"],
    },
    BuiltIn {
        name: "Cohere",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.cohere.ai/compatibility/v1",
        key_variables: &["COHERE_APIKEY", "COHERE_API_KEY", "CO_API_KEY"],
    },
    BuiltIn {
        name: "Zai",
        synonyms: &["Z.ai"],
        kind: "openai",
        base_url: "https://api.z.ai/api/paas/v4",
        key_variables: &["ZAI_APIKEY", "ZAI_API_KEY", "ZHIPU_APIKEY", "ZHIPU_API_KEY"],
    },
    BuiltIn {
        name: "OpenAI",
        synonyms: &[],
        kind: "openai",
        base_url: "https://api.openai.com/v1",
        key_variables: &["OPENAI_APIKEY", "OPENAI_API_KEY"],
    },
    BuiltIn {
        name: "Anthropic",
        synonyms: &[],
        kind: "anthropic",
        base_url: "https://api.anthropic.com/v1",
        key_variables: &["ANTHROPIC_APIKEY", "ANTHROPIC_API_KEY"],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_provider_is_found_in_any_case_and_by_its_synonyms() {
        for (name, wanted) in [
            ("groq", Some("Groq")),
            ("NIM", Some("Nvidia")),
            ("z.ai", Some("Zai")),
            ("gro", None),
            ("", None),
        ] {
            assert_eq!(find(name).map(|it| it.name), wanted, "{name}");
        }
    }

    #[test]
    fn no_name_and_no_variable_stands_for_two_providers() {
        let mut names = HashSet::new();
        let mut variables = HashSet::new();
        for row in BUILT_IN {
            for name in std::iter::once(&row.name).chain(row.synonyms) {
                assert!(names.insert(name.to_ascii_lowercase()), "{name}");
            }
            for variable in row.key_variables {
                assert!(variables.insert(*variable), "{variable}");
            }
            assert!(KINDS.iter().any(|(kind, _)| *kind == row.kind), "{}", row.name);
            assert!(!row.base_url.ends_with('/'), "{}", row.name);
        }
    }
}
