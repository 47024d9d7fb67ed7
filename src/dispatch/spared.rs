//! What a request is spared for one target: members its model refuses, and a bound on the answer that
//! the model could not keep. What a refusal means for this very request.

use crate::catalog::Model;
use crate::catalog::TargetId;
use crate::clock::Now;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::journey::Travel;
use crate::dispatch::structured::RESPONSE_FORMAT;
use crate::dispatch::verdict;
use crate::dispatch::verdict::Next;
use crate::openai::RequestEdits;
use crate::openai::is_default;
use crate::provider::Unmet;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::quirks;

/// Members an answer can't do without: a provider that doesn't know one of them is ruled out.
const ESSENTIAL: &[&str] = &["model", "messages", "tools", "functions"];
/// The same, but for values that change nothing.
const ESSENTIAL_IF_SET: &[&str] = &["stream", "tool_choice", "function_call", "n"];

/// The two names of the answer's bound.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

impl Travel {
    /// The members of the request that the target's model has refused before, as far as an answer can
    /// do without them: what was spared when it changed nothing may change something now.
    pub(super) fn refused_before(&self, target: TargetId, now: Now) -> Vec<String> {
        let found = self.pool.selector.catalog.target(target);
        let Some(found) = found.filter(|_| !self.requires.strict) else { return Vec::new() };
        let is_there = |it: &str| self.may_bring(it) && !self.needs(it);
        self.core.refusals.of(found.model.id, now, is_there)
    }

    /// Remembers that the target's model has refused a member.
    pub(super) fn remember_refused(&self, target: TargetId, member: &str) {
        if let Some(found) = self.pool.selector.catalog.target(target) {
            self.core.refusals.learn(found.model.id, member, self.core.clock.now());
        }
    }

    /// Where a fault leads with this request.
    pub(super) fn next_after(&self, fault: &Fault, target: TargetId) -> Next {
        match verdict::next(fault) {
            // What the request does not have can't be left out of it.
            Next::RepeatWithout(words) => match self.members_meant(&words, target) {
                none if none.is_empty() => Next::Candidate { model_to_blame: true },
                members => Next::RepeatWithout(members),
            },
            Next::GiveBack if !self.is_the_callers(fault, target) => {
                Next::Candidate { model_to_blame: true }
            }
            next => next,
        }
    }

    /// The request's members that a refusal of `words` speaks of, as far as an answer can do without
    /// them. None: then the words are not the caller's, or only another provider helps.
    fn members_meant(&self, words: &[String], target: TargetId) -> Vec<String> {
        let mut members: Vec<String> = Vec::new();
        for word in words {
            let behind = quirks::member_behind(word);
            let names = [Some(word.as_str()), behind];
            let mut names = names.into_iter().flatten().filter(|it| self.may_bring(it));
            // What the caller has sent goes before what may have been added.
            let sent = names.clone().find(|it| self.request.brings(it));
            let Some(member) = sent.or_else(|| names.next()) else { continue };
            let known = members.iter().any(|it| it == member);
            if !known && !self.needs(member) && self.can_spare(member, target) {
                members.push(member.to_owned());
            }
        }
        members
    }

    /// Might this member have been sent? Some go out although the caller does not send them.
    fn may_bring(&self, member: &str) -> bool {
        quirks::ADDED.contains(&member) || self.request.brings(member)
    }

    /// Can an answer not do without it? (`response_format` an instruction can stand in for.)
    fn needs(&self, member: &str) -> bool {
        let said = self.request.member(member);
        ESSENTIAL.contains(&member)
            || ESSENTIAL_IF_SET.contains(&member) && said.is_some_and(|it| !is_default(member, it))
    }

    /// Would any provider refuse the request like this? One is believed when it says what is wrong
    /// with it; otherwise another has to agree.
    fn is_the_callers(&self, fault: &Fault, target: TargetId) -> bool {
        let catalog = &self.pool.selector.catalog;
        let provider = |it| catalog.target(it).map(|it| it.provider.id);
        let agrees = |(other, it): &(TargetId, Fault)| {
            it.kind == FaultKind::BadRequest && provider(*other) != provider(target)
        };
        self.blames_the_request(fault) || self.faults.iter().any(agrees)
    }

    /// Does a refusal blame a member that the request has, or name one?
    fn blames_the_request(&self, fault: &Fault) -> bool {
        let param = fault.param.as_deref().unwrap_or_default();
        let blamed = param.trim_start_matches("body.").split(['.', '[']).next();
        let written = |it: &&str| !["model", "stream"].contains(it);
        let mut members = self.request.member_names().filter(written);
        members.any(|it| blamed == Some(it) || it != "messages" && names(&fault.message, it))
    }

    /// The answer's bound as `edits` set it, by its name: it was lowered.
    pub(super) fn bounded(edits: &RequestEdits) -> Option<&'static str> {
        BOUNDS.into_iter().find(|bound| edits.set.iter().any(|(key, _)| key == bound))
    }

    /// Keeps the answer's bound within what the model has room for beside the prompt. Interfaces
    /// ask for 65,536 tokens of whatever model, and providers refuse what can't fit.
    pub(super) fn bound_answer(&self, model: &Model, edits: &mut RequestEdits) {
        let Some(asked) = self.request.max_tokens else { return };
        let Some(holds) = self.holds(model) else { return };
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
                edits.set.push((key, room.max(1).to_string().into()));
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
            let says = |value: &str| !is_default(it, value);
            !ours && !still_sent && self.request.member(it).is_some_and(says)
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

/// Does the message name this member? A name that is a word of its own has to stand in quotes.
fn names(message: &str, member: &str) -> bool {
    const WORDS: &[&str] =
        &["audio", "metadata", "n", "prediction", "stop", "store", "tools", "user", "verbosity"];
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    message.match_indices(member).any(|(at, _)| {
        let before = message.get(..at).and_then(|it| it.chars().next_back());
        let after = message.get(at + member.len()..).and_then(|it| it.chars().next());
        let quoted = [before, after].iter().flatten().all(|it| "'\"`".contains(*it));
        let alone = ![before, after].iter().flatten().any(|it| is_part(*it));
        if WORDS.contains(&member) { quoted && before.is_some() && after.is_some() } else { alone }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_a_word() {
        for (message, member, expected) in [
            ("temperature must be at most 2", "temperature", true),
            ("Invalid 'top_p'.", "top_p", true),
            ("the user is blocked", "user", false),
            ("'user' is too long", "user", true),
            ("user", "user", false),
            ("too many tokens", "n", false),
            ("max_completion_tokens is too small", "max_tokens", false),
            ("max_tokens_x", "max_tokens", false),
            ("", "seed", false),
        ] {
            assert_eq!(names(message, member), expected, "{message} {member}");
        }
    }
}
