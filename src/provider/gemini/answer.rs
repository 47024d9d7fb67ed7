//! From `generateContent`'s answers to OpenAI's, whole and in pieces.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Now;
use crate::openai::Completion;
use crate::provider::fault::Fault;
use crate::provider::page::Choice;
use crate::provider::page::CompletionDetails;
use crate::provider::page::Extra;
use crate::provider::page::GoogleExtra;
use crate::provider::page::Head;
use crate::provider::page::Message;
use crate::provider::page::PromptDetails;
use crate::provider::page::Usage;
use crate::provider::page::unreadable;
use crate::provider::thoughts::Shelf;

use super::parts::{Content, said};

/// A `GenerateContentResponse`, or an event of a stream of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Candidate<'a>>,
    #[serde(borrow)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    pub(super) usage_metadata: Option<UsageMetadata>,
    #[serde(rename = "modelVersion")]
    pub(super) model: Option<String>,
    #[serde(rename = "responseId")]
    pub(super) id: Option<String>,
    /// An error in place of an answer.
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    block_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
    #[serde(borrow)]
    citation_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    safety_ratings: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs_result: Option<&'a RawValue>,
    #[serde(borrow)]
    avg_logprobs: Option<&'a RawValue>,
}

/// Token figures; those of a stream grow from event to event.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "they are the API's own names")]
pub(super) struct UsageMetadata {
    pub(super) prompt_token_count: u64,
    pub(super) tool_use_prompt_token_count: u64,
    pub(super) candidates_token_count: u64,
    pub(super) thoughts_token_count: u64,
    pub(super) cached_content_token_count: u64,
    pub(super) total_token_count: Option<u64>,
}

/// Reasons for which an answer was kept back.
const KEPT_BACK: &[&str] = &[
    "BLOCKLIST",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "IMAGE_SAFETY",
    "LANGUAGE",
    "PROHIBITED_CONTENT",
    "RECITATION",
    "SAFETY",
    "SPII",
];

/// Reasons that mean the model failed to write what it began.
const FAILED: &[&str] = &[
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
    "TOO_MANY_TOOL_CALLS",
    "UNEXPECTED_TOOL_CALL",
];

const CONTENT_FILTER: &str = "content_filter";

/// The most choices followed in one stream. Eight are given at most.
const MOST_CHOICES: usize = 64;

/// What is known of the choices of a stream under way.
#[derive(Debug, Default)]
pub(super) struct Progress(BTreeMap<u64, Seen>);

/// One of them.
#[derive(Debug, Default)]
struct Seen {
    /// Calls it has made.
    calls: usize,
    /// Has its role been told?
    begun: bool,
    /// Has it said anything a caller can use?
    spoken: bool,
    /// Has it said why it ends?
    finished: bool,
}

impl Progress {
    /// Has every choice come to its end?
    pub(super) fn is_finished(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|it| it.finished)
    }

    fn at(&mut self, index: u64) -> Result<&mut Seen, Fault> {
        if self.0.len() >= MOST_CHOICES && !self.0.contains_key(&index) {
            return Err(unreadable(format!("more than {MOST_CHOICES} candidates")));
        }
        Ok(self.0.entry(index).or_default())
    }
}

impl<'a> Response<'a> {
    /// Reads a whole answer or the data of one event.
    ///
    /// # Errors
    /// [`Unreadable`](crate::provider::fault::FaultKind::Unreadable) when it is something else.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        // serde would take a list for a struct as well.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(unreadable("expected a JSON object"));
        }
        serde_json::from_slice(body).map_err(|it| unreadable(it.to_string()))
    }

    /// The answer in OpenAI's form; the signatures of its calls are kept on the `shelf`.
    ///
    /// # Errors
    /// [`Unreadable`](crate::provider::fault::FaultKind::Unreadable) when the model failed to write
    /// what it began.
    pub(super) fn completion(self, shelf: &Shelf, now: Now) -> Result<Completion, Fault> {
        let candidates = self.candidates.into_iter();
        let mut choices = candidates.map(Candidate::whole).collect::<Result<Vec<_>, _>>()?;
        let blocked = self.prompt_feedback.and_then(|it| it.block_reason);
        if let (true, Some(reason)) = (choices.is_empty(), blocked) {
            let message = Message { content: Some(Value::Null), ..blocked_prompt(&reason) };
            choices.push(Choice {
                message: Some(message),
                finish_reason: Some(CONTENT_FILTER),
                ..Choice::default()
            });
        }
        keep_signatures(&mut choices, shelf, now);
        let head = Head { id: self.id, model: self.model, created: now.unix_ms / 1_000 };
        head.completion(choices, self.usage_metadata.map(Usage::from))
    }

    /// What this event adds, in OpenAI's form; none when it adds nothing.
    ///
    /// # Errors
    /// As [`completion`](Self::completion), and when there are too many choices.
    pub(super) fn pieces(
        self,
        progress: &mut Progress,
        shelf: &Shelf,
        now: Now,
    ) -> Result<Vec<Choice<'a>>, Fault> {
        let mut choices = Vec::with_capacity(1);
        let silent = self.candidates.is_empty();
        for candidate in self.candidates {
            choices.extend(candidate.delta(progress)?);
        }
        let blocked = self.prompt_feedback.and_then(|it| it.block_reason);
        if let (true, Some(reason)) = (silent, blocked) {
            progress.at(0)?.finished = true;
            choices.push(Choice {
                finish_reason: Some(CONTENT_FILTER),
                ..Choice::adding(blocked_prompt(&reason))
            });
        }
        keep_signatures(&mut choices, shelf, now);
        Ok(choices)
    }
}

/// Keeps each call's signature for a client that will send the call without, and names its model
/// beside it for a client that will send it with.
fn keep_signatures(choices: &mut [Choice<'_>], shelf: &Shelf, now: Now) {
    for choice in choices {
        let messages = [&mut choice.message, &mut choice.delta];
        for message in messages.into_iter().flatten() {
            for call in &mut message.tool_calls {
                let signature = call.extra_content.google.thought_signature.as_ref();
                if let (Some(id), Some(signature)) = (&call.id, signature) {
                    shelf.keep(id, signature, now);
                }
            }
            let calls = message.tool_calls.iter_mut().map(|it| &mut it.extra_content);
            for extra in calls.chain([&mut message.extra_content]) {
                let signed = extra.google.thought_signature.is_some();
                extra.google.model = signed.then(|| shelf.model().to_owned());
            }
        }
    }
}

impl<'a> Candidate<'a> {
    fn whole(self) -> Result<Choice<'a>, Fault> {
        let extra_content = self.sources();
        let (text, mut message) = said(self.content, None)?;
        let reason = self.finish_reason.as_deref().unwrap_or("STOP");
        let finish =
            finish(reason, self.finish_message.as_deref(), !message.tool_calls.is_empty())?;
        if text.is_empty() && finish == CONTENT_FILTER {
            message.refusal = Some(kept_back(reason));
        }
        Ok(Choice {
            index: self.index,
            message: Some(message.with_text(text.into_owned())),
            delta: None,
            finish_reason: Some(finish),
            extra_content,
        })
    }

    fn delta(self, progress: &mut Progress) -> Result<Option<Choice<'a>>, Fault> {
        let seen = progress.at(self.index)?;
        let extra_content = self.sources();
        let (text, mut message) = said(self.content, Some(seen.calls))?;
        seen.calls += message.tool_calls.len();
        seen.spoken |= !text.is_empty() || seen.calls > 0 || !message.content_parts.is_empty();
        let reason = self.finish_reason.as_deref();
        let finish = reason
            .map(|it| finish(it, self.finish_message.as_deref(), seen.calls > 0))
            .transpose()?;
        if let (Some(reason), Some(CONTENT_FILTER), false) = (reason, finish, seen.spoken) {
            message.refusal = Some(kept_back(reason));
        }
        seen.finished |= finish.is_some();
        let adds = !text.is_empty()
            || !message.tool_calls.is_empty()
            || !message.reasoning_content.is_empty()
            || !message.content_parts.is_empty()
            || !message.extra_content.is_empty()
            || !extra_content.is_empty();
        if !adds && finish.is_none() && seen.begun {
            return Ok(None);
        }
        if !seen.begun {
            message.role = Some("assistant");
            seen.begun = true;
        }
        message.content = (!text.is_empty()).then(|| text.into_owned().into());
        Ok(Some(Choice {
            index: self.index,
            message: None,
            delta: Some(message),
            finish_reason: finish,
            extra_content,
        }))
    }

    /// What it rests on, and what was thought of it.
    fn sources(&self) -> Extra<'a> {
        Extra {
            google: GoogleExtra {
                citation_metadata: self.citation_metadata,
                grounding_metadata: self.grounding_metadata,
                url_context_metadata: self.url_context_metadata,
                safety_ratings: self.safety_ratings,
                logprobs_result: self.logprobs_result,
                avg_logprobs: self.avg_logprobs,
                ..GoogleExtra::default()
            },
        }
    }
}

/// OpenAI's word for why an answer ends.
fn finish(reason: &str, words: Option<&str>, calls: bool) -> Result<&'static str, Fault> {
    if FAILED.contains(&reason) {
        let words = words.map(|it| format!(": {it}")).unwrap_or_default();
        return Err(unreadable(format!("the model failed to write its answer: {reason}{words}")));
    }
    Ok(match reason {
        "MAX_TOKENS" => "length",
        it if KEPT_BACK.contains(&it) => CONTENT_FILTER,
        _ if calls => "tool_calls",
        _ => "stop",
    })
}

fn blocked_prompt(reason: &str) -> Message {
    Message {
        role: Some("assistant"),
        refusal: Some(format!("The prompt was blocked: {reason}.")),
        ..Message::default()
    }
}

fn kept_back(reason: &str) -> String {
    format!("The answer was kept back: {reason}.")
}

impl From<UsageMetadata> for Usage {
    fn from(it: UsageMetadata) -> Self {
        let prompt = it.prompt_token_count.saturating_add(it.tool_use_prompt_token_count);
        // Thoughts are not among the candidates' tokens, but they are paid for like them.
        let completion = it.candidates_token_count.saturating_add(it.thoughts_token_count);
        Self {
            prompt_tokens_details: Some(PromptDetails {
                cached_tokens: it.cached_content_token_count,
                cache_creation_tokens: None,
            }),
            completion_tokens_details: Some(CompletionDetails {
                reasoning_tokens: it.thoughts_token_count,
            }),
            ..Self::new(prompt, completion, it.total_token_count)
        }
    }
}
