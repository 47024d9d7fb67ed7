//! What the fuzz targets feed: one function a reader of what providers send. Each takes any bytes
//! and must neither panic nor make more of them than a bound.
//!
//! In the input of a stream the first byte says how large the pieces are that its body arrives in.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use crate::clock::Now;
use crate::clock::VirtualClock;
use crate::openai::ChoiceEdit;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::openai::Heads;
use crate::provider::anthropic;
use crate::provider::classify::classify;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::gemini;
use crate::provider::ndjson::LineStream;
use crate::provider::ollama;
use crate::provider::openai_compatible;
use crate::provider::sse::SseReader;
use crate::provider::transport::AnswerBody;

/// What may come out of one byte that goes in: an escaped character is six bytes of JSON, and a
/// chunk of a few bytes gets an id, a date and a model.
const GROWTH: usize = 128;
/// What may come out of nothing.
const LEAST: usize = 4096;

/// What every chunk is given.
const HEADS: Heads<'_> = Heads { id: "\"id\"", model: "\"p/m\"", created: "7" };

fn check_size(given: &[u8], made: usize) {
    assert!(made <= given.len() * GROWTH + LEAST, "{made} bytes out of {}", given.len());
}

/// The pieces that a body arrives in.
fn pieces(data: &[u8]) -> Vec<Bytes> {
    let Some((size, body)) = data.split_first() else { return Vec::new() };
    body.chunks(usize::from(*size).max(1)).map(Bytes::copy_from_slice).collect()
}

fn body(data: &[u8]) -> AnswerBody {
    AnswerBody::Given(futures::stream::iter(pieces(data)).boxed())
}

fn clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::starting_at(1_785_600_000_000))
}

/// Runs what reads a body that is there already.
fn run<T>(reading: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    Some(runtime.block_on(reading))
}

/// Server-sent events.
pub fn sse(data: &[u8]) {
    let mut reader = SseReader::new(1 << 12);
    let mut made = 0;
    for piece in pieces(data) {
        reader.feed(piece);
        while let Ok(Some(event)) = reader.next_event() {
            made += event.data.len() + event.event.map_or(0, |it| it.len());
        }
    }
    while let Ok(Some(event)) = reader.finish() {
        made += event.data.len();
    }
    assert!(made <= data.len(), "{made} bytes out of {}", data.len());
}

/// Lines of JSON.
pub fn ndjson(data: &[u8]) {
    let mut lines = LineStream::new(body(data));
    let made = run(async {
        let mut made = 0;
        while let Ok(Some(line)) = lines.next().await {
            made += line.len();
        }
        made
    });
    assert!(made.is_none_or(|it| it <= data.len()), "{made:?} bytes out of {}", data.len());
}

fn check_whole(data: &[u8], read: Result<Completion, Fault>) {
    // An empty answer is a failure and never written.
    if let Ok(completion) = read
        && !completion.is_empty()
    {
        let body = completion.render("id", "p/m", 7, |_| None);
        assert!(Completion::parse(&body).is_ok(), "an answer that can't be read again");
        check_size(data, body.len());
    }
}

fn check_stream(data: &[u8], mut chunks: BoxStream<'static, Result<Chunk, Fault>>) {
    let role_due = ChoiceEdit { role_due: true, ..ChoiceEdit::default() };
    let made = run(async {
        let mut made = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            let body = chunk.render(&HEADS, std::slice::from_ref(&role_due), None);
            assert!(Chunk::parse(&body).is_ok(), "a chunk that can't be read again");
            made += body.len();
        }
        made
    });
    check_size(data, made.unwrap_or_default());
}

/// A whole answer of an OpenAI-style provider.
pub fn openai_whole(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    check_whole(data, openai_compatible::given::whole("zai", &body, Now::default()));
}

/// A stream of an OpenAI-style provider.
pub fn openai_stream(data: &[u8]) {
    check_stream(data, openai_compatible::given::stream("zai", body(data), clock()));
}

/// A whole answer of Gemini.
pub fn gemini_whole(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    check_whole(data, gemini::given::whole(&body, Now::default()));
}

/// A stream of Gemini.
pub fn gemini_stream(data: &[u8]) {
    check_stream(data, gemini::given::stream(body(data), clock()));
}

/// A whole answer of Anthropic.
pub fn anthropic_whole(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    check_whole(data, anthropic::given::whole(&body, Now::default()));
}

/// A stream of Anthropic.
pub fn anthropic_stream(data: &[u8]) {
    check_stream(data, anthropic::given::stream(body(data), clock()));
}

/// A whole answer of Ollama.
pub fn ollama_whole(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    check_whole(data, ollama::given::whole(&body, Now::default()));
}

/// A stream of Ollama.
pub fn ollama_stream(data: &[u8]) {
    check_stream(data, ollama::given::stream(body(data), clock()));
}

/// Statuses that mean something of their own.
const STATUSES: &[u16] = &[400, 401, 402, 403, 404, 408, 410, 413, 422, 429, 498, 500, 503, 529];
/// Providers with rules of their own.
const PROVIDERS: &[&str] = &[
    "",
    "groq",
    "mistral",
    "cerebras",
    "deepseek",
    "cloudflare",
    "nvidia",
    "openrouter",
    "together",
    "sambanova",
    "huggingface",
    "cohere",
    "zai",
    "openai",
    "ollama",
    "anthropic",
    "gemini",
];

/// An error answer: a byte for the provider, one for the status, lines of headers, a blank line,
/// the body.
pub fn classifier(data: &[u8]) {
    let [provider, status, rest @ ..] = data else { return };
    let of = |at: u8, most: usize| usize::from(at) % most;
    let provider = PROVIDERS.get(of(*provider, PROVIDERS.len())).copied().unwrap_or_default();
    let status = STATUSES.get(of(*status, STATUSES.len())).copied().unwrap_or(500);
    let end = rest.windows(2).position(|it| it == b"\n\n").unwrap_or(0);
    let (head, body) = rest.split_at(end);
    let mut headers = HeaderMap::new();
    for line in head.split(|it| *it == b'\n').take(32) {
        let mut parts = line.splitn(2, |it| *it == b':');
        let name = parts.next().and_then(|it| HeaderName::from_bytes(it).ok());
        let value = parts.next().and_then(|it| HeaderValue::from_bytes(it.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    let now = Now { unix_ms: 1_785_600_000_000, ..Now::default() };
    let fault = classify(provider, status, &headers, body.trim_ascii_start(), now);
    assert!(fault.message.len() < 1024, "{} bytes", fault.message.len());
    let text = String::from_utf8_lossy(body);
    let fault = classify_inside_answer(provider, &text, now);
    assert!(fault.message.len() < 1024, "{} bytes", fault.message.len());
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    /// The targets by name.
    const TARGETS: &[(&str, Target)] = &[
        ("sse", sse),
        ("ndjson", ndjson),
        ("openai_whole", openai_whole),
        ("openai_stream", openai_stream),
        ("gemini_whole", gemini_whole),
        ("gemini_stream", gemini_stream),
        ("anthropic_whole", anthropic_whole),
        ("anthropic_stream", anthropic_stream),
        ("ollama_whole", ollama_whole),
        ("ollama_stream", ollama_stream),
        ("classifier", classifier),
    ];

    /// What the fuzzer kept, and the seeds it began with.
    #[test]
    fn kept_corpora_are_read_without_a_panic() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let kept = fs::read_dir(corpora.join(name)).expect(name);
            let mut files = 0;
            for file in kept {
                let file = file.unwrap().path();
                let data = fs::read(&file).unwrap();
                let read = std::panic::catch_unwind(|| target(&data));
                assert!(read.is_ok(), "{}", file.display());
                files += 1;
            }
            assert!(files > 0, "{name} has no corpus");
        }
    }

    #[test]
    fn nothing_at_all_is_read_without_a_panic() {
        for (_, target) in TARGETS {
            target(b"");
            target(b"\n");
        }
    }
}
