//! How much work a schema can make, told before it is used: a few hundred bytes of references that
//! fan out can keep a validator busy for years, and a chain of them can exhaust its stack.

use std::collections::HashMap;

use serde_json::Value;

/// Objects a schema may have. OpenAI allows 5,000 properties.
const MOST_OBJECTS: usize = 5_000;
/// Steps one walk through the schema may take with every reference followed.
const MOST_STEPS: u64 = 50_000;
/// What compiling a pattern and matching it costs, in steps.
const PATTERN_STEPS: u64 = 50;

/// Characters of the schema that an error repeats.
const MOST_QUOTED: usize = 150;

/// Members that hold data, not schemas.
const DATA: &[&str] = &["enum", "const", "default", "example", "examples"];
/// Members that hold schemas by name.
const BY_NAME: &[&str] = &[
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    DEFINITIONS,
    OLD_DEFINITIONS,
];
const DEFINITIONS: &str = "$defs";
const OLD_DEFINITIONS: &str = "definitions";
/// Members that refer to another place.
const REFERENCES: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];
/// Members that name a place.
const ANCHORS: &[&str] = &["$anchor", "$dynamicAnchor"];

/// Counts the objects of `schema`.
///
/// # Errors
/// Says what is too much, or refers to what is not in the schema.
pub(super) fn measure(schema: &Value) -> Result<usize, String> {
    let mut survey = Survey { root: schema, anchors: HashMap::new(), objects: 0 };
    survey.look_around(Place { value: schema, is: Is::Schema }, true)?;
    let mut walk = Walk { survey: &survey, steps: HashMap::new() };
    if walk.steps(Place { value: schema, is: Is::Schema })? > MOST_STEPS {
        return Err("is too involved: its references and branches multiply".to_owned());
    }
    Ok(survey.objects)
}

/// What an object or list in a schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Is {
    /// A schema, or a list of schemas.
    Schema,
    /// Schemas by name: its keys mean nothing.
    ByName,
}

/// One object or list in a schema.
#[derive(Clone, Copy)]
struct Place<'a> {
    value: &'a Value,
    is: Is,
}

impl<'a> Place<'a> {
    /// A member that is a keyword here.
    fn keyword(self, key: &str) -> Option<&'a Value> {
        self.value.as_object().filter(|_| self.is == Is::Schema)?.get(key)
    }

    /// The objects and lists in it that are or hold schemas, with their keys.
    fn children(self) -> impl Iterator<Item = (&'a str, Self)> {
        let members = self.value.as_object().into_iter().flatten();
        let members = members.filter(move |(key, _)| self.is == Is::ByName || !is(DATA, key));
        let members = members.map(move |(key, value)| {
            let by_name = self.is == Is::Schema && is(BY_NAME, key);
            (key.as_str(), Self { value, is: if by_name { Is::ByName } else { Is::Schema } })
        });
        let items = self.value.as_array().into_iter().flatten();
        let items = items.map(|value| ("", Self { value, is: Is::Schema }));
        members.chain(items).filter(|(_, it)| it.value.is_object() || it.value.is_array())
    }
}

fn is(list: &[&str], key: &str) -> bool {
    list.contains(&key)
}

/// What stands where in a schema.
struct Survey<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    objects: usize,
}

impl<'a> Survey<'a> {
    fn look_around(&mut self, place: Place<'a>, is_root: bool) -> Result<(), String> {
        self.objects += usize::from(place.value.is_object());
        if self.objects > MOST_OBJECTS {
            return Err(format!("has more than {MOST_OBJECTS} objects"));
        }
        if !is_root && place.keyword("$id").is_some_and(Value::is_string) {
            return Err("has an $id below its root, which is not supported".to_owned());
        }
        let names = ANCHORS.iter().filter_map(|it| place.keyword(it)?.as_str());
        self.anchors.extend(names.map(|it| (it, place.value)));
        place.children().try_for_each(|(_, it)| self.look_around(it, false))
    }

    /// The place `reference` names.
    fn find(&self, reference: &str) -> Result<&'a Value, String> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(format!(
                "refers to {}, and only its own parts can be referred to",
                short(reference)
            ));
        };
        let fragment = percent_decoded(fragment);
        let found = if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(&fragment)
        } else {
            self.anchors.get(&*fragment).copied()
        };
        found.ok_or_else(|| format!("refers to {}, which it does not have", short(reference)))
    }
}

/// As much of a caller's text as an error repeats.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(MOST_QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Adds up the steps below each place. A place that is reached again from within itself counts
/// once: validators remember what they have found out there.
struct Walk<'a, 's> {
    survey: &'s Survey<'a>,
    steps: HashMap<(*const Value, Is), u64>,
}

impl<'a> Walk<'a, '_> {
    fn steps(&mut self, place: Place<'a>) -> Result<u64, String> {
        let key = (std::ptr::from_ref(place.value), place.is);
        if let Some(known) = self.steps.get(&key) {
            return Ok(*known);
        }
        self.steps.insert(key, 1);
        let mut sum: u64 = 1;
        for reference in REFERENCES.iter().filter_map(|it| place.keyword(it)?.as_str()) {
            let value = self.survey.find(reference)?;
            sum = sum.saturating_add(self.steps(Place { value, is: Is::Schema })?);
        }
        let named = place.keyword("patternProperties").and_then(Value::as_object);
        let patterns = named.map_or(0, serde_json::Map::len)
            + usize::from(place.keyword("pattern").is_some_and(Value::is_string));
        sum = sum.saturating_add(PATTERN_STEPS.saturating_mul(patterns as u64));
        // What is defined counts where it is referred to.
        let defined =
            |key: &str| place.is == Is::Schema && is(&[DEFINITIONS, OLD_DEFINITIONS], key);
        for (_, child) in place.children().filter(|(key, _)| !defined(key)) {
            sum = sum.saturating_add(self.steps(child)?);
        }
        self.steps.insert(key, sum);
        Ok(sum)
    }
}

fn percent_decoded(text: &str) -> String {
    let hex = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let coded = match (first, after) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)),
            _ => None,
        };
        out.push(coded.map_or(*first, |(high, low)| high << 4 | low));
        rest = after.get(if coded.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, expected: Result<usize, &str>) {
        let measured = measure(schema);
        match (&measured, expected) {
            (Err(said), Err(part)) => assert!(said.contains(part), "{said}"),
            _ => assert_eq!(measured.as_ref().ok(), expected.as_ref().ok(), "{measured:?}"),
        }
    }

    /// `n` definitions, each made by `link` from the reference to the next; the last is plain.
    fn chain(n: usize, link: impl Fn(Value) -> Value) -> Value {
        let defs = (0..n).map(|i| {
            let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
            (format!("d{i}"), if i + 1 < n { link(next) } else { json!({"type": "object"}) })
        });
        json!({"$ref": "#/$defs/d0", "$defs": defs.collect::<serde_json::Map<_, _>>()})
    }

    #[test]
    fn usual_schemas_pass() {
        check(&json!({}), Ok(1));
        check(
            &json!({"properties": {"a": {"$ref": "#/$defs/A%3C1%3E"}}, "$defs": {"A<1>": {}}}),
            Ok(5),
        );
        check(
            &json!({"properties": {"next": {"$ref": "#"}, "a": {"$ref": "#x"}},
            "$defs": {"x": {"$anchor": "x"}}}),
            Ok(6),
        );
        check(
            &json!({"const": {"$ref": "nowhere"}, "properties": {"$id": {"type": "string"}}}),
            Ok(3),
        );
        check(
            &json!({"properties": {"default": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}),
            Ok(5),
        );
        check(&chain(500, |next| json!({"items": next})), Ok(1_001));
    }

    #[test]
    fn what_multiplies_is_refused() {
        check(&chain(40, |next| json!({"allOf": [next, next]})), Err("too involved"));
        let twice = |next: Value| json!({"properties": {"default": next, "$defs": next}});
        check(&chain(40, twice), Err("too involved"));
        let patterns = (0..2_000).map(|i| (format!("^a{i}"), json!(true)));
        let patterns: serde_json::Map<_, _> = patterns.collect();
        check(&json!({ "patternProperties": patterns }), Err("too involved"));
        check(&chain(3_000, |next| json!({"items": next})), Err("5000 objects"));
    }

    #[test]
    fn only_what_is_in_the_schema_can_be_referred_to() {
        for reference in ["https://example.com/a.json", "file:///etc/passwd", "other.json#/a"] {
            check(&json!({ "$ref": reference }), Err("only its own parts"));
        }
        check(&json!({"items": {"$ref": "#/$defs/no"}}), Err("does not have"));
        check(&json!({"items": {"$id": "elsewhere", "$ref": "#/a"}}), Err("$id"));
    }
}
