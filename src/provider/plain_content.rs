//! Messages for providers that want every content to be a string.

use serde_json::Value;

/// The messages with `null` and missing contents made empty strings and lists of text parts joined
/// by line ends. A list that holds anything but text, such as an image, stays: the models that see
/// images take it. `None` when there is nothing to change.
pub(super) fn plain_content(messages: &str) -> Option<String> {
    let mut messages: Vec<Value> = serde_json::from_str(messages).ok()?;
    let mut changed = false;
    for message in messages.iter_mut().filter_map(Value::as_object_mut) {
        let plain = match message.get("content") {
            None | Some(Value::Null) => String::new(),
            Some(Value::Array(parts)) => match joined(parts) {
                Some(text) => text,
                None => continue,
            },
            Some(_) => continue,
        };
        message.insert("content".to_owned(), Value::from(plain));
        changed = true;
    }
    changed.then(|| Value::from(messages).to_string())
}

/// The parts' text, if they are text alone.
fn joined(parts: &[Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = parts.iter().map(|it| it.get("text")?.as_str()).collect();
    Some(texts?.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &str, expected: Option<&str>) {
        assert_eq!(plain_content(messages).as_deref(), expected, "{messages}");
    }

    #[test]
    fn text_becomes_a_string_and_images_stay() {
        check(r#"[{"role":"user","content":"hi"}]"#, None);
        check(
            r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#,
            Some(r#"[{"content":"a\nb","role":"user"}]"#),
        );
        check(
            r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"c"}]},{"role":"assistant"}]"#,
            Some(
                r#"[{"content":"","role":"assistant","tool_calls":[{"id":"c"}]},{"content":"","role":"assistant"}]"#,
            ),
        );
        check(
            r#"[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:,"}}]}]"#,
            None,
        );
        check("[]", None);
    }
}
