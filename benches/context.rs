//! Counting tokens and fitting conversations. The goals: 200 messages of 100 KB fitted in under 2 ms
//! with their sizes known, under 15 ms without; a megabyte of hostile text counted in under 50 ms.
//!
//! `cargo bench --bench context`

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement may stop")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use relayfreellm::context::{Memory, Plan, Rules, fit, size, tokens};
use relayfreellm::openai::ChatRequest;
use serde_json::{Value, json};

const RESERVOIR: Plan =
    Plan { label: "reservoir", keep: 15, least: 0.0, target: 1.0, summary: 400 };

/// 200 messages of 512 bytes, each with words and numbers of its own.
fn conversation() -> ChatRequest {
    const WORDS: [&str; 16] = [
        "order", "parcel", "Monday", "config", "never", "window", "paper", "between", "reading",
        "please", "Lisbon", "because", "through", "yellow", "garden", "answer",
    ];
    let text = |i: usize| {
        let mut text = String::new();
        let mut n = i;
        while text.len() < 480 {
            n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
            text.push_str(WORDS[n >> 8 & 15]);
            text.push_str(if n.is_multiple_of(11) { ". " } else { " " });
            if n.is_multiple_of(17) {
                text.push_str(&(n % 9_999).to_string());
                text.push(' ');
            }
        }
        text
    };
    let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
    let messages: Vec<Value> =
        (0..200).map(|i| json!({"role": role(i), "content": text(i)})).collect();
    let body = json!({"messages": messages}).to_string();
    ChatRequest::parse(&Bytes::from(body)).expect("a request")
}

fn fit_with(request: &ChatRequest, memory: &Memory) {
    let messages = request.messages();
    let costs: Vec<u64> =
        size::sizes(&messages, memory).iter().map(|it| it.by(Rules::OTHERS)).collect();
    let fitted = fit(&messages, &costs, (6_000, &RESERVOIR), memory);
    assert!(black_box(fitted).is_ok_and(|it| it.is_some()));
}

fn benchmark(c: &mut Criterion) {
    let request = conversation();
    tokens::count("the vocabulary is loaded once");
    c.bench_function("fit 200 messages, cold", |b| {
        b.iter(|| fit_with(&request, &Memory::default()));
    });
    let memory = Memory::default();
    fit_with(&request, &memory);
    c.bench_function("fit 200 messages, warm", |b| b.iter(|| fit_with(&request, &memory)));
    for (name, unit) in
        [("one letter", "a"), ("spaces", " "), ("emoji", "🦀"), ("prose", "Some words. ")]
    {
        let text = unit.repeat((1 << 20) / unit.len());
        c.bench_function(&format!("count 1 MiB: {name}"), |b| {
            b.iter(|| tokens::count(black_box(&text)));
        });
    }
    let short = json!({"model": "free", "messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why is the sky blue? ".repeat(20)}]});
    let short = ChatRequest::parse(&Bytes::from(short.to_string())).expect("a request");
    c.bench_function("add the style guide to a short request", |b| {
        b.iter(|| black_box(&short).messages_with_instruction(black_box("Be brief and plain.")));
    });
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = benchmark }
criterion_main!(benches);
