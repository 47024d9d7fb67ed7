//! Tool calls that a host left in the text as its model wrote them, read where nothing else can be
//! meant: tools were offered, the mark begins a line, and from there to its end the answer is
//! nothing but well-formed calls of tools that were offered, with objects as arguments.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::ChatRequest;
use crate::openai::json_list_of;
use crate::openai::json_string;
use crate::provider::openai_compatible::incoming::arguments::is_object;

/// What such calls begin with: those of Hermes and Qwen, of Llama, of Kimi (one or a section).
const MARKS: &[&str] =
    &["<tool_call>", "<function=", "<|tool_calls_section_begin|>", "<|tool_call_begin|>"];
/// Longest text held back because it may be calls, in bytes.
const HELD_BYTES: usize = 256 * 1024;

/// The names of the tools a request offers; none where it forbids their use.
#[derive(Clone, Debug, Default)]
pub(in crate::provider::openai_compatible) struct Tools(Arc<[String]>);

/// A call that stood in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrittenCall {
    pub(super) name: String,
    /// The text of an object.
    pub(super) arguments: String,
}

impl Tools {
    pub(in crate::provider::openai_compatible) fn offered(request: &ChatRequest) -> Self {
        #[derive(Deserialize)]
        struct Tool {
            function: Option<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let forbidden = request.member("tool_choice") == Some("\"none\"");
        let Some(tools) = request.member("tools").filter(|_| !forbidden) else {
            return Self::default();
        };
        let tools: Vec<Tool> = serde_json::from_str(tools).unwrap_or_default();
        Self(tools.into_iter().filter_map(|it| Some(it.function?.name)).collect())
    }

    #[cfg(any(test, fuzzing))]
    pub(in crate::provider::openai_compatible) fn named(names: &[&str]) -> Self {
        Self(names.iter().map(|it| (*it).to_owned()).collect())
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The text before the calls that `text` ends with, and these.
    pub(super) fn read<'a>(&self, text: &'a str) -> Option<(&'a str, Vec<WrittenCall>)> {
        if self.are_none() {
            return None;
        }
        let at = begin_of_mark(text, true).filter(|it| !it.is_partial)?.at;
        let (before, calls) = text.split_at_checked(at)?;
        Some((before, self.calls(calls)?))
    }

    /// The calls that `text` is, from its first letter to its last.
    fn calls(&self, text: &str) -> Option<Vec<WrittenCall>> {
        let mut rest = text.trim();
        let mut calls = Vec::new();
        while !rest.is_empty() {
            let (call, after) = one(rest)?;
            rest = after.trim_start();
            if !self.0.contains(&call.name) || !is_object(&call.arguments) {
                return None;
            }
            calls.push(call);
        }
        (!calls.is_empty()).then_some(calls)
    }
}

/// The calls as a message holds them, ids aside.
pub(super) fn as_json(calls: &[WrittenCall]) -> String {
    let call = |it: &WrittenCall| {
        let (name, arguments) = (json_string(&it.name), json_string(&it.arguments));
        format!(r#"{{"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#)
    };
    json_list_of(&calls.iter().map(call).collect::<Vec<_>>())
}

/// Reads one call, and gives what follows it.
fn one(text: &str) -> Option<(WrittenCall, &str)> {
    let text = text.strip_prefix("<|tool_calls_section_begin|>").unwrap_or(text).trim_start();
    let (call, rest) = if let Some(inner) = text.strip_prefix("<tool_call>") {
        let (json, rest) = leading_json(inner)?;
        (in_json(json)?, ended(rest, "</tool_call>")?)
    } else if let Some(inner) = text.strip_prefix("<function=") {
        let (name, rest) = inner.split_at_checked(inner.find(['>', '{'])?)?;
        let (arguments, rest) = leading_json(rest.strip_prefix('>').unwrap_or(rest))?;
        (of(name, arguments), ended(rest, "</function>")?)
    } else {
        let inner = text.strip_prefix("<|tool_call_begin|>")?;
        let (id, rest) = inner.split_once("<|tool_call_argument_begin|>")?;
        let (arguments, rest) = leading_json(rest)?;
        // `functions.get_weather:0`
        let name = id.trim().trim_start_matches("functions.");
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        (of(name, arguments), ended(rest, "<|tool_call_end|>")?)
    };
    let rest = rest.trim_start();
    Some((call, rest.strip_prefix("<|tool_calls_section_end|>").unwrap_or(rest)))
}

fn of(name: &str, arguments: &str) -> WrittenCall {
    WrittenCall { name: name.trim().to_owned(), arguments: arguments.to_owned() }
}

fn in_json(json: &str) -> Option<WrittenCall> {
    #[derive(Deserialize)]
    struct Call<'a> {
        name: String,
        #[serde(borrow, alias = "parameters")]
        arguments: &'a RawValue,
    }
    let call: Call<'_> = serde_json::from_str(json).ok()?;
    Some(of(&call.name, call.arguments.get()))
}

/// The JSON value that `text` begins with, and what follows it.
fn leading_json(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?.get();
    Some((value, text.split_at_checked(value.len())?.1))
}

/// What follows the end mark. The last call may lack it: it is a stop word of some models.
fn ended<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let text = text.trim_start();
    if text.is_empty() { Some(text) } else { text.strip_prefix(mark) }
}

/// Where a mark begins, or may begin.
struct Begin {
    at: usize,
    is_partial: bool,
}

/// The first mark in `text` that begins a line. `begins_line`: does the text begin one?
fn begin_of_mark(text: &str, mut begins_line: bool) -> Option<Begin> {
    let mut from = 0;
    for at in memchr::memchr_iter(b'<', text.as_bytes()) {
        let between = text.get(from..at)?;
        begins_line = match between.rsplit_once('\n') {
            Some((_, line)) => line.trim().is_empty(),
            None => begins_line && between.trim().is_empty(),
        };
        let rest = text.get(at..)?;
        let is_whole = MARKS.iter().any(|it| rest.starts_with(it));
        if begins_line && (is_whole || MARKS.iter().any(|it| it.starts_with(rest))) {
            return Some(Begin { at, is_partial: !is_whole });
        }
        begins_line = false;
        from = at + 1;
    }
    None
}

/// The text of one choice of a stream, looked through for calls.
#[derive(Debug, Default)]
pub(super) struct Written {
    tools: Tools,
    /// What may be the beginning of calls, or of a mark.
    held: String,
    at_line_start: bool,
    /// Has a call come in a member of its own, or more text than can be held back? No more is
    /// looked for then.
    is_over: bool,
}

impl Written {
    pub(super) fn new(tools: Tools) -> Self {
        let is_over = tools.are_none();
        Self { tools, held: String::new(), at_line_start: true, is_over }
    }

    /// Would `text`, coming next, pass as it is?
    pub(super) fn pass(&self, text: &str) -> bool {
        self.is_over || (self.held.is_empty() && !text.contains('<')) || text.is_empty()
    }

    /// Is anything held back?
    pub(super) fn hold(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes note of text that passes.
    pub(super) fn passed(&mut self, text: &str) {
        if let Some((_, line)) = text.rsplit_once('\n') {
            self.at_line_start = line.trim().is_empty();
        } else if !text.trim().is_empty() {
            self.at_line_start = false;
        }
    }

    /// What of the text that comes next is no call for sure.
    pub(super) fn push(&mut self, text: &str) -> String {
        if self.is_over {
            return text.to_owned();
        }
        let is_call = MARKS.iter().any(|it| self.held.starts_with(it));
        self.held.push_str(text);
        if self.held.len() > HELD_BYTES {
            return self.give_up();
        }
        if is_call {
            return String::new();
        }
        let all = std::mem::take(&mut self.held);
        let begin = begin_of_mark(&all, self.at_line_start);
        let sure = begin.map_or(all.len(), |it| it.at);
        let (sure, held) = all.split_at_checked(sure).unwrap_or((&all, ""));
        self.passed(sure);
        held.clone_into(&mut self.held);
        sure.to_owned()
    }

    /// What was held back, when a call comes in a member of its own.
    pub(super) fn give_up(&mut self) -> String {
        self.is_over = true;
        std::mem::take(&mut self.held)
    }

    /// What was held back, when nothing more comes: calls, or text after all.
    pub(super) fn finish(&mut self) -> Result<Vec<WrittenCall>, String> {
        let held = self.give_up();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        self.tools.calls(&held).ok_or(held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tools() -> Tools {
        Tools::named(&["f", "get_weather"])
    }

    /// The text that is left, and the calls.
    fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, Vec<WrittenCall>) {
        let mut written = Written::new(tools());
        let mut text = String::new();
        for piece in pieces {
            if written.pass(piece) {
                written.passed(piece);
                text.push_str(piece);
            } else {
                text.push_str(&written.push(piece));
            }
        }
        match written.finish() {
            Ok(calls) => (text, calls),
            Err(rest) => (text + &rest, Vec::new()),
        }
    }

    fn check(text: &str, left: &str, calls: &[(&str, &str)]) {
        let calls: Vec<_> = calls.iter().map(|(name, arguments)| of(name, arguments)).collect();
        let expected = (left.to_owned(), calls);
        assert_eq!(stream([text]), expected, "{text}");
        let letters: Vec<_> = text.chars().map(String::from).collect();
        assert_eq!(stream(letters.iter().map(String::as_str)), expected, "{text} by letter");
        let whole = tools().read(text).map(|(before, calls)| (before.to_owned(), calls));
        assert_eq!(whole.unwrap_or((text.to_owned(), Vec::new())), expected, "{text} whole");
    }

    #[test]
    fn calls_are_read_in_every_dialect() {
        check(
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>{\"name\":\"f\",\"parameters\":{}}",
            "",
            &[("f", "{\"a\": 1}"), ("f", "{}")],
        );
        check("I look.\n\n<function=f>{\"a\":1}</function>", "I look.\n\n", &[("f", "{\"a\":1}")]);
        check(
            "<function=get_weather{\"city\":\"Paris\"}</function>",
            "",
            &[("get_weather", "{\"city\":\"Paris\"}")],
        );
        check(
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\":1}<|tool_call_end|><|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
            "",
            &[("f", "{\"a\":1}"), ("f", "{}")],
        );
    }

    #[test]
    fn whatever_else_it_may_be_stays_text() {
        for text in [
            "A call looks so: <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
            "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call> is a call.",
            "```\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n```",
            "<tool_call>{\"name\":\"other\",\"arguments\":{}}</tool_call>",
            "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
            "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":",
            "<tool_call>",
            "<function=f>{}</function><b>",
            "a < b\n<c",
            "a<function=f>{}</function>",
            "<|tool_calls_section_begin|>",
            "",
        ] {
            check(text, text, &[]);
        }
        let none = Tools::default();
        assert_eq!(none.read("<function=f>{}</function>"), None);
        assert!(Written::new(none).pass("<function=f>{}</function>"));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut written = Written::new(tools());
        assert_eq!(written.push("<tool_call>"), "");
        let long = "x".repeat(HELD_BYTES);
        assert_eq!(written.push(&long).len(), HELD_BYTES + "<tool_call>".len());
        assert!(written.pass("<tool_call>"));
    }

    #[test]
    fn tools_are_those_a_request_offers() {
        let request = |choice: &str| {
            let body = format!(
                r#"{{"messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f"}}}},{{"type":"custom"}}]{choice}}}"#
            );
            ChatRequest::parse(&body.into()).unwrap()
        };
        assert_eq!(Tools::offered(&request("")).0.as_ref(), ["f"]);
        assert!(Tools::offered(&request(r#","tool_choice":"none""#)).are_none());
    }

    proptest! {
        #[test]
        fn any_splitting_reads_the_same(
            text in "([a<\\n]|<tool_call>|<function=f>\\{\\}|</function>|<\\|tool_call){0,8}",
            cuts in prop::collection::vec(1_usize..6, 1..8),
        ) {
            let mut rest = text.as_str();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(stream(pieces), stream([text.as_str()]));
        }
    }
}
