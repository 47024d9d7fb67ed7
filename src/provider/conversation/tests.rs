//! Conversations as clients write them, and as they are read.

use serde_json::{Value, json};

use crate::provider::fault::FaultKind;

use super::{Call, Instructions, Part, Place, Signed, Speaker, Turn, read};

/// What is read, in short: instructions, then each turn's speaker and what it says.
fn shown(messages: &Value, instructions: Instructions) -> Value {
    let text = messages.to_string();
    let conversation = read(&text, instructions).unwrap();
    json!([conversation.system, conversation.turns.iter().map(turn).collect::<Vec<_>>()])
}

fn turn(turn: &Turn<'_>) -> Value {
    let speaker = match turn.speaker {
        Speaker::System => "system",
        Speaker::Person => "person",
        Speaker::Model => "model",
    };
    let mut said = vec![json!(speaker)];
    said.extend(turn.parts.iter().map(part));
    said.extend(turn.calls.iter().map(call));
    said.into()
}

fn part(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!(text),
        Part::Media(it) => match &it.at {
            Place::Inline { media_type, data } => json!({ media_type: data }),
            Place::Remote(url) => json!({ "url": url }),
        },
    }
}

fn call(call: &Call<'_>) -> Value {
    let result = call.result.as_ref().map(|it| it.iter().map(part).collect::<Vec<_>>());
    let arguments: Value = serde_json::from_str(call.arguments.get()).unwrap();
    json!({ "call": [call.id, call.name, arguments], "result": result })
}

#[expect(clippy::needless_pass_by_value, reason = "callers write the JSON in place")]
fn check(messages: Value, expected: Value) {
    assert_eq!(shown(&messages, Instructions::Beside), expected, "{messages}");
}

#[test]
fn every_form_of_content_is_read_and_speakers_alternate() {
    let messages = json!([
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what"},
            {"type": "image_url", "image_url": {"url": "DATA:image/PNG;x=1;base64,A/A="}},
            {"type": "image_url", "image_url": "https://example.com/a.png"},
            {"type": "text", "text": " "}, {"type": "text", "text": null}]},
        {"role": "user", "content": "now", "name": "Ann"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": null, "refusal": "no", "tool_calls": null},
        {"role": "assistant", "content": [{"type": "output_text", "text": "or"}], "tool_calls": []},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": [
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,AA"}}]},
        {"role": "user"},
    ]);
    let person = json!(["person", "what", {"image/png": "A/A="},
        {"url": "https://example.com/a.png"}, "now"]);
    let media = json!(["person", {"audio/wav": "AAAA"}, {"application/pdf": "AA"}]);
    let model = json!(["model", "no", "or"]);
    assert_eq!(
        shown(&messages, Instructions::InPlace),
        json!([[], [["system", "be brief"], person, model, ["system", "be kind"], media]])
    );
    check(messages, json!([["be brief", "be kind"], [person, model, media]]));
    // As PHP writes JSON.
    let escaped = r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,A\/A="}}]}]"#;
    let read = read(escaped, Instructions::Beside).unwrap();
    assert_eq!(turn(&read.turns[0]), json!(["person", {"image/png": "A/A="}]));
}

#[test]
fn the_person_begins_and_there_is_a_turn() {
    check(json!([{"role": "system", "content": "a"}]), json!([[], [["person", "a"]]]));
    let before = "(The conversation goes on.)";
    let nothing = json!([{"role": "user", "content": ""}]);
    let begun = json!([[], [["person", before]]]);
    assert_eq!(shown(&nothing, Instructions::InPlace), begun);
    check(nothing, begun);
    check(
        json!([{"role": "system", "content": "a"}, {"role": "assistant", "content": "hi"}]),
        json!([["a"], [["person", before], ["model", "hi"]]]),
    );
}

fn called(ids: &[&str]) -> Value {
    let calls: Vec<_> = ids
        .iter()
        .map(|it| json!({"id": it, "function": {"name": "f", "arguments": "{}"}}))
        .collect();
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

fn result(id: &str, said: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": said})
}

fn answered(id: &str, said: &str) -> Value {
    json!({"call": [id, "f", {}], "result": [said]})
}

#[test]
fn results_find_their_calls() {
    let go = json!({"role": "user", "content": "go"});
    let goes = json!(["person", "go"]);
    check(
        json!([go, called(&["a", "b"]), result("b", "2"), result("a", "1"), result("z", "lost"),
            {"role": "user", "content": "so"}, result("a", "again")]),
        json!([
            [],
            [
                goes,
                ["model", answered("a", "1"), answered("b", "2")],
                ["person", "lost", "so", "again"]
            ]
        ]),
    );
    // Late, after the person has spoken; of calls in a row; never.
    check(
        json!([
            go,
            called(&["a"]),
            go,
            result("a", "1"),
            called(&["b"]),
            called(&["c"]),
            result("b", "2")
        ]),
        json!([[], [goes, ["model", answered("a", "1")], goes, ["model", answered("b", "2")],
            ["model", {"call": ["c", "f", {}], "result": null}]]]),
    );
    // Ids that are numbered anew in every turn, and twice in one.
    check(
        json!([
            go,
            called(&["a"]),
            result("a", "1"),
            called(&["a", "a"]),
            result("a", "2"),
            result("a", "3")
        ]),
        json!([
            [],
            [
                goes,
                ["model", answered("a", "1")],
                ["model", answered("a", "2"), answered("a", "3")]
            ]
        ]),
    );
}

#[test]
fn calls_without_ids_are_answered_in_order_and_get_ids_of_their_own() {
    let written = |name: &str| json!({"function": {"name": name, "arguments": {"x": 1}}});
    let turn =
        json!({"role": "assistant", "tool_calls": [written("f"), written("g"), {"id": "odd"}]});
    let go = json!({"role": "user", "content": "go"});
    let call =
        |id: &str, name: &str, said: &str| json!({"call": [id, name, {"x": 1}], "result": [said]});
    check(
        json!([go, turn, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
            turn, {"role": "tool", "name": "g", "content": "3"}, {"role": "tool", "tool_call_id": "", "content": "4"},
            {"role": "assistant", "function_call": {"name": "h"}},
            {"role": "function", "name": "h", "content": "5"}]),
        json!([[], [["person", "go"],
            ["model", call("call_1_0", "f", "1"), call("call_1_1", "g", "2")],
            ["model", call("call_4_0", "f", "4"), call("call_4_1", "g", "3")],
            ["model", {"call": ["call_7_0", "h", {}], "result": ["5"]}]]]),
    );
}

#[test]
fn signatures_and_reasoning_are_kept_and_odd_forms_do_no_harm() {
    let signature = json!({"google": {"thought_signature": "s", "model": "m"}});
    let text = json!([{"role": "assistant", "content": "x", "reasoning_content": "hm",
        "extra_content": signature, "tool_calls": [
            {"id": "a", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "t"}}},
            {"id": "b", "function": {"name": "f"}, "extra_content": 3}]},
        {"role": "assistant", "content": "y", "reasoning_content": [1], "refusal": {}, "extra_content": "z"}])
    .to_string();
    let read = read(&text, Instructions::InPlace).unwrap();
    let signed = |signature: &str, model: Option<&str>| {
        Some(Signed { signature: signature.to_owned(), model: model.map(str::to_owned) })
    };
    assert_eq!((read.turns[0].reasoning.as_str(), read.turns.len()), ("hm", 2));
    assert_eq!(read.turns[0].signed, signed("s", Some("m")));
    let [one, two] = &read.turns[0].calls[..] else { panic!("two calls") };
    assert_eq!((&one.signed, &two.signed), (&signed("t", None), &None));
}

#[test]
fn what_only_openai_can_say_is_not_for_here() {
    let shows = |part: Value| json!([{"role": "user", "content": [part]}]);
    let image = |url: &str| shows(json!({"type": "image_url", "image_url": {"url": url}}));
    for messages in [
        shows(json!({"type": "video_url", "video_url": {}})),
        shows(json!("x")),
        image("http://example.com/a.png"),
        image("file:///etc/passwd"),
        image("data:image/png,AAAA"),
        image("data:;base64,AAAA"),
        image("data:image/png;base64,"),
        image("data:"),
        image(""),
    ] {
        let fault = read(&messages.to_string(), Instructions::Beside).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotHere, "{messages}");
    }
}
