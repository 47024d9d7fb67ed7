//! Errors that stand where an answer should, in other shapes than OpenAI's `{"error": …}`.

use crate::openai::JsonObject;
use crate::openai::json_list;

/// The error that `body` is, as JSON text: `[{"error":{…}}]`, `{"errors":[{…}]}`, or its members at
/// top level, as `{"message","code"}`. `None` for what is an answer, or says nothing of an error.
pub(super) fn stray_error(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.starts_with('[') {
        let list = json_list(text)?;
        let wrapped = JsonObject::parse(list.first()?).ok()?;
        return wrapped.said("error").map(str::to_owned);
    }
    let object = JsonObject::parse(text).ok()?;
    if object.get("choices").is_some() {
        return None;
    }
    if let Some(errors) = object.said("errors") {
        let first = json_list(errors).and_then(|it| it.first().map(|it| (*it).to_owned()));
        return first.or_else(|| Some(errors.to_owned()));
    }
    let says = |key: &str| object.said(key).is_some_and(|it| it.starts_with('"'));
    let is_error = ["message", "title", "msg"].iter().any(|it| says(it))
        || object.said("detail").is_some()
        || object.text("object").as_deref() == Some("error")
        || object.text("type").as_deref() == Some("error");
    is_error.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        assert_eq!(stray_error(body.as_bytes()).as_deref(), expected, "{body}");
    }

    #[test]
    fn errors_are_told_from_answers() {
        check(r#"[{"error":{"code":429}}]"#, Some(r#"{"code":429}"#));
        check(
            r#"{"success":false,"errors":[{"code":4006,"message":"x"}],"messages":[]}"#,
            Some(r#"{"code":4006,"message":"x"}"#),
        );
        check(r#"{"errors":"x"}"#, Some(r#""x""#));
        let bare = r#"{"message":"slow down","code":"1300","type":"rate_limited"}"#;
        check(bare, Some(bare));
        check(r#"{"detail":"no"}"#, Some(r#"{"detail":"no"}"#));
        check(r#"{"object":"error"}"#, Some(r#"{"object":"error"}"#));
        for no_error in [
            r#"{"choices":[],"message":"x"}"#,
            r#"{"type":"ping"}"#,
            r#"{"message":{"role":"assistant","content":"a"}}"#,
            r#"{"errors":[],"messages":[]}"#,
            "{}",
            "[]",
            "[7]",
            "<html>",
        ] {
            check(no_error, None);
        }
    }
}
