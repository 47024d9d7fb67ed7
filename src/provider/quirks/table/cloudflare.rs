//! Cloudflare's row.

use crate::provider::quirks::Bound;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Quirks;
use crate::provider::quirks::Reasoning;
use crate::provider::quirks::table::ANY_MESSAGE;
use crate::provider::quirks::table::PLAIN;

pub(super) const ROW: Quirks = Quirks {
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
    bound: Bound { unless_set: Some(4_096), most: None, least: None },
    messages: MessageRules { plain_content: true, reasoning: Reasoning::LeftOut, ..ANY_MESSAGE },
    ..PLAIN
};

/// The models its page on JSON mode lists.
const CLOUDFLARE_JSON: Policy = Policy { lacks: &["https_images"], ..CLOUDFLARE };
