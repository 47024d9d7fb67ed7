//! Tool calls of one choice of a stream, in OpenAI's form: the first delta of each carries `index`,
//! `id`, `type` and the function's name, those after it nothing but a piece of the arguments.

use std::borrow::Cow;

use fastrand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::JsonObject;
use crate::openai::is_plain_string;
use crate::openai::json_list;
use crate::openai::json_string;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::openai_compatible::incoming::arguments::Reach;
use crate::provider::openai_compatible::incoming::arguments::is_object;
use crate::provider::openai_compatible::incoming::arguments::is_string;
use crate::provider::openai_compatible::incoming::arguments::once;
use crate::provider::openai_compatible::incoming::arguments::take_function;
use crate::provider::openai_compatible::incoming::arguments::text_of;

/// Calls followed in one choice. No model makes that many.
const CALLS: usize = 512;
/// Longest arguments kept while the name of their function has not come, or while they may have been
/// made a string twice, in bytes.
const WAITING_BYTES: usize = 256 * 1024;

/// The calls of one choice so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    known: Vec<Call>,
    /// How many have been sent on.
    opened: usize,
    /// Has one been kept back, so that numbers are no places any more?
    scrambled: bool,
}

#[derive(Clone, Debug, Default)]
struct Call {
    /// The provider's own index for it, where it gave one.
    index: Option<u64>,
    /// The index it has been sent on with.
    number: usize,
    /// The id it came with.
    id: Option<String>,
    name: Option<String>,
    /// Its first delta, kept while it names no function.
    opening: Option<JsonObject>,
    /// The arguments that came with it.
    waiting: String,
    /// Arguments kept because they begin as a string, not as an object.
    held: Option<String>,
    /// How far the arguments sent on have got.
    reach: Reach,
    has_arguments: bool,
    half: Option<u16>,
}

/// A call as a clean delta holds it.
#[derive(Deserialize)]
struct Delta<'a> {
    index: Option<u64>,
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Delta<'_> {
    fn arguments(&self) -> Option<&str> {
        self.function.as_ref()?.arguments.map(RawValue::get)
    }
}

impl Calls {
    /// Would the calls end well now: each named, each with arguments?
    pub(super) fn are_complete(&self) -> bool {
        self.known.iter().all(|it| it.has_arguments && it.is_clean())
    }

    /// Takes note of deltas that are in OpenAI's form already. `false`, with nothing noted, when
    /// they are not.
    pub(super) fn note(&mut self, json: &str) -> bool {
        let Ok(deltas) = serde_json::from_str::<Vec<Delta<'_>>>(json) else { return false };
        let known = self.known.len();
        if self.scrambled || !deltas.iter().all(|it| self.note_one(it, known)) {
            self.known.truncate(known);
            return false;
        }
        self.opened = self.known.len();
        // Fragments change no more than this, and only once all deltas were found clean.
        for delta in &deltas {
            let at = delta.index.and_then(|it| usize::try_from(it).ok());
            if let Some(call) = at.and_then(|it| self.known.get_mut(it)) {
                let piece = text_of(delta.arguments(), &mut None);
                call.has_arguments |= !piece.is_empty();
                call.reach.add(&piece);
            }
        }
        true
    }

    fn note_one(&mut self, delta: &Delta<'_>, known: usize) -> bool {
        let Some(index) = delta.index.and_then(|it| usize::try_from(it).ok()) else { return false };
        let Some(arguments) = delta.arguments().filter(|it| is_plain_string(it)) else {
            return false;
        };
        let name = delta.function.as_ref().and_then(|it| it.name.as_deref());
        if index < known {
            let call = self.known.get(index);
            let is_next = |it: &Call| {
                let as_text = !it.has_arguments && begins_as_string(arguments);
                it.index == delta.index && it.is_clean() && !as_text
            };
            let bare = delta.id.is_none() && delta.kind.is_none() && name.is_none();
            return bare && call.is_some_and(is_next);
        }
        let Some(id) = delta.id.as_deref().filter(|it| !it.is_empty()) else { return false };
        let is_new = index == self.known.len() && index < CALLS && !self.has_id(id);
        let is_named = name.is_some_and(|it| !it.is_empty());
        let is_function = delta.kind.as_deref() == Some("function");
        if !is_new || !is_named || !is_function || begins_as_string(arguments) {
            return false;
        }
        self.known.push(Call {
            index: delta.index,
            number: index,
            id: Some(id.to_owned()),
            name: name.map(str::to_owned),
            ..Call::default()
        });
        true
    }

    /// The deltas in `json` in OpenAI's form. `rng` makes ids where there are none.
    ///
    /// # Errors
    /// [`FaultKind::Unreadable`] for more calls, or longer ones, than any model makes.
    pub(super) fn mend(&mut self, json: &str, rng: &mut Rng) -> Result<Vec<String>, Fault> {
        let mut out = Vec::new();
        for delta in json_list(json).unwrap_or_else(|| vec![json]) {
            let Ok(mut delta) = JsonObject::parse(delta) else { continue };
            let piece = Piece::take(&mut delta);
            let known = self.place(&piece);
            if known.is_none() {
                if self.known.len() >= CALLS {
                    return Err(too_much());
                }
                let id = piece.id.clone().filter(|it| !self.has_id(it));
                delta.set_text("id", &id.unwrap_or_else(|| call_id(rng)));
                self.known.push(Call::new(&piece));
            }
            let at = known.unwrap_or(self.known.len() - 1);
            let Some(call) = self.known.get_mut(at) else { continue };
            let sent = if call.opening.is_some() {
                let sent = call.open(delta, piece, self.opened)?;
                self.opened += usize::from(sent.is_some());
                self.scrambled |= sent.is_none();
                sent
            } else {
                call.go_on(delta, piece)
            };
            out.extend(sent);
        }
        Ok(out)
    }

    /// What the calls lack when nothing more comes: no arguments are an empty object's. A call that
    /// never named its function calls nothing.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        for call in self.known.iter_mut().filter(|it| it.opening.is_none()) {
            let lost = call.half.take().map(|_| char::REPLACEMENT_CHARACTER);
            let mut rest = call.held.take().unwrap_or_default();
            rest.extend(lost);
            let rest = match (rest.is_empty(), call.has_arguments) {
                (false, _) => once(rest),
                (true, true) => continue,
                (true, false) => "{}".to_owned(),
            };
            call.has_arguments = true;
            let (at, rest) = (call.number, json_string(&rest));
            out.push(format!(r#"{{"index":{at},"function":{{"arguments":{rest}}}}}"#));
        }
        out
    }

    /// Has any call been sent on?
    pub(super) fn have_opened(&self) -> bool {
        self.opened > 0
    }

    fn has_id(&self, id: &str) -> bool {
        self.known.iter().any(|it| it.id.as_deref() == Some(id))
    }

    /// Which of the calls a piece belongs to; `None` when it begins another. An index that is
    /// always 0 tells no two calls apart where their ids do, or where each comes whole; ids that
    /// change with every piece tell nothing where the index is the same and no call begins.
    fn place(&self, piece: &Piece) -> Option<usize> {
        let is_whole = || is_object(&text_of(piece.arguments(), &mut None));
        if let Some(id) = &piece.id {
            let has_place = |it: &Call| piece.index.is_none() || it.index == piece.index;
            let by_id = |it: &Call| it.id.as_ref() == Some(id) && has_place(it);
            let by_index = || {
                let same = |it: &Call| it.index == piece.index && piece.index.is_some();
                let at = self.known.iter().rposition(same)?;
                let goes_on = self.known.get(at).is_some_and(|it| it.goes_on_with(piece));
                goes_on.then_some(at)
            };
            return self.known.iter().position(by_id).or_else(by_index);
        }
        let (at, call) = match piece.index {
            Some(_) => self.known.iter().enumerate().rfind(|(_, it)| it.index == piece.index)?,
            None => self.known.iter().enumerate().next_back()?,
        };
        if piece.name.is_none() || call.name.is_none() {
            return Some(at);
        }
        let is_other = match piece.index {
            Some(_) => call.is_whole() && is_whole(),
            None => call.name != piece.name || is_whole(),
        };
        (!is_other).then_some(at)
    }
}

/// What a delta says of a call.
struct Piece {
    index: Option<u64>,
    id: Option<String>,
    name: Option<String>,
    /// Its function's members; `None` for a call of another kind.
    function: Option<JsonObject>,
}

impl Piece {
    /// Reads a delta and leaves in it what is to be sent on in any case.
    fn take(delta: &mut JsonObject) -> Self {
        let kind = delta.text("type").filter(|it| !it.is_empty());
        let other = kind.is_some_and(|it| it != "function") && delta.get("function").is_none();
        let function = (!other).then(|| take_function(delta));
        let said = |object: &JsonObject, key: &str| object.text(key).filter(|it| !it.is_empty());
        Self {
            index: delta.get("index").and_then(|it| it.trim_matches('"').parse().ok()),
            id: said(delta, "id"),
            name: function.as_ref().and_then(|it| said(it, "name")),
            function,
        }
    }

    fn arguments(&self) -> Option<&str> {
        self.function.as_ref()?.get("arguments")
    }
}

impl Call {
    fn new(piece: &Piece) -> Self {
        Self {
            index: piece.index,
            id: piece.id.clone(),
            opening: Some(JsonObject::default()),
            ..Self::default()
        }
    }

    /// Has all of it that came been sent on?
    fn is_clean(&self) -> bool {
        self.opening.is_none() && self.half.is_none() && self.held.is_none()
    }

    fn is_whole(&self) -> bool {
        self.reach.is_whole() || is_object(&once(self.waiting.clone()))
    }

    /// Can a piece with the index of this call, but with another id, be a part of it?
    fn goes_on_with(&self, piece: &Piece) -> bool {
        let begins = self.name.is_some() && piece.name.is_some() && self.name != piece.name;
        let says_nothing = || text_of(piece.arguments(), &mut None).is_empty();
        !begins && (!self.is_whole() || (piece.name.is_none() && says_nothing()))
    }

    /// Keeps arguments that begin as a string until it is known what is in it: the object, made a
    /// string twice, or nothing that could be mended.
    fn unquoted(&mut self, piece: String) -> String {
        let held = match self.held.take() {
            Some(held) => held + &piece,
            None if !self.has_arguments && piece.trim_ascii_start().starts_with('"') => piece,
            None => return piece,
        };
        if is_string(&held) || held.len() > WAITING_BYTES {
            return once(held);
        }
        self.held = Some(held);
        String::new()
    }

    /// The first delta, once the function's name is there.
    fn open(
        &mut self,
        delta: JsonObject,
        piece: Piece,
        number: usize,
    ) -> Result<Option<String>, Fault> {
        let mut opening = self.opening.take().filter(|it| !it.is_empty()).unwrap_or(delta);
        self.number = number;
        opening.set("index", number.to_string());
        let Some(mut function) = piece.function else {
            self.has_arguments = true;
            return Ok(Some(opening.to_string()));
        };
        self.waiting.push_str(&text_of(function.get("arguments"), &mut self.half));
        if self.waiting.len() > WAITING_BYTES && piece.name.is_none() {
            return Err(too_much());
        }
        let Some(name) = piece.name else {
            self.opening = Some(opening);
            return Ok(None);
        };
        let arguments = std::mem::take(&mut self.waiting);
        let arguments = self.unquoted(arguments);
        self.has_arguments = !arguments.is_empty();
        self.reach.add(&arguments);
        function.set_text("name", &name);
        function.set_text("arguments", &arguments);
        opening.set_text("type", "function");
        opening.set("function", function.to_string());
        self.name = Some(name);
        Ok(Some(opening.to_string()))
    }

    /// A later delta: a piece of the arguments, and what nobody here knows of.
    fn go_on(&mut self, mut delta: JsonObject, piece: Piece) -> Option<String> {
        delta.set("index", self.number.to_string());
        for told in ["id", "type"] {
            let _told = delta.remove(told);
        }
        if let Some(mut function) = piece.function {
            let arguments = text_of(function.get("arguments"), &mut self.half);
            let arguments = self.unquoted(arguments);
            self.has_arguments |= !arguments.is_empty();
            self.reach.add(&arguments);
            let _told = function.remove("name");
            function.set_text("arguments", &arguments);
            if !arguments.is_empty() || function.keys().count() > 1 {
                delta.set("function", function.to_string());
            }
        }
        let says = delta.keys().any(|it| it != "index");
        says.then(|| delta.to_string())
    }
}

/// Does this JSON string hold what begins as a string itself? It may have been made one twice.
fn begins_as_string(json: &str) -> bool {
    json.starts_with(r#""\""#)
}

/// An id in OpenAI's form.
pub(super) fn call_id(rng: &mut Rng) -> String {
    format!("call_{:024x}", rng.u128(..) >> 32)
}

fn too_much() -> Fault {
    Fault::new(FaultKind::Unreadable, "more tool calls than any model makes")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::openai::json_list_of;

    use super::*;

    /// What goes out for deltas that come one by one, and at the end.
    fn run(deltas: &[Value]) -> Vec<Value> {
        let mut calls = Calls::default();
        let mut rng = Rng::with_seed(7);
        let mut out = Vec::new();
        for delta in deltas {
            let json = delta.to_string();
            let clean = calls.note(&json);
            let sent =
                if clean { json } else { json_list_of(&calls.mend(&json, &mut rng).unwrap()) };
            out.extend(serde_json::from_str::<Vec<Value>>(&sent).unwrap());
        }
        let rest = json_list_of(&calls.finish());
        out.extend(serde_json::from_str::<Vec<Value>>(&rest).unwrap());
        out
    }

    fn check(deltas: &[Value], expected: &[Value]) {
        let out = run(deltas);
        assert_eq!(out, expected, "{deltas:?}");
        let one_by_one: Vec<_> = out.iter().map(|it| json!([it])).collect();
        assert_eq!(run(&one_by_one), expected, "mended once is mended: {deltas:?}");
    }

    fn open(index: u64, id: &str, arguments: &str) -> Value {
        json!({"index": index, "id": id, "type": "function",
            "function": {"name": "f", "arguments": arguments}})
    }

    fn more(index: u64, arguments: &str) -> Value {
        json!({"index": index, "function": {"arguments": arguments}})
    }

    #[test]
    fn deltas_in_openais_form_are_noted_and_stay() {
        let deltas =
            [open(0, "a", ""), more(0, "{\"x\":"), more(0, "1}"), open(1, "b", "{}"), more(1, "")];
        let mut calls = Calls::default();
        for delta in &deltas {
            assert!(calls.note(&json!([delta]).to_string()), "{delta}");
        }
        assert!(calls.are_complete() && calls.finish().is_empty());
        assert!(calls.note(&json!([open(2, "c", "{}"), open(3, "d", "{}")]).to_string()));
        for odd in [
            json!([open(5, "e", "{}")]),
            json!([open(4, "a", "{}")]),
            json!([open(4, "", "{}")]),
            json!([open(0, "a", "x")]),
            json!([open(4, "e", "\"{}\"")]),
            json!([{"index": 0, "function": {"arguments": {}}}]),
            json!([{"function": {"arguments": "x"}}]),
            json!([{"index": 4, "id": "e", "function": {"name": "f", "arguments": ""}}]),
            json!({"index": 0}),
        ] {
            assert!(!calls.note(&odd.to_string()), "{odd}");
            assert_eq!(calls.known.len(), 4);
        }
    }

    #[test]
    fn missing_indexes_are_numbered_by_arrival_and_id() {
        let call = |id: &str, city: &str| {
            json!({"id": id, "type": "function", "extra_content": {"s": "x"},
                "function": {"name": "f", "arguments": format!("{{\"city\":\"{city}\"}}")}})
        };
        let numbered = |index: u64, mut call: Value| {
            call["index"] = index.into();
            call
        };
        let (a, b) = (call("a", "Paris"), call("b", "Rome"));
        let expected = [numbered(0, a.clone()), numbered(1, b.clone())];
        check(&[json!([a, b])], &expected);
        check(&[json!([a]), json!([b])], &expected);
        // Ollama: always 0.
        check(&[json!([numbered(0, a)]), json!([numbered(0, b)])], &expected);
        // Pieces of one call, told by nothing but their order.
        let first =
            json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}});
        let piece = json!({"function": {"arguments": "}"}});
        check(&[json!([first]), json!([piece])], &[open(0, "a", "{"), more(0, "}")]);
        // An index that begins at 1.
        check(
            &[json!([open(1, "a", "{")]), json!([more(1, "}")])],
            &[open(0, "a", "{"), more(0, "}")],
        );
    }

    #[test]
    fn missing_and_repeated_ids_are_made_unique() {
        let bare = |index: Option<u64>| {
            let mut call = json!({"function": {"name": "f", "arguments": "{}"}});
            if let Some(index) = index {
                call["index"] = index.into();
            }
            call
        };
        for deltas in [
            [json!([bare(None)]), json!([bare(None)])],
            [json!([bare(Some(0))]), json!([bare(Some(0))])],
            [json!([bare(Some(0))]), json!([bare(Some(1))])],
            [json!([open(0, "a", "{}")]), json!([open(1, "a", "{}")])],
        ] {
            let out = run(&deltas);
            assert_eq!((&out[0]["index"], &out[1]["index"]), (&json!(0), &json!(1)), "{deltas:?}");
            assert_ne!(out[0]["id"], out[1]["id"], "{deltas:?}");
            assert!(out.iter().all(|it| it["id"].as_str().is_some_and(|it| !it.is_empty())));
            assert!(out.iter().all(|it| it["type"] == "function"));
        }
    }

    #[test]
    fn what_is_repeated_is_told_once() {
        let repeated = json!({"index": 0, "id": "a", "type": "function",
            "function": {"name": "f", "arguments": "}"}});
        let nameless =
            json!({"index": 0, "type": "function", "function": {"name": "", "arguments": "}"}});
        for again in [repeated, nameless] {
            check(
                &[json!([open(0, "a", "{")]), json!([again])],
                &[open(0, "a", "{"), more(0, "}")],
            );
        }
    }

    #[test]
    fn arguments_are_always_a_string_and_never_missing() {
        let flat = json!({"id": "a", "type": "function", "name": "f", "arguments": {"x":1}});
        check(&[json!([flat])], &[open(0, "a", r#"{"x":1}"#)]);
        check(&[json!([open(0, "a", "\"{\\\"x\\\":1}\"")])], &[open(0, "a", r#"{"x":1}"#)]);
        check(&[json!([open(0, "a", "")])], &[open(0, "a", ""), more(0, "{}")]);
        let none = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": null}});
        check(&[json!([none])], &[open(0, "a", ""), more(0, "{}")]);
    }

    #[test]
    fn an_id_that_changes_with_every_piece_begins_no_call() {
        let piece = |index: u64, id: &str, arguments: &str| {
            json!({"index": index, "id": id, "type": "function",
                "function": {"arguments": arguments}})
        };
        let named = |index: u64, id: &str, arguments: &str| open(index, id, arguments);
        let sent =
            [open(0, "a", ""), more(0, "{\"x\":"), more(0, "1}"), open(1, "d", "{"), more(1, "}")];
        check(
            &[
                json!([named(0, "a", "")]),
                json!([piece(0, "b", "{\"x\":")]),
                json!([piece(0, "c", "1}")]),
                json!([piece(0, "c2", "")]),
                json!([named(1, "d", "{")]),
                json!([piece(1, "e", "}")]),
            ],
            &sent,
        );
        // The name comes with every piece as well.
        check(
            &[
                json!([named(0, "a", "")]),
                json!([named(0, "b", "{\"x\":")]),
                json!([named(0, "c", "1}")]),
                json!([named(1, "d", "{")]),
                json!([named(1, "e", "}")]),
            ],
            &sent,
        );
    }

    #[test]
    fn arguments_made_a_string_twice_are_made_one_in_pieces() {
        let twice = json!("{\"x\":\"a\\\"b\"}").to_string();
        for cut in 1..twice.len() {
            let (one, two) = twice.split_at(cut);
            let clean = [open(0, "a", ""), more(0, "{\"x\":\"a\\\"b\"}")];
            check(&[json!([open(0, "a", one)]), json!([more(0, two)])], &clean);
            let pieces = [json!([open(0, "a", "")]), json!([more(0, one)]), json!([more(0, two)])];
            check(&pieces, &clean);
        }
        // What only looked like it is told in the end.
        let torn = [open(0, "a", ""), more(0, "\"{\"x\"")];
        assert_eq!(run(&[json!([open(0, "a", "\"{")]), json!([more(0, "\"x\"")])]), torn);
    }

    #[test]
    fn a_name_that_comes_late_is_waited_for() {
        let early = json!({"index": 0, "id": "a", "function": {"arguments": "{"}});
        let late = json!({"index": 0, "function": {"name": "f", "arguments": "}"}});
        check(&[json!([early.clone()]), json!([late])], &[open(0, "a", "{}")]);
        check(&[json!([early])], &[]);
    }

    #[test]
    fn calls_of_another_kind_pass() {
        let custom = json!({"id": "a", "type": "custom", "custom": {"name": "g", "input": "x"}});
        let mut expected = custom.clone();
        expected["index"] = 0.into();
        check(&[json!([custom])], &[expected]);
    }

    #[test]
    fn halves_of_characters_in_arguments_meet() {
        let piece = |json: &str| format!(r#"[{{"index":0,"function":{{"arguments":{json}}}}}]"#);
        let mut calls = Calls::default();
        let mut rng = Rng::with_seed(7);
        assert!(calls.note(&json!([open(0, "a", "")]).to_string()));
        for (json, expected) in [
            (r#""\ud83d""#, vec![]),
            (r#""\ude00""#, vec![more(0, "😀")]),
            (r#""\ude00""#, vec![more(0, "\u{fffd}")]),
        ] {
            assert!(!calls.note(&piece(json)));
            let out = calls.mend(&piece(json), &mut rng).unwrap();
            let out: Vec<Value> = out.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
            assert_eq!(out, expected, "{json}");
        }
    }

    #[test]
    fn there_is_a_most_of_calls() {
        let call = r#"{"id":"ID","function":{"name":"f","arguments":"{}"}}"#;
        let many: Vec<_> = (0..=CALLS).map(|it| call.replace("ID", &it.to_string())).collect();
        let fault = Calls::default().mend(&json_list_of(&many), &mut Rng::with_seed(7));
        assert!(fault.is_err_and(|it| it.kind == FaultKind::Unreadable));
    }
}
