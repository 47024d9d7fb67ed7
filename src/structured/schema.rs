//! A JSON schema, checked once and then used for every answer to its request.

use jsonschema::PatternOptions;
use jsonschema::Validator;
use serde_json::Value;

use crate::openai::ApiError;

use super::bounds::measure;
use super::bounds::short;

/// The longest schema, in bytes of JSON.
const MOST_BYTES: usize = 256 * 1024;
/// How often a pattern with look-around may go back while it is matched against one string. All
/// other patterns take time in proportion to the string.
const MOST_BACKTRACKS: usize = 10_000;
/// The largest program a pattern may become, in bytes.
const PATTERN_BYTES: usize = 1024 * 1024;
/// Stack that one object of the schema may take at one level of the answer, in bytes. Measured at
/// 200 in debug builds.
const FRAME: usize = 2 * 1024;
/// The most objects times levels that are followed.
const MOST_FRAMES: usize = 64 * 1024;
/// Stack that reading may take for each byte of a schema that is one chain of references, in bytes.
/// Measured at 40 in debug builds.
const READING: usize = 128;
/// Stack that any check needs.
const BASE: usize = 1024 * 1024;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    objects: usize,
}

impl Schema {
    /// Stack that reading the schema in `text` needs at most, in bytes.
    pub fn stack_to_read(text: &str) -> usize {
        BASE + text.len().min(MOST_BYTES).saturating_mul(READING)
    }

    /// Reads a schema.
    ///
    /// # Errors
    /// A 400 that says what is wrong with it.
    pub fn read(text: &str) -> Result<Self, ApiError> {
        if text.len() > MOST_BYTES {
            return Err(refused(&format!("has more than {MOST_BYTES} bytes")));
        }
        let schema: Value =
            serde_json::from_str(text).map_err(|it| refused(&format!("can't be read: {it}")))?;
        let objects = measure(&schema).map_err(|it| refused(&it))?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(MOST_BACKTRACKS)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        let validator = options.build(&schema).map_err(|it| {
            let place = short(&it.instance_path().to_string());
            let place = if place.is_empty() { "its root".to_owned() } else { place };
            let said = short(&it.to_string());
            refused(&format!("is no valid JSON Schema: at {place}: {said}"))
        })?;
        Ok(Self { validator, objects })
    }

    /// Stack that checking `value` needs at most, in bytes; `None` when it is more than any answer
    /// is worth.
    pub fn stack_for(&self, value: &Value) -> Option<usize> {
        let frames = self.objects.saturating_mul(depth(value));
        (frames <= MOST_FRAMES).then_some(BASE + frames * FRAME)
    }

    /// Does `value` fit?
    pub fn fits(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }
}

fn refused(what: &str) -> ApiError {
    let param = "response_format.json_schema.schema";
    let error = ApiError::invalid(format!("{param} {what}."), Some(param));
    error.logged_as("The JSON schema can't be used.")
}

/// Levels of a value; 1 for one that holds no other. Parsing allows 128.
fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => None,
    };
    1 + below.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value) -> Result<Schema, ApiError> {
        Schema::read(&schema.to_string())
    }

    fn check(schema: &Value, value: &Value, expected: bool) {
        let schema = read(schema).unwrap();
        assert!(schema.stack_for(value).is_some());
        assert_eq!(schema.fits(value), expected, "{value}");
    }

    fn check_refused(schema: &Value, said: &str) {
        let error = read(schema).unwrap_err();
        assert_eq!(error.status, 400);
        assert_eq!(error.param.as_deref(), Some("response_format.json_schema.schema"));
        assert!(error.message.contains(said), "{}", error.message);
    }

    #[test]
    fn answers_are_held_against_the_schema() {
        let person = json!({"type": "object", "properties": {"name": {"type": "string"},
            "age": {"type": "integer"}}, "required": ["name"], "additionalProperties": false});
        check(&person, &json!({"name": "Ada", "age": 36}), true);
        check(&person, &json!({"name": "Ada", "age": "36"}), false);
        check(&person, &json!({"age": 36}), false);
        check(&person, &json!({"name": "Ada", "more": 1}), false);
        check(&json!({"type": "string"}), &json!("x"), true);
        check(&json!({"nullable": true, "x-order": 3}), &json!(null), true);
        let list = json!({"properties": {"next": {"$ref": "#"}, "v": {"type": "integer"}}});
        check(&list, &json!({"next": {"next": {"v": 1}}}), true);
        check(&list, &json!({"next": {"next": {"v": "1"}}}), false);
    }

    #[test]
    fn what_is_no_schema_is_refused_and_nothing_is_fetched() {
        check_refused(&json!({"properties": {"a": {"type": "strng"}}}), "/properties/a/type");
        check_refused(&json!("x"), "no valid JSON Schema");
        check_refused(&json!({"pattern": "("}), "no valid JSON Schema");
        check_refused(&json!({"$schema": "https://example.com/own"}), "no valid JSON Schema");
        check_refused(&json!({"$ref": "http://127.0.0.1:1/x.json"}), "only its own parts");
        check_refused(&json!({"description": "x".repeat(MOST_BYTES)}), "bytes");
    }

    #[test]
    fn patterns_that_go_back_and_forth_are_given_up() {
        let evil = json!({"not": {"pattern": "^(a|a)*\\1$"}});
        check(&evil, &json!("a".repeat(8) + "b"), true);
        // No match either, but nobody waits to find out.
        check(&evil, &json!("a".repeat(17) + "b"), false);
    }

    #[test]
    fn the_longest_chain_is_read_and_forgotten_in_the_stack_it_is_given() {
        let defs =
            (0..2_400).map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)})));
        let mut defs: serde_json::Map<_, _> = defs.collect();
        defs.insert("d2400".to_owned(), json!({"allOf": [{"type": "integer"}]}));
        let text = json!({"$ref": "#/$defs/d0", "$defs": defs}).to_string();
        let reading = std::thread::Builder::new().stack_size(Schema::stack_to_read(&text));
        let schema = reading.spawn(move || Schema::read(&text).unwrap()).unwrap().join().unwrap();
        let stack = schema.stack_for(&json!(1)).unwrap();
        let checking = std::thread::Builder::new().stack_size(stack);
        // It is dropped on a thread with the 2 MiB that tokio gives.
        std::thread::spawn(move || {
            let checked = checking.spawn(move || (schema.fits(&json!(1)), schema)).unwrap();
            assert!(checked.join().unwrap().0);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn deep_answers_to_long_chains_are_told_their_stack() {
        let deep = |levels| (0..levels).fold(json!(1), |value, _| json!({ "a": value }));
        let defs = (0..100).map(|i| {
            let next = json!({"$ref": format!("#/$defs/d{}", (i + 1) % 100)});
            let last = json!({"properties": {"a": next}});
            (format!("d{i}"), if i < 99 { json!({"allOf": [next]}) } else { last })
        });
        let defs: serde_json::Map<_, _> = defs.collect();
        let schema = read(&json!({"$ref": "#/$defs/d0", "$defs": defs})).unwrap();
        let stack = schema.stack_for(&deep(100)).unwrap();
        let checking = std::thread::Builder::new().stack_size(stack);
        let checking = checking.spawn(move || schema.fits(&deep(100))).unwrap();
        assert!(checking.join().unwrap());
        let wide = json!({"anyOf": (0..4_000).map(|_| json!({})).collect::<Vec<_>>()});
        assert_eq!(read(&wide).unwrap().stack_for(&deep(100)), None);
    }
}
