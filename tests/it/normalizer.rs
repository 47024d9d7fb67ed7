//! Answers lose their filler, whole and streamed alike, and nothing else.

use relayfreellm::sim::Answer as Says;
use relayfreellm::sim::Fault;
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, ask, with};

/// What a provider says, and what the caller gets of it.
const TEXTS: &[(&str, &str)] = &[
    ("Certainly! The sky is blue.", "The sky is blue."),
    ("Sure! here it is", "here it is"),
    ("Sure thing!\n\nThe sky", "The sky"),
    ("OF COURSE! The sky", "The sky"),
    ("absolutely!  \t The sky", "The sky"),
    ("As an AI, I see no sky.", "I see no sky."),
    ("As an AI assistant, I see none.", "I see none."),
    ("As an AI language model, I see none.", "I see none."),
    ("As a large language model, I see none.", "I see none."),
    ("Certainly, the first premise holds.", "Certainly, the first premise holds."),
    ("Sure, why not.", "Sure, why not."),
    ("Surely! Not.", "Surely! Not."),
    ("Certainly!", "Certainly!"),
    ("Sure!", "Sure!"),
    ("Sure! Certainly! Twice.", "Certainly! Twice."),
    ("The answer: Certainly! It is.", "The answer: Certainly! It is."),
    ("\"Certainly!\" he said.", "\"Certainly!\" he said."),
    ("`Sure! x`", "`Sure! x`"),
    ("Natürlich! Der Himmel.", "Natürlich! Der Himmel."),
    ("¡Claro! El cielo.", "¡Claro! El cielo."),
    ("As an AI I see no sky.", "As an AI I see no sky."),
    ("S", "S"),
    ("Sure! \u{1f600} sky\u{e9}", "\u{1f600} sky\u{e9}"),
];

/// Answers whose code fence is still open.
const FENCES: &[(&str, &str)] = &[
    ("Look:\n```rust\nfn f() {}", "Look:\n```rust\nfn f() {}\n```"),
    ("Look:\n```\nx\n```\nDone.", "Look:\n```\nx\n```\nDone."),
];

/// Checks that whole, and in content chunks of 1 to 12 characters, `said` arrives as `expected`.
async fn check(gateway: &Gateway, said: &str, expected: &str) {
    let alpha = gateway.upstream("alpha");
    for size in 0..=12 {
        alpha.set_answer(Says::Fixed(said.to_owned()), (size > 0).then_some(size));
        let got = if size == 0 {
            gateway.chat(&ask("m")).await.expect(200).said()
        } else {
            let answer = gateway.stream(&ask("m")).await.expect_done();
            assert_eq!(answer.events[0]["choices"][0]["delta"]["role"], "assistant", "{said:?}");
            assert_eq!(answer.finishes(0), ["stop"], "{said:?} by {size}");
            answer.said()
        };
        assert_eq!(got, expected, "{said:?} by {size}");
    }
}

#[tokio::test]
async fn one_leading_opener_goes_however_the_stream_is_cut() {
    let gateway = Gateway::plain().await;
    for (said, expected) in TEXTS {
        check(&gateway, said, expected).await;
    }
}

#[tokio::test]
async fn a_code_fence_left_open_is_closed() {
    let gateway = Gateway::plain().await;
    for (said, expected) in FENCES {
        check(&gateway, said, expected).await;
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_off_keeps_its_open_fence() {
    let gateway = Gateway::plain().await;
    let said = "Look:\n```\none two three four five six";
    gateway.upstream("alpha").set_answer(Says::Fixed(said.to_owned()), Some(4));
    let body = with(ask("m"), json!({"max_tokens": 5}));
    let whole = gateway.chat(&body).await.expect(200).said();
    assert_eq!(whole, said[..20], "{whole}");
    assert_eq!(gateway.stream(&body).await.expect_done().said(), whole);
}

#[tokio::test]
async fn code_that_the_caller_began_or_ends_is_not_closed() {
    let gateway = Gateway::plain().await;
    let alpha = gateway.upstream("alpha");
    let user = json!({"role": "user", "content": "Write it."});
    let begun = |code: &str| json!({"role": "assistant", "content": code});
    let open = begun("```python\ndef f():\n");
    let (closed, more) = (begun("```\nx\n```\n"), json!({"role": "user", "content": "Go on."}));
    for (change, said, expected) in [
        (json!({"messages": [user, open]}), "    pass\n```", "    pass\n```"),
        (json!({"messages": [user, open, more]}), "    pass\n```\nDone.", "    pass\n```\nDone."),
        (json!({"messages": [user, closed, more]}), "Look:\n```\ny", "Look:\n```\ny\n```"),
        (json!({"stop": ["END"]}), "```python\nx = 1\nEND\n```", "```python\nx = 1\n"),
        (json!({"stop": null}), "```python\nx = 1\n", "```python\nx = 1\n```"),
    ] {
        alpha.set_answer(Says::Fixed(said.to_owned()), Some(3));
        let body = with(ask("m"), change.clone());
        assert_eq!(gateway.chat(&body).await.expect(200).said(), expected, "{change}");
        let streamed = gateway.stream(&body).await.expect_done().said();
        assert_eq!(streamed, expected, "{change} streamed");
    }
}

/// An answer in four tokens with an opener and a citation, whole and as a stream that says one token at a
/// time.
fn cited() -> (Value, String) {
    let token = |it: &str| json!({"token": it, "logprob": -0.1, "bytes": it.as_bytes(), "top_logprobs": []});
    let tokens = ["Sure", "!\n", "Ré", " is so"];
    let citation = json!([{"type": "url_citation",
        "url_citation": {"url": "https://a.example", "title": "A", "start_index": 6, "end_index": 8}}]);
    let whole = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": tokens.concat(), "annotations": citation},
            "logprobs": {"content": tokens.map(token), "refusal": null}}]});
    let chunk = |choice: Value| {
        let chunk = json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]});
        format!("data: {chunk}\n\n")
    };
    let said = tokens.map(|it| {
        chunk(json!({"index": 0, "delta": {"content": it}, "finish_reason": null,
            "logprobs": {"content": [token(it)], "refusal": null}}))
    });
    let end = chunk(
        json!({"index": 0, "delta": {"annotations": citation}, "finish_reason": "stop", "logprobs": null}),
    );
    (whole, said.concat() + &end + "data: [DONE]\n\n")
}

#[tokio::test]
async fn what_points_into_the_text_moves_with_it() {
    let (whole, stream) = cited();
    let gateway = Gateway::plain().await;
    let alpha = gateway.upstream("alpha");
    let answers = |kind: &str, body: &str| {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Fault::RawResponse { status: 200, headers, body: body.to_owned().into() }
    };
    let place = |annotation: &Value| {
        let citation = &annotation[0]["url_citation"];
        (citation["start_index"].clone(), citation["end_index"].clone())
    };
    let tokens = |logprobs: &Value| -> Vec<String> {
        let all = logprobs["content"].as_array().cloned().unwrap_or_default();
        all.iter().map(|it| it["token"].as_str().unwrap_or_default().to_owned()).collect()
    };
    for (normalize, text, span, left) in [
        ("on", "Ré is so", (json!(0), json!(2)), vec!["Ré", " is so"]),
        ("off", "Sure!\nRé is so", (json!(6), json!(8)), vec!["Sure", "!\n", "Ré", " is so"]),
    ] {
        let headers = [("x-relay-normalize", normalize)];
        alpha.set_fault(Some(answers("application/json", &whole.to_string())));
        let answer = gateway.chat_with(&ask("m"), &headers).await.expect(200);
        let choice = answer.json()["choices"][0].clone();
        assert_eq!(choice["message"]["content"], text);
        assert_eq!(place(&choice["message"]["annotations"]), span, "{choice}");
        assert_eq!(tokens(&choice["logprobs"]), left, "{choice}");
        alpha.set_fault(Some(answers("text/event-stream", &stream)));
        let answer = gateway.open(&ask("m"), &headers).await.finish().await.expect_done();
        assert_eq!(answer.said(), text);
        let choices: Vec<&Value> = answer.events.iter().map(|it| &it["choices"][0]).collect();
        let told: Vec<String> = choices.iter().flat_map(|it| tokens(&it["logprobs"])).collect();
        assert_eq!(told, left, "{choices:?}");
        for it in &choices {
            let said = it["delta"]["content"].as_str().unwrap_or_default();
            assert_eq!(tokens(&it["logprobs"]).concat(), said, "each with its own text");
        }
        let last = choices.iter().find(|it| it["delta"]["annotations"].is_array());
        assert_eq!(last.map(|it| place(&it["delta"]["annotations"])), Some(span));
    }
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let off = json!({"normalizer": {"enabled": false}});
    let gateway = Gateway::with([Upstream::plain("Alpha")]).settings(off).start().await;
    for (said, _) in TEXTS.iter().chain(FENCES) {
        check(&gateway, said, said).await;
    }
}

#[tokio::test]
async fn a_request_can_do_without_it() {
    let gateway = Gateway::plain().await;
    for (said, expected) in TEXTS.iter().chain(FENCES) {
        gateway.upstream("alpha").set_answer(Says::Fixed((*said).to_owned()), Some(3));
        for (header, expected) in [("off", said), ("OFF", said), ("on", expected)] {
            let headers = [("x-relay-normalize", header)];
            let whole = gateway.chat_with(&ask("m"), &headers).await.expect(200).said();
            assert_eq!(whole, *expected, "{header}");
            let stream = gateway.open(&ask("m"), &headers).await.finish().await.expect_done();
            assert_eq!(stream.said(), *expected, "{header}");
        }
    }
    let wrong = [("x-relay-normalize", "perhaps")];
    let error = gateway.chat_with(&ask("m"), &wrong).await.expect(400).error();
    assert_eq!(error["param"], "X-Relay-Normalize", "{error}");
}

#[tokio::test]
async fn in_json_mode_the_value_alone_comes_mended_where_it_has_to_be() {
    let gateway = Gateway::plain().await;
    let body = with(ask("m"), json!({"response_format": {"type": "json_object"}}));
    for (said, mended) in [
        ("{\"a\": 1}", "{\"a\": 1}"),
        ("Sure!\n```json\n{\"a\": 1}\n```\nEnjoy.", "{\"a\": 1}"),
        ("According to [1], here it is: {\"a\": 1}", "{\"a\": 1}"),
        ("{'a': [1, 2,], /* so */ b: 'it\\'s'}", "{\"a\": [1, 2],  \"b\": \"it's\"}"),
    ] {
        gateway.upstream("alpha").set_answer(Says::Fixed(said.to_owned()), Some(3));
        let answer = gateway.chat(&body).await.expect(200);
        assert_eq!(answer.said(), mended);
        assert_eq!(answer.header("x-relay-warning"), "");
    }
    let off = [("x-relay-normalize", "off")];
    let answer = gateway.chat_with(&body, &off).await.expect(200);
    assert_eq!(answer.said(), "{'a': [1, 2,], /* so */ b: 'it\\'s'}");
    assert_eq!(answer.header("x-relay-warning"), "json-missing");
}

#[tokio::test]
async fn every_choice_is_treated_by_itself() {
    let gateway = Gateway::plain().await;
    let said = "Certainly! The sky.";
    gateway.upstream("alpha").set_answer(Says::Fixed(said.to_owned()), Some(2));
    let body = with(ask("m"), json!({"n": 3}));
    let whole = gateway.chat(&body).await.expect(200).json();
    let streamed = gateway.stream(&body).await.expect_done();
    for index in 0..3 {
        assert_eq!(streamed.said_by(index), "The sky.");
        let choices = whole["choices"].as_array().expect("choices");
        let choice = choices.iter().find(|it| it["index"] == index).expect("a choice");
        assert_eq!(choice["message"]["content"], "The sky.");
    }
}

#[tokio::test]
async fn text_held_back_for_the_normaliser_is_no_content_yet() {
    let gateway = Gateway::with([Upstream::plain("Bad"), Upstream::plain("Good")]);
    let gateway = gateway.start().await;
    let bad = gateway.upstream("bad");
    bad.set_answer(Says::Fixed("Sure! The sky is blue.".to_owned()), Some(4));
    bad.set_fault(Some(Fault::CutAfterChunks(1)));
    let answer = gateway.stream(&ask("m")).await.expect_done();
    assert_eq!(answer.header("x-relay-provider"), "Good");
}
