//! What of a conversation belongs together, and what may not be dropped.

use std::ops::Range;

use crate::context::summary;
use crate::openai::Message;
use crate::openai::Role;

/// How a conversation is put together.
#[derive(Debug)]
pub(super) struct Layout {
    /// The messages that stay or go together: a call with its results and what stands between them,
    /// everything else alone. In order, without gaps.
    pub(super) units: Vec<Range<usize>>,
    /// May not be dropped: instructions, the last message of the user, the exchange that is open at
    /// the end, and a summary made before.
    pub(super) pinned: Vec<bool>,
    /// May not be cut either.
    pub(super) untouchable: Vec<bool>,
    /// Is a turn of the conversation, of which only so many are kept.
    pub(super) turn: Vec<bool>,
    /// The last message of the user; the number of messages when there is none.
    pub(super) last_user: usize,
}

impl Layout {
    pub(super) fn of(messages: &[Message<'_>]) -> Self {
        let mut summed: Vec<bool> = messages.iter().map(summary::is_summary).collect();
        let last = messages.iter().rposition(|it| it.role == Role::User);
        if let Some(it) = last.filter(|i| !may_follow(messages, *i)).and_then(|i| summed.get_mut(i))
        {
            *it = false;
        }
        let is_summary = |i: usize| summed.get(i).copied().unwrap_or(false);
        let users = |(i, it): (usize, &Message<'_>)| it.role == Role::User && !is_summary(i);
        let mut all = messages.iter().enumerate();
        let last_user = all.rfind(|it| users(*it)).map_or(messages.len(), |(i, _)| i);
        let units = units(messages);
        let mut pinned: Vec<bool> = messages
            .iter()
            .enumerate()
            .map(|(i, it)| it.role.instructs() || is_summary(i) || i == last_user)
            .collect();
        // Instructions may stand behind it.
        let speaks = |unit: &&Range<usize>| {
            messages.get((*unit).clone()).is_some_and(|it| it.iter().any(|it| !it.role.instructs()))
        };
        let last = units.iter().rev().find(speaks).cloned();
        let open = last.filter(|it| it.end > last_user || last_user == messages.len());
        let with_user = units.iter().find(|it| it.contains(&last_user)).cloned();
        for i in open.into_iter().chain(with_user).flatten() {
            if let Some(it) = pinned.get_mut(i) {
                *it = true;
            }
        }
        let instructs = |it: &Message<'_>| it.role.instructs();
        let untouchable =
            messages.iter().enumerate().map(|(i, it)| instructs(it) || i == last_user).collect();
        let turn =
            messages.iter().enumerate().map(|(i, it)| !instructs(it) && !is_summary(i)).collect();
        Self { units, pinned, untouchable, turn, last_user }
    }
}

/// May the user's message at `at`, the last one, be a summary of what came after the one before it? Only
/// between that (or the results that belong to it) and what followed: else it is the user's own last
/// word, whatever it begins with.
fn may_follow(messages: &[Message<'_>], at: usize) -> bool {
    let (before, from) = messages.split_at_checked(at).unwrap_or((messages, &[]));
    let turn = |it: &&Message<'_>| !it.role.instructs();
    let asked = before.iter().rev().find(turn);
    asked.is_some_and(|it| it.role != Role::Assistant) && from.iter().skip(1).any(|it| turn(&it))
}

fn units(messages: &[Message<'_>]) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::with_capacity(messages.len());
    // The turn before the row of results that is being read.
    let mut turn = None;
    for (i, message) in messages.iter().enumerate() {
        let mut start = i;
        if message.role.answers_call() {
            start = call_of(messages, i).or(turn).unwrap_or(i);
        } else if !message.role.instructs() {
            turn = Some(i);
        }
        while let Some(last) = units.last()
            && last.end > start
        {
            start = start.min(last.start);
            units.pop();
        }
        units.push(start..i + 1);
    }
    units
}

/// The message that made the call which message `at` answers, where one near before it has its id.
fn call_of(messages: &[Message<'_>], at: usize) -> Option<usize> {
    let before = messages.get(..at).unwrap_or_default();
    let id = messages.get(at).and_then(Message::answered_id);
    let calls = |it: &&Message<'_>| match &id {
        // The nearest calls are looked at first, and almost always are the ones.
        Some(id) => it.calls_tools() && it.call_ids().contains(id),
        None => it.calls_tools(),
    };
    let back = before.iter().rev().take(MOST_RESULTS).position(|it| calls(&it))?;
    Some(at - 1 - back)
}

/// How far behind its call a result may stand.
const MOST_RESULTS: usize = 512;
