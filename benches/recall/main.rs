//! How many of 20 facts, planted in long conversations, survive in the summary of `reservoir` mode, and
//! how many in simpler ones of the same size.
//!
//! `cargo bench --bench recall`; with `-- show` also what was lost, and a summary of each language.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement reports, and may stop"
)]

mod corpus;
mod held_out;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use corpus::{KINDS, LANGUAGES, Wording};
use held_out::HELD_OUT;
use relayfreellm::context::{Memory, summary, tokens};
use relayfreellm::openai::{ChatRequest, Message};
use serde_json::json;

const BUDGETS: [u64; 3] = [200, 400, 800];
/// Conversations of each language, kind and wording.
const SEEDS: u64 = 5;
const WAYS: usize = 4;

/// How many facts were found by each way, and how many there were.
#[derive(Clone, Copy, Default)]
struct Found {
    kept: [usize; WAYS],
    planted: usize,
}

fn main() {
    let show = std::env::args().any(|it| it == "show");
    for (set, languages) in [("made with", LANGUAGES), ("held out", HELD_OUT)] {
        println!(
            "{set:<28} {:>7} {:>9} {:>9} {:>9} {:>9}",
            "tokens", "reservoir", "truncated", "plain TF", "rare"
        );
        let mut totals: BTreeMap<(String, u64), Found> = BTreeMap::new();
        for language in languages {
            for kind in KINDS {
                for wording in [Wording::Plain, Wording::Varied] {
                    for seed in 0..SEEDS {
                        let made = language.conversation(kind, wording, seed);
                        for budget in BUDGETS {
                            let texts = all_ways(&made.messages, budget);
                            for row in rows(language.name, kind, wording) {
                                totals.entry((row, budget)).or_default().add(&made.keys, &texts);
                            }
                            if show && budget == 400 {
                                tell_of(
                                    language.name,
                                    (kind, wording, seed),
                                    &made.keys,
                                    &texts[0],
                                );
                            }
                        }
                    }
                }
            }
        }
        for ((row, budget), found) in totals {
            let percent = found.kept.map(|it| 100.0 * it as f64 / found.planted as f64);
            let percent = percent.map(|it| format!("{it:.1}%"));
            println!(
                "{row:<28} {budget:>7} {:>9} {:>9} {:>9} {:>9}",
                percent[0], percent[1], percent[2], percent[3]
            );
        }
    }
}

/// The rows of the table in which a conversation counts.
fn rows(language: &str, kind: &str, wording: Wording) -> [String; 3] {
    ["all".to_owned(), format!("kind: {kind}"), format!("language: {language}, {wording:?}")]
}

impl Found {
    fn add(&mut self, keys: &[&str], texts: &[String; WAYS]) {
        self.planted += keys.len();
        for (kept, text) in self.kept.iter_mut().zip(texts) {
            *kept += keys.iter().filter(|it| text.contains(**it)).count();
        }
    }
}

/// What was lost, and one summary.
fn tell_of(
    language: &str,
    (kind, wording, seed): (&str, Wording, u64),
    keys: &[&str],
    summary: &str,
) {
    let lost: Vec<_> = keys.iter().filter(|it| !summary.contains(**it)).collect();
    println!("  {language}, {kind}, {wording:?}, {seed}: lost {lost:?}");
    if (kind, wording, seed) == ("support", Wording::Plain, 0) {
        println!("{summary}");
    }
}

fn all_ways(messages: &[serde_json::Value], budget: u64) -> [String; WAYS] {
    let body = json!({"messages": messages}).to_string();
    let request = ChatRequest::parse(&Bytes::from(body)).expect("a request");
    let all = request.messages();
    let old: Vec<&Message<'_>> = all.iter().collect();
    let made = summary::of((&old, None), &[], budget, &Memory::default());
    let sentences: Vec<String> = all.iter().flat_map(|it| sentences(&it.text())).collect();
    [
        made.map(|it| it.text).unwrap_or_default(),
        fill(sentences.iter().rev(), budget),
        by_score(&sentences, budget, |stands, _| stands),
        by_score(&sentences, budget, |stands, all| (all / stands).ln()),
    ]
}

fn sentences(text: &str) -> Vec<String> {
    let ends = ['.', '!', '?', '。', '！', '？', '\n'];
    let parts = text.split_inclusive(|it| ends.contains(&it));
    // A full stop within a number or a path is none.
    let mut whole: Vec<String> = Vec::new();
    for part in parts {
        match whole.last_mut() {
            Some(last) if last.ends_with('.') && !part.starts_with(' ') => last.push_str(part),
            _ => whole.push(part.to_owned()),
        }
    }
    whole.iter().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

fn words(sentence: &str) -> Vec<String> {
    use unicode_segmentation::UnicodeSegmentation as _;
    sentence.unicode_words().map(str::to_lowercase).collect()
}

/// Each sentence's mean of what its words weigh, by in how many sentences they stand.
fn by_score(sentences: &[String], budget: u64, weigh: fn(f64, f64) -> f64) -> String {
    let mut stands: HashMap<String, f64> = HashMap::new();
    for word in sentences.iter().flat_map(|it| words(it)) {
        *stands.entry(word).or_default() += 1.0;
    }
    let score = |it: &String| {
        let words = words(it);
        let sum: f64 = words.iter().map(|it| weigh(stands[it], sentences.len() as f64)).sum();
        sum / words.len().max(1) as f64
    };
    let mut scored: Vec<(f64, &String)> = sentences.iter().map(|it| (score(it), it)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.dedup_by(|a, b| a.1 == b.1);
    fill(scored.into_iter().map(|it| it.1), budget)
}

fn fill<'a>(sentences: impl Iterator<Item = &'a String>, budget: u64) -> String {
    let (mut text, mut left) = (String::new(), budget);
    for sentence in sentences {
        let cost = tokens::count(sentence) + 1;
        if cost <= left {
            left -= cost;
            text.push_str(sentence);
            text.push(' ');
        }
    }
    text
}
