//! What of an answer points into its text, moved and thinned out to fit the text that goes out: annotations
//! and the log-probabilities of tokens.

use std::collections::VecDeque;
use std::ops::Range;

use crate::normalize::Kept;
use crate::normalize::Normalizer;
use crate::openai::Edited;
use crate::openai::TokenSaid;
use crate::openai::Written;
use crate::openai::annotations_moved;
use crate::openai::logprobs_with;
use crate::openai::tokens_said;

/// Tokens that wait for their text at most. Of an opener there are fewer, and before JSON they go.
const WAITING: usize = 512;

/// A whole answer's choice with `text` in place of what came.
pub(super) fn edited(came: Written<'_>, text: String, kept: Option<&Kept>) -> Edited {
    let moved = |span: Range<usize>| kept.and_then(|it| it.characters(span));
    let annotations = came.annotations.and_then(|it| annotations_moved(it, moved));
    let logprobs = came.logprobs.map(|it| {
        let all = tokens_said(it);
        let tokens =
            all.filter(|all| all.iter().map(|it| it.bytes).sum::<usize>() == came.text.len());
        let Some((tokens, kept)) = tokens.zip(kept) else { return "null".to_owned() };
        let mut at = 0;
        let stays = tokens.iter().filter(|token| {
            let span = at..at + token.bytes;
            at = span.end;
            kept.has_bytes(&span)
        });
        logprobs_with(Some(it), &stays.map(|it| it.json).collect::<Vec<_>>())
    });
    Edited { text, logprobs, annotations }
}

/// What is known of one choice of a stream.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Bytes of its text that have come.
    came: usize,
    /// Tokens whose text is held back: which bytes of it they are, and what is said of them.
    waiting: VecDeque<(Range<usize>, String)>,
}

impl Beside {
    /// Takes in that `text` has come and has gone through the normaliser, which `changed` it, and gives
    /// what is to be told of tokens in place of `logprobs`; `None` = what came.
    pub(super) fn take(
        &mut self,
        (text, changed): (&str, bool),
        logprobs: Option<&str>,
        normalizer: &Normalizer,
    ) -> Option<String> {
        let began = self.came;
        self.came += text.len();
        if self.waiting.is_empty() && (!changed || logprobs.is_none()) {
            return None;
        }
        let said = logprobs.map(|it| tokens_said(it).filter(|_| normalizer.kept().is_some()));
        let bytes = |it: &[TokenSaid<'_>]| it.iter().map(|it| it.bytes).sum::<usize>();
        match said {
            None if text.is_empty() => {}
            Some(Some(tokens)) if text.len() == bytes(&tokens) => {
                let mut at = began;
                for token in tokens {
                    let span = at..at + token.bytes;
                    at = span.end;
                    self.waiting.push_back((span, token.json.to_owned()));
                }
            }
            // Tokens and text that do not belong together: what came before is out of step too.
            _ => {
                self.waiting.clear();
                return logprobs.map(|_| "null".to_owned());
            }
        }
        while self.waiting.len() > WAITING {
            let _oldest = self.waiting.pop_front();
        }
        let out = self.decided(normalizer);
        let out: Vec<&str> = out.iter().map(String::as_str).collect();
        (logprobs.is_some() || !out.is_empty()).then(|| logprobs_with(logprobs, &out))
    }

    /// What is to be told of tokens that still wait, the text being at its end.
    pub(super) fn rest(&mut self, normalizer: &Normalizer) -> Option<String> {
        let out = self.decided(normalizer);
        let out: Vec<&str> = out.iter().map(String::as_str).collect();
        (!out.is_empty()).then(|| logprobs_with(None, &out))
    }

    /// The tokens whose text is held back no longer, and has not gone.
    fn decided(&mut self, normalizer: &Normalizer) -> Vec<String> {
        let until = self.came.saturating_sub(normalizer.held());
        let mut out = Vec::new();
        while self.waiting.front().is_some_and(|(span, _)| span.end <= until) {
            if let Some((span, json)) = self.waiting.pop_front()
                && normalizer.kept().is_some_and(|it| it.has_bytes(&span))
            {
                out.push(json);
            }
        }
        out
    }
}

/// A stream's annotations as they fit the text that goes out; `None` = as they came. What a second provider
/// has `joined` with counts from the beginning of its own text: such spans go, as they do where nothing is
/// known of what stays.
pub(super) fn annotations(came: &str, kept: Option<&Kept>, joined: bool) -> Option<String> {
    let kept = kept.filter(|_| !joined);
    if kept.is_some_and(Kept::is_all) {
        return None;
    }
    annotations_moved(came, |span| kept.and_then(|it| it.characters(span)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::normalize::Mode;
    use crate::normalize::Root;

    fn logprobs(tokens: &[&str]) -> String {
        let said = |it: &&str| json!({"token": it, "logprob": -0.5, "bytes": it.as_bytes()});
        json!({"content": tokens.iter().map(said).collect::<Vec<_>>(), "refusal": null}).to_string()
    }

    fn tokens_in(logprobs: &str) -> Vec<String> {
        let said: Value = serde_json::from_str(logprobs).unwrap();
        let all = said["content"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|it| it["token"].as_str()).map(str::to_owned).collect()
    }

    /// What is told of the tokens of a whole answer.
    fn whole(mode: Mode, tokens: &[&str]) -> Vec<String> {
        let text = tokens.concat();
        let said = logprobs(tokens);
        let written =
            Written { text: &text, complete: true, logprobs: Some(&said), annotations: None };
        let out = mode.apply(&text, true);
        let kept = mode.kept(&text, &out);
        let edited = edited(written, out.into_owned(), kept.as_ref());
        tokens_in(&edited.logprobs.unwrap())
    }

    /// The same of a stream with so many tokens in a chunk.
    fn streamed(mode: Mode, tokens: &[&str], size: usize) -> Vec<String> {
        let (mut normalizer, mut beside) = (Normalizer::new(mode), Beside::default());
        let mut told = Vec::new();
        for chunk in tokens.chunks(size) {
            let (text, said) = (chunk.concat(), logprobs(chunk));
            let changed = *normalizer.push(&text) != *text;
            let new = beside.take((&text, changed), Some(&said), &normalizer);
            told.extend(tokens_in(new.as_deref().unwrap_or(&said)));
        }
        let rest = normalizer.finish(true);
        let last = beside.take(("", !rest.is_empty()), None, &normalizer);
        told.extend(last.iter().flat_map(|it| tokens_in(it)));
        assert_eq!(beside.rest(&normalizer), None);
        told
    }

    fn check(mode: Mode, tokens: &[&str], expected: &[&str]) {
        assert_eq!(whole(mode, tokens), expected, "{tokens:?}");
        for size in 1..=tokens.len() {
            assert_eq!(streamed(mode, tokens, size), expected, "{tokens:?} by {size}");
        }
    }

    #[test]
    fn what_is_told_of_tokens_goes_with_their_text() {
        check(Mode::Text, &["Sure", "!", " ", "Here", " it is"], &["Here", " it is"]);
        // Of a token that was cut in two nothing can be said.
        check(Mode::Text, &["Sure", "!", " Here", " it is"], &[" it is"]);
        check(Mode::Text, &["\n", "Of", " course", "!\n", "So", "."], &["\n", "So", "."]);
        check(Mode::Json(Root::Any), &["Sure", ": ", "{\"a\"", ":1}", " !"], &["{\"a\"", ":1}"]);
    }

    #[test]
    fn tokens_that_do_not_spell_the_text_are_not_told() {
        let said = logprobs(&["Sure", "!", " He"]);
        let text = "Sure! Here";
        let written = Written { text, complete: true, logprobs: Some(&said), annotations: None };
        let kept = Mode::Text.kept(text, "Here");
        let edited = edited(written, "Here".to_owned(), kept.as_ref());
        assert_eq!(edited.logprobs.as_deref(), Some("null"));
        let mut normalizer = Normalizer::new(Mode::Text);
        let mut beside = Beside::default();
        let _out = normalizer.push(text);
        assert_eq!(beside.take((text, true), Some(&said), &normalizer).as_deref(), Some("null"));
        assert_eq!(beside.take((" go", false), None, &normalizer), None);
    }

    #[test]
    fn annotations_move_with_their_text() {
        let came = r#"[{"type":"url_citation","url_citation":{"start_index":6,"end_index":10,"url":"u"}}]"#;
        let text = "Sure! Here";
        let written = Written { text, complete: true, logprobs: None, annotations: Some(came) };
        let kept = Mode::Text.kept(text, "Here");
        let moved = came.replace(":6", ":0").replace("10", "4");
        let edited = edited(written, "Here".to_owned(), kept.as_ref());
        assert_eq!(edited.annotations.as_ref(), Some(&moved));
        assert_eq!(annotations(came, kept.as_ref(), false), Some(moved));
        assert_eq!(annotations(came, kept.as_ref(), true).as_deref(), Some("[]"));
        assert_eq!(annotations(came, Some(&Kept::default()), false), None);
        let mended = Written { annotations: Some(came), ..written };
        let edited = super::edited(mended, "{}".to_owned(), None);
        assert_eq!(edited.annotations.as_deref(), Some("[]"));
    }

    proptest! {
        #[test]
        fn a_stream_tells_of_the_same_tokens_as_a_whole_answer(
            tokens in proptest::collection::vec(
                "(Sure|!| |\n|As an| AI|,|Here|é|\\{|\"a\":|1|\\}|```\n|.{1,3})", 1..16),
            size in 1_usize..6,
            json in any::<bool>(),
        ) {
            let mode = if json { Mode::Json(Root::Any) } else { Mode::Text };
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let text = tokens.concat();
            let out = mode.apply(&text, true).into_owned();
            let mut normalizer = Normalizer::new(mode);
            let streamed_text = normalizer.push(&text).into_owned() + &normalizer.finish(true);
            // In JSON mode a whole answer may be mended, or looked through to its end.
            prop_assume!(streamed_text == out);
            let told = streamed(mode, &tokens, size);
            // All of them stand there, in order; one that was cut in two may be missing between.
            let mut rest = &*out;
            for it in &told {
                let found = rest.split_once(it.as_str());
                prop_assert!(found.is_some(), "{it:?} of {told:?}");
                rest = found.map_or("", |(_, rest)| rest);
            }
            if *out == *text {
                prop_assert_eq!(told, tokens);
            } else {
                prop_assert_eq!(told, whole(mode, &tokens));
            }
        }
    }
}
