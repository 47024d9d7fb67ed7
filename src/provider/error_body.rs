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
    /// The places of members that a list of details calls extra: `body.messages.0.name`.
    pub(super) extra: Vec<String>,
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
    let when = |it: &Value| it.get("retry_after").and_then(word);
    let inner = match top.get("error") {
        Some(Value::String(text)) => {
            let code = top.get("code").and_then(word);
            let message = text.clone();
            return Said { message, code, reset: when(top), ..Said::default() };
        }
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
        reset: RESETS.iter().find_map(|it| at(it)).or_else(|| when(top)),
        limit: number("/metadata/headers/X-RateLimit-Limit"),
        remaining: number("/metadata/headers/X-RateLimit-Remaining"),
        ..Said::default()
    };
    let details = [top.get("detail"), top.pointer("/message/detail"), top.get("message")];
    if let Some(list) = details.into_iter().flatten().find_map(Value::as_array) {
        said.take_details(list);
    }
    if let Some(raw) = at("/metadata/raw") {
        said.take_cause(&raw);
    }
    said
}

/// Where an error writes when to come back, the surest first.
const RESETS: &[&str] = &[
    "/metadata/headers/Retry-After",
    "/metadata/headers/retry-after",
    "/metadata/retry_after_seconds",
    "/metadata/headers/X-RateLimit-Reset",
    "/retry_after",
];

impl Said {
    /// pydantic's list: a member's path ends with its name, the words are in `msg`. What is wrong
    /// with a value goes before what is extra: without that member the value would still be wrong.
    fn take_details(&mut self, list: &[Value]) {
        let (extra, wrong): (Vec<&Value>, Vec<&Value>) = list.iter().partition(|it| is_extra(it));
        let Some(detail) = wrong.first().or_else(|| extra.first()) else { return };
        let word = |key| detail.get(key).and_then(Value::as_str).map(str::to_owned);
        if wrong.is_empty() {
            self.extra = extra.iter().map(|it| place_of(it)).collect();
        }
        self.kind = word("type");
        let path = detail.get("loc").and_then(Value::as_array);
        self.param = path.and_then(|it| it.last()?.as_str()).map(str::to_owned);
        self.message = word("msg").unwrap_or_else(|| std::mem::take(&mut self.message));
    }

    /// A relay's error with that of the host behind it, as it came: text, or an error of its own.
    fn take_cause(&mut self, raw: &str) {
        let cause = if raw.trim_start().starts_with(['{', '[']) {
            read(raw.as_bytes())
        } else {
            Self { message: raw.to_owned(), ..Self::default() }
        };
        if !cause.message.is_empty() {
            self.message = format!("{}: {}", self.message, cause.message);
        }
        // A relay's own code is a status.
        let is_status = |it: &String| it.bytes().all(|it| it.is_ascii_digit());
        self.code = cause.code.filter(|it| !is_status(it)).or_else(|| self.code.take());
        self.param = cause.param.or_else(|| self.param.take());
        self.extra = cause.extra;
    }
}

fn is_extra(detail: &Value) -> bool {
    let kind = detail.get("type").and_then(Value::as_str).unwrap_or_default();
    ["extra_forbidden", "value_error.extra"].contains(&kind)
}

/// The path to a member, joined by points.
fn place_of(detail: &Value) -> String {
    let path = detail.get("loc").and_then(Value::as_array).into_iter().flatten();
    path.filter_map(word).collect::<Vec<_>>().join(".")
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
        for (list, param, place) in [
            (&top, "seed", "body.seed"),
            (&message, "name", "body.messages.0.user.name"),
            (&deep, "strict", "body.tools.0.strict"),
        ] {
            for body in [
                format!(r#"{{"detail":{list}}}"#),
                format!(r#"{{"object":"error","message":{{"detail":{list}}}}}"#),
                format!(r#"{{"object":"Error","message":{list}}}"#),
            ] {
                let said = check(&body, "no", None, Some(param));
                assert_eq!(said.extra, [place], "{body}");
            }
        }
        let both = check(
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"no"},{"type":"value_error.extra","loc":["body","user"],"msg":"extra"}]}"#,
            "no",
            None,
            Some("seed"),
        );
        assert_eq!(both.extra, ["body.seed", "body.user"]);
        let mixed = check(
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"no"},{"type":"less_than","loc":["body","top_p"],"msg":"too much"}]}"#,
            "too much",
            None,
            Some("top_p"),
        );
        assert!(mixed.extra.is_empty());
    }

    #[test]
    fn a_relays_error_comes_with_its_cause() {
        let relayed = |raw: &str| {
            serde_json::json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}})
                .to_string()
        };
        let said = "Provider returned error: no";
        check(&relayed("no"), said, Some("400"), None);
        check(
            &relayed(r#"{"error":{"message":"no","code":"c","param":"p"}}"#),
            said,
            Some("c"),
            Some("p"),
        );
        check(&relayed(r#"{"message":"no","code":429}"#), said, Some("400"), None);
        check(&relayed(""), "Provider returned error", Some("400"), None);
        check(&relayed("{}"), "Provider returned error", Some("400"), None);
    }

    #[test]
    fn when_to_come_back_may_stand_anywhere() {
        for (body, expected) in [
            (
                r#"{"error":{"metadata":{"headers":{"Retry-After":"17","X-RateLimit-Reset":"9"}}}}"#,
                "17",
            ),
            (r#"{"error":{"metadata":{"retry_after_seconds":18}}}"#, "18"),
            (r#"{"error":{"message":"x","retry_after":12}}"#, "12"),
            (r#"{"error":{"message":"x"},"retry_after":12}"#, "12"),
            (r#"{"error":"too many","retry_after":12}"#, "12"),
            (r#"{"detail":"Rate limit","retry_after":12}"#, "12"),
        ] {
            assert_eq!(read(body.as_bytes()).reset.as_deref(), Some(expected), "{body}");
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
