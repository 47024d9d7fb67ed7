//! What a message says, gathered into OpenAI's members: the answer in `content`, what was thought
//! in `reasoning_content`. Whole messages and deltas alike.

use crate::openai::JsonObject;
use crate::openai::json_list;
use crate::openai::json_list_of;
use crate::openai::string_in;
use crate::openai::whole_string;

/// Halves of characters at the end of a piece of each member that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Halves {
    pub(super) content: Option<u16>,
    pub(super) reasoning: Option<u16>,
}

impl Halves {
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_none() && self.reasoning.is_none()
    }
}

/// What a list of content parts holds.
#[derive(Debug, Default)]
struct Parts {
    text: String,
    reasoning: String,
    /// Parts that are neither.
    others: Vec<String>,
}

/// Gathers what `message` says. What has another meaning than text stays where it is:
/// `reasoning_details`, which signed replays need, and content parts that are no text, under
/// `content_parts`.
pub(super) fn gather(message: &mut JsonObject, halves: &mut Halves) {
    let parts = message.said("content").filter(|it| it.starts_with(['[', '{'])).map(Parts::read);
    let mut thought = parts.as_ref().map_or_else(String::new, |it| it.reasoning.clone());
    if let Some(parts) = parts {
        message.set_text("content", &parts.text);
        if !parts.others.is_empty() {
            message.set("content_parts", json_list_of(&parts.others));
        }
    } else if let Some(odd) = message.get("content").filter(|it| is_scalar(it)).map(str::to_owned) {
        message.set_text("content", &odd);
    } else if let Some(text) =
        message.get("content").and_then(|it| string_in(it, &mut halves.content))
    {
        message.set_text("content", &text);
    }
    thought.insert_str(0, &own_reasoning(message, halves));
    if !thought.is_empty() || message.said("reasoning_content").is_some() {
        message.set_text("reasoning_content", &thought);
    }
}

/// A number or a truth value: what a model was asked to give, unquoted on its way.
fn is_scalar(json: &str) -> bool {
    matches!(json, "true" | "false")
        || json.starts_with(|it: char| it == '-' || it.is_ascii_digit())
}

/// The reasoning in members of its own. Where it stands in several, one is as good as another.
fn own_reasoning(message: &mut JsonObject, halves: &mut Halves) -> String {
    if let Some(own) = message.said("reasoning_content").map(str::to_owned) {
        let text = string_in(&own, &mut halves.reasoning);
        let text = text.unwrap_or_else(|| Parts::read(&own).all());
        for other in ["reasoning", "thinking"] {
            if message.said(other) == Some(own.as_str()) {
                let _same = message.remove(other);
            }
        }
        return text;
    }
    for name in ["reasoning", "thinking"] {
        let text = message.said(name).and_then(|it| string_in(it, &mut halves.reasoning));
        if let Some(text) = text {
            let _null = message.remove("reasoning_content");
            message.rename(name, "reasoning_content");
            return text;
        }
    }
    message.said("reasoning_details").map(|it| Parts::read(it).all()).unwrap_or_default()
}

impl Parts {
    fn read(json: &str) -> Self {
        let mut parts = Self::default();
        for part in json_list(json).unwrap_or_else(|| vec![json]) {
            parts.take(part);
        }
        parts
    }

    fn take(&mut self, part: &str) {
        if let Some(text) = whole_string(part) {
            self.text.push_str(&text);
            return;
        }
        let Ok(object) = JsonObject::parse(part) else { return };
        let kind = object.text("type").unwrap_or_default();
        let text = |key: &str| object.text(key);
        match kind.as_str() {
            "" | "text" | "output_text" if object.get("text").is_some() => {
                self.text.push_str(&text("text").unwrap_or_default());
            }
            "thinking" | "reasoning" | "reasoning.text" | "reasoning.summary" => {
                let said = ["thinking", "text", "summary", "reasoning"]
                    .into_iter()
                    .find_map(|it| object.said(it));
                if let Some(said) = said {
                    let inner = whole_string(said).unwrap_or_else(|| Self::texts(said));
                    self.reasoning.push_str(&inner);
                }
            }
            _ => self.others.push(part.to_owned()),
        }
    }

    /// The texts of a list of parts, which hold no list again.
    fn texts(json: &str) -> String {
        let parts = json_list(json).unwrap_or_default();
        let text = |it: &str| whole_string(it).or_else(|| JsonObject::parse(it).ok()?.text("text"));
        parts.into_iter().filter_map(text).collect()
    }

    fn all(self) -> String {
        self.reasoning + &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        let mut read = JsonObject::parse(message).unwrap();
        gather(&mut read, &mut Halves::default());
        assert_eq!(read.to_string(), expected, "{message}");
        assert_eq!(read.is_changed(), message != expected, "{message}");
        let mut again = JsonObject::parse(expected).unwrap();
        gather(&mut again, &mut Halves::default());
        assert!(!again.is_changed(), "{expected}: {again}");
    }

    #[test]
    fn reasoning_comes_out_in_one_member() {
        check(
            r#"{"reasoning_content":"a","content":"b"}"#,
            r#"{"reasoning_content":"a","content":"b"}"#,
        );
        check(
            r#"{"content":"b","reasoning":"a","x":1}"#,
            r#"{"content":"b","reasoning_content":"a","x":1}"#,
        );
        check(r#"{"reasoning_content":"a","reasoning":"a"}"#, r#"{"reasoning_content":"a"}"#);
        check(r#"{"reasoning_content":null,"reasoning":"a"}"#, r#"{"reasoning_content":"a"}"#);
        check(r#"{"reasoning":null,"content":null}"#, r#"{"reasoning":null,"content":null}"#);
        check(r#"{"reasoning":{"effort":"low"}}"#, r#"{"reasoning":{"effort":"low"}}"#);
        let details = r#"[{"type":"reasoning.text","text":"a","signature":"s"},{"type":"reasoning.encrypted","data":"x"}]"#;
        check(
            &format!(r#"{{"reasoning":"a","reasoning_details":{details}}}"#),
            &format!(r#"{{"reasoning_content":"a","reasoning_details":{details}}}"#),
        );
        check(
            &format!(r#"{{"reasoning_details":{details}}}"#),
            &format!(r#"{{"reasoning_details":{details},"reasoning_content":"a"}}"#),
        );
    }

    #[test]
    fn content_in_parts_becomes_a_string() {
        check(
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"Hi"}],"tool_calls":null}"#,
            r#"{"content":"Hi","tool_calls":null,"reasoning_content":"hm"}"#,
        );
        check(
            r#"{"content":["a",{"text":"b"},{"type":"reference","reference_ids":[1]}]}"#,
            r#"{"content":"ab","content_parts":[{"type":"reference","reference_ids":[1]}]}"#,
        );
        check(r#"{"content":{"type":"text","text":"a"}}"#, r#"{"content":"a"}"#);
        check(
            r#"{"reasoning_content":[{"type":"text","text":"a"}]}"#,
            r#"{"reasoning_content":"a"}"#,
        );
        check(r#"{"content":[]}"#, r#"{"content":[]}"#);
        check(r#"{"content":5}"#, r#"{"content":"5"}"#);
        check(r#"{"content":true}"#, r#"{"content":"true"}"#);
    }
}
