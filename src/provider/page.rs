//! A completion or a chunk as OpenAI writes it: what the answers of other dialects become.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::Unreadable;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// What stands above the choices.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// The provider's own id for the answer.
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    /// Seconds since 1970.
    pub(super) created: u64,
}

impl Head {
    /// A whole answer.
    ///
    /// # Errors
    /// [`FaultKind::Unreadable`], which no answer gives cause for.
    pub(super) fn completion(
        &self,
        choices: Vec<Choice<'_>>,
        usage: Option<Usage>,
    ) -> Result<Completion, Fault> {
        let json = self.page("chat.completion", choices, usage)?;
        Completion::parse(&json.into()).map_err(|it: Unreadable| unreadable(it.to_string()))
    }

    /// A piece of a streamed answer.
    ///
    /// # Errors
    /// As [`completion`](Self::completion).
    pub(super) fn chunk(
        &self,
        choices: Vec<Choice<'_>>,
        usage: Option<Usage>,
    ) -> Result<Chunk, Fault> {
        let json = self.page("chat.completion.chunk", choices, usage)?;
        Chunk::parse(&json.into()).map_err(|it: Unreadable| unreadable(it.to_string()))
    }

    fn page(
        &self,
        object: &'static str,
        choices: Vec<Choice<'_>>,
        usage: Option<Usage>,
    ) -> Result<Vec<u8>, Fault> {
        let page = Page {
            id: self.id.as_deref(),
            object,
            created: self.created,
            model: self.model.as_deref(),
            choices,
            usage,
        };
        serde_json::to_vec(&page).map_err(|it| unreadable(it.to_string()))
    }
}

/// An answer that is not of the expected form.
pub(super) fn unreadable(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Unreadable, message)
}

#[derive(Serialize)]
struct Page<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    object: &'static str,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
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

impl Choice<'_> {
    /// A piece that adds `delta` to the only choice.
    pub(super) fn adding(delta: Message) -> Self {
        Self { delta: Some(delta), ..Self::default() }
    }
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
    /// What it says beside text, thoughts and calls, each part as the provider wrote it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) content_parts: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub(super) extra_content: Extra<'static>,
}

impl Message {
    /// The message with `text` for its content: `null` where there is none and it says something
    /// else.
    pub(super) fn with_text(self, text: String) -> Self {
        let wordless =
            !self.tool_calls.is_empty() || self.refusal.is_some() || !self.content_parts.is_empty();
        let content = if text.is_empty() && wordless { Value::Null } else { text.into() };
        Self { role: Some("assistant"), content: Some(content), ..self }
    }
}

/// A call, or the beginning of one; the rest of its arguments may follow under its index alone.
#[derive(Default, Serialize)]
pub(super) struct ToolCall {
    /// Its place among the answer's calls; only pieces tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) function: Function,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub(super) extra_content: Extra<'static>,
}

#[derive(Default, Serialize)]
pub(super) struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// JSON text, or a piece of it.
    pub(super) arguments: String,
}

impl ToolCall {
    /// A call with all that its first piece must have, under an id made here if the provider gave
    /// none: no two calls of a conversation may share one.
    pub(super) fn new(id: Option<String>, name: String, arguments: String) -> Self {
        let id = id.filter(|it| !it.is_empty());
        Self {
            index: None,
            id: Some(id.unwrap_or_else(|| format!("call_{:024x}", fastrand::u128(..) >> 32))),
            kind: Some("function"),
            function: Function { name: Some(name), arguments },
            extra_content: Extra::default(),
        }
    }

    /// More of the arguments of the call with that index.
    pub(super) fn more(index: usize, arguments: String) -> Self {
        let function = Function { name: None, arguments };
        Self { index: Some(index), function, ..Self::default() }
    }
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
    /// The model the signature is from: no other is to see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url_context_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) safety_ratings: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs_result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) avg_logprobs: Option<&'a RawValue>,
}

impl Extra<'_> {
    pub(super) fn signed(thought_signature: Option<String>) -> Self {
        Self { google: GoogleExtra { thought_signature, ..GoogleExtra::default() } }
    }

    pub(super) fn is_empty(&self) -> bool {
        let it = &self.google;
        let others = [
            it.citation_metadata,
            it.grounding_metadata,
            it.url_context_metadata,
            it.safety_ratings,
            it.logprobs_result,
            it.avg_logprobs,
        ];
        it.thought_signature.is_none() && others.iter().all(Option::is_none)
    }
}

/// Token figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PromptDetails {
    /// Read from the provider's cache.
    pub(super) cached_tokens: u64,
    /// Written to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_creation_tokens: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: u64,
}

impl Usage {
    /// The figures without details. `total` is their sum unless the provider tells another.
    pub(super) fn new(prompt: u64, completion: u64, total: Option<u64>) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: total.unwrap_or_else(|| prompt.saturating_add(completion)),
            prompt_tokens_details: None,
            completion_tokens_details: None,
        }
    }
}

/// JSON text without the white space between its tokens.
pub(super) fn compact(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|it| {
            match it {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            quoted || !it.is_ascii_whitespace()
        })
        .collect()
}
