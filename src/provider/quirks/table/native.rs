//! What the wires that are not OpenAI's can't say. The rest is their own clients' affair.

use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::table::PLAIN;

/// What Gemini's own wire can't say.
pub(in crate::provider::quirks) const GEMINI_NATIVE: Quirks = Quirks {
    name: "gemini",
    usual: Policy { lacks: &["functions", "https_images"], gives: &["audio", "files"], ..PLAIN },
    models: &[("*gemini-2*", GEMINI_2), ("*gemma*", Policy { gives: &[], ..GEMINI_2 })],
};

/// The same before the third generation, and Gemma.
pub(super) const GEMINI_2: Policy = Policy {
    lacks: &["functions", "https_images", "json_with_tools"],
    gives: &["audio", "files"],
    ..PLAIN
};

/// What Ollama's own wire can't say.
pub(in crate::provider::quirks) const OLLAMA_NATIVE: Quirks = Quirks {
    name: "ollama",
    usual: Policy {
        lacks: &["n", "functions", "tool_choice", "tool_choice_function", "https_images"],
        ..PLAIN
    },
    models: &[],
};

/// What Anthropic's own wire can't say.
pub(in crate::provider::quirks) const ANTHROPIC_NATIVE: Quirks = Quirks {
    name: "anthropic",
    usual: Policy { lacks: &["n", "functions", "json_object", "json_schema"], ..PLAIN },
    models: &[],
};
