//! The chunks of one stream, of which most differ from each other in their text alone: these are neither
//! read nor written anew, which was a third of what an event costs.

use std::ops::Range;

use bytes::Bytes;
use simdutf8::basic::from_utf8;

use crate::openai::Unreadable;
use crate::openai::raw::json_string;
use crate::openai::stops::stop;

use super::{ChoiceEdit, Chunk, ChunkChoice, Heads};

/// Longest chunk that others are held against, in bytes; it is kept as long as the stream.
const LONGEST: usize = 4096;
/// After so many chunks in a row that were like no other, none is looked for: some providers put something
/// random into each.
const MISSES: u32 = 8;

/// Reads the chunks of one stream.
#[derive(Debug, Default)]
pub struct ChunkReader {
    model: Option<Chunk>,
    /// Chunks since the last that was like the model.
    misses: u32,
}

impl ChunkReader {
    /// Reads the data of one event, as [`Chunk::parse`] does.
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, body: &Bytes) -> Result<Chunk, Unreadable> {
        if let Some(chunk) = self.model.as_ref().and_then(|it| it.with_text_of(body)) {
            self.misses = 0;
            return Ok(chunk);
        }
        let chunk = Chunk::parse(body)?;
        self.misses += 1;
        self.model = (self.misses <= MISSES).then(|| chunk.as_model()).flatten();
        Ok(chunk)
    }
}

impl Chunk {
    /// Itself, for others to be held against, if it says nothing but text. Not as a slice of what it came
    /// in, which is larger.
    fn as_model(&self) -> Option<Self> {
        let [only] = self.choices.as_slice() else { return None };
        let says_text = only.text_span.is_some() && !only.is_odd && !only.adds_else;
        let ends = only.finish.is_some() || self.usage.is_some() || self.error.is_some();
        (says_text && !ends && self.body.len() <= LONGEST)
            .then(|| Self { body: Bytes::copy_from_slice(&self.body), ..self.clone() })
    }

    /// What `body` says, if it is this chunk's with another text in it: one that needs no escapes.
    fn with_text_of(&self, body: &Bytes) -> Option<Self> {
        let [only] = self.choices.as_slice() else { return None };
        let span = only.text_span.as_ref()?;
        // With the quotes on both sides.
        let (before, after) = (self.body.get(..=span.start)?, self.body.get(span.end - 1..)?);
        let text = body.strip_prefix(before)?.strip_suffix(after)?;
        if stop(text).is_some() {
            return None;
        }
        let text = from_utf8(text).ok()?.to_owned();
        let end = span.end;
        let place = |at: usize| if at < end { at } else { at + body.len() - self.body.len() };
        let spread =
            |it: &Option<Range<usize>>| it.clone().map(|it| place(it.start)..place(it.end));
        let choice = ChunkChoice {
            text,
            text_span: spread(&only.text_span),
            logprobs_span: spread(&only.logprobs_span),
            annotations_span: spread(&only.annotations_span),
            uncounted: String::new(),
            finish: None,
            calls_span: None,
            ..*only
        };
        Some(Self {
            body: body.clone(),
            usage: None,
            error: None,
            choices: vec![choice],
            usage_span: spread(&self.usage_span),
            heads: self.heads.each_ref().map(spread),
            ..*self
        })
    }
}

/// Writes the chunks of one stream.
#[derive(Debug, Default)]
pub struct ChunkWriter {
    form: Option<Form>,
    /// Chunks since the last that fitted the form.
    misses: u32,
}

/// What stands before and after the text of a chunk.
#[derive(Debug)]
struct Form {
    came: (Bytes, Bytes),
    goes: (Bytes, Bytes),
}

impl ChunkWriter {
    /// What [`Chunk::render`] gives. `heads` have to be the same each time.
    pub fn write(
        &mut self,
        chunk: &Chunk,
        heads: &Heads<'_>,
        edits: &[ChoiceEdit],
        usage: Option<&str>,
    ) -> Bytes {
        let Some((span, text)) = chunk.only_text(edits).filter(|_| usage.is_none()) else {
            return chunk.render(heads, edits, usage);
        };
        let (before, rest) = chunk.body.split_at(span.start + 1);
        let (came, after) = rest.split_at(span.len() - 2);
        let written = text.map(json_string);
        let text = match &written {
            Some(json) => json.as_bytes().get(1..json.len() - 1).unwrap_or_default(),
            None => came,
        };
        if let Some(Form { came, goes }) = &self.form
            && came.0 == before
            && came.1 == after
        {
            self.misses = 0;
            return [&goes.0, text, &goes.1].concat().into();
        }
        let patch = chunk.patch(heads, edits, None);
        let start = patch.place(span.start) + 1;
        let out = patch.apply(&chunk.body);
        self.misses += 1;
        let keeps = self.misses <= MISSES && chunk.body.len() <= LONGEST;
        self.form = keeps.then(|| Form {
            came: (Bytes::copy_from_slice(before), Bytes::copy_from_slice(after)),
            goes: (out.slice(..start), out.slice(start + text.len()..)),
        });
        out
    }
}

impl Chunk {
    /// Where the text stands, and what it is to be, if no more than that may have to be changed in the one
    /// choice there is.
    fn only_text<'a>(&self, edits: &'a [ChoiceEdit]) -> Option<(Range<usize>, Option<&'a str>)> {
        let ([choice], [edit]) = (self.choices.as_slice(), edits) else { return None };
        let ChoiceEdit { text, logprobs: None, annotations: None, role_due: false } = edit else {
            return None;
        };
        Some((choice.text_span.clone()?, text.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bodies: &[&str], alike: usize) {
        let mut reader = ChunkReader::default();
        let mut seen = 0;
        for body in bodies {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let like = reader.model.as_ref().and_then(|it| it.with_text_of(&body)).is_some();
            seen += usize::from(like);
            let said = |it: Result<Chunk, Unreadable>| format!("{it:?}");
            assert_eq!(said(reader.read(&body)), said(Chunk::parse(&body)), "{body:?}");
        }
        assert_eq!(seen, alike, "{bodies:?}");
    }

    #[test]
    fn what_differs_in_its_text_is_read_as_all_are() {
        let chunk = |text: &str| {
            format!(
                r#"{{"id":"a","choices":[{{"delta":{{"content":"{text}","refusal":null}},"index":0,"logprobs":null}}],"usage":null,"created":7}}"#
            )
        };
        let texts =
            ["Hello", " world", "", "!", " \\n", " é日", " \\ud83d", "a\"b", "a\nb", " end", "."];
        let chunks = texts.map(chunk);
        check(&chunks.each_ref().map(String::as_str), 5);
        check(
            &[
                r#"{"choices":[{"delta":{"role":"assistant","content":"a"}}]}"#,
                r#"{"choices":[{"delta":{"content":"b"}}]}"#,
                r#"{"choices":[{"delta":{"content":"c"}}]}"#,
                r#"{"choices":[{"delta":{"content":"c"},"finish_reason":"stop"}]}"#,
                r#"{"choices":[{"delta":{"content":"d"},"finish_reason":"stop"}]}"#,
                r#"{"choices":[{"delta":{"content":"d","reasoning":"x"}}]}"#,
                r#"{"choices":[{"delta":{"content":"e","reasoning":"x"}}]}"#,
                r#"{"choices":[{"delta":{"content":"e"}},{"delta":{"content":"f"}}]}"#,
                r#"{"choices":[{"delta":{"content":"g"}},{"delta":{"content":"f"}}]}"#,
                r#"{"choices":[{"delta":{"content":null}}]}"#,
                r#"{"choices":[{"delta":{"content":"x","content":"y"}}]}"#,
                r#"{"choices":[{"delta":{"content":"x","content":"z"}}]}"#,
                r#"{"choices":[{"delta":{"content":"y","content":"z"}}]}"#,
            ],
            2,
        );
    }

    #[test]
    fn likeness_is_given_up_where_there_is_none() {
        let chunk = |n: usize| format!(r#"{{"choices":[{{"delta":{{"content":"a"}}}}],"p":{n}}}"#);
        let mut reader = ChunkReader::default();
        for n in 0..MISSES as usize {
            let _read = reader.read(&chunk(n).into()).unwrap();
            assert!(reader.model.is_some());
        }
        let _read = reader.read(&chunk(99).into()).unwrap();
        assert!(reader.model.is_none());
    }

    const HEADS: Heads<'_> = Heads { id: "\"ours\"", model: "\"p/m\"", created: "7" };

    #[test]
    fn what_differs_in_its_text_is_written_as_all_are() {
        let mut writer = ChunkWriter::default();
        let mut check = |delta: &str, edit: &ChoiceEdit| {
            let body =
                format!(r#"{{"id":"a","choices":[{{"delta":{delta}}}],"usage":null,"x":1}}"#);
            let chunk = Chunk::parse(&body.into()).unwrap();
            let edits = std::slice::from_ref(edit);
            for usage in [None, Some("null")] {
                let expected = chunk.render(&HEADS, edits, usage);
                assert_eq!(writer.write(&chunk, &HEADS, edits, usage), expected);
            }
        };
        let as_it_came = ChoiceEdit::default();
        let to = |text: &str| ChoiceEdit { text: Some(text.to_owned()), ..ChoiceEdit::default() };
        let first = ChoiceEdit { role_due: true, ..ChoiceEdit::default() };
        let more = ChoiceEdit { logprobs: Some("{}".to_owned()), ..ChoiceEdit::default() };
        for edit in [&first, &as_it_came, &to("a \"b\" \n"), &more, &to(""), &as_it_came] {
            check(r#"{"content":"a"}"#, edit);
            check(r#"{"content":""}"#, edit);
            check(r#"{"content":"\n\ud83d\ude00 é"}"#, edit);
            check(r#"{"role":"assistant","content":"b"}"#, edit);
            check(r#"{"content":"c","annotations":[]}"#, edit);
            check(r#"{"content":null}"#, edit);
            check("{}", edit);
        }
    }

    #[test]
    fn forms_are_used() {
        let mut writer = ChunkWriter::default();
        let mut write = |text: &str| {
            let body = format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
            let chunk = Chunk::parse(&body.into()).unwrap();
            let _out = writer.write(&chunk, &HEADS, &[ChoiceEdit::default()], None);
            writer.misses
        };
        assert_eq!([write("a"), write("b"), write(""), write("\\n")], [1, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_text_in_any_place(
            texts in proptest::collection::vec(r#"[a-z"\\{}\[\]:,é\u{1}]{0,6}"#, 2..5),
            head in r#"("id":"x",)?("usage":null,)?"#,
            tail in r#"(,"refusal":null)?(,"role":"assistant")?"#,
            end in r#"(,"index":0)?(,"logprobs":null)?(,"finish_reason":null)?"#,
        ) {
            let mut reader = ChunkReader::default();
            for text in texts {
                let body = format!(
                    r#"{{{head}"choices":[{{"delta":{{"content":"{text}"{tail}}}{end}}}],"model":"m"}}"#
                );
                let body = Bytes::from(body);
                let said = |it: Result<Chunk, Unreadable>| format!("{it:?}");
                prop_assert_eq!(said(reader.read(&body)), said(Chunk::parse(&body)));
            }
        }
    }
}
