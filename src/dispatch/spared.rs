//! What a request is spared for one target: members its model has refused, and a bound on the answer
//! that the model could not keep.

use crate::catalog::Model;
use crate::catalog::TargetId;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::journey::Travel;
use crate::dispatch::structured::RESPONSE_FORMAT;
use crate::openai::RequestEdits;
use crate::provider::Unmet;
use crate::provider::quirks;
use crate::select;

/// The two names of the answer's bound.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

impl Travel {
    /// The members of the request that the target's model has refused before.
    pub(super) fn refused_before(&self, target: TargetId) -> Vec<String> {
        let found = self.pool.selector.catalog.target(target);
        let Some(found) = found.filter(|_| !self.requires.strict) else { return Vec::new() };
        let brings = |it: &str| self.request.brings(it);
        self.core.refusals.of(found.model.id, self.core.clock.now(), brings)
    }

    /// Remembers that the target's model has refused a member.
    pub(super) fn remember_refused(&self, target: TargetId, member: &str) {
        if let Some(found) = self.pool.selector.catalog.target(target) {
            self.core.refusals.learn(found.model.id, member, self.core.clock.now());
        }
    }

    /// The request's member that a refusal of `word` speaks of; `None` when there is none that could
    /// be left out: then the word is not the caller's.
    pub(super) fn member_meant(&self, word: String, target: TargetId) -> Option<String> {
        let is_there = |it: &str| it == "stream_options" || self.request.brings(it);
        let member = if is_there(&word) {
            word
        } else {
            quirks::member_behind(&word).filter(|it| is_there(it))?.to_owned()
        };
        self.can_spare(&member, target).then_some(member)
    }

    /// The answer's bound as `edits` set it, by its name: it was lowered.
    pub(super) fn bounded(edits: &RequestEdits) -> Option<&'static str> {
        BOUNDS.into_iter().find(|bound| edits.set.iter().any(|(key, _)| key == bound))
    }

    /// Keeps the answer's bound within what the model has room for beside the prompt. Interfaces
    /// ask for 65,536 tokens of whatever model, and providers refuse what can't fit.
    pub(super) fn bound_answer(&self, model: &Model, edits: &mut RequestEdits) {
        let Some(asked) = self.request.max_tokens else { return };
        let Some(holds) = select::holds(model) else { return };
        // The prompt has been made to leave half of it.
        let media = Rules::OTHERS.media(self.request.media);
        let prompt = tokens::most(self.request.prompt_bytes()).saturating_add(media);
        let room = holds.saturating_sub(prompt).max(holds / 2);
        if asked <= room {
            return;
        }
        for key in BOUNDS {
            let is_beyond = |it: &str| it.parse().is_ok_and(|it: u64| it > room);
            if self.request.member(key).is_some_and(is_beyond) {
                edits.set.push((key, room.max(1).to_string()));
            }
        }
    }

    /// The warnings of what was not sent as it was asked for: what the provider is known not to take,
    /// what was `left_out`, and bounds that had to be lowered, here already or for the provider.
    pub(super) fn unmet(
        &self,
        unmet: &Unmet,
        bounded: Option<&'static str>,
        left_out: &[String],
    ) -> impl Iterator<Item = String> + use<> {
        let lowered: Vec<_> = match bounded {
            Some(bound) if !unmet.lowered.contains(&bound) => {
                unmet.lowered.iter().copied().chain([bound]).collect()
            }
            _ => unmet.lowered.clone(),
        };
        let lowered = (!lowered.is_empty()).then(|| format!("lowered={}", lowered.join(",")));
        self.dropped(&unmet.dropped, left_out).into_iter().chain(lowered)
    }

    fn dropped(&self, members: &[&str], left_out: &[String]) -> Option<String> {
        let bound_holds = BOUNDS.iter().any(|it| !left_out.iter().any(|gone| gone == it));
        let is_missed = |it: &&str| {
            // What is asked for by instruction is not dropped, nor is a bound sent by its other
            // name. Usage is asked for by us. What goes from messages the provider tells of.
            let ours = [RESPONSE_FORMAT, "stream_options"].contains(it);
            let still_sent = bound_holds && BOUNDS.contains(it);
            !ours && !still_sent && self.request.member(it).is_some()
        };
        let left_out = left_out.iter().map(String::as_str).filter(is_missed);
        let mut all: Vec<&str> = Vec::new();
        for member in members.iter().copied().chain(left_out) {
            if !all.contains(&member) {
                all.push(member);
            }
        }
        (!all.is_empty()).then(|| format!("dropped={}", all.join(",")))
    }
}
