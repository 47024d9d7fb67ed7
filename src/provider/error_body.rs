//! What an error body says, whichever of the known shapes it has.

use serde_json::Value;

/// The members of an error that are read, in the forms that providers give them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// Its words, as they came.
    pub(super) message: String,
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    /// The member it blames.
    pub(super) param: Option<String>,
    /// Does that member stand within another, in a tool, say? One of a message counts as its own: it
    /// can be left out of all of them.
    pub(super) nested: bool,
    /// When the limit is whole again, as the body writes it.
    pub(super) reset: Option<String>,
    /// The limit it speaks of.
    pub(super) limit: Option<u64>,
    /// What is left of it.
    pub(super) remaining: Option<u64>,
    /// Is the body a web page?
    pub(super) is_page: bool,
}

/// The shapes seen: `{error:{…}}`, `[{error:{…}}]`, `{error:"text"}`, `{errors:[{…}]}`, the members
/// at top level, `{detail:"text"}` or `{title:"text"}`, and `{detail:[{type,loc,msg}]}`, which may
/// also stand in `message`, as it is or once more in a `detail`.
pub(super) fn read(body: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let is_page = body.trim_ascii_start().starts_with(b"<");
        return Said { message: first_words(body), is_page, ..Said::default() };
    };
    let top = value.get(0).unwrap_or(&value);
    let inner = match top.get("error") {
        Some(Value::String(text)) => return Said { message: text.clone(), ..Said::default() },
        Some(inner @ Value::Object(_)) => inner,
        _ => top.pointer("/errors/0").filter(|it| it.is_object()).unwrap_or(top),
    };
    let text = |key: &str| inner.get(key).and_then(word);
    let at = |path: &str| inner.pointer(path).and_then(word);
    let number = |path: &str| at(path).and_then(|it| it.parse().ok());
    let words = ["message", "detail", "title"].into_iter().find_map(text);
    let mut said = Said {
        message: words.unwrap_or_default(),
        code: text("code"),
        // OpenRouter's errors have no type; which of its limits was met stands with the details.
        kind: text("type").or_else(|| at("/metadata/limit_source")),
        param: text("param"),
        reset: at("/metadata/headers/X-RateLimit-Reset").or_else(|| at("/retry_after")),
        limit: number("/metadata/headers/X-RateLimit-Limit"),
        remaining: number("/metadata/headers/X-RateLimit-Remaining"),
        ..Said::default()
    };
    let details = [top.get("detail"), top.pointer("/message/detail"), top.get("message")];
    if let Some(detail) = details.into_iter().flatten().find_map(|it| it.get(0)) {
        said.take_detail(detail);
    }
    said
}

impl Said {
    /// pydantic's list: the member's path ends with its name, the words are in `msg`.
    fn take_detail(&mut self, detail: &Value) {
        let word = |key| detail.get(key).and_then(Value::as_str).map(str::to_owned);
        let path: Vec<&Value> =
            detail.get("loc").and_then(Value::as_array).into_iter().flatten().collect();
        let mut within = path.iter().filter(|it| it.as_str() != Some("body"));
        let of_messages = within.next().and_then(|it| it.as_str()) == Some("messages");
        self.nested = !of_messages && within.next().is_some();
        self.kind = word("type");
        self.param = path.last().and_then(|it| it.as_str()).map(str::to_owned);
        self.message = word("msg").unwrap_or_else(|| std::mem::take(&mut self.message));
    }
}

/// A string, or a number as it is written.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(it) => Some(it.clone()),
        Value::Number(it) => Some(it.to_string()),
        _ => None,
    }
}

/// The start of a body that is not JSON, on one line.
fn first_words(body: &[u8]) -> String {
    let start = body.get(..200).unwrap_or(body);
    String::from_utf8_lossy(start).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, message: &str, code: Option<&str>, param: Option<&str>) -> Said {
        let said = read(body.as_bytes());
        assert_eq!(said.message, message, "{body}");
        assert_eq!((said.code.as_deref(), said.param.as_deref()), (code, param), "{body}");
        said
    }

    #[test]
    fn every_shape_is_read() {
        check(r#"{"error":{"message":"a","code":"c","param":"p"}}"#, "a", Some("c"), Some("p"));
        check(r#"[{"error":{"message":"a","code":400}}]"#, "a", Some("400"), None);
        check(r#"{"error":"a"}"#, "a", None, None);
        check(r#"{"message":"a","code":"c"}"#, "a", Some("c"), None);
        check(r#"{"success":false,"errors":[{"code":7,"message":"a"}]}"#, "a", Some("7"), None);
        check(r#"{"status":404,"title":"t","detail":"a"}"#, "a", None, None);
        check(r#"{"status":429,"title":"t"}"#, "t", None, None);
        check(r#"{"id":"1","message":"a"}"#, "a", None, None);
        check(r#"{"error":{"message":{"a":1},"code":null}}"#, "", None, None);
        assert!(check("<html>\n no </html>", "<html> no </html>", None, None).is_page);
        check("", "", None, None);
    }

    #[test]
    fn a_list_of_details_names_the_member() {
        let detail =
            |loc: &str| format!(r#"[{{"type":"extra_forbidden","loc":{loc},"msg":"no"}}]"#);
        let top = detail(r#"["body","seed"]"#);
        let message = detail(r#"["body","messages",0,"user","name"]"#);
        let deep = detail(r#"["body","tools",0,"strict"]"#);
        for (list, param, nested) in
            [(&top, "seed", false), (&message, "name", false), (&deep, "strict", true)]
        {
            for body in [
                format!(r#"{{"detail":{list}}}"#),
                format!(r#"{{"object":"error","message":{{"detail":{list}}}}}"#),
                format!(r#"{{"object":"Error","message":{list}}}"#),
            ] {
                let said = check(&body, "no", None, Some(param));
                assert_eq!(said.nested, nested, "{body}");
            }
        }
    }

    #[test]
    fn headers_within_a_body_are_read() {
        let said = read(
            br#"{"error":{"message":"a","metadata":{"headers":{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":0,"X-RateLimit-Reset":"17"}}}}"#,
        );
        assert_eq!(
            (said.limit, said.remaining, said.reset.as_deref()),
            (Some(20), Some(0), Some("17"))
        );
    }
}
