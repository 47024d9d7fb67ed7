//! The instruction that stands in for a JSON mode.

use crate::openai::ChatRequest;
use crate::openai::JsonMode;
use crate::openai::Message;
use crate::openai::json_string;

/// The most bytes the instruction adds to a request, its schema aside.
pub const INSTRUCTION_BYTES: usize = 320;

/// The `messages` of `request`, or those in `trimmed` where history was cut, with the instruction
/// added: at the end of the first message if that is the caller's own instruction, else as one
/// before all others. The schema stands in it as the caller wrote it, without its white space.
pub fn instruct(request: &ChatRequest, trimmed: Option<&str>) -> String {
    let text = text(request);
    let messages = trimmed.map_or_else(|| request.messages(), Message::list);
    let mut out: Vec<String> = messages.iter().map(|it| it.json.to_owned()).collect();
    let own = messages.first().filter(|it| it.role.instructs());
    match own.and_then(|it| it.with_more_text(&text)).zip(out.first_mut()) {
        Some((longer, first)) => *first = longer,
        None => {
            out.insert(0, format!(r#"{{"role":"system","content":{}}}"#, json_string(&text)));
        }
    }
    format!("[{}]", out.join(","))
}

fn text(request: &ChatRequest) -> String {
    let schema = request.schema_json().filter(|_| request.json_mode == JsonMode::Schema);
    let mut text = match schema {
        Some(_) => "Answer with one JSON value that satisfies the JSON Schema below.".to_owned(),
        None => "Answer with one JSON object.".to_owned(),
    };
    text.push_str(" Write nothing but that JSON: no explanation, no Markdown, no code fence.");
    if request.has_tools {
        text.push_str(" This is for answers in text; tools are called as usual.");
    }
    if let Some(schema) = schema {
        text.push_str("\n\nJSON Schema:\n");
        text.push_str(&compact(schema));
    }
    text
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |it: &char| {
        match it {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => return in_string || !it.is_ascii_whitespace(),
        }
        true
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn request(messages: &Value, more: Value) -> ChatRequest {
        let mut body = json!({"messages": messages});
        let Value::Object(more) = more else { panic!("an object") };
        body.as_object_mut().unwrap().extend(more);
        ChatRequest::parse(&Bytes::from(body.to_string())).unwrap()
    }

    fn object() -> Value {
        json!({"response_format": {"type": "json_object"}})
    }

    fn instructed(messages: &Value, more: Value) -> Value {
        serde_json::from_str(&instruct(&request(messages, more), None)).unwrap()
    }

    const USER: &str = r#"{"role":"user","content":"hi"}"#;

    fn user() -> Value {
        serde_json::from_str(USER).unwrap()
    }

    #[test]
    fn the_callers_own_instruction_is_kept() {
        let check = |content: Value, before: &str| {
            let first = json!({"role": "developer", "content": content, "name": "x"});
            let made = instructed(&json!([first, user()]), object());
            assert_eq!(made.as_array().unwrap().len(), 2);
            assert_eq!((&made[0]["role"], &made[0]["name"]), (&json!("developer"), &json!("x")));
            let content = made[0]["content"].to_string();
            assert!(
                content.starts_with(before) && content.contains("one JSON object"),
                "{content}"
            );
            assert_eq!(made[1], user());
        };
        check(json!("Be \"brief\"."), r#""Be \"brief\".\n\nAnswer"#);
        check(
            json!([{"type": "text", "text": "Be brief."}]),
            r#"[{"text":"Be brief.","type":"text"},{"#,
        );
        check(json!([]), "[{");
        check(json!(""), r#""Answer"#);
    }

    #[test]
    fn without_one_it_comes_first() {
        let made = instructed(&json!([user(), {"role": "system", "content": "x"}]), object());
        assert_eq!((&made[0]["role"], &made[1]), (&json!("system"), &user()));
        assert_eq!(made[2]["content"], "x");
        let made = instructed(&json!([{"role": "system", "content": null}, user()]), object());
        assert_eq!(made.as_array().unwrap().len(), 3);
    }

    #[test]
    fn the_schema_keeps_its_order_and_loses_its_white_space() {
        let schema = "{ \"type\" : \"object\",\n \"z\\\" a\": [1, 2 ], \"b\": \" \" }";
        let body = format!(
            r#"{{"messages":[{USER}],"response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}}}"#
        );
        let request = ChatRequest::parse(&Bytes::from(body)).unwrap();
        let made: Value = serde_json::from_str(&instruct(&request, None)).unwrap();
        let text = made[0]["content"].as_str().unwrap();
        assert!(text.ends_with("{\"type\":\"object\",\"z\\\" a\":[1,2],\"b\":\" \"}"), "{text}");
    }

    #[test]
    fn what_is_added_is_bounded() {
        let more = json!({"tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}});
        let request = request(&json!([user()]), more);
        let added = instruct(&request, None).len() - request.member("messages").unwrap().len();
        assert!((200..INSTRUCTION_BYTES).contains(&added), "{added}");
    }

    #[test]
    fn trimmed_history_stays_trimmed_and_tools_are_left_to_be_called() {
        let tools = json!({"response_format": {"type": "json_object"},
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        let request = request(&json!([user(), user(), user()]), tools);
        let made = instruct(&request, Some(&format!("[{USER}]")));
        let made: Value = serde_json::from_str(&made).unwrap();
        assert_eq!(made.as_array().unwrap().len(), 2);
        assert!(made[0]["content"].as_str().unwrap().contains("tools are called as usual"));
    }
}
