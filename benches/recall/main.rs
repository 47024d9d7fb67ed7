//! How many of 20 facts, planted in long conversations, survive in the summary of `reservoir` mode, and
//! how many in simpler ones of the same size.
//!
//! `cargo bench --bench recall`; with `-- show` also what was lost, and one summary.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement reports, and may stop"
)]

mod corpus;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use corpus::{KINDS, LANGUAGES, Wording};
use relayfreellm::context::{Memory, summary, tokens};
use relayfreellm::openai::{ChatRequest, Message};
use serde_json::json;

const BUDGETS: [u64; 3] = [200, 400, 800];

fn main() {
    let show = std::env::args().any(|it| it == "show");
    println!(
        "{:<10} {:<7} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "language", "wording", "tokens", "reservoir", "truncated", "plain TF", "rare"
    );
    let mut totals: BTreeMap<(u64, &str), [usize; 5]> = BTreeMap::new();
    for language in LANGUAGES {
        for wording in [Wording::Plain, Wording::Varied] {
            for budget in BUDGETS {
                let mut found = [0; 4];
                let mut planted = 0;
                for kind in KINDS {
                    let made = language.conversation(kind, wording);
                    planted += made.keys.len();
                    let texts = all_ways(&made.messages, budget);
                    for total in [kind, "all"] {
                        totals.entry((budget, total)).or_default()[4] += made.keys.len();
                    }
                    for (i, text) in texts.iter().enumerate() {
                        let here = made.keys.iter().filter(|it| text.contains(**it)).count();
                        found[i] += here;
                        for total in [kind, "all"] {
                            totals.entry((budget, total)).or_default()[i] += here;
                        }
                    }
                    if show && budget == 400 {
                        let lost = made.keys.iter().filter(|it| !texts[0].contains(**it));
                        println!("  {kind}: lost {:?}", lost.collect::<Vec<_>>());
                        if kind == "support" && wording == Wording::Plain {
                            println!("{}", texts[0]);
                        }
                    }
                }
                let percent = found.map(|it| format!("{}%", it * 100 / planted));
                println!(
                    "{:<10} {:<7} {budget:>7} {:>9} {:>9} {:>9} {:>9}",
                    language.name,
                    format!("{wording:?}"),
                    percent[0],
                    percent[1],
                    percent[2],
                    percent[3]
                );
            }
        }
    }
    for ((budget, of), found) in totals {
        let percent =
            [0, 1, 2, 3].map(|i| format!("{:.1}%", 100.0 * found[i] as f64 / found[4] as f64));
        println!(
            "{of:<18} {budget:>7} {:>9} {:>9} {:>9} {:>9}",
            percent[0], percent[1], percent[2], percent[3]
        );
    }
}

fn all_ways(messages: &[serde_json::Value], budget: u64) -> [String; 4] {
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
