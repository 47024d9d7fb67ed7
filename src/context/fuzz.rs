//! What must hold for whatever text a conversation is made of.

use bytes::Bytes;
use serde_json::json;

use crate::context::Memory;
use crate::context::Plan;
use crate::context::Rules;
use crate::context::fit;
use crate::context::size;
use crate::context::summary;
use crate::context::tokens;
use crate::openai::ChatRequest;
use crate::openai::Message;

/// Makes a conversation of the text's paragraphs and has it summed up and fitted.
///
/// # Panics
/// When what comes out is larger than it may be, or is no conversation.
#[expect(clippy::expect_used, reason = "this is what the fuzzer looks for")]
pub fn fuzz(text: &str) {
    let roles = ["user", "assistant", "tool"].into_iter().cycle();
    let turns = text.split("\n\n").zip(roles);
    let messages: Vec<_> =
        turns.map(|(text, role)| json!({"role": role, "content": text})).collect();
    let body = Bytes::from(json!({"messages": messages}).to_string());
    let request = ChatRequest::parse(&body).expect("what was made is a request");
    let (all, memory) = (request.messages(), Memory::default());
    let old: Vec<&Message<'_>> = all.iter().collect();
    if let Some(made) = summary::of((&old, None), &[], 100, &memory) {
        assert!(made.tokens <= 100 && tokens::count(&made.text) == made.tokens);
    }
    let costs: Vec<u64> =
        size::sizes(&all, &memory).iter().map(|it| it.by(Rules::OTHERS)).collect();
    let plan = Plan { label: "fuzz", kind: None, keep: 9, least: 0.0, target: 1.0, summary: 80 };
    let budget = costs.iter().sum::<u64>() / 2;
    if let Ok(Some(made)) = fit(&all, &costs, (budget, &plan), &memory) {
        assert!(made.tokens <= budget);
        assert!(!Message::list(&made.json).is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_summed_up_and_fits(text in "(\\PC{0,60}|[a-z0-9 .。?\n`~\"\\-]{0,80}|\n\n){0,12}") {
            super::fuzz(&text);
        }
    }

    /// As the fuzzer gives it: up to what is no UTF-8.
    #[test]
    fn the_kept_corpus_is_treated_as_any_text() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/context");
        let mut files = 0;
        for file in fs::read_dir(folder).unwrap() {
            let data = fs::read(file.unwrap().path()).unwrap();
            super::fuzz(data.utf8_chunks().next().map_or("", |it| it.valid()));
            files += 1;
        }
        assert!(files > 0);
    }
}
