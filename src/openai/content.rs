//! What is in a message, for those who count it, and how it is changed: all by splicing.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{Message, Part};
use super::raw::{json_string, span_of, string_of};

/// In which form text is added at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addition {
    /// Within the string that is the content.
    Text { first: bool },
    /// As one more part of the list that is the content.
    Part { first: bool },
}

impl Addition {
    /// `more` as it stands in the JSON text.
    pub(super) fn of(self, more: &str) -> String {
        let more = json_string(more);
        match self {
            Self::Text { first } => {
                let inner = more.get(1..more.len() - 1).unwrap_or_default();
                format!("{}{inner}", if first { "" } else { r"\n\n" })
            }
            Self::Part { first } => {
                let comma = if first { "" } else { "," };
                format!(r#"{comma}{{"type":"text","text":{more}}}"#)
            }
        }
    }
}

/// The images of a message, by the detail they are to be seen in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCount {
    /// Those with `"detail": "low"`.
    pub low: u64,
    /// All others.
    pub full: u64,
}

/// A call, as far as its id goes.
#[derive(Deserialize)]
struct CallId<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
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
        Some([before, &addition.of(more), after].concat())
    }

    /// The byte of the message's JSON text where text can be added at the end of what it says.
    pub(super) fn end_of_text(&self) -> Option<(usize, Addition)> {
        let content = self.content?;
        let end = span_of(self.json.as_bytes(), content.get()).end.checked_sub(1)?;
        let inside = content.get().get(1..content.get().len().checked_sub(1)?)?;
        let addition = if content.get().starts_with('"') {
            Addition::Text { first: inside.is_empty() }
        } else {
            Addition::Part { first: inside.trim_ascii().is_empty() }
        };
        Some((end, addition))
    }

    /// The longest text in the message, which is all of it but where the content is a list.
    pub fn longest_text(&self) -> Option<Cow<'a, str>> {
        string_of(self.longest_raw()?)
    }

    /// The message as JSON text with `text` in place of its longest text; `None` when it has none.
    pub fn with_text(&self, text: &str) -> Option<String> {
        let span = span_of(self.json.as_bytes(), self.longest_raw()?.get());
        let (before, after) = (self.json.get(..span.start)?, self.json.get(span.end..)?);
        Some([before, &json_string(text), after].concat())
    }

    fn longest_raw(&self) -> Option<&'a RawValue> {
        let content = self.content?;
        if content.get().starts_with('"') {
            return Some(content);
        }
        let parts: Vec<RawPart<'a>> = serde_json::from_str(content.get()).ok()?;
        parts.into_iter().filter_map(|it| it.text).max_by_key(|it| it.get().len())
    }

    /// The ids of the calls in this message.
    pub fn call_ids(&self) -> Vec<Cow<'a, str>> {
        let calls: Option<Vec<CallId<'a>>> =
            self.calls_json().and_then(|it| serde_json::from_str(it).ok());
        calls.unwrap_or_default().into_iter().filter_map(|it| it.id).collect()
    }

    /// The id of the call that this message answers.
    pub fn answered_id(&self) -> Option<Cow<'a, str>> {
        self.answers.and_then(string_of)
    }

    /// The images it shows.
    pub fn image_count(&self) -> ImageCount {
        let mut images = ImageCount::default();
        for part in self.parts().iter().filter(|it| it.kind == "image_url") {
            let low = part.image_url.is_some_and(|it| says_low(it.get()));
            *(if low { &mut images.low } else { &mut images.full }) += 1;
        }
        images
    }

    /// Bytes of the message that are neither its text, nor its calls, nor an image: names, reasoning,
    /// sound, what nobody here knows.
    pub fn other_bytes(&self) -> usize {
        let calls = self.calls_json().map_or(0, str::len);
        let list = self.content.filter(|it| it.get().starts_with('['));
        let content = match list {
            None => self.content.map_or(0, |it| it.get().len()),
            Some(list) => {
                let parts: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
                let known = |it: &&&RawValue| {
                    let part: Option<Part<'_>> = serde_json::from_str(it.get()).ok();
                    part.is_some_and(|it| matches!(&*it.kind, "text" | "image_url"))
                };
                let other: usize =
                    parts.iter().filter(|it| !known(it)).map(|it| it.get().len()).sum();
                list.get().len() - other
            }
        };
        self.json.len().saturating_sub(content + calls)
    }
}

/// Is this the `image_url` of an image to be seen in low detail?
fn says_low(image: &str) -> bool {
    #[derive(Deserialize)]
    struct Url<'a> {
        #[serde(borrow, default)]
        detail: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Url<'_>>(image).is_ok_and(|it| it.detail.as_deref() == Some("low"))
}
