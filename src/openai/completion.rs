//! A whole answer: the provider's bytes and where the parts stand that this gateway looks at.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use memchr::memchr_iter;
use simdutf8::basic::from_utf8;

use super::chunk::Said;
use super::raw::{Patch, Unreadable, is_error, json_string, span_of, text_of};
use super::reader::{Broken, Reader, read};
use super::top::Top;
use super::usage::{TokenUsage, in_openai_form};

/// A `chat.completion` as a provider sent it.
#[derive(Clone, Debug)]
pub struct Completion {
    body: Bytes,
    /// The provider's own id for it.
    pub id: Option<String>,
    /// What it says it used.
    pub usage: Option<TokenUsage>,
    /// The error it holds in place of an answer, as JSON text.
    pub error: Option<String>,
    /// Where `id`, `model`, `object` and `created` stand.
    heads: [Option<Range<usize>>; 4],
    usage_span: Option<Range<usize>>,
    usage_is_odd: bool,
    /// This gateway's own figures, where the provider told none.
    counted_usage: Option<String>,
    choices: Vec<Choice>,
}

/// One choice of a whole answer.
#[derive(Clone, Debug)]
struct Choice {
    index: Option<u64>,
    content: Option<(Range<usize>, String)>,
    logprobs: Option<Range<usize>>,
    annotations: Option<Range<usize>>,
    calls_tools: bool,
    says_else: bool,
    refuses: bool,
    uncounted: String,
    finish: Option<String>,
    is_plain: bool,
}

/// What one choice of a whole answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<'a> {
    /// Its text; empty when it has none.
    pub text: &'a str,
    /// Does it call tools or refuse, so that its text is not the answer?
    pub calls_or_refuses: bool,
    /// Why it ends here.
    pub finish: Option<&'a str>,
}

/// The text of one choice as it came, with what points into it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The text.
    pub text: &'a str,
    /// Has the model come to its end?
    pub complete: bool,
    /// What is said of its tokens, as JSON text.
    pub logprobs: Option<&'a str>,
    /// Its annotations, as JSON text.
    pub annotations: Option<&'a str>,
}

/// What stands in its place.
#[derive(Clone, Debug, Default)]
pub struct Edited {
    /// The text.
    pub text: String,
    /// What is said of its tokens, as JSON text; `None` = as it came.
    pub logprobs: Option<String>,
    /// Its annotations, as JSON text; `None` = as they came.
    pub annotations: Option<String>,
}

#[derive(Default)]
struct Members<'a> {
    top: Top<'a>,
    choices: Vec<Choice>,
}

impl<'a> Members<'a> {
    fn read(reader: &mut Reader<'a>, whole: &[u8]) -> Result<Self, Broken> {
        let mut found = Self::default();
        reader.object(|it, key| {
            match &*key {
                "choices" if !it.is_null() => {
                    found.choices.clear();
                    it.list(|it| {
                        found.choices.push(Choice::read(it, whole)?);
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

impl Completion {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is not a JSON object of the expected shape.
    pub fn parse(body: &Bytes) -> Result<Self, Unreadable> {
        let text = from_utf8(body).map_err(|it| Unreadable(it.to_string()))?;
        let members = read(text, |it| Members::read(it, body))?;
        let top = &members.top;
        let place = |it: &str| span_of(body, it);
        let usage = top.usage.and_then(TokenUsage::read);
        Ok(Self {
            id: top.id.and_then(text_of).map(Cow::into_owned),
            usage: usage.map(|(usage, _)| usage),
            usage_is_odd: usage.is_some_and(|(_, in_form)| !in_form),
            counted_usage: None,
            error: top.error.filter(|it| is_error(it)).map(str::to_owned),
            heads: [top.id, top.model, top.object, top.created].map(|it| it.map(place)),
            usage_span: top.usage.map(place),
            choices: members.choices,
            body: body.clone(),
        })
    }

    /// Is there nothing in it that a caller could use? An answer cut by its token limit or by a
    /// content filter counts as one: asking elsewhere would not lengthen or permit it.
    pub fn is_empty(&self) -> bool {
        self.choices.iter().all(|it| {
            let says = it.content.as_ref().is_some_and(|(_, text)| !text.is_empty());
            let cut = matches!(it.finish.as_deref(), Some("length" | "content_filter"));
            !says && !it.calls_tools && !it.says_else && !cut
        })
    }

    /// What each choice says.
    pub fn spoken(&self) -> impl Iterator<Item = Spoken<'_>> {
        self.choices.iter().map(|it| Spoken {
            text: it.content.as_ref().map_or("", |(_, text)| text.as_str()),
            calls_or_refuses: it.calls_tools || it.refuses,
            finish: it.finish.as_deref(),
        })
    }

    /// The bytes it was read from.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The figures in OpenAI's form, where they came in another.
    pub fn usage_in_openai_form(&self) -> Option<String> {
        self.usage_json().filter(|_| self.usage_is_odd).and_then(in_openai_form)
    }

    /// Has these figures told, as the provider told none.
    pub fn tell_usage(&mut self, usage: TokenUsage) {
        self.counted_usage = Some(usage.told_with(self.usage_json().unwrap_or("{}")));
    }

    fn usage_json(&self) -> Option<&str> {
        from_utf8(self.body.get(self.usage_span.clone()?)?).ok()
    }

    /// Is there not even an empty choice in it?
    pub fn has_no_choices(&self) -> bool {
        self.choices.is_empty()
    }

    /// Is every choice surely in the form OpenAI would give it, and has it a number of its own? Not said of one that calls tools,
    /// or with a tag in its text: these take a closer look.
    pub fn is_plain(&self) -> bool {
        let plain = |it: &Choice| {
            it.is_plain && !it.content.as_ref().is_some_and(|(_, text)| has_think_tag(text))
        };
        match self.choices.as_slice() {
            [only] => plain(only),
            many => {
                let mut numbers = HashSet::new();
                many.iter().all(|it| plain(it) && numbers.insert(it.index))
            }
        }
    }

    /// All that costs tokens: the text of each choice, its calls and its reasoning.
    pub fn counted(&self) -> impl Iterator<Item = &str> {
        self.choices.iter().flat_map(|it| {
            let text = it.content.as_ref().map_or("", |(_, text)| text.as_str());
            [text, it.uncounted.as_str()]
        })
    }

    /// The answer under this gateway's id and model (`created`, in Unix seconds, where the provider
    /// gave none), with `rewrite` applied to the text of each choice. Everything else stays byte for byte.
    pub fn render(
        &self,
        id: &str,
        model: &str,
        created: u64,
        rewrite: impl Fn(Written<'_>) -> Option<Edited>,
    ) -> Bytes {
        let mut patch = Patch::new();
        let mut missing = String::new();
        let [id_span, model_span, object, at] = &self.heads;
        for (key, span, value) in [("id", id_span, id), ("model", model_span, model)] {
            match span {
                Some(span) => patch.replace(span.clone(), json_string(value)),
                None => missing.extend(["\"", key, "\":", &json_string(value), ","]),
            }
        }
        if object.is_none() {
            missing.push_str(r#""object":"chat.completion","#);
        }
        if at.is_none() {
            missing.extend([r#""created":"#, &created.to_string(), ","]);
        }
        match (&self.counted_usage, &self.usage_span) {
            (Some(usage), Some(span)) => patch.replace(span.clone(), usage.as_str()),
            (Some(usage), None) => missing.extend([r#""usage":"#, usage, ","]),
            (None, _) => {}
        }
        if !missing.is_empty() {
            let open = self.body.iter().position(|it| *it == b'{').unwrap_or_default();
            patch.insert(open + 1, missing);
        }
        for choice in &self.choices {
            let Some((span, text)) = &choice.content else { continue };
            let complete = choice.finish.as_deref() == Some("stop");
            let [logprobs, annotations] =
                [&choice.logprobs, &choice.annotations].map(|it| self.raw(it.as_ref()));
            let Some(edited) = rewrite(Written { text, complete, logprobs, annotations }) else {
                continue;
            };
            patch.replace(span.clone(), json_string(&edited.text));
            let beside =
                [(&choice.logprobs, edited.logprobs), (&choice.annotations, edited.annotations)];
            for (span, new) in beside {
                if let (Some(span), Some(new)) = (span, new) {
                    patch.replace(span.clone(), new);
                }
            }
        }
        patch.apply(&self.body)
    }

    fn raw(&self, span: Option<&Range<usize>>) -> Option<&str> {
        from_utf8(self.body.get(span?.clone())?).ok()
    }
}

/// Does `think>` stand in it? Texts have few such brackets, which are quickly found.
fn has_think_tag(text: &str) -> bool {
    let text = text.as_bytes();
    memchr_iter(b'>', text).any(|at| text.get(..at).is_some_and(|it| it.ends_with(b"think")))
}

impl Choice {
    fn read(reader: &mut Reader<'_>, whole: &[u8]) -> Result<Self, Broken> {
        let (mut index, mut finish, mut said) = (None, None, Said::default());
        let mut logprobs = None;
        reader.object(|it, key| {
            match &*key {
                "index" => index = it.count()?,
                "finish_reason" if !it.is_null() => finish = Some(it.string()?.into_owned()),
                "message" if !it.is_null() => said = Said::read(it)?,
                "logprobs" if !it.is_null() => logprobs = Some(it.raw()?),
                _ => {
                    let _other = it.raw()?;
                }
            }
            Ok::<_, Broken>(())
        })?;
        let content = said.content.zip(said.text);
        let says_text = content.as_ref().is_some_and(|(_, text)| !text.is_empty());
        Ok(Self {
            index,
            is_plain: index.is_some()
                && !said.is_odd
                && !said.calls_tools
                && says_text
                && matches!(finish.as_deref(), Some("stop" | "length")),
            content: content.map(|(raw, text)| (span_of(whole, raw), text.into_owned())),
            logprobs: logprobs.map(|it| span_of(whole, it)),
            annotations: said.annotations.map(|it| span_of(whole, it)),
            calls_tools: said.calls_tools,
            says_else: said.says_else,
            refuses: said.refuses,
            uncounted: said.uncounted,
            finish,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &'static str) -> Completion {
        Completion::parse(&Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn only_id_model_and_rewritten_text_change() {
        let answer = parse(
            r#"{"id":"x","object":"o","created":1, "odd":[1, 2.50], "model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Sure! Hi","new":1},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        );
        let out = answer.render("ours", "p/m", 7, |it| {
            assert!(it.complete);
            let text = it.text.strip_prefix("Sure! ")?.to_owned();
            Some(Edited { text, ..Edited::default() })
        });
        assert_eq!(
            out,
            r#"{"id":"ours","object":"o","created":1, "odd":[1, 2.50], "model":"p/m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","new":1},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#
        );
        assert_eq!(answer.usage, Some(TokenUsage { prompt: 1, completion: 2 }));
    }

    #[test]
    fn missing_members_are_added() {
        let answer = parse(r#" {"choices":[]}"#);
        assert_eq!(
            answer.render("i", "m", 7, |_| None),
            r#" {"id":"i","model":"m","object":"chat.completion","created":7,"choices":[]}"#
        );
    }

    #[test]
    fn figures_are_told_where_the_provider_tells_none() {
        for (usage, expected) in [
            ("", r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"id":"x""#),
            (
                r#","usage":null"#,
                r#""choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#,
            ),
            (
                r#","usage":{"kudos":12}"#,
                r#""choices":[],"usage":{"kudos":12,"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#,
            ),
        ] {
            let body =
                format!(r#"{{"id":"x","model":"m","object":"o","created":1,"choices":[]{usage}}}"#);
            let mut answer = Completion::parse(&body.into()).unwrap();
            answer.tell_usage(TokenUsage { prompt: 1, completion: 2 });
            let out = answer.render("x", "m", 1, |_| None);
            assert!(String::from_utf8_lossy(&out).contains(expected), "{out:?}");
        }
    }

    fn check_empty(message: &str, finish: &str, expected: bool) {
        let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}]}}"#);
        let answer = Completion::parse(&body.into()).unwrap();
        assert_eq!(answer.is_empty(), expected, "{message} {finish}");
    }

    #[test]
    fn empty_means_nothing_to_use() {
        check_empty(r#"{"content":""}"#, r#""stop""#, true);
        check_empty(r#"{"content":null}"#, r#""stop""#, true);
        check_empty("{}", "null", true);
        check_empty(r#"{"content":null,"tool_calls":[]}"#, r#""stop""#, true);
        check_empty(r#"{"content":""}"#, r#""length""#, false);
        check_empty(r#"{"content":""}"#, r#""content_filter""#, false);
        check_empty(r#"{"content":"x"}"#, r#""stop""#, false);
        check_empty(r#"{"content":"","reasoning":"hm"}"#, r#""stop""#, false);
        check_empty(r#"{"content":null,"refusal":"no"}"#, r#""stop""#, false);
        check_empty(r#"{"content":[{"type":"text"}]}"#, r#""stop""#, false);
        check_empty(r#"{"tool_calls":[{"id":"a"}]}"#, r#""tool_calls""#, false);
        assert!(parse(r#"{"choices":[]}"#).is_empty());
        assert!(parse("{}").is_empty());
        assert!(parse(r#"{"error":{"message":"x"}}"#).error.is_some());
        for none in ["null", "{}", "false", "\"\""] {
            let answer = Completion::parse(&format!(r#"{{"error":{none}}}"#).into()).unwrap();
            assert!(answer.error.is_none(), "{none}");
        }
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        for body in ["", "<html>", "[]", "3", r#"{"choices":{}}"#, r#"{"choices":[3]}"#] {
            assert!(Completion::parse(&Bytes::from_static(body.as_bytes())).is_err(), "{body}");
        }
    }
}
