//! Reading and checking a chat request, and writing the body that goes to the provider.
//!
//! `cargo bench --bench parse`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use relayfreellm::openai::{ChatRequest, RequestEdits};

const BODIES: [(&str, &[u8]); 2] = [
    ("611 B", include_bytes!("bodies/short-plain.json")),
    ("37 KB", include_bytes!("bodies/long-plain.json")),
];

#[expect(clippy::expect_used, reason = "a benchmark may stop")]
fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for (name, body) in BODIES {
        let body = Bytes::from_static(body);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("parse, {name}"), |b| {
            b.iter(|| ChatRequest::parse(black_box(&body)).expect("a good request"));
        });
        let request = ChatRequest::parse(&body).expect("a good request");
        let edits =
            RequestEdits { set: vec![("model", "\"another\"".into())], ..RequestEdits::default() };
        group.bench_function(format!("write with another model, {name}"), |b| {
            b.iter(|| request.render(black_box(&edits)));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
