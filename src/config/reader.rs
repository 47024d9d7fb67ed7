//! Takes a JSON document apart by asking for its keys. What was not asked for is unknown, and
//! every value that does not fit its rule becomes a fault; reading goes on all the same.

use std::collections::HashSet;

use super::environment::Variable;
use super::faults::Faults;
use super::json::Json;
use super::rules::Rule;

/// One document: where it stands, what overrides it, where its faults go.
pub(super) struct Document<'a> {
    pub(super) place: &'a str,
    /// Environment variables that beat the document, by JSON path.
    pub(super) overrides: &'a [(&'static str, Variable)],
    pub(super) faults: &'a Faults,
}

impl<'a> Document<'a> {
    /// Opens `json` as the object every configuration file is.
    pub(super) fn root(&'a self, json: &'a Json) -> Object<'a> {
        Object::open(self, String::new(), json)
    }
}

/// An object being read.
pub(super) struct Object<'a> {
    document: &'a Document<'a>,
    path: String,
    entries: Vec<(&'a str, &'a Json)>,
    asked: Vec<&'static str>,
    /// It was no object: that is a fault already, what is missing in it is none.
    broken: bool,
}

impl<'a> Object<'a> {
    /// Opens the value at `path`, e.g. an element of a list.
    pub(super) fn open(document: &'a Document<'a>, path: String, json: &'a Json) -> Self {
        let mut read =
            Self { document, path, entries: Vec::new(), asked: Vec::new(), broken: false };
        if let Json::Object(entries) = json {
            let mut seen = HashSet::new();
            for (key, value) in entries.iter().filter(|(key, _)| !key.starts_with("__")) {
                if seen.insert(key) {
                    read.entries.push((key, value));
                } else {
                    read.fault(key, "the same key a second time", "each key once");
                }
            }
        } else {
            read.broken = true;
            document.faults.add(document.place, &read.path, json.brief(), "an object");
        }
        read
    }

    /// The object under `key`; an empty one when it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.path_of(key);
        match self.value(key) {
            Some(json) => Self::open(self.document, path, json),
            None => Self {
                document: self.document,
                path,
                entries: Vec::new(),
                asked: Vec::new(),
                broken: self.broken,
            },
        }
    }

    /// The list under `key`, each element with its path; empty when it is absent or no list.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<(String, &'a Json)> {
        let path = self.path_of(key);
        match self.value(key) {
            Some(Json::List(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{path}[{index}]"), item))
                .collect(),
            Some(other) => {
                self.fault(key, other.brief(), "a list");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The elements of the list under `key` that fit `rule`.
    pub(super) fn elements<R: Rule>(&mut self, key: &'static str, rule: &R) -> Vec<R::Value> {
        let document = self.document;
        let fitting = |(path, json): (String, &Json)| {
            let read = rule.read(json);
            if read.is_none() {
                document.faults.add(document.place, &path, rule.shown(json), rule.wanted());
            }
            read
        };
        self.list(key).into_iter().filter_map(fitting).collect()
    }

    /// The value under `key`, if it is there and fits.
    pub(super) fn optional<R: Rule>(&mut self, key: &'static str, rule: &R) -> Option<R::Value> {
        let json = self.value(key);
        let written = json.and_then(|json| self.fitting(key, json, rule));
        let path = self.path_of(key);
        let overrides = self.document.overrides.iter();
        match overrides.filter(|(it, _)| *it == path).map(|(_, it)| it).next() {
            Some(variable) => variable.read(rule, self.document.faults),
            None => written,
        }
    }

    /// The value under `key`, or `default`.
    pub(super) fn or<R: Rule>(
        &mut self,
        key: &'static str,
        rule: &R,
        default: R::Value,
    ) -> R::Value {
        self.optional(key, rule).unwrap_or(default)
    }

    /// The value under `key`, which must be there.
    pub(super) fn required<R: Rule>(&mut self, key: &'static str, rule: &R) -> Option<R::Value> {
        let read = self.optional(key, rule);
        if !self.broken && !self.has(key) {
            self.fault(key, "nothing", rule.wanted());
        }
        read
    }

    /// All entries, whatever their keys, that fit `rule`.
    pub(super) fn every<R: Rule>(self, rule: &R) -> Vec<(String, R::Value)> {
        self.entries
            .iter()
            .filter_map(|(key, json)| Some(((*key).to_owned(), self.fitting(key, json, rule)?)))
            .collect()
    }

    /// Is `key` written here?
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(it, _)| *it == key)
    }

    /// Where this object stands.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Notes that the value of `key` is not as it should be.
    pub(super) fn fault(&self, key: &str, got: impl Into<String>, wanted: impl Into<String>) {
        self.document.faults.add(self.document.place, &self.path_of(key), got, wanted);
    }

    /// Ends the reading: what nobody asked for is unknown.
    pub(super) fn finish(self) {
        for (key, _) in &self.entries {
            if !self.asked.contains(key) {
                let wanted = match nearest(key, &self.asked) {
                    Some(known) => format!("a known key (did you mean \"{known}\"?)"),
                    None => format!("one of {}", self.asked.join(", ")),
                };
                self.fault(key, "an unknown key", wanted);
            }
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Json> {
        self.asked.push(key);
        self.entries.iter().find(|(it, _)| *it == key).map(|(_, json)| *json)
    }

    fn fitting<R: Rule>(&self, key: &str, json: &Json, rule: &R) -> Option<R::Value> {
        let read = rule.read(json);
        if read.is_none() {
            self.fault(key, rule.shown(json), rule.wanted());
        }
        read
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The word of `known` that `typed` was probably meant to be.
pub(super) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    if typed.len() > 100 {
        return None;
    }
    let typed = typed.to_ascii_lowercase();
    known
        .iter()
        .map(|word| {
            let begun = typed.len() > 2 && word.starts_with(&typed);
            (if begun { 1 } else { distance(&typed, &word.to_ascii_lowercase()) }, *word)
        })
        .filter(|(far, word)| *far <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be put in, taken out or changed to make `right` of `left`.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (pair, b) in row.windows(2).zip(right.chars()) {
            let &[diagonal, above] = pair else { continue };
            let before = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::Flag;
    use crate::config::rules::Whole;

    /// Reads `{"on": bool, "count": 1..=9 (must be there), "part": {"on": bool}}`.
    fn check(json: &str, wanted: &[&str]) {
        let json = Json::parse(json.as_bytes()).unwrap();
        let faults = Faults::default();
        let document = Document { place: "x.json", overrides: &[], faults: &faults };
        let mut root = document.root(&json);
        root.optional("on", &Flag);
        root.required("count", &Whole(1..=9));
        let mut part = root.section("part");
        part.optional("on", &Flag);
        part.finish();
        root.finish();
        let got: Vec<_> = faults.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(got, wanted);
    }

    #[test]
    fn every_fault_is_named_with_its_path() {
        check(r#"{"on": true, "count": 9, "part": {}, "__any": [1]}"#, &[]);
        check("[]", &["x.json: got a list; wanted an object"]);
        check("{}", &["x.json: count: got nothing; wanted a whole number from 1 to 9"]);
        check(
            r#"{"count": 1, "on": "x", "count": 2, "part": {"no": 1, "On": true}}"#,
            &[
                "x.json: count: got the same key a second time; wanted each key once",
                "x.json: on: got \"x\"; wanted true or false",
                "x.json: part.no: got an unknown key; wanted one of on",
                "x.json: part.On: got an unknown key; wanted a known key (did you mean \"on\"?)",
            ],
        );
        check(
            r#"{"count": 1, "colour": 1, "part": 7}"#,
            &[
                "x.json: part: got 7; wanted an object",
                "x.json: colour: got an unknown key; wanted one of on, count, part",
            ],
        );
    }

    #[test]
    fn the_nearest_word_is_offered_if_it_is_near() {
        let known = ["max_retries", "max_quota_wait_seconds", "deadline_seconds"];
        for (typed, wanted) in [
            ("max_retry", Some("max_retries")),
            ("Max_Retries", Some("max_retries")),
            ("deadline", Some("deadline_seconds")),
            ("de", None),
            ("deadline_second", Some("deadline_seconds")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(typed, &known), wanted, "{typed}");
        }
    }
}
