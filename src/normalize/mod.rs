//! Makes answers of different models read alike, and harms none: the filler opener goes, a code
//! fence left open is closed, and in JSON mode only the JSON stays.
//!
//! Whole answers and streams go through the same state machine, so they come out equal however a
//! stream is cut into pieces (in JSON mode see [`json_only`] for where a whole answer can do more).

mod fence;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod json;
mod kept;
mod opener;
mod repair;
mod scan;
pub mod seam;
mod text;
mod trimmer;

use std::borrow::Cow;
use std::sync::LazyLock;

#[cfg(any(test, fuzzing))]
pub use crate::normalize::fuzz::fuzz;
pub use crate::normalize::json::Root;
pub use crate::normalize::json::json_only;
pub use crate::normalize::kept::Kept;

use crate::normalize::fence::Fences;
use crate::normalize::text::TextNormalizer;
use crate::normalize::trimmer::JsonTrimmer;

/// Settings of this room.
#[derive(Clone, Debug)]
pub struct Params {
    /// Whether answers are normalised at all.
    pub enabled: bool,
}

impl Params {
    /// How an answer is treated when its caller asked for nothing special; `json` is the
    /// JSON that was asked for, if any was.
    pub fn mode(&self, json: Option<Root>) -> Mode {
        match (self.enabled, json) {
            (false, _) => Mode::Off,
            (true, None) => Mode::Text,
            (true, Some(root)) => Mode::Json(root),
        }
    }
}

/// May code that `text` begins go on after its end? Where that is debatable, it may.
pub fn leaves_code_open(text: &str) -> bool {
    let mut fences = Fences::default();
    fences.feed(text);
    fences.may_be_open()
}

/// How an answer is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One leading opener goes: `Certainly!` `Sure!` `Sure thing!` `Of course!` `Absolutely!`, or
    /// `As an AI,` and so for `AI assistant`, `AI language model` and (as `a` or `an`)
    /// `large language model`, in any ASCII case and spelt exactly so. The details:
    /// * White space must follow it, and text within 64 bytes. Otherwise it stays: `Sure!!`,
    ///   `Sure!Thing7`, `Certainly, the first`, `As an AI I think`, an answer that is only an opener.
    /// * The white space after it goes too, but of several lines the indentation of the first with
    ///   text stays, since it belongs to code, a list or a verse.
    /// * White space before it stays. Four columns of it make the line code, which is not touched.
    /// * Capitalisation stays: `As an AI, I can't` becomes `I can't`, `Sure! here` becomes `here`.
    /// * A second opener stays.
    ///
    /// A code fence that is open at the end is closed on a line of its own, inside its list item if it
    /// is in one. Where it is debatable whether a fence is open, nothing is added.
    Text,
    /// The same, but a fence that is open at the end stays open: for an answer that goes on within
    /// the code of an earlier text, or that ends where its caller wants it to.
    TextLeftOpen,
    /// The JSON value alone, as [`json_only`] does. In a whole answer trailing commas, single
    /// quotes, comments and unquoted keys are mended where that makes JSON of it. Of an answer that
    /// was cut off what there is of the value.
    Json(Root),
    /// The same, and a stream gives all of it at its end, as a whole answer would.
    JsonAtOnce(Root),
    /// Every byte stays.
    Off,
}

impl Mode {
    /// In a word: `text`, `json` or `off`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text | Self::TextLeftOpen => "text",
            Self::Json(_) | Self::JsonAtOnce(_) => "json",
            Self::Off => "off",
        }
    }

    /// Treats a whole answer. An answer is `complete` unless it was cut off (by a token limit,
    /// say): a fence that is open there stays open.
    pub fn apply(self, text: &str, complete: bool) -> Cow<'_, str> {
        if let Self::Json(root) | Self::JsonAtOnce(root) = self {
            return json::whole(text, root, complete);
        }
        let mut normalizer = Normalizer::new(self);
        let out = normalizer.push(text);
        let rest = normalizer.finish(complete);
        match (out.is_empty(), rest.is_empty()) {
            (_, true) => out,
            // All of it was held back and has come out as it went in.
            (true, false) => Cow::Owned(rest),
            (false, false) => Cow::Owned(out.into_owned() + &rest),
        }
    }
}

impl Mode {
    /// What stays of the whole answer `text`, of which [`apply`](Self::apply) has made `out`. What was put
    /// behind its end is nothing of it. `None` where it was mended, so that nothing stands where it did.
    pub fn kept(self, text: &str, out: &str) -> Option<Kept> {
        if let Self::Json(_) | Self::JsonAtOnce(_) = self {
            let start = (out.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
            let span = start..start.checked_add(out.len())?;
            return (span.end <= text.len()).then(|| Kept::only(text, &span));
        }
        let mut normalizer = Normalizer::new(self);
        let _out = normalizer.push(text);
        normalizer.kept().cloned()
    }
}

/// Treats one streamed answer, delta by delta.
#[derive(Debug)]
pub struct Normalizer(Inner);

#[derive(Debug)]
enum Inner {
    Text(TextNormalizer),
    Json(JsonTrimmer),
    JsonAtOnce(String, Root),
    Off,
}

impl Normalizer {
    /// Begins an answer.
    pub fn new(mode: Mode) -> Self {
        Self(match mode {
            Mode::Text => Inner::Text(TextNormalizer::new(true)),
            Mode::TextLeftOpen => Inner::Text(TextNormalizer::new(false)),
            Mode::Json(root) => Inner::Json(JsonTrimmer::new(root)),
            Mode::JsonAtOnce(root) => Inner::JsonAtOnce(String::new(), root),
            Mode::Off => Inner::Off,
        })
    }

    /// Takes the next delta and answers what may go out now, which may be nothing.
    ///
    /// In text mode up to 63 bytes are held back, and only while they could still be an opener;
    /// after that the delta itself comes back uncopied. In JSON mode text before the value is held
    /// back, up to 64 KiB; at-once mode holds everything back, and bounding it is the caller's.
    pub fn push<'a>(&mut self, delta: &'a str) -> Cow<'a, str> {
        match &mut self.0 {
            Inner::Text(text) => text.push(delta),
            Inner::Json(json) => json.push(delta),
            Inner::JsonAtOnce(held, _) => {
                held.push_str(delta);
                Cow::Borrowed("")
            }
            Inner::Off => Cow::Borrowed(delta),
        }
    }

    /// What stays of the text so far: all of it while that is undecided. `None` where all of it comes at
    /// the end, perhaps mended.
    pub fn kept(&self) -> Option<&Kept> {
        static ALL: LazyLock<Kept> = LazyLock::new(Kept::default);
        match &self.0 {
            Inner::Text(text) => Some(text.kept()),
            Inner::Json(json) => Some(json.kept()),
            Inner::Off => Some(&ALL),
            Inner::JsonAtOnce(..) => None,
        }
    }

    /// Bytes of the text so far that are held back.
    pub fn held(&self) -> usize {
        match &self.0 {
            Inner::Text(text) => text.held(),
            Inner::Json(json) => json.held(),
            Inner::JsonAtOnce(held, _) => held.len(),
            Inner::Off => 0,
        }
    }

    /// Ends the answer: what was held back and must go out after all, and, if the answer is
    /// `complete` (not cut off), the closing fence it lacks.
    pub fn finish(&mut self, complete: bool) -> String {
        match &mut self.0 {
            Inner::Text(text) => text.finish(complete),
            Inner::Json(json) => json.finish(),
            Inner::JsonAtOnce(held, root) => {
                json::whole(&std::mem::take(held), *root, complete).into_owned()
            }
            Inner::Off => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
