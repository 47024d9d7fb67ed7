//! OpenAI's messages read into the turns that the dialects which are not OpenAI's are written from.
//!
//! What those dialects have in common is settled here: who speaks when, which result belongs to
//! which call, that nothing empty is said, that arguments are an object.

mod arguments;
mod reader;
#[cfg(test)]
mod tests;
mod written;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

pub(super) use arguments::object_of;
pub(super) use reader::BEFORE_MODEL;
pub(super) use reader::read;

/// The result of a call that the caller never answered: it was interrupted.
pub(super) const NOT_CARRIED_OUT: &str = "(This call was not carried out.)";

/// A conversation. There is at least one turn, none is empty, and the one after another is another speaker's, but for two of
/// the model's between which stand the results of the first one's calls.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    /// Instructions beside the turns.
    pub(super) system: Vec<Cow<'a, str>>,
    /// The turns.
    pub(super) turns: Vec<Turn<'a>>,
}

/// Where the application's instructions belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    /// Beside the turns. These are then the person's and the model's alone, and the person begins.
    Beside,
    /// Among the turns, where the caller put them.
    InPlace,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    Person,
    Model,
}

/// What one speaker says before another does.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) speaker: Speaker,
    pub(super) parts: Vec<Part<'a>>,
    /// Only the model calls tools; the results come before whatever is said next.
    pub(super) calls: Vec<Call<'a>>,
    /// What the model thought, where the caller has kept it.
    pub(super) reasoning: String,
    /// The signature of what the model said, where the caller has kept it.
    pub(super) signed: Option<Signed>,
}

/// One part of what is said.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// Never blank.
    Text(Cow<'a, str>),
    /// Something shown or heard.
    Media(Media<'a>),
}

/// What is no text.
#[derive(Debug, PartialEq)]
pub(super) struct Media<'a> {
    pub(super) kind: MediaKind,
    pub(super) at: Place<'a>,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaKind {
    Image,
    Audio,
    File,
}

/// Where it is.
#[derive(Debug, PartialEq)]
pub(super) enum Place<'a> {
    /// Here, in base64.
    Inline { media_type: String, data: Cow<'a, str> },
    /// At an `https` address.
    Remote(Cow<'a, str>),
}

/// A call to a tool.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Made up, from its place, where the caller's client has lost it.
    pub(super) id: String,
    pub(super) name: Cow<'a, str>,
    /// JSON text, always an object's.
    pub(super) arguments: Box<RawValue>,
    /// What it gave; `None` when nobody answered it.
    pub(super) result: Option<Vec<Part<'a>>>,
    /// Its thought signature, where the caller has kept it.
    pub(super) signed: Option<Signed>,
}

/// A signature that Gemini gave, and the model it is from, where that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) model: Option<String>,
}

/// The text of the parts, joined by line ends.
pub(super) fn text_of(parts: &[Part<'_>]) -> String {
    let texts = parts.iter().filter_map(|it| match it {
        Part::Text(text) => Some(&**text),
        Part::Media(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// A refusal before anything is sent: another provider may take it.
pub(super) fn not_here(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::NotHere, message)
}
