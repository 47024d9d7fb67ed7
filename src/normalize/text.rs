//! Plain answers: the opener goes, an open code fence is closed, nothing else changes.

use std::borrow::Cow;

use crate::normalize::fence::CODE_INDENT;
use crate::normalize::fence::Fences;
use crate::normalize::fence::advance;
use crate::normalize::kept::Kept;
use crate::normalize::opener::Verdict;
use crate::normalize::opener::judge;

/// The state machine for one answer in text mode.
#[derive(Debug)]
pub(super) struct TextNormalizer {
    stage: Stage,
    /// What may still be an opener, from its first letter on. Under 64 bytes.
    held: String,
    fences: Fences,
    /// Bytes of white space, which is ASCII, before the first letter.
    led: usize,
    kept: Kept,
    /// May a fence that is open at the end be closed?
    closes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Only white space has been seen. It goes out at once, because it stays in any case.
    Leading { column: usize },
    /// The first word is being judged.
    Judging,
    /// All text passes.
    Passing,
}

impl TextNormalizer {
    pub(super) fn new(closes: bool) -> Self {
        let (stage, fences) = (Stage::Leading { column: 0 }, Fences::default());
        Self { stage, held: String::new(), fences, led: 0, kept: Kept::default(), closes }
    }

    /// What stays of the text so far; all of it while that is undecided.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Bytes that are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn push<'a>(&mut self, delta: &'a str) -> Cow<'a, str> {
        let out = match self.stage {
            Stage::Passing => Cow::Borrowed(delta),
            Stage::Leading { column } => self.lead(delta, column),
            Stage::Judging => self.judge("", delta, delta),
        };
        self.fences.feed(&out);
        out
    }

    pub(super) fn finish(&mut self, complete: bool) -> String {
        self.stage = Stage::Passing;
        let mut rest = std::mem::take(&mut self.held);
        let fences = std::mem::take(&mut self.fences);
        // Held text is an opener or the beginning of one: no fence is open before it.
        if complete
            && self.closes
            && rest.is_empty()
            && let Some(closing) = fences.closing()
        {
            rest = closing;
        }
        rest
    }

    /// Passes leading white space on; what follows it is judged, unless it is indented code.
    fn lead<'a>(&mut self, delta: &'a str, mut column: usize) -> Cow<'a, str> {
        let mut length = 0;
        for &byte in delta.as_bytes() {
            column = match byte {
                b'\n' | b'\r' => 0,
                b' ' | b'\t' => advance(column, byte),
                _ => break,
            };
            length += 1;
        }
        self.led += length;
        let (space, rest) = delta.split_at_checked(length).unwrap_or((delta, ""));
        if rest.is_empty() {
            self.stage = Stage::Leading { column };
            return Cow::Borrowed(delta);
        }
        if column >= CODE_INDENT {
            self.stage = Stage::Passing;
            return Cow::Borrowed(delta);
        }
        self.stage = Stage::Judging;
        self.judge(space, rest, delta)
    }

    /// Judges what is held and `text`, which is `delta` without the leading white space `space`.
    fn judge<'a>(&mut self, space: &'a str, text: &'a str, delta: &'a str) -> Cow<'a, str> {
        let held = self.held.len();
        // Mostly the first delta decides; then nothing is copied.
        let all = if held == 0 {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(std::mem::take(&mut self.held) + text)
        };
        let verdict = judge(&all);
        if verdict == Verdict::Undecided {
            self.held = all.into_owned();
            return Cow::Borrowed(space);
        }
        self.stage = Stage::Passing;
        if let Verdict::Drop(end) = verdict {
            self.kept = Kept::without_beginning(self.led, &all, end);
        }
        match verdict {
            Verdict::Drop(end) if space.is_empty() && end >= held => {
                Cow::Borrowed(text.get(end - held..).unwrap_or_default())
            }
            Verdict::Drop(end) => Cow::Owned(space.to_owned() + all.get(end..).unwrap_or_default()),
            _ if held == 0 => Cow::Borrowed(delta),
            _ => Cow::Owned(all.into_owned()),
        }
    }
}
