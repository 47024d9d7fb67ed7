//! Which names a request may hold, message by message, as the API's reference lists them. A name
//! that is not listed is refused wherever it stands. The real one takes names in snake case as
//! well; this one does not.

use serde_json::{Map, Value};

use crate::sim::wire::problem::Problem;

/// What a member holds.
enum Holds {
    /// Anything: a plain value, or an object that is the caller's own.
    Any,
    /// A message.
    One(&'static Shape),
    /// A list of messages.
    Many(&'static Shape),
    /// Messages by names of the caller's own.
    Named(&'static Shape),
}

/// The members of one message.
type Shape = [(&'static str, Holds)];

use Holds::{Any, Many, Named, One};

static REQUEST: &Shape = &[
    ("contents", Many(CONTENT)),
    ("systemInstruction", One(CONTENT)),
    ("tools", Many(TOOL)),
    ("toolConfig", One(TOOL_CONFIG)),
    ("safetySettings", Any),
    ("generationConfig", One(GENERATION)),
    ("cachedContent", Any),
];

static CONTENT: &Shape = &[("role", Any), ("parts", Many(PART))];

static PART: &Shape = &[
    ("text", Any),
    ("inlineData", One(BLOB)),
    ("fileData", Any),
    ("functionCall", One(CALL)),
    ("functionResponse", One(RESPONSE)),
    ("thought", Any),
    ("thoughtSignature", Any),
];

static BLOB: &Shape = &[("mimeType", Any), ("data", Any)];
static CALL: &Shape = &[("id", Any), ("name", Any), ("args", Any)];
static RESPONSE: &Shape = &[("id", Any), ("name", Any), ("response", Any)];
static TOOL: &Shape = &[("functionDeclarations", Many(DECLARATION)), ("googleSearch", Any)];

static DECLARATION: &Shape = &[
    ("name", Any),
    ("description", Any),
    ("parameters", One(&SCHEMA)),
    ("parametersJsonSchema", Any),
    ("response", One(&SCHEMA)),
];

static TOOL_CONFIG: &Shape = &[("functionCallingConfig", One(CALLING))];
static CALLING: &Shape = &[("mode", Any), ("allowedFunctionNames", Any)];

static GENERATION: &Shape = &[
    ("temperature", Any),
    ("topP", Any),
    ("topK", Any),
    ("maxOutputTokens", Any),
    ("stopSequences", Any),
    ("seed", Any),
    ("candidateCount", Any),
    ("presencePenalty", Any),
    ("frequencyPenalty", Any),
    ("responseLogprobs", Any),
    ("logprobs", Any),
    ("responseMimeType", Any),
    ("responseSchema", One(&SCHEMA)),
    ("responseJsonSchema", Any),
    ("thinkingConfig", One(THINKING)),
];

static THINKING: &Shape =
    &[("includeThoughts", Any), ("thinkingBudget", Any), ("thinkingLevel", Any)];

static SCHEMA: [(&str, Holds); 20] = [
    ("type", Any),
    ("format", Any),
    ("title", Any),
    ("description", Any),
    ("nullable", Any),
    ("enum", Any),
    ("items", One(&SCHEMA)),
    ("minItems", Any),
    ("maxItems", Any),
    ("properties", Named(&SCHEMA)),
    ("required", Any),
    ("propertyOrdering", Any),
    ("minProperties", Any),
    ("maxProperties", Any),
    ("minimum", Any),
    ("maximum", Any),
    ("minLength", Any),
    ("maxLength", Any),
    ("pattern", Any),
    ("anyOf", Many(&SCHEMA)),
];

/// The first name in `request` that has no place there.
pub(super) fn unknown_name(request: &Map<String, Value>) -> Option<Problem> {
    in_message(request, REQUEST, "")
}

fn in_message(message: &Map<String, Value>, shape: &'static Shape, at: &str) -> Option<Problem> {
    message.iter().find_map(|(name, value)| {
        let Some((_, holds)) = shape.iter().find(|(known, _)| known == name) else {
            return Some(Problem::UnknownName { name: name.clone(), place: at.to_owned() });
        };
        let dot = if at.is_empty() { "" } else { "." };
        in_member(value, holds, &format!("{at}{dot}{}", snake(name)))
    })
}

fn in_member(value: &Value, holds: &'static Holds, at: &str) -> Option<Problem> {
    let one = |value: &Value, shape, at: &str| match value {
        Value::Object(message) => in_message(message, shape, at),
        _ => Some(Problem::Invalid(format!("Invalid value at '{at}': an object is expected"))),
    };
    match (holds, value) {
        (Any, _) => None,
        (One(shape), _) => one(value, *shape, at),
        (Many(shape), Value::Array(list)) => list
            .iter()
            .enumerate()
            .find_map(|(index, value)| one(value, *shape, &format!("{at}[{index}]"))),
        (Named(shape), Value::Object(map)) => map
            .values()
            .enumerate()
            .find_map(|(index, value)| one(value, *shape, &format!("{at}[{index}].value"))),
        (Many(_) | Named(_), _) => {
            Some(Problem::Invalid(format!("Invalid value at '{at}': a list is expected")))
        }
    }
}

/// As errors write names.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(request: &Value, expected: Option<(&str, &str)>) {
        let found = unknown_name(request.as_object().unwrap());
        let found = found.map(|it| match it {
            Problem::UnknownName { name, place } => (name, place),
            other => (format!("{other:?}"), String::new()),
        });
        let found = found.as_ref().map(|(name, place)| (name.as_str(), place.as_str()));
        assert_eq!(found, expected, "{request}");
    }

    #[test]
    fn an_unknown_name_is_found_wherever_it_stands() {
        let tool = |value: Value| {
            json!({"tools": [{"functionDeclarations": [
                {"name": "f", "parameters": {"type": "OBJECT", "properties": {"const": value}}}]}]})
        };
        check(&json!({"contents": [], "seed": 1}), Some(("seed", "")));
        check(
            &json!({"contents": [{"role": "user", "parts": [{"text": "x", "type": "text"}]}]}),
            Some(("type", "contents[0].parts[0]")),
        );
        check(&json!({"generationConfig": {"n": 2}}), Some(("n", "generation_config")));
        check(&tool(json!({"type": "STRING"})), None);
        let place = "tools[0].function_declarations[0].parameters.properties[0].value";
        check(&tool(json!({"const": "a"})), Some(("const", place)));
        let items = format!("{place}.items");
        check(&tool(json!({"items": {"$ref": "#"}})), Some(("$ref", items.as_str())));
    }
}
