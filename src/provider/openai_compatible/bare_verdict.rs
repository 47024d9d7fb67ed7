//! A relay that moderates may answer with its moderator's verdict in place of the model: `safe`, or
//! `unsafe` and a category. That is no answer. Known of Kilo (error reports, gathered 2026-11).

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::openai::Chunk;
use crate::provider::Pieces;
use crate::provider::Reply;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

/// The providers that do so.
const MODERATORS: &[&str] = &["kilo"];
/// What comes before any text at all is held for so many chunks at most.
const MOST_HELD: usize = 64;

/// The same answer, unless it is nothing but a verdict.
///
/// # Errors
/// [`FaultKind::Empty`] for a whole answer that is one. A stream that turns out to be one ends with
/// that fault, before any of it has been passed on.
pub(super) fn refuse(provider: &str, reply: Reply) -> Result<Reply, Fault> {
    if !MODERATORS.contains(&provider) {
        return Ok(reply);
    }
    match reply {
        Reply::Whole(whole) => {
            let text: String = whole.completion.counted().collect();
            if is_verdict(&text) { Err(verdict()) } else { Ok(Reply::Whole(whole)) }
        }
        Reply::Stream(Pieces { chunks, unmet }) => {
            Ok(Reply::Stream(Pieces { chunks: watched(chunks), unmet }))
        }
    }
}

fn verdict() -> Fault {
    Fault::new(FaultKind::Empty, "a moderator's verdict in place of an answer")
}

fn is_verdict(text: &str) -> bool {
    // `S1,S10`, on a line of its own
    let categories = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit() || it == ',';
    let text = text.trim();
    let rest = text.strip_prefix("unsafe").map(str::trim);
    text == "safe" || rest.is_some_and(|it| it.len() <= 32 && it.chars().all(categories))
}

/// May what has come so far still become one?
fn may_become_one(text: &str) -> bool {
    let text = text.trim();
    is_verdict(text) || "unsafe".starts_with(text) || "safe".starts_with(text)
}

/// A stream that holds back what may be a verdict until it is known not to be one.
fn watched(
    chunks: BoxStream<'static, Result<Chunk, Fault>>,
) -> BoxStream<'static, Result<Chunk, Fault>> {
    let begun = async move {
        let (mut chunks, mut held, mut text) = (chunks, Vec::new(), String::new());
        let mut ended = true;
        while let Some(next) = chunks.next().await {
            let read = next.as_ref().ok();
            let choices = read.map(|it| it.choices.as_slice()).unwrap_or_default();
            for choice in choices {
                text.push_str(&choice.text);
            }
            let something_else = read.is_none() || choices.iter().any(|it| it.adds_else);
            held.push(next);
            if something_else || !may_become_one(&text) || held.len() >= MOST_HELD {
                ended = false;
                break;
            }
        }
        if ended && is_verdict(&text) {
            return futures::stream::iter(vec![Err(verdict())]).boxed();
        }
        futures::stream::iter(held).chain(chunks).boxed()
    };
    futures::stream::once(begun).flatten().boxed()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::openai::Completion;
    use crate::provider::Unmet;
    use crate::provider::Whole;

    use super::*;

    fn whole(provider: &str, text: &str) -> Result<Reply, Fault> {
        let message = serde_json::json!({"role": "assistant", "content": text});
        let body = serde_json::json!({"choices": [{"message": message, "finish_reason": "stop"}]});
        let completion = Completion::parse(&Bytes::from(body.to_string())).unwrap();
        refuse(provider, Reply::Whole(Box::new(Whole { completion, unmet: Unmet::default() })))
    }

    async fn streamed(provider: &str, pieces: &[&str]) -> (String, Option<FaultKind>) {
        let chunk = |text: &&str| {
            let delta = serde_json::json!({"content": text});
            let body = serde_json::json!({"choices": [{"index": 0, "delta": delta}]});
            Ok(Chunk::parse(&Bytes::from(body.to_string())).unwrap())
        };
        let all: Vec<Result<Chunk, Fault>> = pieces.iter().map(chunk).collect();
        let pieces = Pieces { chunks: futures::stream::iter(all).boxed(), unmet: Unmet::default() };
        let Ok(Reply::Stream(read)) = refuse(provider, Reply::Stream(pieces)) else { panic!() };
        let mut said = (String::new(), None);
        for next in read.chunks.collect::<Vec<_>>().await {
            match next {
                Ok(chunk) => chunk.choices.iter().for_each(|it| said.0.push_str(&it.text)),
                Err(fault) => said.1 = Some(fault.kind),
            }
        }
        said
    }

    #[tokio::test]
    async fn a_verdict_is_no_answer() {
        for (text, is_one) in [
            ("safe", true),
            (" safe\n", true),
            ("unsafe", true),
            ("unsafe\nS1,S10", true),
            ("safely", false),
            ("unsafe to do so", false),
            ("Safe", false),
            ("", false),
            ("sa", false),
        ] {
            assert_eq!(whole("kilo", text).is_err(), is_one, "{text:?}");
            assert!(whole("groq", text).is_ok(), "{text:?}");
            let pieces: Vec<String> = text.chars().map(String::from).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let given = if is_one { "" } else { text };
            let fault = is_one.then_some(FaultKind::Empty);
            assert_eq!(streamed("kilo", &pieces).await, (given.to_owned(), fault), "{text:?}");
            assert_eq!(streamed("groq", &pieces).await, (text.to_owned(), None), "{text:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_verdict_flows_at_once() {
        let endless = futures::stream::iter(["The ", "sky"]).chain(futures::stream::pending());
        let chunk = |text: &str| {
            let body = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
            Ok(Chunk::parse(&Bytes::from(body.to_string())).unwrap())
        };
        let mut chunks = watched(endless.map(chunk).boxed());
        assert_eq!(chunks.next().await.unwrap().unwrap().choices[0].text, "The ");
    }
}
