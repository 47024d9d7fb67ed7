//! Adding to the caller's own instructions, by splicing: the rest of the conversation is copied as it
//! stands.

use super::content::Addition;
use super::message::Message;
use super::payload::JsonText;
use super::raw::{json_string, span_of};
use super::request::ChatRequest;

/// Where in a list of messages the first instructions can be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The byte of the list's JSON text.
    at: usize,
    addition: Addition,
}

impl Place {
    /// The place in the list `json`, of which `messages` are the messages.
    pub(super) fn in_list(json: &str, messages: &[Message<'_>]) -> Option<Self> {
        messages.iter().filter(|it| it.role.instructs()).find_map(|it| {
            let (at, addition) = it.end_of_text()?;
            Some(Self { at: span_of(json.as_bytes(), it.json).start + at, addition })
        })
    }
}

/// The messages of the list `json` with `more` at the end of the first instructions, or as a system
/// message before all others where there are none. Where they end in `more` already (another gateway
/// stands before this one, say) it is not said twice.
pub fn with_instruction(json: &str, more: &str) -> String {
    let place = Place::in_list(json, &Message::list(json));
    match insertion(json, place, more).and_then(|(at, it)| Some((json.split_at_checked(at)?, it))) {
        Some(((before, after), it)) => [before, &it, after].concat(),
        None => json.to_owned(),
    }
}

impl ChatRequest {
    /// Its `messages` with `more` added as [`with_instruction`] does, without reading them again.
    pub fn messages_with_instruction(&self, more: &str) -> JsonText {
        let json = self.messages_json();
        match insertion(&json, self.instruction(), more) {
            Some((at, it)) => JsonText::spliced(&json, at, &it),
            None => json.into(),
        }
    }
}

/// What is to be written at which byte of the list `json`; `None` when it stands there already.
fn insertion(json: &str, place: Option<Place>, more: &str) -> Option<(usize, String)> {
    let more = json_string(more);
    if let Some(Place { at, addition }) = place {
        let before = json.get(..at)?;
        return (!ends_in(before, &more)).then(|| (at, addition.around(&more).concat()));
    }
    let rest = json.trim_ascii_start().strip_prefix('[')?;
    let comma = if rest.trim_ascii_start().starts_with(']') { "" } else { "," };
    let message = ["{\"role\":\"system\",\"content\":", &more, "}", comma].concat();
    Some((json.len() - rest.len(), message))
}

/// Is the last text in the JSON text `before` the string `more`, or does it end in it?
fn ends_in(before: &str, more: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches(['"', '}', ' ']).len();
    let inner = more.get(1..plain(more)).unwrap_or_default();
    !inner.is_empty() && before.get(..plain(before)).is_some_and(|it| it.ends_with(inner))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn check(messages: &str, expected: &str) {
        assert_eq!(with_instruction(messages, "Say \"x\"."), expected);
        let body = Bytes::from(format!(r#"{{"a": 1, "messages": {messages} }}"#));
        let request = ChatRequest::parse(&body).expect(messages);
        assert_eq!(&*request.messages_with_instruction("Say \"x\"."), expected);
    }

    #[test]
    fn only_what_is_added_changes() {
        check(
            r#"[ {"role":"user","content":"h\u0069"}]"#,
            r#"[{"role":"system","content":"Say \"x\"."}, {"role":"user","content":"h\u0069"}]"#,
        );
        check(
            r#"[{"role":"system","content":"Be \u0062rief.","name":"n"},{"role":"user","content":"y"}]"#,
            r#"[{"role":"system","content":"Be \u0062rief.\n\nSay \"x\".","name":"n"},{"role":"user","content":"y"}]"#,
        );
        check(
            r#"[{"role":"user"},{"content":[ {"type":"text","text":"a"} ],"role":"developer"}]"#,
            r#"[{"role":"user"},{"content":[ {"type":"text","text":"a"} ,{"type":"text","text":"Say \"x\"."}],"role":"developer"}]"#,
        );
        check(
            r#"[{"role":"system","content":null},{"role":"system","content":""}]"#,
            r#"[{"role":"system","content":null},{"role":"system","content":"Say \"x\"."}]"#,
        );
        check(
            r#"[{"role":"system","content":[]}]"#,
            r#"[{"role":"system","content":[{"type":"text","text":"Say \"x\"."}]}]"#,
        );
    }
    #[test]
    fn what_is_said_already_is_not_added_again() {
        let check = |messages: &str, more: &str| {
            let once = with_instruction(messages, more);
            assert_ne!(once, messages);
            assert_eq!(with_instruction(&once, more), once);
        };
        for content in [r#""Be brief.""#, r#""""#, r#"[{"type":"text","text":"a"} ]"#, "[]"] {
            let messages = format!(r#"[{{"role":"system","content":{content}}}]"#);
            check(&messages, "Say \"x\".");
            check(&messages, "Give {\"a\": \"b\"}");
        }
        check("[]", "Say so.");
        let other = r#"[{"role":"system","content":"Say so. Or not."}]"#;
        assert_ne!(with_instruction(other, "Say so."), other);
    }
}
