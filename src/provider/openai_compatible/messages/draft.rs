//! One message being rewritten.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::openai::RawObject;
use crate::openai::json_string;
use crate::openai::string_of;
use crate::provider::conversation::BEFORE_MODEL;

/// A message's members as JSON text, in their order.
pub(super) struct Draft<'a> {
    /// As the caller wrote it.
    json: &'a str,
    pub(super) role: Cow<'a, str>,
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Is it to be written anew?
    pub(super) changed: bool,
}

impl<'a> Draft<'a> {
    /// `None` for what is no message.
    pub(super) fn read(json: &'a RawValue) -> Option<Self> {
        let object: RawObject<'a> = serde_json::from_str(json.get()).ok()?;
        let role = string_of(object.get("role")?)?;
        let members = object.0.into_iter().map(|(key, it)| (key, Cow::Borrowed(it.get())));
        Some(Self { json: json.get(), role, members: members.collect(), changed: false })
    }

    /// The shortest thing an assistant may say to the result of a call.
    pub(super) fn acknowledging() -> Self {
        Self::made("assistant", "OK.")
    }

    /// Said by the user where a conversation begins with the assistant.
    pub(super) fn beginning() -> Self {
        Self::made("user", BEFORE_MODEL)
    }

    fn made(role: &'static str, text: &str) -> Self {
        let member = |key, text| (Cow::Borrowed(key), Cow::Owned(json_string(text)));
        let members = vec![member("role", role), member("content", text)];
        Self { json: "", role: Cow::Borrowed(role), members, changed: true }
    }

    /// A member's JSON text; of two with one key the last.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().rev().find(|(it, _)| it == key).map(|(_, value)| &**value)
    }

    /// A member that is a string with something in it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.get(key)?).ok()?;
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn set(&mut self, key: &'static str, value: String) {
        if self.get(key) == Some(&value) {
            return;
        }
        self.changed = true;
        match self.members.iter_mut().rev().find(|(it, _)| it == key) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => self.members.push((Cow::Borrowed(key), Cow::Owned(value))),
        }
    }

    pub(super) fn set_role(&mut self, role: &'static str) {
        self.role = Cow::Borrowed(role);
        self.set("role", json_string(role));
    }

    pub(super) fn drop_members(&mut self, goes: impl Fn(&str, &str) -> bool) {
        let before = self.members.len();
        self.members.retain(|(key, value)| !goes(key, value));
        self.changed |= self.members.len() != before;
    }

    /// Does it bring nothing: neither content nor calls?
    pub(super) fn is_empty(&self) -> bool {
        let says = |key| {
            let value = self.get(key).unwrap_or("null");
            !matches!(value, "null" | "\"\"" | "[]")
        };
        !says("content") && !says("tool_calls") && !says("function_call")
    }

    /// Makes content that is text alone a string, and none an empty one. A list that holds anything
    /// but text, such as an image, stays: the models that see images take it.
    pub(super) fn make_content_plain(&mut self) {
        let plain = match self.get("content") {
            None | Some("null") => Some(String::new()),
            Some(list) if list.starts_with('[') => joined(list),
            Some(_) => None,
        };
        if let Some(plain) = plain {
            self.set("content", json_string(&plain));
        }
    }

    /// Takes the content of `next` behind its own. `true` if that loses a name: what two people say
    /// is said by neither of them.
    pub(super) fn absorb(&mut self, next: &Self) -> bool {
        let names_lost = self.text("name") != next.text("name");
        if names_lost {
            self.drop_members(|key, _| key == "name");
        }
        let content = |it: &Self| it.get("content").unwrap_or("null").to_owned();
        let both = match (content(self), content(next)) {
            (mine, its) if is_void(&its) => mine,
            (mine, its) if is_void(&mine) => its,
            (mine, its) => match (as_text(&mine), as_text(&its)) {
                (Some(mine), Some(its)) => json_string(&format!("{mine}\n\n{its}")),
                _ => format!("[{},{}]", parts(&mine), parts(&its)),
            },
        };
        self.set("content", both);
        for key in ["tool_calls", "function_call"] {
            if let Some(calls) = next.get(key) {
                self.set(key, calls.to_owned());
            }
        }
        names_lost
    }
}

/// The messages as one JSON text.
pub(super) fn join(drafts: &[Draft<'_>]) -> String {
    let mut out = String::from("[");
    for draft in drafts {
        if out.len() > 1 {
            out.push(',');
        }
        if !draft.changed {
            out.push_str(draft.json);
            continue;
        }
        let members = draft.members.iter().map(|(key, it)| format!("{}:{it}", json_string(key)));
        out.push('{');
        out.push_str(&members.collect::<Vec<_>>().join(","));
        out.push('}');
    }
    out.push(']');
    out
}

fn is_void(content: &str) -> bool {
    matches!(content, "null" | "\"\"" | "[]")
}

fn as_text(content: &str) -> Option<String> {
    serde_json::from_str(content).ok()
}

/// The parts of a content, without the brackets around them.
fn parts(content: &str) -> String {
    match content.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(inner) => inner.to_owned(),
        None => format!(r#"{{"type":"text","text":{content}}}"#),
    }
}

/// The text of a list of parts, if they are text alone.
fn joined(list: &str) -> Option<String> {
    let parts: Vec<RawObject<'_>> = serde_json::from_str(list).ok()?;
    let texts = parts.iter().map(|it| string_of(it.get("text")?));
    Some(texts.collect::<Option<Vec<_>>>()?.join("\n"))
}
