//! The summary of what was left out: sentences of the conversation itself, chosen so that what a
//! model could miss later is most likely among them. No model is asked.
//!
//! [`sentences`] takes messages apart, [`words`] and [`facts`] say what is in a sentence, [`digest`]
//! keeps the best of them as a conversation grows, [`choice`] fills the budget.

mod choice;
mod cues;
mod digest;
mod facts;
mod sentences;
mod words;

use std::sync::Arc;

use crate::context::memory::Memory;
use crate::context::tokens;
use crate::openai::Message;
use crate::openai::Role;

pub use digest::Digest;

/// A summary in fewer tokens says nothing.
pub const FEWEST: u64 = 40;

/// How every summary begins.
const HEAD: &str = "[Earlier conversation, shortened: extracts of ";

/// Most bytes of what stays that are searched for what it refers back to.
const RECENT_BYTES: usize = 32 * 1024;

/// A summary, its head included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The whole text.
    pub text: String,
    /// Its tokens.
    pub tokens: u64,
}

/// Is this message a summary that was made here?
pub fn is_summary(message: &Message<'_>) -> bool {
    // The search is cheap; the text is read only where it is found.
    message.role == Role::User
        && memchr::memmem::find(message.json.as_bytes(), HEAD.as_bytes()).is_some()
        && message.text().starts_with(HEAD)
}

/// The summary of the messages `left_out` in at most `most` tokens, made with what `recent` ones
/// refer back to in mind. Where the last message of the user stood after some of them, as many as are
/// told with them, the summary says so. `None` when there is nothing to say.
///
/// What is found in the messages is kept in `memory`: when more are left out later, only those are
/// read.
pub fn of(
    (left_out, asked_after): (&[&Message<'_>], Option<usize>),
    recent: &[&Message<'_>],
    most: u64,
    memory: &Memory,
) -> Option<Summary> {
    let digest = digested(left_out, most, memory);
    let mut referred = words::Terms::default();
    let mut bytes = 0;
    for text in recent.iter().rev().map(|it| it.text()) {
        if bytes + text.len() > RECENT_BYTES {
            break;
        }
        bytes += text.len();
        referred.extend(words::terms(&text));
    }
    let head = format!("{HEAD}{} messages]", left_out.len());
    let room = most.checked_sub(tokens::count(&head))?;
    let mut chosen = choice::choose(&digest, &referred, room);
    loop {
        if chosen.is_empty() {
            return None;
        }
        let text = choice::tell(&head, &chosen, asked_after);
        let tokens = tokens::count(&text);
        if tokens <= most {
            return Some(Summary { text, tokens });
        }
        choice::drop_least(&mut chosen);
    }
}

fn digested(left_out: &[&Message<'_>], most: u64, memory: &Memory) -> Arc<Digest> {
    let mut keys = Vec::with_capacity(left_out.len());
    let mut key = memory.fingerprint(most);
    for message in left_out {
        key = memory.fingerprint((key, message.json));
        keys.push(key);
    }
    let known = keys.iter().enumerate().rev().find_map(|(i, key)| Some((i, memory.digest(key)?)));
    let (done, mut digest) = match known {
        Some((i, digest)) if i + 1 == left_out.len() => return digest,
        Some((i, digest)) => (i + 1, Digest::clone(&digest)),
        None => (0, Digest::new(most)),
    };
    for message in left_out.get(done..).unwrap_or_default() {
        digest.add(message);
        if digest.is_crowded() {
            digest.shrink();
        }
    }
    digest.shrink();
    let digest = Arc::new(digest);
    if let Some(key) = keys.last() {
        memory.keep_digest(*key, Arc::clone(&digest));
    }
    digest
}
