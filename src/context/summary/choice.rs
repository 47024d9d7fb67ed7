//! Filling the budget: the sentence that adds most for its length first, each only for what those
//! before it have not said.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::HashSet;

use crate::context::summary::digest::Candidate;
use crate::context::summary::digest::Digest;
use crate::context::summary::digest::Speaker;
use crate::context::summary::digest::TOPIC;
use crate::context::summary::words::Terms;
use crate::context::tokens;
use crate::openai::Role;

/// A sentence whose telling words have been said to a larger part than this, and that has no new
/// fact, is left out.
const SAID: f32 = 0.7;
/// Less gain than this is small talk.
const LEAST: f32 = 1.6;
/// Words that tell less stand everywhere: later turns don't refer to anything by them.
const TELLING: f32 = 0.5;
/// What the words add that later turns take up.
const ASKED: f32 = 2.0;
/// Tokens by which the room may be overdrawn at first, a tenth of it at most: what joins and marks
/// sentences is counted when they stand together, and those that add least go then.
const OVERDRAWN: u64 = 10;

/// A chosen sentence.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    candidate: &'a Candidate,
    for_length: f32,
}

/// A sentence with what it would add when it was last looked at.
struct Waiting<'a> {
    candidate: &'a Candidate,
    gain: f32,
    for_length: f32,
    /// How many were chosen then.
    seen: usize,
}

impl PartialEq for Waiting<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting<'_> {}

impl PartialOrd for Waiting<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of equals the later one: it is what was said last.
        let by_gain = self.for_length.total_cmp(&other.for_length);
        by_gain.then(self.candidate.place.cmp(&other.candidate.place))
    }
}

/// What has been said, and what is asked for.
struct Said<'a> {
    digest: &'a Digest,
    referred: &'a Terms,
    facts: HashSet<u64>,
    terms: Terms,
    capital_worth: f32,
}

/// The sentences that add most, in at most `room` tokens, in the order they were said in.
pub(super) fn choose<'a>(digest: &'a Digest, referred: &Terms, room: u64) -> Vec<Chosen<'a>> {
    let mut said = Said {
        digest,
        referred,
        facts: HashSet::new(),
        terms: Terms::default(),
        capital_worth: digest.capital_worth(),
    };
    let mut chosen: Vec<Chosen<'a>> = Vec::new();
    let mut left = room + room / OVERDRAWN;
    let mut waiting: BinaryHeap<Waiting<'a>> =
        digest.candidates.iter().map(|it| said.weigh(it, 0)).collect();
    while let Some(best) = waiting.pop() {
        if best.gain < LEAST {
            break;
        }
        // Gains only shrink as more is said: one that is still the best after a second look is.
        if best.seen < chosen.len() {
            waiting.push(said.weigh(best.candidate, chosen.len()));
            continue;
        }
        let tokens = tokens::count(&best.candidate.text);
        if tokens > left {
            continue;
        }
        left -= tokens;
        said.take(best.candidate);
        chosen.push(Chosen { candidate: best.candidate, for_length: best.for_length });
    }
    chosen.sort_by_key(|it| it.candidate.place);
    chosen
}

impl Said<'_> {
    fn weigh<'a>(&self, candidate: &'a Candidate, seen: usize) -> Waiting<'a> {
        let gain = self.gain(candidate);
        let for_length = gain / candidate.span();
        Waiting { candidate, gain, for_length, seen }
    }

    fn gain(&self, it: &Candidate) -> f32 {
        let new = it.facts.iter().filter(|fact| !self.facts.contains(&fact.term));
        let facts: f32 =
            new.map(|it| it.weight * if it.capital { self.capital_worth } else { 1.0 }).sum();
        let (mut all, mut fresh, mut asked) = (0.0_f32, 0.0_f32, 0.0_f32);
        for word in &it.terms {
            let tells = self.digest.tells(*word);
            all += tells;
            if !self.terms.contains(word) {
                fresh += tells;
                if tells > TELLING && self.referred.contains(word) {
                    asked += tells;
                }
            }
        }
        let novelty = if all > 0.0 { fresh / all } else { 0.0 };
        if novelty < 1.0 - SAID && facts <= 0.0 {
            return 0.0;
        }
        let known: f32 = it.facts.iter().map(|it| it.weight).sum::<f32>().min(6.0);
        let cues = (it.weight - known).max(0.0) * (0.3 + 0.7 * novelty);
        (facts.min(6.0) + cues + (TOPIC * fresh + ASKED * asked) / it.words()) * it.factor
    }

    fn take(&mut self, it: &Candidate) {
        self.facts.extend(it.facts.iter().map(|it| it.term));
        self.terms.extend(&it.terms);
    }
}

/// Takes away the one that adds least for its length.
pub(super) fn drop_least(chosen: &mut Vec<Chosen<'_>>) {
    let gains = chosen.iter().enumerate();
    if let Some((at, _)) = gains.min_by(|(_, a), (_, b)| a.for_length.total_cmp(&b.for_length)) {
        chosen.remove(at);
    }
}

/// The summary: a line for each turn of speech, with who speaks. The last message of the user stood after
/// the first `asked_after` messages, where it did not stand after all of them.
pub(super) fn tell(head: &str, chosen: &[Chosen<'_>], asked_after: Option<usize>) -> String {
    let mut text = head.to_owned();
    let mut speaker = None;
    let mut unasked = asked_after;
    for Chosen { candidate, .. } in chosen {
        if unasked.is_some_and(|it| candidate.message >= it) {
            unasked = None;
            speaker = None;
            text.push_str(ASKED_HERE);
        }
        if speaker == Some(&candidate.speaker) {
            text.push(' ');
        } else {
            text.push('\n');
            text.push_str(&named(&candidate.speaker));
            text.push_str(": ");
            speaker = Some(&candidate.speaker);
        }
        text.push_str(&candidate.text);
    }
    text
}

/// What parts the conversation before the user's last message from what came of it.
const ASKED_HERE: &str = "\n[The request before this message was made here]";

fn named(speaker: &Speaker) -> Cow<'static, str> {
    match (speaker.role, &speaker.tool) {
        (Role::User, _) => Cow::Borrowed("User"),
        (Role::Tool | Role::Function, Some(tool)) => Cow::Owned(format!("Result of {tool}")),
        (Role::Tool | Role::Function, None) => Cow::Borrowed("Result of a tool"),
        _ => Cow::Borrowed("Assistant"),
    }
}
