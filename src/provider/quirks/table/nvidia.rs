//! NVIDIA's row.

use crate::catalog::ImageLimits;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Merge;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Schema;
use crate::provider::quirks::table::ANY_MESSAGE;
use crate::provider::quirks::table::LOW_TO_HIGH;
use crate::provider::quirks::table::NO_LIMITS;
use crate::provider::quirks::table::OLD_BOUND;
use crate::provider::quirks::table::PLAIN;

pub(super) const ROW: Quirks = Quirks {
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
};

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
