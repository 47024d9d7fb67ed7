//! One event of a streamed answer, read lightly and passed on with little changed.

mod alike;
mod said;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use simdutf8::basic::from_utf8;

use super::raw::{Patch, Unreadable, is_error, json_string, span_of, text_of};
use super::reader::{Broken, Reader, read};
use super::top::Top;
use super::usage::{TokenUsage, in_openai_form};

pub use alike::ChunkReader;
pub use alike::ChunkWriter;
pub(super) use said::Said;

/// A `chat.completion.chunk` as a provider sent it.
#[derive(Clone, Debug)]
pub struct Chunk {
    body: Bytes,
    /// Usage it carries, wherever the provider puts it.
    pub usage: Option<TokenUsage>,
    /// An error in place of an answer, as JSON text.
    pub error: Option<String>,
    /// Its choices; empty in a usage chunk.
    pub choices: Vec<ChunkChoice>,
    usage_span: Option<Range<usize>>,
    /// Does that stand in `usage`, not in another member?
    usage_is_own: bool,
    usage_is_odd: bool,
    heads: [Option<Range<usize>>; 4],
}

/// One choice of a chunk.
#[derive(Clone, Debug, Default)]
pub struct ChunkChoice {
    /// Which of the answers it belongs to.
    pub index: u64,
    /// Text it adds; empty when it adds none.
    pub text: String,
    /// Does it add something that is not text: a tool call, reasoning, a refusal, audio?
    pub adds_else: bool,
    /// Does it call tools or refuse, so that its text is not the answer?
    pub calls_or_refuses: bool,
    /// What it adds beside text that costs tokens, for counting.
    pub uncounted: String,
    /// Why the answer ends here.
    pub finish: Option<String>,
    /// Does it say something in another form than OpenAI's: content in parts, reasoning under
    /// another name, a message in place of a delta, no delta, half a character?
    pub is_odd: bool,
    /// Does it add to `reasoning_content`?
    pub thinks: bool,
    /// Where its inside begins.
    start: usize,
    /// Where the index has to be put in.
    index_due: Option<usize>,
    text_span: Option<Range<usize>>,
    logprobs_span: Option<Range<usize>>,
    annotations_span: Option<Range<usize>>,
    calls_span: Option<Range<usize>>,
    delta: Option<Inside>,
}

/// What is sent of a choice in place of what came; `None` = as it came.
#[derive(Clone, Debug, Default)]
pub struct ChoiceEdit {
    /// Its text.
    pub text: Option<String>,
    /// What is said of the tokens of its text, as JSON text.
    pub logprobs: Option<String>,
    /// Its annotations, as JSON text.
    pub annotations: Option<String>,
    /// Has no role been sent yet?
    pub role_due: bool,
}

/// The inside of a delta, where members can be put in.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// Where it begins.
    start: usize,
    is_empty: bool,
    has_role: bool,
}

#[derive(Default)]
struct Members<'a> {
    top: Top<'a>,
    /// Groq puts the usage of a stream into `x_groq`, whether asked or not.
    groq_usage: Option<&'a str>,
    choices: Vec<ChunkChoice>,
}

impl<'a> Members<'a> {
    fn read(reader: &mut Reader<'a>, whole: &[u8]) -> Result<Self, Broken> {
        let mut found = Self::default();
        reader.object(|it, key| {
            match &*key {
                "x_groq" if !it.is_null() => found.groq_usage = groq_usage(it)?,
                "choices" if !it.is_null() => {
                    // Nearly all have one.
                    found.choices = Vec::with_capacity(1);
                    it.list(|it| {
                        let place = found.choices.len() as u64;
                        found.choices.push(ChunkChoice::read(it, place, whole)?);
                        Ok::<_, Broken>(())
                    })?;
                }
                other => found.top.take(other, it)?,
            }
            Ok::<_, Broken>(())
        })?;
        Ok(found)
    }
}

fn groq_usage<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Broken> {
    let mut usage = None;
    reader.object(|it, key| {
        let value = it.raw()?;
        if key == "usage" {
            usage = Some(value);
        }
        Ok::<_, Broken>(())
    })?;
    Ok(usage)
}

#[derive(Default)]
struct ChoiceMembers<'a> {
    index: Option<u64>,
    logprobs: Option<&'a str>,
    delta: Option<(&'a str, Said<'a>)>,
    message: Option<(&'a str, Said<'a>)>,
    finish: Option<String>,
}

impl<'a> ChoiceMembers<'a> {
    fn take(&mut self, key: &str, value: &mut Reader<'a>) -> Result<(), Broken> {
        match key {
            "index" => self.index = value.count()?,
            "finish_reason" if !value.is_null() => {
                self.finish = Some(value.string()?.into_owned());
            }
            "logprobs" => self.logprobs = Some(value.raw()?),
            "delta" if !value.is_null() => self.delta = Some(value.raw_of(Said::read)?),
            "message" if !value.is_null() => self.message = Some(value.raw_of(Said::read)?),
            _ => {
                let _other = value.raw()?;
            }
        }
        Ok(())
    }
}

/// The members every chunk of one stream has in common, as JSON text.
pub struct Heads<'a> {
    /// `id`.
    pub id: &'a str,
    /// `model`.
    pub model: &'a str,
    /// `created`.
    pub created: &'a str,
}

impl Chunk {
    /// Reads the data of one event.
    ///
    /// # Errors
    /// When it is not a JSON object of the expected shape.
    pub fn parse(body: &Bytes) -> Result<Self, Unreadable> {
        let text = from_utf8(body).map_err(|it| Unreadable(it.to_string()))?;
        let members = read(text, |it| Members::read(it, body))?;
        let top = &members.top;
        let place = |it: &str| span_of(body, it);
        let told = |raw: &'_ str| TokenUsage::read(raw).map(|it| (it, place(raw)));
        let own = top.usage.map(|it| (TokenUsage::read(it), place(it)));
        let elsewhere =
            members.groq_usage.and_then(told).filter(|_| !matches!(own, Some((Some(_), _))));
        let usage_is_own = elsewhere.is_none();
        let told = elsewhere.map(|(read, span)| (Some(read), span)).or(own);
        let (read, usage_span) = told.unzip();
        let read = read.flatten();
        Ok(Self {
            usage: read.map(|(usage, _)| usage),
            usage_is_odd: read.is_some_and(|(_, in_form)| !in_form),
            usage_is_own,
            error: top.error.filter(|it| is_error(it)).map(str::to_owned),
            usage_span,
            heads: [top.id, top.model, top.created, top.object].map(|it| it.map(place)),
            choices: members.choices,
            body: body.clone(),
        })
    }

    /// The provider's own id for the answer.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        let [id, ..] = &self.heads;
        text_of(from_utf8(self.body.get(id.clone()?)?).ok()?)
    }

    /// Does it add anything a caller could use?
    pub fn adds_something(&self) -> bool {
        self.choices.iter().any(|it| !it.text.is_empty() || it.adds_else)
    }

    /// The figures it carries, as JSON text, wherever the provider puts them.
    pub fn usage_json(&self) -> Option<&str> {
        let span = self.usage_span.clone().filter(|_| self.usage.is_some())?;
        from_utf8(self.body.get(span)?).ok()
    }

    /// The figures in OpenAI's form, where they came in another.
    pub fn usage_in_openai_form(&self) -> Option<String> {
        self.usage_json().filter(|_| self.usage_is_odd).and_then(in_openai_form)
    }

    /// The bytes it was read from.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What a choice of it adds to its tool calls, as JSON text.
    pub fn tool_calls(&self, choice: &ChunkChoice) -> Option<&str> {
        from_utf8(self.body.get(choice.calls_span.clone()?)?).ok()
    }

    /// What is said of the tokens of a choice's text, as JSON text.
    pub fn logprobs(&self, choice: &ChunkChoice) -> Option<&str> {
        let span = choice.logprobs_span.clone()?;
        from_utf8(self.body.get(span)?).ok().filter(|it| *it != "null")
    }

    /// What a choice of it adds to its annotations, as JSON text.
    pub fn annotations(&self, choice: &ChunkChoice) -> Option<&str> {
        from_utf8(self.body.get(choice.annotations_span.clone()?)?).ok()
    }

    /// Is it a chunk that only tells the usage?
    pub fn is_usage_only(&self) -> bool {
        self.choices.is_empty() && self.usage_span.is_some() && self.usage_is_own
    }

    /// The event's data under the stream's own id, model and `created`, with the choices edited by
    /// `edits`, which are in their order; `usage` is the JSON text for the `usage` member where it is
    /// to be another.
    pub fn render(&self, heads: &Heads<'_>, edits: &[ChoiceEdit], usage: Option<&str>) -> Bytes {
        self.patch(heads, edits, usage).apply(&self.body)
    }

    fn patch<'a>(
        &self,
        heads: &Heads<'a>,
        edits: &[ChoiceEdit],
        usage: Option<&'a str>,
    ) -> Patch<'a> {
        let mut patch = Patch::new();
        let mut missing = String::new();
        let values = [
            ("id", heads.id),
            ("model", heads.model),
            ("created", heads.created),
            ("object", "\"chat.completion.chunk\""),
        ];
        for ((key, value), span) in values.into_iter().zip(&self.heads) {
            match span {
                Some(span) => patch.replace(span.clone(), value),
                None => missing.extend(["\"", key, "\":", value, ","]),
            }
        }
        if !missing.is_empty() {
            let open = self.body.iter().position(|it| *it == b'{').unwrap_or_default();
            patch.insert(open + 1, missing);
        }
        if let (Some(span), Some(usage), true) = (&self.usage_span, usage, self.usage_is_own) {
            patch.replace(span.clone(), usage);
        }
        for (i, choice) in self.choices.iter().enumerate() {
            choice.patch(&mut patch, edits.get(i).unwrap_or(&ChoiceEdit::default()));
        }
        patch
    }
}

impl ChunkChoice {
    /// Cloudflare leaves the index out; the choices then stand in its order: `place` is this one's.
    fn read(reader: &mut Reader<'_>, place: u64, whole: &[u8]) -> Result<Self, Broken> {
        let mut found = ChoiceMembers::default();
        let (raw, ()) = reader.raw_of(|it| it.object(|it, key| found.take(&key, it)))?;
        let start = |it: &str| span_of(whole, it).start + 1;
        let is_empty = |it: &str| it.trim_start_matches('{').trim_start().starts_with('}');
        let has_message = found.message.is_some();
        let (json, said) = found.delta.or(found.message).unzip();
        let said = said.unwrap_or_default();
        let span = |it: &str| span_of(whole, it);
        Ok(Self {
            index: found.index.unwrap_or(place),
            start: start(raw),
            index_due: found.index.is_none().then(|| start(raw)),
            adds_else: said.calls_tools || said.says_else,
            calls_or_refuses: said.calls_tools || said.refuses,
            uncounted: said.uncounted,
            finish: found.finish,
            is_odd: said.is_odd || has_message || json.is_none(),
            thinks: said.reasoning.is_some(),
            text_span: said.content.filter(|it| it.starts_with('"')).map(span),
            calls_span: said.tool_calls.map(span),
            logprobs_span: found.logprobs.map(span),
            annotations_span: said.annotations.map(span),
            text: said.text.unwrap_or_default().into_owned(),
            delta: json.map(|it| Inside {
                start: start(it),
                is_empty: is_empty(it),
                has_role: said.role.is_some(),
            }),
        })
    }

    /// May it add something a caller could use?
    pub fn may_say_something(&self) -> bool {
        !self.text.is_empty() || self.adds_else || (self.is_odd && self.delta.is_some())
    }

    fn patch(&self, patch: &mut Patch<'_>, edit: &ChoiceEdit) {
        let ChoiceEdit { text, logprobs, annotations, role_due } = edit;
        if let Some(at) = self.index_due {
            patch.insert(at, format!(r#""index":{},"#, self.index));
        }
        match (logprobs, &self.logprobs_span) {
            (Some(logprobs), Some(span)) => patch.replace(span.clone(), logprobs.clone()),
            (Some(logprobs), None) => {
                patch.insert(self.start, format!(r#""logprobs":{logprobs},"#));
            }
            (None, _) => {}
        }
        if let (Some(annotations), Some(span)) = (annotations, &self.annotations_span) {
            patch.replace(span.clone(), annotations.clone());
        }
        let mut added = Vec::new();
        let has_role = self.delta.is_some_and(|it| it.has_role);
        if *role_due && !has_role {
            added.push(r#""role":"assistant""#.to_owned());
        }
        match (text, &self.text_span) {
            (Some(text), Some(span)) => patch.replace(span.clone(), json_string(text)),
            (Some(text), None) if !text.is_empty() => {
                added.push(format!(r#""content":{}"#, json_string(text)));
            }
            _ => {}
        }
        let (Some(delta), false) = (self.delta, added.is_empty()) else { return };
        let comma = if delta.is_empty { "" } else { "," };
        patch.insert(delta.start, added.join(",") + comma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads<'_> = Heads { id: "\"ours\"", model: "\"p/m\"", created: "7" };

    fn parse(body: &'static str) -> Chunk {
        Chunk::parse(&Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn what_is_not_ours_stays() {
        let chunk = parse(
            r#"{"id":"a","odd":{"k": 1},"model":"m","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi","x":[]},"finish_reason":null}],"p":"abc"}"#,
        );
        assert_eq!(
            chunk.render(&HEADS, &[ChoiceEdit { role_due: true, ..ChoiceEdit::default() }], None),
            r#"{"object":"chat.completion.chunk","id":"ours","odd":{"k": 1},"model":"p/m","created":7,"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi","x":[]},"finish_reason":null}],"p":"abc"}"#
        );
        assert!(chunk.adds_something());
    }

    #[test]
    fn role_text_and_heads_are_added_where_missing() {
        let chunk = parse(r#"{"choices":[{"delta":{}},{"index":1,"delta":{"content":"b"}}]}"#);
        let edit = |text: &str| ChoiceEdit {
            text: Some(text.to_owned()),
            role_due: true,
            ..ChoiceEdit::default()
        };
        assert_eq!(
            chunk.render(&HEADS, &[edit("held"), edit("")], None),
            r#"{"id":"ours","model":"p/m","created":7,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"held"}},{"index":1,"delta":{"role":"assistant","content":""}}]}"#
        );
    }

    #[test]
    fn what_points_into_the_text_is_replaced_or_added() {
        let edits = [ChoiceEdit {
            logprobs: Some(r#"{"content":[]}"#.to_owned()),
            annotations: Some("[1]".to_owned()),
            ..ChoiceEdit::default()
        }];
        let chunk = parse(
            r#"{"choices":[{"index":0,"delta":{"content":"a","annotations":[{}]},"logprobs":{"content":[{}]}}]}"#,
        );
        assert_eq!(chunk.logprobs(&chunk.choices[0]), Some(r#"{"content":[{}]}"#));
        assert_eq!(chunk.annotations(&chunk.choices[0]), Some("[{}]"));
        let out = chunk.render(&HEADS, &edits, None);
        let ends = br#""choices":[{"index":0,"delta":{"content":"a","annotations":[1]},"logprobs":{"content":[]}}]}"#;
        assert!(out.ends_with(ends), "{out:?}");
        let bare = parse(r#"{"choices":[{"index":0,"delta":{}}]}"#);
        let out = bare.render(&HEADS, &edits, None);
        let ends = br#""choices":[{"logprobs":{"content":[]},"index":0,"delta":{}}]}"#;
        assert!(out.ends_with(ends), "{out:?}");
        let null = parse(r#"{"choices":[{"index":0,"delta":{},"logprobs":null}]}"#);
        assert_eq!(null.logprobs(&null.choices[0]), None);
    }

    #[test]
    fn usage_is_found_where_providers_put_it() {
        let groq = parse(
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":6}}}"#,
        );
        assert_eq!(groq.usage, Some(TokenUsage { prompt: 5, completion: 6 }));
        assert!(!groq.is_usage_only());
        assert_eq!(groq.usage_json(), Some(r#"{"prompt_tokens":5,"completion_tokens":6}"#));
        let last = parse(r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#);
        assert!(last.is_usage_only());
        let null = parse(r#"{"choices":[],"usage":null}"#);
        assert_eq!(null.usage, None);
    }

    #[test]
    fn beginnings_are_told_from_content() {
        for (body, expected) in [
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, false),
            (r#"{"choices":[{"delta":{"content":null,"tool_calls":null}}]}"#, false),
            (r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#, true),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":" "}}]}"#, true),
            (r#"{"choices":[{"delta":{"content":"","images":[{"url":"data:,"}]}}]}"#, true),
            (r#"{"choices":[{"delta":{"annotations":[],"audio":null}}]}"#, false),
        ] {
            assert_eq!(parse(body).adds_something(), expected, "{body}");
        }
    }

    #[test]
    fn what_openai_would_write_otherwise_is_odd() {
        for (delta, expected) in [
            (r#"{"role":"assistant","content":"a","reasoning_content":"b","refusal":null}"#, false),
            (r#"{"content":null,"reasoning":null,"reasoning_details":[]}"#, false),
            (r#"{"tool_calls":[{"index":0}],"odd":{"a":1}}"#, false),
            (r#"{"content":[{"type":"text","text":"a"}]}"#, true),
            (r#"{"content":"\ud83d"}"#, true),
            (r#"{"reasoning_content":"\ud83d"}"#, true),
            (r#"{"reasoning_content":[{"text":"a"}]}"#, true),
            (r#"{"reasoning":"a"}"#, true),
            (r#"{"reasoning_details":[{"text":"a"}]}"#, true),
        ] {
            let body = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
            let chunk = Chunk::parse(&body.into()).unwrap();
            assert_eq!(chunk.choices[0].is_odd, expected, "{delta}");
        }
        for odd in [r#"{"message":{"content":"a"}}"#, r#"{"delta":null}"#, "{}"] {
            let chunk = Chunk::parse(&format!(r#"{{"choices":[{odd}]}}"#).into()).unwrap();
            assert!(chunk.choices[0].is_odd, "{odd}");
        }
    }
}
