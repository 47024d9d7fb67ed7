//! What the normaliser costs. The goals: over 500 MB/s for whole answers, under 200 ns for a chunk once
//! it is decided whether the answer begins with an opener.
//!
//! `cargo bench --bench normalize`

#![expect(clippy::expect_used, reason = "a measurement may stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relayfreellm::normalize::{Mode, Normalizer, Root};

const PROSE: &str = "The tide turns at four, and the boats come in with it; nobody hurries.\n\n";
const CODE: &str = "```rust\nfn f(x: u32) -> u32 {\n    x + 1\n}\n```\n\n";

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("normalise whole");
    for (name, text) in [
        ("prose, 4 KB", PROSE.repeat(56)),
        ("prose and code, 4 KB", [PROSE, CODE].concat().repeat(34)),
        ("prose and code, 1 MB", [PROSE, CODE].concat().repeat(8_200)),
    ] {
        let text = format!("Sure! {text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Mode::Text.apply(black_box(&text), true).len()));
    }
    let rows: Vec<_> = (0..400).map(|i| serde_json::json!({"id": i, "name": "a row"})).collect();
    let json = serde_json::to_string_pretty(&rows).expect("JSON");
    let nearly = json.replace("\n  }", ",\n  }").replace('"', "'");
    for (name, text) in
        [("JSON in a fence", format!("Sure!\n```json\n{json}\n```")), ("nearly JSON", nearly)]
    {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| Mode::Json(Root::Any).apply(black_box(&text), true).len());
        });
    }
    group.finish();
}

fn streamed(c: &mut Criterion) {
    for (name, mode, begin) in
        [("text", Mode::Text, "Sure! Here: "), ("JSON", Mode::Json(Root::Any), "{\"a\": \"")]
    {
        let mut normalizer = Normalizer::new(mode);
        normalizer.push(begin);
        c.bench_function(&format!("normalise a chunk, {name}"), |b| {
            b.iter(|| normalizer.push(black_box(" and then some")).len());
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(30); targets = whole, streamed }
criterion_main!(benches);
