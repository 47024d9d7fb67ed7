//! What is worth keeping of history, as it grows: the best sentences with what is in them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::context::middle::head;
use crate::context::summary::cues;
use crate::context::summary::facts;
use crate::context::summary::facts::Fact;
use crate::context::summary::sentences::Piece;
use crate::context::summary::sentences::pieces;
use crate::context::summary::words::Term;
use crate::context::summary::words::term;
use crate::context::summary::words::terms;
use crate::openai::Message;
use crate::openai::Role;

/// Words whose number of sentences is remembered. Those of function words are what matters, and
/// there are few of them.
const WORDS: usize = 4_096;
/// How many times the budget is kept for later, when other sentences are the best.
const SPARE: u64 = 4;
/// What the words of a sentence weigh together, beside its facts and cues.
pub(super) const TOPIC: f32 = 5.0;
/// Sentences of one message that are looked at.
const SENTENCES: usize = 4_096;
/// Calls of one turn whose names are remembered, and bytes of a name.
const CALLS: usize = 128;
const NAME: usize = 40;
/// Sentences held while a long history is read: some MiB.
const CROWD: usize = 16_384;

/// Who says a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speaker {
    pub(super) role: Role,
    /// The tool's name, where a tool says it and its call is known.
    pub(super) tool: Option<Arc<str>>,
}

/// A sentence that may stand in the summary.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) text: String,
    pub(super) speaker: Speaker,
    /// Its message's place among those that were left out.
    pub(super) message: usize,
    /// Its place among all sentences.
    pub(super) place: u32,
    pub(super) facts: Vec<Fact>,
    pub(super) terms: Vec<Term>,
    /// What it weighs without regard to other sentences.
    pub(super) weight: f32,
    /// By what its gain is multiplied: who says it, where, and how.
    pub(super) factor: f32,
    /// Likely tokens.
    pub(super) length: f32,
}

impl Candidate {
    /// Its number of words, at least 3: of one or two nothing can be said.
    pub(super) fn words(&self) -> f32 {
        ratio(u32::try_from(self.terms.len()).unwrap_or(u32::MAX), 1).max(3.0)
    }

    /// By what its gain is divided for its length: less than the length itself, since of two that say
    /// as much for each token the longer one says more.
    pub(super) fn span(&self) -> f32 {
        (self.length + 4.0).powf(0.85)
    }
}

/// The history of a conversation, digested.
#[derive(Clone, Debug)]
pub struct Digest {
    /// Tokens that the spare sentences may have.
    room: u64,
    pub(super) candidates: Vec<Candidate>,
    /// In how many sentences words stand.
    pub(super) counts: HashMap<Term, u32>,
    /// Sentences read.
    pub(super) sentences: u32,
    messages: usize,
    /// The last calls: by what id each is known, and the function's name.
    calls: Vec<(Term, Arc<str>)>,
    /// Words that begin with a capital without need, and all words.
    capitals: (u32, u32),
}

impl Digest {
    pub(super) fn new(most: u64) -> Self {
        Self {
            room: most.saturating_mul(SPARE),
            candidates: Vec::new(),
            counts: HashMap::new(),
            sentences: 0,
            messages: 0,
            calls: Vec::new(),
            capitals: (0, 0),
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |it: &Candidate| {
            it.text.len() + it.terms.len() * 8 + it.facts.len() * 16 + size_of::<Candidate>()
        };
        self.candidates.iter().map(of).sum::<usize>() + self.counts.len() * 16
    }

    /// Takes in what a message says.
    pub(super) fn add(&mut self, message: &Message<'_>) {
        let text = message.text();
        let speaker = Speaker { role: message.role, tool: self.tool(message) };
        for (i, piece) in pieces(&text).into_iter().take(SENTENCES).enumerate() {
            self.sentences += 1;
            self.take(piece, &speaker, i == 0);
        }
        if let Some(calls) = message.calls_json() {
            self.calls = called(calls);
            let names: Vec<&str> = self.calls.iter().take(4).map(|(_, name)| &**name).collect();
            if !names.is_empty() {
                let names = names.join(", ");
                self.sentences += 1;
                self.take(Piece::Code(format!("[called {names}]")), &speaker, false);
            }
        }
        self.messages += 1;
    }

    /// The tool whose result a message is.
    fn tool(&self, message: &Message<'_>) -> Option<Arc<str>> {
        let id = message.role.answers_call().then(|| message.answered_id().unwrap_or_default())?;
        let known = term(&id);
        let call = self.calls.iter().find(|(id, _)| *id == known);
        call.map(|(_, name)| Arc::clone(name))
    }

    fn take(&mut self, piece: Piece, speaker: &Speaker, first: bool) {
        let (text, code) = match piece {
            Piece::Sentence(text) => (text, false),
            Piece::Code(text) => (text, true),
        };
        let words = terms(&text);
        let facts = facts::facts(&text);
        let capitals = facts.iter().filter(|it| it.capital).count();
        self.capitals.0 += u32::try_from(capitals).unwrap_or(0);
        self.capitals.1 += u32::try_from(words.len()).unwrap_or(0);
        let cues = if code { 0.0 } else { cues::weight(&words) };
        let mut distinct = words;
        distinct.sort_unstable();
        distinct.dedup();
        for word in &distinct {
            if self.counts.len() < WORDS * 4 || self.counts.contains_key(word) {
                *self.counts.entry(*word).or_default() += 1;
            }
        }
        let known: f32 = facts.iter().map(|it| it.weight).sum();
        let factor = factor(&text, (speaker.role, code, first), self.messages);
        self.candidates.push(Candidate {
            length: length(&text),
            text,
            speaker: speaker.clone(),
            message: self.messages,
            place: self.sentences,
            facts,
            terms: distinct,
            weight: known.min(6.0) + cues,
            factor,
        });
    }

    /// What a name by its capital alone is worth here: all of it where one word in twelve is
    /// written so, little where every noun is.
    pub(super) fn capital_worth(&self) -> f32 {
        let (capitals, words) = self.capitals;
        let share = ratio(capitals, words.max(1));
        (1.25 - share * 6.0).clamp(0.15, 1.0)
    }

    /// How much a word tells, 0 to 1: nothing where it stands in every sentence, most where it stands in
    /// one.
    pub(super) fn tells(&self, word: Term) -> f32 {
        let stands = self.counts.get(&word).copied().unwrap_or(1);
        let all = self.sentences.max(2);
        (ratio(all, stands).ln() / ratio(all, 1).ln()).max(0.0)
    }

    /// Is it time to forget some of it, though there is more to come?
    pub(super) fn is_crowded(&self) -> bool {
        self.candidates.len() > CROWD
    }

    /// Forgets the least of it, down to what is kept for later.
    pub(super) fn shrink(&mut self) {
        let tokens: f32 = self.candidates.iter().map(|it| it.length).sum();
        let room = ratio(u32::try_from(self.room).unwrap_or(u32::MAX), 1);
        if tokens > room {
            let mut order: Vec<(f32, u32)> =
                self.candidates.iter().map(|it| (self.worth(it), it.place)).collect();
            order.sort_by(|a, b| b.0.total_cmp(&a.0));
            let lengths: HashMap<u32, f32> =
                self.candidates.iter().map(|it| (it.place, it.length)).collect();
            let mut left = room;
            let fits = |(_, place): &(f32, u32)| {
                left -= lengths.get(place).copied().unwrap_or(0.0);
                left >= 0.0
            };
            let mut stay: Vec<u32> = order.into_iter().take_while(fits).map(|it| it.1).collect();
            stay.sort_unstable();
            self.candidates.retain(|it| stay.binary_search(&it.place).is_ok());
        }
        if self.counts.len() > WORDS {
            let mut all: Vec<(u32, Term)> =
                self.counts.iter().map(|(word, count)| (*count, *word)).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.truncate(WORDS);
            self.counts = all.into_iter().map(|(count, word)| (word, count)).collect();
        }
    }

    /// What a sentence is worth by itself, for its length.
    fn worth(&self, it: &Candidate) -> f32 {
        let topic: f32 = it.terms.iter().map(|word| self.tells(*word)).sum();
        (it.weight + TOPIC * topic / it.words()) * it.factor / it.span()
    }
}

fn factor(text: &str, (role, code, first): (Role, bool, bool), messages: usize) -> f32 {
    let speaker = match role {
        Role::User => 1.15,
        Role::Tool | Role::Function => 0.5,
        _ => 1.0,
    };
    let asks = text.ends_with(['?', '？', '؟']);
    let opens = if messages < 2 { 1.15 } else { 1.0 };
    let leads = if first { 1.05 } else { 1.0 };
    speaker * opens * leads * if asks { 0.35 } else { 1.0 } * if code { 0.6 } else { 1.0 }
}

/// Likely tokens: other scripts take more for each letter than Latin does.
fn length(text: &str) -> f32 {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().filter(|it| !it.is_ascii()).count();
    let count = |it: usize| ratio(u32::try_from(it).unwrap_or(u32::MAX), 1);
    (count(ascii) / 4.2 + count(others) * 0.9).max(1.0)
}

pub(super) fn ratio(part: u32, whole: u32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "weights need no more")]
    let ratio = part as f32 / whole.max(1) as f32;
    ratio
}

/// The functions that are called, with what their calls' ids are known by. In OpenAI's older form there
/// is one, without an id.
fn called(calls: &str) -> Vec<(Term, Arc<str>)> {
    #[derive(serde::Deserialize)]
    struct Call<'a> {
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        function: Option<Function<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Function<'a> {
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
    }
    let older = || serde_json::from_str(calls).ok().map(|it| Call { id: None, function: Some(it) });
    let calls: Vec<Call<'_>> =
        serde_json::from_str(calls).unwrap_or_else(|_| older().into_iter().collect());
    let named = |it: &Call<'_>| {
        let name = it.function.as_ref()?.name.as_deref()?;
        let plain: String = head(name, NAME).chars().filter(|it| !it.is_control()).collect();
        Some((term(it.id.as_deref().unwrap_or_default()), Arc::from(plain)))
    };
    calls.iter().take(CALLS).filter_map(named).collect()
}
