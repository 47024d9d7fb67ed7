//! What is left of a schema.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::provider::gemini::schema::{of_answer, of_parameters};

fn raw(schema: &str) -> Box<RawValue> {
    RawValue::from_string(schema.to_owned()).expect("JSON")
}

/// One property's schema, cleaned.
fn check(schema: &Value, expected: &Value) {
    let whole = json!({"type": "object", "properties": {"p": schema}});
    let cleaned = of_parameters(&raw(&whole.to_string()));
    let expected = json!({"type": "OBJECT", "properties": {"p": expected}});
    assert_eq!(cleaned, Some(expected), "{schema}");
}

#[test]
fn keywords_of_plain_values_are_kept_translated_or_left_out() {
    for (schema, expected) in [
        (json!({"type": "string"}), json!({"type": "STRING"})),
        (
            json!({"type": "string", "title": "T", "description": "D", "default": "x", "examples": ["y"],
                   "$schema": "s", "$id": "i", "minLength": 1, "maxLength": 9, "pattern": "^a"}),
            json!({"type": "STRING", "title": "T", "description": "D", "minLength": 1, "maxLength": 9, "pattern": "^a"}),
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!({"type": "STRING", "format": "date-time"}),
        ),
        (json!({"type": "string", "format": "uri"}), json!({"type": "STRING"})),
        (
            json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": 5, "multipleOf": 2,
                "exclusiveMinimum": 0, "minLength": 3}),
            json!({"type": "INTEGER", "format": "int64", "minimum": 1, "maximum": 5}),
        ),
        (json!({"type": "integer", "minimum": true}), json!({"type": "INTEGER"})),
        (json!({"type": ["string", "null"]}), json!({"type": "STRING", "nullable": true})),
        (json!({"type": "null"}), json!({"type": "STRING", "nullable": true})),
        (
            json!({"type": ["string", "integer"], "maximum": 3}),
            json!({"anyOf": [{"type": "STRING"}, {"type": "INTEGER", "maximum": 3}]}),
        ),
        (json!({"enum": ["a", "b"]}), json!({"type": "STRING", "enum": ["a", "b"]})),
        (
            json!({"type": "string", "enum": ["a", "", null, 3]}),
            json!({"type": "STRING", "enum": ["a"], "nullable": true}),
        ),
        (json!({"enum": [1, 2]}), json!({"type": "INTEGER", "description": "One of: 1, 2."})),
        (
            json!({"type": "integer", "enum": [1, 2], "description": "Which."}),
            json!({"type": "INTEGER", "description": "Which. One of: 1, 2."}),
        ),
        (json!({"const": "only"}), json!({"type": "STRING", "enum": ["only"]})),
        (json!({"const": 2.5}), json!({"type": "NUMBER", "description": "One of: 2.5."})),
        (json!({"const": true}), json!({"type": "BOOLEAN", "description": "One of: true."})),
    ] {
        check(&schema, &expected);
    }
}

#[test]
fn lists_objects_and_what_is_neither() {
    for (schema, expected) in [
        (json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}})),
        (
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": true}),
            json!({"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": 1}),
        ),
        (
            json!({"prefixItems": [{"type": "number"}, {"type": "string"}]}),
            json!({"type": "ARRAY", "items": {"type": "NUMBER"}}),
        ),
        (
            json!({"items": [{"type": "number"}]}),
            json!({"type": "ARRAY", "items": {"type": "NUMBER"}}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "patternProperties": {}}),
            json!({"type": "OBJECT"}),
        ),
        (
            json!({"properties": {"a": {}}, "required": ["a", "b", "a"], "minProperties": 1}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"], "minProperties": 1}),
        ),
        (
            json!({"properties": {"$ref": {"type": "integer"}, "default": true}}),
            json!({"type": "OBJECT", "properties": {"$ref": {"type": "INTEGER"}, "default": {"type": "STRING"}}}),
        ),
        (json!(true), json!({"type": "STRING"})),
        (json!({"type": "frobnicate"}), json!({"type": "STRING"})),
        (json!({"type": "STRING"}), json!({"type": "STRING"})),
        (
            json!({"if": {}, "then": {}, "else": {}, "not": {"type": "string"}, "type": "number"}),
            json!({"type": "NUMBER"}),
        ),
    ] {
        check(&schema, &expected);
    }
}

#[test]
fn choices_and_conjunctions() {
    for (schema, expected) in [
        (
            json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}], "description": "D", "default": null}),
            json!({"type": "STRING", "maxLength": 3, "description": "D", "nullable": true}),
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}], "description": "D"}),
            json!({"anyOf": [{"type": "STRING", "description": "D"}, {"type": "INTEGER", "description": "D"}]}),
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "integer", "description": "own"}, {"const": null}]}),
            json!({"anyOf": [{"type": "STRING", "nullable": true},
                          {"type": "INTEGER", "description": "own", "nullable": true}]}),
        ),
        (
            json!({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}),
        ),
        (json!({"anyOf": []}), json!({"type": "STRING"})),
        (
            json!({"anyOf": [{"anyOf": [{"type": "integer"}, {"type": "null"}]}]}),
            json!({"type": "INTEGER", "nullable": true}),
        ),
        (
            json!({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]},
                          {"properties": {"b": {"type": "integer"}, "a": {"type": "number"}}, "required": ["b"]}]}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}}, "required": ["a", "b"]}),
        ),
    ] {
        check(&schema, &expected);
    }
}

#[test]
fn references_are_written_out() {
    let schema = json!({
        "type": "object",
        "properties": {
            "home": {"$ref": "#/$defs/Address", "description": "Where."},
            "work": {"allOf": [{"$ref": "#/definitions/Work~1Place"}]},
            "lost": {"$ref": "#/$defs/Nowhere"},
            "far": {"$ref": "https://example.com/x.json"},
        },
        "$defs": {"Address": {"type": "object", "description": "An address.", "properties": {"city": {"$ref": "#/$defs/City"}}},
                  "City": {"type": "string"}},
        "definitions": {"Work/Place": {"type": "integer"}},
    });
    let expected = json!({"type": "OBJECT", "properties": {
        "home": {"type": "OBJECT", "description": "Where.", "properties": {"city": {"type": "STRING"}}},
        "work": {"type": "INTEGER"},
        "lost": {"type": "STRING"},
        "far": {"type": "STRING"},
    }});
    assert_eq!(of_parameters(&raw(&schema.to_string())), Some(expected));
}

#[test]
fn what_holds_itself_is_cut() {
    let node = json!({"type": "object", "required": ["name", "next"], "properties": {
        "name": {"type": "string"}, "next": {"$ref": "#"},
        "children": {"type": "array", "items": {"$ref": "#"}}}});
    let leaf =
        json!({"type": "OBJECT", "required": ["name"], "properties": {"name": {"type": "STRING"}}});
    let parent = |child: &Value| {
        json!({"type": "OBJECT", "required": ["name", "next"], "properties": {
            "name": {"type": "STRING"}, "next": child,
            "children": {"type": "ARRAY", "items": child}}})
    };
    let expected = parent(&parent(&leaf));
    assert_eq!(of_parameters(&raw(&node.to_string())), Some(expected));
    let itself = json!({"$ref": "#"});
    assert_eq!(of_parameters(&raw(&itself.to_string())), None);
    assert_eq!(of_answer(&raw(&itself.to_string())), json!({"type": "OBJECT"}));
}

#[test]
fn nothing_grows_without_bound() {
    // Each definition holds the next one ten times over.
    let definition = |at: usize| {
        let properties: Value = (0..10)
            .map(|it| (format!("p{it}"), json!({"$ref": format!("#/$defs/d{}", at + 1)})))
            .collect::<serde_json::Map<_, _>>()
            .into();
        (format!("d{at}"), json!({"type": "object", "properties": properties}))
    };
    let definitions: serde_json::Map<_, _> = (0..20).map(definition).collect();
    let bomb = json!({"$ref": "#/$defs/d0", "$defs": definitions}).to_string();
    let cleaned = of_answer(&raw(&bomb)).to_string();
    assert!(cleaned.len() < 1_000_000, "{}", cleaned.len());
    let long = "x".repeat(50_000);
    let many: serde_json::Map<_, _> =
        (0..3_000).map(|it| (format!("p{it}"), json!({"$ref": "#/$defs/long"}))).collect();
    let wide = json!({"properties": many, "$defs": {"long": {"description": long}}}).to_string();
    assert!(of_answer(&raw(&wide)).to_string().len() < 20 * wide.len() + 300_000);
    let deep = format!("{}{{}}{}", r#"{"properties":{"a":"#.repeat(2_000), "}}".repeat(2_000));
    assert!(of_answer(&raw(&deep)).to_string().len() < 10_000);
}

#[test]
fn an_answers_properties_keep_their_order() {
    let schema = r#"{"type":"object","properties":{"thought":{"type":"string"},"answer":{"type":"string"}}}"#;
    let cleaned = of_answer(&raw(schema));
    assert_eq!(cleaned["propertyOrdering"], json!(["thought", "answer"]));
    assert_eq!(of_parameters(&raw(schema)).unwrap().get("propertyOrdering"), None);
}

#[test]
fn no_parameters_are_not_written() {
    for schema in [
        r#"{"type":"object","properties":{}}"#,
        r#"{"type":"object"}"#,
        r#"{"properties":{}, "type":"object", "required":[]}"#,
        "{}",
        "true",
        r#"{"type":"string"}"#,
        r#"{"anyOf":[{"type":"string"},{"type":"integer"}]}"#,
    ] {
        assert_eq!(of_parameters(&raw(schema)), None, "{schema}");
    }
}
