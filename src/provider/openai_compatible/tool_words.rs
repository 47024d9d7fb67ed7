//! Tools for providers that refuse some keywords of JSON Schema.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::openai::RawObject;
use crate::openai::json_string;

/// The tools without these keywords in their parameters' schemas; `None` when they have none.
pub(super) fn without_words(tools: &str, words: &[&str]) -> Option<String> {
    let quoted = |it: &&str| memchr::memmem::find(tools.as_bytes(), it.as_bytes()).is_some();
    if !words.iter().any(quoted) {
        return None;
    }
    let cut = Cut { words };
    let written = cut.value(serde_json::from_str(tools).ok()?, Place::Tools);
    (written != tools).then(|| written.into_owned())
}

/// What a value is, by where it stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The list, a tool, or its function: no keyword counts here.
    Tools,
    /// A schema: its members are keywords.
    Schema,
    /// Members named by the caller, each a schema.
    Named,
    /// What is to be copied: an example or a list of values may look like a schema.
    Data,
}

struct Cut<'a> {
    words: &'a [&'a str],
}

impl Cut<'_> {
    fn value<'a>(&self, value: &'a RawValue, place: Place) -> Cow<'a, str> {
        let text = value.get();
        match text.as_bytes().first() {
            _ if place == Place::Data => Cow::Borrowed(text),
            Some(b'[') => {
                let list: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                let items: Vec<_> = list.into_iter().map(|it| self.value(it, place)).collect();
                Cow::Owned(format!("[{}]", items.join(",")))
            }
            Some(b'{') => match serde_json::from_str::<RawObject<'_>>(text) {
                Ok(object) => Cow::Owned(self.object(&object, place)),
                Err(_) => Cow::Borrowed(text),
            },
            _ => Cow::Borrowed(text),
        }
    }

    fn object(&self, object: &RawObject<'_>, place: Place) -> String {
        let kept = object
            .0
            .iter()
            .filter(|(key, _)| place != Place::Schema || !self.words.contains(&&**key));
        let members: Vec<String> = kept
            .map(|(key, value)| {
                let below = match (place, &**key) {
                    (Place::Tools, "parameters") | (Place::Named, _) => Place::Schema,
                    (Place::Schema, "properties" | "$defs" | "definitions") => Place::Named,
                    (Place::Schema, "enum" | "const" | "default" | "examples") => Place::Data,
                    _ => place,
                };
                format!("{}:{}", json_string(key), self.value(value, below))
            })
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["additionalProperties", "$schema"];

    fn check(parameters: &str, expected: Option<&str>) {
        let tools = |it: &str| {
            format!(r#"[{{"type":"function","function":{{"name":"f","parameters":{it}}}}}]"#)
        };
        assert_eq!(without_words(&tools(parameters), WORDS), expected.map(tools), "{parameters}");
    }

    #[test]
    fn keywords_go_and_names_stay() {
        check(r#"{"type":"object"}"#, None);
        check(
            r#"{"$schema":"x","type":"object","additionalProperties":false}"#,
            Some(r#"{"type":"object"}"#),
        );
        check(
            r#"{"properties":{"a":{"type":"object","additionalProperties":{"type":"string"}}}}"#,
            Some(r#"{"properties":{"a":{"type":"object"}}}"#),
        );
        check(
            r#"{"anyOf":[{"items":{"$schema":"x","type":"string"}}]}"#,
            Some(r#"{"anyOf":[{"items":{"type":"string"}}]}"#),
        );
        check(r#"{"properties":{"additionalProperties":{"type":"string"}}}"#, None);
        check(r#"{"default":{"$schema":1},"enum":["$schema"]}"#, None);
    }
}
