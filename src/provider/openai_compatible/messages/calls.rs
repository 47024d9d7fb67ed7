//! Calls of tools: with an id each, which its result names, and in OpenAI's form.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::openai::RawObject;
use crate::openai::json_string;
use crate::openai::string_of;
use crate::provider::openai_compatible::messages::draft::Draft;
use crate::provider::openai_compatible::messages::ids::made_of;
use crate::provider::openai_compatible::messages::signatures::Signatures;

/// The calls of a turn, each as its members in JSON text.
pub(super) struct Calls<'a> {
    pub(super) list: Vec<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
    changed: bool,
}

impl<'a> Calls<'a> {
    /// Those of a message; `None` when it has none that can be read.
    pub(super) fn read(tool_calls: &'a str) -> Option<Self> {
        let list: Vec<RawObject<'a>> = serde_json::from_str(tool_calls).ok()?;
        let members = |it: RawObject<'a>| {
            let members = it.0.into_iter();
            members.map(|(key, value)| (key, Cow::Borrowed(value.get()))).collect()
        };
        let list: Vec<_> = list.into_iter().map(members).collect();
        (!list.is_empty()).then_some(Self { list, changed: false })
    }

    pub(super) fn id(&self, at: usize) -> Option<String> {
        let id: String = serde_json::from_str(get(self.list.get(at)?, "id")?).ok()?;
        (!id.is_empty()).then_some(id)
    }

    pub(super) fn set(&mut self, at: usize, key: &'static str, value: String) {
        let Some(call) = self.list.get_mut(at) else { return };
        if get(call, key) == Some(&value) {
            return;
        }
        self.changed = true;
        match call.iter_mut().find(|(it, _)| it == key) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => call.push((Cow::Borrowed(key), Cow::Owned(value))),
        }
    }

    /// The list as JSON text, if it has changed.
    pub(super) fn written(&self) -> Option<String> {
        let call = |it: &Vec<(Cow<'_, str>, Cow<'_, str>)>| {
            let members = it.iter().map(|(key, value)| format!("{}:{value}", json_string(key)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let written = || self.list.iter().map(call).collect::<Vec<_>>().join(",");
        self.changed.then(|| format!("[{}]", written()))
    }
}

fn get<'a>(call: &'a [(Cow<'_, str>, Cow<'_, str>)], key: &str) -> Option<&'a str> {
    call.iter().rev().find(|(it, _)| it == key).map(|(_, value)| &**value)
}

/// A call whose result is still to come.
struct Open {
    id: String,
    name: Option<String>,
    /// Was its id made here?
    made: bool,
}

/// Gives ids to calls that have none, and to results that do not say of which call they are: by
/// name where they have one, and otherwise in the calls' order.
pub(super) fn find_ids(drafts: &mut [Draft<'_>]) {
    let mut open: VecDeque<Open> = VecDeque::new();
    for (turn, draft) in drafts.iter_mut().enumerate() {
        match &*draft.role {
            "assistant" => open = name_calls(turn, draft),
            "tool" => name_result(draft, &mut open),
            _ => {}
        }
    }
}

fn name_calls(turn: usize, draft: &mut Draft<'_>) -> VecDeque<Open> {
    let mut open = VecDeque::new();
    let Some(mut calls) = draft.get("tool_calls").and_then(Calls::read) else { return open };
    for at in 0..calls.list.len() {
        let function = calls.list.get(at).and_then(|it| get(it, "function")).unwrap_or("{}");
        let name = serde_json::from_str(function).ok();
        let name = name.and_then(|it: RawObject<'_>| string_of(it.get("name")?));
        let name = name.map(Cow::into_owned);
        let (id, made) = match calls.id(at) {
            Some(id) => (id, false),
            // Where it stands is a part of it: the same call may be made twice.
            None => (format!("call_{}", made_of(&format!("{turn} {at} {function}"), 0)), true),
        };
        calls.set(at, "id", json_string(&id));
        open.push_back(Open { id, name, made });
    }
    if let Some(written) = calls.written() {
        draft.set("tool_calls", written);
    }
    open
}

fn name_result(draft: &mut Draft<'_>, open: &mut VecDeque<Open>) {
    let (id, name) = (draft.text("tool_call_id"), draft.text("name"));
    let by_name = |it: &Open| name.is_none() || it.name == name;
    let found = match &id {
        // A client that makes up ids of its own for calls that came without any means one of those.
        Some(id) => open
            .iter()
            .position(|it| it.id == *id)
            .or_else(|| open.iter().position(|it| it.made && by_name(it))),
        None => open.iter().position(by_name),
    };
    if let Some(call) = found.and_then(|at| open.remove(at)) {
        draft.set("tool_call_id", json_string(&call.id));
    }
}

/// Puts a call, or a result, in OpenAI's older form into the newer one.
pub(super) fn renew(draft: &mut Draft<'_>) {
    if draft.role == "function" {
        draft.set_role("tool");
    }
    let call = draft.get("function_call").filter(|it| it.starts_with('{')).map(str::to_owned);
    if let Some(call) = call.filter(|_| draft.role == "assistant") {
        // A client that writes both forms means the same by them.
        if !draft.get("tool_calls").is_some_and(|it| it.starts_with("[{")) {
            draft.set("tool_calls", format!(r#"[{{"type":"function","function":{call}}}]"#));
        }
        draft.drop_members(|key, _| key == "function_call");
    }
}

/// Puts calls into OpenAI's form: a type, and arguments as a string. A thought's signature goes, but
/// to the model that made it. Where unknown members are refused (`strict`) all others go too.
pub(super) fn fit(drafts: &mut [Draft<'_>], strict: bool, signatures: Option<&Signatures>) {
    for draft in drafts {
        let Some(mut calls) = draft.get("tool_calls").and_then(Calls::read) else { continue };
        for at in 0..calls.list.len() {
            calls.set_if_missing(at, "type", "\"function\"");
            let goes = |key: &str| {
                key == "extra_content" || (strict && !["id", "type", "function"].contains(&key))
            };
            let own = signatures.and_then(|it| {
                let extra = calls.list.get(at).and_then(|it| get(it, "extra_content"));
                it.of_call(extra, &calls.id(at).unwrap_or_default(), at == 0)
            });
            calls.drop_members(at, goes);
            if let Some(own) = own {
                calls.set(at, "extra_content", own);
            }
            if let Some(function) = calls.list.get(at).and_then(|it| get(it, "function"))
                && let Some(function) = with_text_arguments(function)
            {
                calls.set(at, "function", function);
            }
        }
        if let Some(written) = calls.written() {
            draft.set("tool_calls", written);
        }
    }
}

impl Calls<'_> {
    fn set_if_missing(&mut self, at: usize, key: &'static str, value: &str) {
        let call = self.list.get(at);
        if call.is_some_and(|it| get(it, key).is_none_or(|it| it == "null")) {
            self.set(at, key, value.to_owned());
        }
    }

    fn drop_members(&mut self, at: usize, goes: impl Fn(&str) -> bool) {
        let Some(call) = self.list.get_mut(at) else { return };
        let before = call.len();
        call.retain(|(key, _)| !goes(key));
        self.changed |= call.len() != before;
    }
}

/// The function with its arguments as a string, an empty object's where there are none; `None` where
/// they are one.
fn with_text_arguments(function: &str) -> Option<String> {
    let object: RawObject<'_> = serde_json::from_str(function).ok()?;
    let arguments = object.get("arguments").map_or("null", RawValue::get);
    let text = match arguments {
        "null" | "\"\"" => "{}",
        it if it.starts_with('"') => return None,
        it => it,
    };
    let others = object.0.iter().filter(|(key, _)| key != "arguments");
    let others = others.map(|(key, value)| format!("{}:{value}", json_string(key)));
    let arguments = format!("\"arguments\":{}", json_string(text));
    Some(format!("{{{}}}", others.chain([arguments]).collect::<Vec<_>>().join(",")))
}
