//! Taking the middle out of what a message says, where that is too long.

use std::borrow::Cow;
use std::ops::Range;

use crate::context::tokens;
use crate::openai::Message;
use crate::openai::NewText;

/// A text of so few tokens has no room for a mark and something on both sides of it.
pub(super) const FEWEST: u64 = 32;

/// Times the text is cut again before its bytes are taken for tokens.
const TRIES: u32 = 6;

/// Most tokens that become more where the texts of several parts are joined.
const JOINED: u64 = 4;

/// A message without the middle of what it says.
pub(super) struct Shortened {
    /// The message as JSON text.
    pub(super) json: String,
    /// The tokens of what it says now.
    pub(super) tokens: u64,
}

/// `message` with the beginning and the end of what it says and a mark between them, in at most `most`
/// tokens; `None` when there is no room for them. Two thirds of it are beginning. Where it says it in
/// several parts, those that lie in the middle go; what is no text stays.
pub(super) fn shorten(message: &Message<'_>, most: u64) -> Option<Shortened> {
    if most < FEWEST {
        return None;
    }
    let texts = message.texts();
    let joins = if texts.len() > 1 { JOINED } else { 0 };
    let all = texts.join("\n");
    let gone = middle(&all, most - joins)?;
    let new = parted(&texts, &gone);
    let json = message.with_texts(&new)?;
    let said = texts.iter().zip(&new).filter_map(|(old, new)| match new {
        NewText::Same => Some(&**old),
        NewText::Gone => None,
        NewText::Is(text) => Some(text.as_str()),
    });
    let tokens = tokens::count(&said.collect::<Vec<_>>().join("\n"));
    (tokens <= most).then_some(Shortened { json, tokens })
}

/// What becomes of texts that are joined by line ends, if the bytes in `gone` go.
fn parted(texts: &[Cow<'_, str>], gone: &Range<usize>) -> Vec<NewText> {
    let mark = mark(gone);
    let (mut at, mut marked) = (0, false);
    let part = |text: &Cow<'_, str>| {
        let (start, end) = (at, at + text.len());
        at = end + 1;
        if end <= gone.start || start >= gone.end {
            return NewText::Same;
        }
        let head = text.get(..gone.start.saturating_sub(start)).unwrap_or_default();
        let tail = text.get(gone.end.min(end) - start..).unwrap_or_default();
        match (std::mem::replace(&mut marked, true), tail) {
            (false, "") => NewText::Is([head, "\n", &mark].concat()),
            (false, tail) => NewText::Is([head, "\n", &mark, "\n", tail].concat()),
            (true, "") => NewText::Gone,
            (true, tail) => NewText::Is(tail.to_owned()),
        }
    };
    texts.iter().map(part).collect()
}

/// The bytes of `text` that have to go so that the rest with a mark in their place has at most `most`
/// tokens.
fn middle(text: &str, most: u64) -> Option<Range<usize>> {
    let fits = |gone: &Range<usize>| tokens::count(&without(text, gone));
    // No more bytes than a tokenizer reads at once; tokens of more than 16 bytes are white space.
    let mut bytes = usize::try_from(most.saturating_mul(16)).unwrap_or(usize::MAX).min(text.len());
    for _ in 0..TRIES {
        let gone = around(text, bytes);
        let tokens = fits(&gone);
        if tokens <= most {
            return Some(gone);
        }
        let scaled = u128::from(most) * bytes as u128 * 15 / 16 / u128::from(tokens);
        bytes = usize::try_from(scaled).unwrap_or(0);
    }
    let beside = without("", &(0..text.len())).len();
    let gone = around(text, usize::try_from(most).ok()?.saturating_sub(beside));
    (fits(&gone) <= most).then_some(gone)
}

/// What lies between the beginning and the end of `text` when these have so many bytes.
fn around(text: &str, bytes: usize) -> Range<usize> {
    let begin = head(text, bytes / 3 * 2);
    let end = tail(text, bytes / 3);
    break_before(begin)..text.len() - end.len()
}

fn without(text: &str, gone: &Range<usize>) -> String {
    let begin = text.get(..gone.start).unwrap_or_default();
    let end = text.get(gone.end..).unwrap_or_default();
    [begin, "\n", &mark(gone), "\n", end].concat()
}

fn mark(gone: &Range<usize>) -> String {
    format!("[… {} bytes left out here …]", gone.len())
}

/// Where the last line ends, if that is near, or else the whole.
fn break_before(head: &str) -> usize {
    let line = head.rfind('\n').filter(|at| head.len() - at < head.len() / 8);
    line.unwrap_or(head.len())
}

/// The first `bytes` bytes, or a few fewer where a character would be cut.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The last `bytes` bytes, or a few fewer where a character would be cut.
pub(super) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len() - bytes.min(text.len());
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::openai::ChatRequest;

    /// What `content` is without its middle, and its texts joined.
    fn shortened(content: &Value, most: u64) -> Option<(Value, String)> {
        let body = json!({"messages": [{"role": "user", "content": content}]});
        let request = ChatRequest::parse(&Bytes::from(body.to_string())).unwrap();
        let short = shorten(request.messages().first()?, most)?;
        let message: Value = serde_json::from_str(&short.json).unwrap();
        let list = format!("[{}]", short.json);
        let text = Message::list(&list).first()?.text().into_owned();
        assert_eq!(short.tokens, tokens::count(&text));
        assert!(short.tokens <= most, "{most}");
        Some((message.get("content")?.clone(), text))
    }

    #[test]
    fn both_ends_stay_and_it_fits() {
        for unit in ["word ", "x", "日本語", "🦀", "line\n", " "] {
            let text = format!("BEGIN {} END", unit.repeat(40_000 / unit.len()));
            for most in [FEWEST, 60, 200, 1_000] {
                let (_, cut) =
                    shortened(&json!(text), most).unwrap_or_else(|| panic!("{unit} {most}"));
                assert!(cut.contains("bytes left out here"), "{cut}");
                if most > FEWEST {
                    assert!(cut.starts_with("BEGIN ") && cut.ends_with(" END"), "{unit:?}: {cut}");
                }
            }
            assert_eq!(shortened(&json!(text), FEWEST - 1), None);
        }
    }

    #[test]
    fn of_many_parts_those_in_the_middle_go() {
        let part = |text: String| json!({"type": "text", "text": text});
        let mut parts: Vec<Value> =
            (0..300).map(|i| part(format!("part {i} {}", "word ".repeat(20)))).collect();
        let image = json!({"type": "image_url", "image_url": {"url": "data:,"}});
        parts.insert(150, image.clone());
        let (content, text) = shortened(&json!(parts), 400).unwrap();
        let left = content.as_array().unwrap();
        assert!((8..20).contains(&left.len()), "{}", left.len());
        assert_eq!((&left[..2], left.last()), (&parts[..2], parts.last()));
        assert!(left.contains(&image), "what is no text stays");
        assert_eq!(text.matches("bytes left out here").count(), 1);
        assert!(left.iter().all(|it| it["text"] != ""), "no part is empty");
        let long =
            json!([part("A".into()), part(format!("B{}Y", "w ".repeat(5_000))), part("Z".into())]);
        let (content, text) = shortened(&long, 100).unwrap();
        assert_eq!(content.as_array().map(Vec::len), Some(3));
        assert!(text.starts_with("A\nB") && text.ends_with("Y\nZ"), "{text}");
    }
}
