//! A completion or a chunk as OpenAI writes it.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::answer::UsageMetadata;

/// A completion or a chunk as OpenAI writes it.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    pub(super) object: &'static str,
    /// Seconds since 1970.
    pub(super) created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    pub(super) choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Usage>,
}

impl Page<'_> {
    /// As JSON text.
    ///
    /// # Errors
    /// [`FaultKind::Unreadable`], which no page gives cause for.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(self).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))
    }
}

/// One choice: `message` in a whole answer, `delta` in a piece of one.
#[derive(Default, Serialize)]
pub(super) struct Choice<'a> {
    pub(super) index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Message>,
    pub(super) finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub(super) extra_content: Extra<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    /// A string, or `null` where something else is said; absent from a delta without text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reasoning_content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub(super) extra_content: Extra<'static>,
}

#[derive(Serialize)]
pub(super) struct ToolCall {
    /// Its place among the answer's calls; only pieces tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) function: Function,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub(super) extra_content: Extra<'static>,
}

#[derive(Serialize)]
pub(super) struct Function {
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// What OpenAI has no place for, where Google's own compatible endpoint puts it.
#[derive(Default, Serialize)]
pub(super) struct Extra<'a> {
    pub(super) google: GoogleExtra<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct GoogleExtra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grounding_metadata: Option<&'a RawValue>,
}

impl Extra<'_> {
    pub(super) fn signed(thought_signature: Option<String>) -> Self {
        Self { google: GoogleExtra { thought_signature, ..GoogleExtra::default() } }
    }

    pub(super) fn is_empty(&self) -> bool {
        let it = &self.google;
        it.thought_signature.is_none()
            && it.citation_metadata.is_none()
            && it.grounding_metadata.is_none()
    }
}

#[derive(Serialize)]
pub(super) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<UsageMetadata> for Usage {
    fn from(it: UsageMetadata) -> Self {
        let prompt_tokens = it.prompt_token_count.saturating_add(it.tool_use_prompt_token_count);
        // Thoughts are not among the candidates' tokens, but they are paid for like them.
        let completion_tokens = it.candidates_token_count.saturating_add(it.thoughts_token_count);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: it
                .total_token_count
                .unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
            prompt_tokens_details: PromptDetails { cached_tokens: it.cached_content_token_count },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: it.thoughts_token_count,
            },
        }
    }
}
