//! What is in a message, for those who count it, and how it is changed: all by splicing.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{Message, Part};
use super::raw::{json_string, span_of, text_of};

/// In which form text is added at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addition {
    /// Within the string that is the content.
    Text { first: bool },
    /// As one more part of the list that is the content.
    Part { first: bool },
}

impl Addition {
    /// What stands around `more` in the JSON text, given as a JSON string, and what of that is used.
    pub(super) fn around(self, more: &str) -> [&str; 3] {
        match self {
            Self::Text { first } => {
                let inner = more.get(1..more.len() - 1).unwrap_or_default();
                [if first { "" } else { r"\n\n" }, inner, ""]
            }
            Self::Part { first: true } => [r#"{"type":"text","text":"#, more, "}"],
            Self::Part { first: false } => [r#",{"type":"text","text":"#, more, "}"],
        }
    }
}

/// A call, as far as its id goes.
#[derive(Deserialize)]
struct CallId<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
}

/// What becomes of one text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewText {
    /// It stays as it is.
    Same,
    /// It goes.
    Gone,
    /// This stands in its place.
    Is(String),
}

/// A part with text as it stands.
#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// The message as JSON text with `more` at the end of what it says, on lines of its own; `None`
    /// when it has no content that could be added to.
    pub fn with_more_text(&self, more: &str) -> Option<String> {
        let (at, addition) = self.end_of_text()?;
        let (before, after) = self.json.split_at_checked(at)?;
        let more = json_string(more);
        let [open, more, close] = addition.around(&more);
        Some([before, open, more, close, after].concat())
    }

    /// The byte of the message's JSON text where text can be added at the end of what it says.
    pub(super) fn end_of_text(&self) -> Option<(usize, Addition)> {
        let content = self.content?;
        let end = span_of(self.json.as_bytes(), content).end.checked_sub(1)?;
        let inside = content.get(1..content.len().checked_sub(1)?)?;
        let addition = if content.starts_with('"') {
            Addition::Text { first: inside.is_empty() }
        } else {
            Addition::Part { first: inside.trim_ascii().is_empty() }
        };
        Some((end, addition))
    }

    /// The texts of the message in order: its content, or those of the content's parts. Joined by line
    /// ends they are [`text`](Self::text).
    pub fn texts(&self) -> Vec<Cow<'a, str>> {
        match self.content.and_then(text_of) {
            Some(text) => vec![text],
            None => self.parts().into_iter().filter_map(|it| it.text).collect(),
        }
    }

    /// The message as JSON text with each of its [`texts`](Self::texts) as `new` has it. A part whose
    /// text goes, goes with it. `None` where that makes no message.
    pub fn with_texts(&self, new: &[NewText]) -> Option<String> {
        let content = self.content?;
        let span = span_of(self.json.as_bytes(), content);
        let (before, after) = (self.json.get(..span.start)?, self.json.get(span.end..)?);
        let mut new = new.iter();
        if content.starts_with('"') {
            let NewText::Is(text) = new.next()? else { return None };
            return Some([before, &json_string(text), after].concat());
        }
        let parts: Vec<&RawValue> = serde_json::from_str(content).ok()?;
        let mut written: Vec<Cow<'_, str>> = Vec::with_capacity(parts.len());
        for part in parts.into_iter().map(RawValue::get) {
            let text: RawPart<'_> = serde_json::from_str(part).ok()?;
            match text.text.map(|it| (it.get(), new.next())) {
                None | Some((_, Some(NewText::Same))) => written.push(Cow::Borrowed(part)),
                Some((_, Some(NewText::Gone))) => {}
                Some((old, Some(NewText::Is(text)))) => {
                    let span = span_of(part.as_bytes(), old);
                    let (before, after) = (part.get(..span.start)?, part.get(span.end..)?);
                    written.push(Cow::Owned([before, &json_string(text), after].concat()));
                }
                Some((_, None)) => return None,
            }
        }
        Some([before, "[", &written.join(","), "]", after].concat())
    }

    /// The ids of the calls in this message.
    pub fn call_ids(&self) -> Vec<Cow<'a, str>> {
        let calls: Option<Vec<CallId<'a>>> =
            self.calls_json().and_then(|it| serde_json::from_str(it).ok());
        calls.unwrap_or_default().into_iter().filter_map(|it| it.id).collect()
    }

    /// The id of the call that this message answers.
    pub fn answered_id(&self) -> Option<Cow<'a, str>> {
        self.answers.and_then(text_of)
    }

    /// The message's JSON text without its content and its calls.
    pub fn beside_content(&self) -> Vec<&'a str> {
        let json = self.json.as_bytes();
        let inside = [self.content, self.calls_json()];
        let mut spans: Vec<_> = inside.into_iter().flatten().map(|it| span_of(json, it)).collect();
        spans.sort_by_key(|it| it.start);
        let mut at = 0;
        let mut beside = Vec::with_capacity(3);
        for span in spans {
            beside.extend(self.json.get(at..span.start));
            at = span.end;
        }
        beside.extend(self.json.get(at..));
        beside
    }

    /// Bytes of the parts of its content that are neither text nor media: what nobody here knows.
    pub fn unknown_part_bytes(&self) -> usize {
        let list = self.content.filter(|it| it.starts_with('['));
        let parts: Option<Vec<&RawValue>> = list.and_then(|it| serde_json::from_str(it).ok());
        let known = |it: &&&RawValue| {
            let part: Option<Part<'_>> = serde_json::from_str(it.get()).ok();
            part.is_some_and(|it| {
                matches!(&*it.kind, "text" | "image_url" | "input_audio" | "file")
            })
        };
        parts.iter().flatten().filter(|it| !known(it)).map(|it| it.get().len()).sum()
    }
}
