//! What of an answer points into its text: annotations by characters, log-probabilities token by token.
//! They are moved and thinned out here where the text is no longer what it was.

use std::ops::Range;

use serde_json::value::RawValue;

use super::raw::{RawObject, span_of, text_of};

/// A list of annotations with the spans that they name (`start_index`, `end_index`) where `moved` says they
/// stand now; those of which nothing is left go. Others stay as they are. `None` where nothing changes.
///
/// OpenAI's spans count characters: `start_index` is the first of them, `end_index` the last, or the
/// first one behind it; its documents say the former and its examples show the latter, and moved they are
/// either.
pub fn annotations_moved(
    annotations: &str,
    moved: impl Fn(Range<usize>) -> Option<Range<usize>>,
) -> Option<String> {
    let all: Vec<&RawValue> = serde_json::from_str(annotations).ok()?;
    let (mut left, mut changed) = (Vec::with_capacity(all.len()), false);
    for annotation in all.into_iter().map(RawValue::get) {
        let Some((start, end)) = span_in(annotation) else {
            left.push(annotation.to_owned());
            continue;
        };
        let [from, to] = [start, end].map(|it| it.parse().unwrap_or_default());
        // A span of nothing is a place, and moves like the character there.
        let point = from >= to;
        let now = moved(from..if point { from + 1 } else { to });
        let now = now.map(|it| it.start..if point { it.start } else { it.end });
        changed |= now != Some(from..to);
        if let Some(now) = now {
            left.push(with_numbers(annotation, [(start, now.start), (end, now.end)]));
        }
    }
    changed.then(|| format!("[{}]", left.join(",")))
}

/// The numbers of the span that an annotation names: its own, or those of a member of it.
fn span_in(annotation: &str) -> Option<(&str, &str)> {
    let object: RawObject<'_> = serde_json::from_str(annotation).ok()?;
    let own = |object: &RawObject<'_>| -> Option<[Range<usize>; 2]> {
        let place = |key: &str| {
            let number = object.get(key)?.get();
            let _whole: usize = number.parse().ok()?;
            Some(span_of(annotation.as_bytes(), number))
        };
        Some([place("start_index")?, place("end_index")?])
    };
    let inner = || {
        let inside = object.0.iter().map(|(_, it)| it.get()).filter(|it| it.starts_with('{'));
        inside.filter_map(|it| serde_json::from_str(it).ok()).find_map(|it| own(&it))
    };
    let [start, end] = own(&object).or_else(inner)?;
    Some((annotation.get(start)?, annotation.get(end)?))
}

fn with_numbers(annotation: &str, numbers: [(&str, usize); 2]) -> String {
    let place = |it: &str| span_of(annotation.as_bytes(), it);
    let mut edits = numbers.map(|(old, new)| (place(old), new.to_string()));
    edits.sort_by_key(|(span, _)| span.start);
    let (mut written, mut at) = (String::with_capacity(annotation.len()), 0);
    for (span, new) in edits {
        written.push_str(annotation.get(at..span.start).unwrap_or_default());
        written.push_str(&new);
        at = span.end;
    }
    written + annotation.get(at..).unwrap_or_default()
}

/// What was said of one token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSaid<'a> {
    /// As JSON text.
    pub json: &'a str,
    /// Bytes of the text that it is.
    pub bytes: usize,
}

/// What `logprobs` says of each token of the text; `None` in a form that nobody here knows.
pub fn tokens_said(logprobs: &str) -> Option<Vec<TokenSaid<'_>>> {
    let object: RawObject<'_> = serde_json::from_str(logprobs).ok()?;
    let content: Vec<&RawValue> = serde_json::from_str(object.get("content")?.get()).ok()?;
    content.into_iter().map(|it| token(it.get())).collect()
}

fn token(json: &str) -> Option<TokenSaid<'_>> {
    let object: RawObject<'_> = serde_json::from_str(json).ok()?;
    let bytes: Option<Vec<u8>> =
        object.get("bytes").and_then(|it| serde_json::from_str(it.get()).ok());
    let bytes = match bytes {
        Some(bytes) => bytes.len(),
        None => text_of(object.get("token")?.get())?.len(),
    };
    Some(TokenSaid { json, bytes })
}

/// `logprobs` with these tokens, each as JSON text, in place of its own; where there are none, new ones.
pub fn logprobs_with(logprobs: Option<&str>, tokens: &[&str]) -> String {
    let content = format!("[{}]", tokens.join(","));
    let place = |logprobs: &str| {
        let object: RawObject<'_> = serde_json::from_str(logprobs).ok()?;
        Some(span_of(logprobs.as_bytes(), object.get("content")?.get()))
    };
    match logprobs.and_then(|it| Some((it, place(it)?))) {
        Some((all, span)) => {
            let before = all.get(..span.start).unwrap_or_default();
            [before, &content, all.get(span.end..).unwrap_or_default()].concat()
        }
        None => format!(r#"{{"content":{content},"refusal":null}}"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_moved_wherever_an_annotation_has_them() {
        let up =
            |span: Range<usize>| (span.end > 6).then(|| span.start.saturating_sub(6)..span.end - 6);
        let check = |annotations: &str, expected: Option<&str>| {
            assert_eq!(annotations_moved(annotations, up).as_deref(), expected, "{annotations}");
        };
        check(
            r#"[{"type":"url_citation","url_citation":{"end_index":20, "url":"u","start_index": 10}}]"#,
            Some(
                r#"[{"type":"url_citation","url_citation":{"end_index":14, "url":"u","start_index": 4}}]"#,
            ),
        );
        check(
            r#"[{"start_index":0,"end_index":5},{"start_index":2,"end_index":9},{"type":"file","file":{}}]"#,
            Some(r#"[{"start_index":0,"end_index":3},{"type":"file","file":{}}]"#),
        );
        for same in
            ["[]", r#"[{"type":"x"}]"#, "{}", "3", r#"[{"start_index":-1,"end_index":"2"}]"#]
        {
            check(same, None);
        }
        let all = r#"[{"start_index":1,"end_index":2}]"#;
        assert_eq!(annotations_moved(all, Some), None);
        check(r#"[{"start_index":7,"end_index":7}]"#, Some(r#"[{"start_index":1,"end_index":1}]"#));
        assert_eq!(annotations_moved(all, |_| None).as_deref(), Some("[]"));
    }

    #[test]
    fn tokens_are_counted_by_their_bytes() {
        let logprobs = r#"{"content":[{"token":"é","logprob":-1},{"token":"\\xf0","bytes":[240]}],"refusal":null}"#;
        let tokens = tokens_said(logprobs).unwrap();
        assert_eq!(tokens.iter().map(|it| it.bytes).collect::<Vec<_>>(), [2, 1]);
        let first = tokens[0].json;
        assert_eq!(
            logprobs_with(Some(logprobs), &[first]),
            r#"{"content":[{"token":"é","logprob":-1}],"refusal":null}"#
        );
        assert_eq!(logprobs_with(None, &["{}"]), r#"{"content":[{}],"refusal":null}"#);
        for other in
            ["null", "{}", r#"{"tokens":["a"]}"#, r#"{"content":[{}]}"#, r#"{"content":null}"#]
        {
            assert_eq!(tokens_said(other), None, "{other}");
        }
    }
}
