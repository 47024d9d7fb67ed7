//! From a conversation to Gemini's turns.

use std::borrow::Cow;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::clock::Now;
use crate::provider::conversation::Call;
use crate::provider::conversation::Conversation;
use crate::provider::conversation::Media;
use crate::provider::conversation::MediaKind;
use crate::provider::conversation::NOT_CARRIED_OUT;
use crate::provider::conversation::Part as Said;
use crate::provider::conversation::Place;
use crate::provider::conversation::Signed;
use crate::provider::conversation::Speaker;
use crate::provider::conversation::Turn;
use crate::provider::conversation::not_here;
use crate::provider::conversation::object_of;
use crate::provider::conversation::text_of;
use crate::provider::fault::Fault;
use crate::provider::thoughts::Shelf;

use super::model::Model;
use super::wire::{Content, FunctionCall, FunctionResponse, InlineData, Part, Role};

/// Stands for the thought signature of a call that another model made, or whose signature nobody
/// has kept. Source: ai.google.dev/gemini-api/docs/thought-signatures.
pub(in crate::provider) const SKIP_SIGNATURE: &str = "skip_thought_signature_validator";

/// A conversation in Gemini's form.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    /// What stands beside the turns; empty for a model that takes nothing there.
    pub(super) system: Vec<Part<'a>>,
    /// The turns: the person's first, and the two speakers in turn.
    pub(super) turns: Vec<Content<'a>>,
}

/// What a call's signature is found by.
pub(super) struct Signatures<'s> {
    pub(super) model: &'s Model,
    pub(super) shelf: &'s Shelf,
    pub(super) now: Now,
}

/// Writes the turns.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for what is not in the request itself:
/// nothing is fetched.
pub(super) fn write<'a>(
    conversation: Conversation<'a>,
    signatures: &Signatures<'_>,
) -> Result<Contents<'a>, Fault> {
    let mut contents = Contents::default();
    for turn in conversation.turns {
        match turn.speaker {
            Speaker::Model => contents.model(turn, signatures)?,
            Speaker::System | Speaker::Person => {
                let parts = turn.parts.into_iter().map(part).collect::<Result<_, _>>()?;
                contents.say(Role::User, parts);
            }
        }
    }
    let system = conversation.system.into_iter().map(Part::text);
    match contents.turns.first_mut().filter(|_| !signatures.model.takes_instruction) {
        Some(first) => drop(first.parts.splice(0..0, system)),
        None => contents.system = system.collect(),
    }
    Ok(contents)
}

impl<'a> Contents<'a> {
    fn model(&mut self, turn: Turn<'a>, signatures: &Signatures<'_>) -> Result<(), Fault> {
        let mut parts =
            turn.parts.into_iter().map(part).collect::<Result<Vec<Part<'a>>, Fault>>()?;
        // On text a signature is wanted but never insisted on, so there is nothing to stand for it.
        if let Some(last) = parts.last_mut() {
            last.thought_signature = signatures.own(turn.signed);
        }
        let mut results = Vec::with_capacity(turn.calls.len());
        let mut shown = Vec::new();
        for (nth, mut call) in turn.calls.into_iter().enumerate() {
            let result = call.result.take();
            results.push(response(&call, result.as_deref()));
            for it in result.into_iter().flatten().filter(|it| matches!(it, Said::Media(_))) {
                shown.push(part(it)?);
            }
            let signature = signatures.of(&mut call);
            // Of calls made together only the first is signed.
            let due = nth == 0 && signatures.model.wants_signatures;
            parts.push(Part {
                function_call: Some(FunctionCall { name: call.name, args: call.arguments }),
                thought_signature: signature.or(due.then_some(Cow::Borrowed(SKIP_SIGNATURE))),
                ..Part::default()
            });
        }
        self.say(Role::Model, parts);
        // Results carry no ids here: they stand in the order of their calls, one for each.
        self.say(Role::User, results.into_iter().chain(shown).collect());
        Ok(())
    }

    /// Adds to the last turn if the same one speaks.
    fn say(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if parts.is_empty() {
            return;
        }
        match self.turns.last_mut().filter(|it| it.role == role) {
            Some(last) => last.parts.extend(parts),
            None => self.turns.push(Content { role, parts }),
        }
    }
}

impl Signatures<'_> {
    /// The signature of a call this model made.
    fn of<'a>(&self, call: &mut Call<'_>) -> Option<Cow<'a, str>> {
        let kept = || Some(Cow::Owned(self.shelf.find(&call.id, self.now)?.as_ref().to_owned()));
        self.own(call.signed.take()).or_else(kept)
    }

    /// The signature a caller has kept, if it is this model's.
    fn own<'a>(&self, signed: Option<Signed>) -> Option<Cow<'a, str>> {
        let own = signed.filter(|it| it.model.as_deref() == Some(self.shelf.model()));
        own.map(|it| Cow::Owned(it.signature))
    }
}

fn part(said: Said<'_>) -> Result<Part<'_>, Fault> {
    let Media { kind, at } = match said {
        Said::Text(text) => return Ok(Part::text(text)),
        Said::Media(media) => media,
    };
    match at {
        Place::Inline { media_type, data } => {
            let inline_data = Some(InlineData { mime_type: media_type.into(), data });
            Ok(Part { inline_data, ..Part::default() })
        }
        Place::Remote(_) => {
            let what = match kind {
                MediaKind::Image => "image",
                MediaKind::Audio => "sound",
                MediaKind::File => "file",
            };
            Err(not_here(format!("Gemini fetches no URLs: send the {what} as a data: URL")))
        }
    }
}

/// What a call gave as an object: one in JSON as it is, anything else as the member `result`.
fn response<'a>(call: &Call<'a>, result: Option<&[Said<'_>]>) -> Part<'a> {
    let made = |member: &str, text: &str| to_raw_value(&json!({ member: text })).ok();
    let response: Option<Box<RawValue>> = match result.map(text_of) {
        Some(text) => object_of(&text).or_else(|| made("result", &text)),
        None => made("error", NOT_CARRIED_OUT),
    };
    let response = response.unwrap_or_default();
    let name = call.name.clone();
    Part { function_response: Some(FunctionResponse { name, response }), ..Part::default() }
}
