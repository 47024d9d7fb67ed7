//! From JSON Schema to the part of it that Gemini reads.
//!
//! A keyword the API has never heard of is refused, so what is kept is listed, not what is left
//! out. `$ref` is written out in full, for there is nothing to refer to; a schema that holds itself
//! is followed a little way and then cut. What is lost makes the schema looser, never stricter.
//!
//! Source: ai.google.dev/api/caching#Schema and error reports, gathered 2026-11.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::members::Members;

/// How deep a schema is followed; what lies deeper is left out.
const DEEPEST: usize = 32;
/// How often one definition may stand within itself.
const MOST_TURNS: usize = 2;
/// Schemas written in all: references to references grow without bound.
const MOST_SCHEMAS: usize = 4_000;
/// Bytes read in all, beside this many times the schema's own. Each level of it is read anew.
const LEAST_BYTES: usize = 256 * 1024;
const READINGS: usize = 16;

/// Keywords that are kept as they are, and the types they are kept for (none named: all).
const KEPT: &[(&str, &[&str])] = &[
    ("description", &[]),
    ("title", &[]),
    ("minItems", &["array"]),
    ("maxItems", &["array"]),
    ("minimum", &["integer", "number"]),
    ("maximum", &["integer", "number"]),
    ("minLength", &["string"]),
    ("maxLength", &["string"]),
    ("pattern", &["string"]),
    ("minProperties", &["object"]),
    ("maxProperties", &["object"]),
];

/// The only formats that are known, by type.
const FORMATS: &[(&str, &[&str])] = &[
    ("string", &["date-time", "enum"]),
    ("integer", &["int32", "int64"]),
    ("number", &["float", "double"]),
];

/// The schema of a function's parameters; `None` when it takes none, or says nothing of them, which
/// must not be written: nothing but an object with properties is taken.
pub(super) fn of_parameters(schema: &RawValue) -> Option<Value> {
    let cleaned = Cleaner::new(schema, false).clean(schema, 0)?;
    let object = cleaned.get("type").is_some_and(|it| it == "OBJECT");
    (object && cleaned.get("properties").is_some()).then_some(cleaned)
}

/// The schema of an answer. Its properties are answered in the order they were written in.
pub(super) fn of_answer(schema: &RawValue) -> Value {
    Cleaner::new(schema, true).clean(schema, 0).unwrap_or_else(|| json!({"type": "OBJECT"}))
}

struct Cleaner<'a> {
    root: &'a RawValue,
    ordered: bool,
    /// References being written out.
    turns: Vec<String>,
    /// What references have led through, by its path, each read but once.
    opened: HashMap<String, HashMap<String, &'a RawValue>>,
    schemas_left: usize,
    bytes_left: usize,
}

/// What a schema says, references and `allOf` taken in. Of a keyword said twice the outer counts.
#[derive(Default)]
struct Gathered<'a> {
    keywords: Vec<(String, &'a RawValue)>,
    properties: Vec<(String, &'a RawValue)>,
    required: Vec<String>,
}

impl<'a> Gathered<'a> {
    fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.keywords.iter().find(|(it, _)| it == key).map(|(_, value)| *value)
    }

    fn get<T: Deserialize<'a>>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?.get()).ok()
    }

    /// The keywords `anyOf` and `oneOf`, taken out.
    fn take_union(&mut self) -> Option<Vec<&'a RawValue>> {
        let union = self.get("anyOf").or_else(|| self.get("oneOf"));
        self.keywords.retain(|(key, _)| !matches!(key.as_str(), "anyOf" | "oneOf"));
        union
    }
}

impl<'a> Cleaner<'a> {
    fn new(root: &'a RawValue, ordered: bool) -> Self {
        Self {
            root,
            ordered,
            turns: Vec::new(),
            opened: HashMap::new(),
            schemas_left: MOST_SCHEMAS,
            bytes_left: LEAST_BYTES + READINGS * root.get().len(),
        }
    }

    /// The schema as Gemini reads it; `None` where it is cut.
    fn clean(&mut self, schema: &'a RawValue, depth: usize) -> Option<Value> {
        let turns = self.turns.len();
        let mut gathered = Gathered::default();
        let cleaned = self
            .gather(schema, depth, &mut gathered)
            .and_then(|()| self.write(&mut gathered, depth));
        self.turns.truncate(turns);
        cleaned
    }

    fn gather(
        &mut self,
        schema: &'a RawValue,
        depth: usize,
        into: &mut Gathered<'a>,
    ) -> Option<()> {
        self.schemas_left = self.schemas_left.checked_sub(1)?;
        self.bytes_left = self.bytes_left.checked_sub(schema.get().len())?;
        if depth > DEEPEST {
            return None;
        }
        // `true` and whatever else is no object: anything goes.
        let Ok(Members(members)) = serde_json::from_str(schema.get()) else { return Some(()) };
        let mut elsewhere = Vec::new();
        for (key, value) in members {
            match key.as_str() {
                "$ref" => {
                    let reference: String = serde_json::from_str(value.get()).unwrap_or_default();
                    self.enter(&reference)?;
                    elsewhere.extend(self.meaning(&reference));
                }
                "allOf" => elsewhere.extend(
                    serde_json::from_str::<Vec<&RawValue>>(value.get()).unwrap_or_default(),
                ),
                "properties" => {
                    let Ok(Members(more)) = serde_json::from_str(value.get()) else { continue };
                    let known = |name: &str| into.properties.iter().any(|(it, _)| it == name);
                    let more: Vec<_> = more.into_iter().filter(|(it, _)| !known(it)).collect();
                    into.properties.extend(more);
                }
                "required" => into
                    .required
                    .extend(serde_json::from_str::<Vec<String>>(value.get()).unwrap_or_default()),
                _ if into.raw(&key).is_none() => into.keywords.push((key, value)),
                _ => {}
            }
        }
        elsewhere.into_iter().try_for_each(|it| self.gather(it, depth + 1, into))
    }

    /// Notes that a reference is being followed; `None` when it has been followed often enough.
    fn enter(&mut self, reference: &str) -> Option<()> {
        let turns = self.turns.iter().filter(|it| *it == reference).count();
        self.turns.push(reference.to_owned());
        (turns < MOST_TURNS).then_some(())
    }

    /// What a reference means; `None` where it leads nowhere, or elsewhere than into this schema.
    fn meaning(&mut self, reference: &str) -> Option<&'a RawValue> {
        let path = reference.strip_prefix('#')?;
        let mut at = self.root;
        let mut walked = 0;
        for token in path.split('/').skip(1) {
            let members = self.opened.entry(path.get(..walked)?.to_owned()).or_insert_with(|| {
                let members = serde_json::from_str::<Members<'a>>(at.get());
                members.map(|it| it.0.into_iter().collect()).unwrap_or_default()
            });
            at = members.get(&token.replace("~1", "/").replace("~0", "~")).copied()?;
            walked += 1 + token.len();
        }
        Some(at)
    }

    fn write(&mut self, gathered: &mut Gathered<'a>, depth: usize) -> Option<Value> {
        let mut nullable = gathered.get::<bool>("nullable").unwrap_or(false);
        // One branch beside `null` is what it says itself; it may be such a choice again.
        while let Some(mut branches) = gathered.take_union() {
            let all = branches.len();
            branches.retain(|it| !is_null(it));
            nullable |= branches.len() < all;
            let shaped = gathered.raw("type").is_some() || !gathered.properties.is_empty();
            match *branches {
                _ if shaped => {}
                [only] => self.gather(only, depth, gathered)?,
                [] => {}
                _ => return self.union(&branches, gathered, nullable, depth),
            }
        }
        let (kinds, null) = kinds(gathered);
        nullable |= null;
        match &*kinds {
            [kind] => self.typed(gathered, kind, nullable, depth),
            kinds => {
                let typed: Vec<_> = kinds
                    .iter()
                    .filter_map(|kind| self.typed(gathered, kind, nullable, depth))
                    .collect();
                Some(json!({ "anyOf": typed }))
            }
        }
    }

    /// A choice of several. Nothing may stand beside it, so what is said of all is said of each.
    fn union(
        &mut self,
        branches: &[&'a RawValue],
        gathered: &Gathered<'a>,
        nullable: bool,
        depth: usize,
    ) -> Option<Value> {
        let description = gathered.get::<String>("description");
        let mut cleaned: Vec<Value> =
            branches.iter().filter_map(|it| self.clean(it, depth + 1)).collect();
        for branch in cleaned.iter_mut().filter_map(Value::as_object_mut) {
            if let (Some(text), true) = (&description, branch.contains_key("type")) {
                branch.entry("description").or_insert_with(|| text.as_str().into());
            }
            if nullable && branch.contains_key("type") {
                branch.insert("nullable".to_owned(), true.into());
            }
        }
        match cleaned.len() {
            0 => None,
            1 => cleaned.pop(),
            _ => Some(json!({ "anyOf": cleaned })),
        }
    }

    fn typed(
        &mut self,
        gathered: &Gathered<'a>,
        kind: &str,
        nullable: bool,
        depth: usize,
    ) -> Option<Value> {
        let mut out = Map::new();
        out.insert("type".to_owned(), kind.to_ascii_uppercase().into());
        for (key, kinds) in KEPT.iter().filter(|(_, it)| it.is_empty() || it.contains(&kind)) {
            let value = gathered.get::<Value>(key);
            if let Some(value) = value.filter(|it| it.is_number() || it.is_string()) {
                // A number where words belong would be refused.
                let proper = value.is_string() == (kinds.is_empty() || *key == "pattern");
                if proper {
                    out.insert((*key).to_owned(), value);
                }
            }
        }
        let format = gathered.get::<String>("format").filter(|format| {
            FORMATS.iter().any(|(it, known)| *it == kind && known.contains(&&**format))
        });
        out.extend(format.map(|it| ("format".to_owned(), it.into())));
        if nullable {
            out.insert("nullable".to_owned(), true.into());
        }
        choices(gathered, kind, &mut out);
        match kind {
            "object" => self.properties(gathered, depth, &mut out),
            "array" => {
                out.insert("items".to_owned(), self.items(gathered, depth)?);
            }
            _ => {}
        }
        Some(out.into())
    }

    fn properties(&mut self, gathered: &Gathered<'a>, depth: usize, out: &mut Map<String, Value>) {
        let mut names: Vec<Value> = Vec::new();
        let mut properties = Map::new();
        for (name, schema) in &gathered.properties {
            if let Some(schema) = self.clean(schema, depth + 1) {
                names.push(name.as_str().into());
                properties.insert(name.clone(), schema);
            }
        }
        let mut required: Vec<&String> = Vec::new();
        for name in &gathered.required {
            // A name that is not among the properties is refused.
            if properties.contains_key(name) && !required.contains(&name) {
                required.push(name);
            }
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        if self.ordered && names.len() > 1 {
            out.insert("propertyOrdering".to_owned(), names.into());
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), properties.into());
        }
    }

    /// What a list holds: it must be said. Of a tuple the first place speaks for all.
    fn items(&mut self, gathered: &Gathered<'a>, depth: usize) -> Option<Value> {
        let places = gathered
            .get::<Vec<&RawValue>>("prefixItems")
            .or_else(|| gathered.get::<Vec<&RawValue>>("items"));
        match places.and_then(|it| it.first().copied()).or_else(|| gathered.raw("items")) {
            Some(schema) => self.clean(schema, depth + 1),
            None => Some(json!({"type": "STRING"})),
        }
    }
}

/// Is `null` all this schema takes?
fn is_null(schema: &RawValue) -> bool {
    let value: Value = serde_json::from_str(schema.get()).unwrap_or_default();
    value.get("type").is_some_and(|it| it == "null")
        || value.get("const").is_some_and(Value::is_null)
        || value.get("enum").is_some_and(|it| *it == json!([null]))
}

/// The types a schema allows, `null` apart: at least one, guessed where none is named.
fn kinds(gathered: &Gathered<'_>) -> (Vec<String>, bool) {
    let mut kinds: Vec<String> = match gathered.get::<Value>("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    for kind in &mut kinds {
        kind.make_ascii_lowercase();
    }
    let named = kinds.len();
    kinds.retain(|it| it != "null");
    let null = kinds.len() < named || listed(gathered).iter().any(Value::is_null);
    kinds.retain(|it| {
        matches!(&**it, "string" | "number" | "integer" | "boolean" | "array" | "object")
    });
    if kinds.is_empty() {
        kinds.push(guess(gathered).to_owned());
    }
    (kinds, null)
}

fn guess(gathered: &Gathered<'_>) -> &'static str {
    let listed: Vec<_> = listed(gathered).into_iter().filter(|it| !it.is_null()).collect();
    let all = |is: fn(&Value) -> bool| !listed.is_empty() && listed.iter().all(is);
    if !gathered.properties.is_empty() || gathered.raw("additionalProperties").is_some() {
        "object"
    } else if gathered.raw("items").is_some() || gathered.raw("prefixItems").is_some() {
        "array"
    } else if all(|it| it.is_i64() || it.is_u64()) {
        "integer"
    } else if all(Value::is_number) {
        "number"
    } else if all(Value::is_boolean) {
        "boolean"
    } else {
        "string"
    }
}

/// The values an `enum` or a `const` allows.
fn listed(gathered: &Gathered<'_>) -> Vec<Value> {
    let one = || gathered.get::<Value>("const").map(|it| vec![it]);
    gathered.get("enum").or_else(one).unwrap_or_default()
}

/// Only strings may be listed, and none of them empty; other values are put in words.
fn choices(gathered: &Gathered<'_>, kind: &str, out: &mut Map<String, Value>) {
    let listed: Vec<_> = listed(gathered).into_iter().filter(|it| !it.is_null()).collect();
    if kind == "string" {
        let texts: Vec<Value> =
            listed.into_iter().filter(|it| it.as_str().is_some_and(|it| !it.is_empty())).collect();
        if !texts.is_empty() {
            out.insert("enum".to_owned(), texts.into());
        }
    } else if !listed.is_empty() {
        let words: Vec<_> = listed.iter().map(Value::to_string).collect();
        let words = format!("One of: {}.", words.join(", "));
        let described = out.get("description").and_then(Value::as_str);
        let described = described.map(|it| format!("{it} {words}")).unwrap_or(words);
        out.insert("description".to_owned(), described.into());
    }
}
