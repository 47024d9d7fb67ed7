//! Making a conversation fit: the latest that has room stays, a summary may stand for the rest, and
//! no conversation is broken by it.

use std::borrow::Cow;
use std::ops::Range;

use crate::context::layout::Layout;
use crate::context::memory::Memory;
use crate::context::middle;
use crate::context::plan::Plan;
use crate::context::plan::share;
use crate::context::size::AROUND_MESSAGE;
use crate::context::summary;
use crate::context::tokens;
use crate::openai::Message;
use crate::openai::json_string;

/// A conversation made to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// What is sent, as the JSON text of a request's `messages`.
    pub json: String,
    /// How many of the messages stay.
    pub kept: usize,
    /// How many were dropped.
    pub dropped: usize,
    /// Tokens of the summary; 0 when there is none.
    pub summary_tokens: u64,
    /// Tokens of what is sent.
    pub tokens: u64,
    /// The places of those that were dropped.
    pub gone: Vec<Range<usize>>,
    /// The places of those that lost their middle.
    pub cut: Vec<usize>,
}

/// What may not be dropped is already too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Tokens of the instructions, the last message of the user and what may not be cut of the exchange
    /// open at the end.
    pub needed: u64,
    /// Tokens there is room for.
    pub budget: u64,
}

/// Makes `messages` fit `budget` tokens by a plan. `costs` holds each message's tokens. `None` when
/// they fit as they are and the plan keeps as many.
///
/// Instructions (system and developer messages), the last message of the user and the exchange open
/// at the end always stay; the results of a call stay or go together with it; order is kept. Nothing
/// is cut inside a message, unless that message alone exceeds the budget, or has to stay and what has
/// to stay exceeds it together: then the middle of the longest goes, with a mark in its place; of
/// instructions and the last message of the user never.
///
/// # Errors
/// [`TooLong`] when what must stay does not fit, though all that may be cut of it were.
pub fn fit(
    messages: &[Message<'_>],
    costs: &[u64],
    (budget, plan): (u64, &Plan),
    memory: &Memory,
) -> Result<Option<Fitted>, TooLong> {
    let mut fitting = Fitting::of(messages, costs, budget);
    fitting.cut_giants();
    let needed = fitting.squeeze()?;
    let mut window = fitting.keep.clone();
    if fitting.widen(&mut window, share(budget, plan.target).max(needed), plan) {
        fitting.keep = window;
        return Ok(fitting.cut_any().then(|| fitting.finish(None)));
    }
    // The summary gets no more than a quarter of what is free: what is recent says more.
    let room = plan.summary.min((budget - needed) / 4);
    // Where no user has said anything, what a summary says would be taken for the user's last word.
    let nobody = fitting.layout.last_user == messages.len();
    let room = if room < summary::FEWEST || nobody { 0 } else { room };
    let most = share(budget, plan.target).saturating_sub(room).max(needed);
    let mut window = fitting.keep.clone();
    fitting.widen(&mut window, most, plan);
    fitting.keep = window;
    let left_out: Vec<&Message<'_>> = fitting.chosen(messages, false);
    let recent: Vec<&Message<'_>> = fitting.chosen(messages, true);
    let old = (&left_out[..], fitting.gone_before_user());
    let summary = (room > 0).then(|| summary::of(old, &recent, room - AROUND_MESSAGE, memory));
    Ok(Some(fitting.finish(summary.flatten())))
}

/// A conversation being fitted.
struct Fitting<'m, 'a> {
    messages: &'m [Message<'a>],
    layout: Layout,
    /// Each message as it is to be sent.
    texts: Vec<Cow<'a, str>>,
    costs: Vec<u64>,
    keep: Vec<bool>,
    budget: u64,
}

impl<'m, 'a> Fitting<'m, 'a> {
    fn of(messages: &'m [Message<'a>], costs: &[u64], budget: u64) -> Self {
        let layout = Layout::of(messages);
        Self {
            messages,
            texts: messages.iter().map(|it| Cow::Borrowed(it.json)).collect(),
            costs: (0..messages.len()).map(|i| costs.get(i).copied().unwrap_or(0)).collect(),
            keep: layout.pinned.clone(),
            layout,
            budget,
        }
    }

    fn keep(&self, i: usize) -> bool {
        is(&self.keep, i)
    }

    fn cost(&self, i: usize) -> u64 {
        self.costs.get(i).copied().unwrap_or(0)
    }

    fn tokens_of(&self, chosen: impl Fn(&Self, usize) -> bool) -> u64 {
        (0..self.costs.len()).filter(|i| chosen(self, *i)).map(|i| self.cost(i)).sum()
    }

    /// Takes the middle out of every message that exceeds the budget by itself and may go: it gets a
    /// quarter of the budget.
    fn cut_giants(&mut self) {
        for i in 0..self.costs.len() {
            if self.cost(i) > self.budget && !self.keep(i) {
                let around = self.cost(i) - self.said(i);
                self.cut(i, (self.budget / 4).saturating_sub(around));
            }
        }
    }

    /// Has what must stay fit, and gives its tokens. Where it does not, all its texts that may be cut get
    /// the same room: the middle of those that are longer goes. A quarter of the room is left to what
    /// was said before, if anything was and there is that much.
    fn squeeze(&mut self) -> Result<u64, TooLong> {
        let all = self.tokens_of(Self::keep);
        if all <= self.budget {
            return Ok(all);
        }
        let pinned = (0..self.costs.len()).filter(|i| self.keep(*i));
        let cuttable = pinned.filter(|i| !is(&self.layout.untouchable, *i));
        let texts: Vec<(usize, u64)> = cuttable.map(|i| (i, self.said(i))).collect();
        let sizes = || texts.iter().map(|(_, tokens)| *tokens);
        let fixed = all - sizes().sum::<u64>();
        let free = self.budget.saturating_sub(fixed);
        let alone = self.keep.iter().all(|it| *it);
        let levels = [free / 4 * 3, free].map(|room| level(sizes().collect(), room));
        let least = if alone { u64::MAX } else { middle::FEWEST };
        let most = levels.into_iter().find(|it| *it >= least).unwrap_or(levels[1]);
        for (i, tokens) in texts.iter().filter(|(_, tokens)| *tokens > most) {
            self.cut(*i, most.min(*tokens));
        }
        let needed = self.tokens_of(Self::keep);
        if needed > self.budget {
            let least = sizes().map(|it| it.min(middle::FEWEST)).sum::<u64>();
            return Err(TooLong { needed: fixed + least, budget: self.budget });
        }
        Ok(needed)
    }

    /// The tokens of what a message says, without its calls, media and whatever else it has.
    fn said(&self, i: usize) -> u64 {
        let said = self.messages.get(i).map_or(0, |it| tokens::count(&it.text()));
        said.min(self.cost(i))
    }

    /// Takes the middle out of what a message says, so that at most `most` tokens of it are left, if
    /// that can be.
    fn cut(&mut self, i: usize, most: u64) {
        let around = self.cost(i) - self.said(i);
        let shorter = self.messages.get(i).and_then(|it| middle::shorten(it, most));
        if let (Some(it), Some(cost), Some(text)) =
            (shorter, self.costs.get_mut(i), self.texts.get_mut(i))
        {
            *cost = around + it.tokens;
            *text = Cow::Owned(it.json);
        }
    }

    fn cut_any(&self) -> bool {
        self.texts.iter().any(|it| matches!(it, Cow::Owned(_)))
    }

    /// Keeps as many of the latest units as have room in `most` tokens and are allowed by the plan.
    /// True when that is all of them.
    fn widen(&self, keep: &mut [bool], most: u64, plan: &Plan) -> bool {
        let turns = |range: Range<usize>, keep: &[bool], kept: bool| {
            range.filter(|i| is(&self.layout.turn, *i) && is(keep, *i) == kept).count()
        };
        let mut count = turns(0..keep.len(), keep, true);
        let mut tokens: u64 = (0..keep.len()).filter(|i| is(keep, *i)).map(|i| self.cost(i)).sum();
        let least = share(self.budget, plan.least);
        for unit in self.layout.units.iter().rev() {
            let added = turns(unit.clone(), keep, false);
            if added == 0 {
                continue;
            }
            let new: Vec<usize> = unit.clone().filter(|i| !is(keep, *i)).collect();
            let cost: u64 = new.iter().map(|i| self.cost(*i)).sum();
            let few = count + added <= plan.keep || tokens + cost <= least;
            if tokens + cost > most || !few {
                return false;
            }
            tokens += cost;
            count += added;
            for i in new {
                if let Some(it) = keep.get_mut(i) {
                    *it = true;
                }
            }
        }
        true
    }

    fn chosen(&self, messages: &'m [Message<'a>], kept: bool) -> Vec<&'m Message<'a>> {
        let turn = |i: usize| messages.get(i).is_some_and(|it| !it.role.instructs());
        let all = messages.iter().enumerate();
        all.filter(|(i, _)| self.keep(*i) == kept && turn(*i)).map(|(_, it)| it).collect()
    }

    /// How many messages went from before the last message of the user, where others went from after it.
    fn gone_before_user(&self) -> Option<usize> {
        let (before, after) = self.keep.split_at_checked(self.layout.last_user)?;
        let gone = |part: &[bool]| part.iter().filter(|it| !**it).count();
        Some(gone(before)).filter(|it| *it > 0 && gone(after) > 0)
    }

    /// Before which message a summary stands. It speaks of what was said before the last message of the
    /// user, unless something went from after that: then it follows it, and what belongs to it.
    fn place_of_summary(&self) -> usize {
        let user = self.layout.last_user;
        let gone = |i: &usize| !self.keep(*i);
        if (user..self.keep.len()).any(|i| gone(&i)) {
            let unit = self.layout.units.iter().find(|it| it.contains(&user));
            return unit.map_or(user, |it| it.end);
        }
        // The last word stays the user's.
        (0..self.keep.len()).find(gone).unwrap_or(user).min(user)
    }

    fn finish(self, summary: Option<summary::Summary>) -> Fitted {
        let place = self.place_of_summary();
        let said = |it: &summary::Summary| {
            format!(r#"{{"role":"user","content":{}}}"#, json_string(&it.text))
        };
        let summed = summary.as_ref().map(said);
        let mut parts: Vec<&str> = Vec::with_capacity(self.texts.len() + 1);
        for (i, text) in self.texts.iter().enumerate() {
            if i == place {
                parts.extend(summed.as_deref());
            }
            if self.keep(i) {
                parts.push(text);
            }
        }
        let kept = self.keep.iter().filter(|it| **it).count();
        let summary_tokens = summary.map_or(0, |it| it.tokens + AROUND_MESSAGE);
        let lost = |(i, it): (usize, &Cow<'_, str>)| {
            (matches!(it, Cow::Owned(_)) && self.keep(i)).then_some(i)
        };
        Fitted {
            json: format!("[{}]", parts.join(",")),
            kept,
            dropped: self.keep.len() - kept,
            summary_tokens,
            tokens: self.tokens_of(Self::keep) + summary_tokens,
            gone: ranges(&self.keep),
            cut: self.texts.iter().enumerate().filter_map(lost).collect(),
        }
    }
}

/// The most each of `sizes` may have so that all of them have `room` together.
fn level(mut sizes: Vec<u64>, mut room: u64) -> u64 {
    sizes.sort_unstable();
    for (i, size) in sizes.iter().enumerate() {
        let left = (sizes.len() - i) as u64;
        if size.saturating_mul(left) > room {
            return room / left;
        }
        room -= size;
    }
    u64::MAX
}

/// Rows of messages that are not kept.
fn ranges(keep: &[bool]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for i in (0..keep.len()).filter(|i| !is(keep, *i)) {
        match ranges.last_mut() {
            Some(last) if last.end == i => last.end = i + 1,
            _ => ranges.push(i..i + 1),
        }
    }
    ranges
}

fn is(flags: &[bool], i: usize) -> bool {
    flags.get(i).copied().unwrap_or(false)
}
