//! Messages as a model takes them. Most conversations need no change and are not looked into; in the
//! others only what differs is written anew.

mod calls;
mod draft;
mod ids;
pub(super) mod signatures;
mod turns;

use serde_json::value::RawValue;

use crate::openai::ECHOED;
use crate::openai::Trait;
use crate::openai::Traits;
use crate::provider::openai_compatible::messages::draft::Draft;
use crate::provider::openai_compatible::messages::signatures::Signatures;
use crate::provider::quirks::AfterResult;
use crate::provider::quirks::Ids;
use crate::provider::quirks::Merge;
use crate::provider::quirks::MessageRules;
use crate::provider::quirks::Reasoning;

/// What messages are rewritten by.
pub(super) struct Rewriting<'a> {
    pub(super) rules: &'a MessageRules,
    /// What the conversation is known to have.
    pub(super) traits: Traits,
    /// Members the model has refused before, of messages or of the body.
    pub(super) refused: &'a [String],
    /// Has the caller left the model's thinking on?
    pub(super) thinks: bool,
    /// Are calls in OpenAI's older form to be put into the newer one? Not where functions are offered in
    /// the older one.
    pub(super) renews: bool,
    /// For a model that signs its calls.
    pub(super) signatures: Option<&'a Signatures>,
}

/// Messages that had to be changed.
pub(super) struct Rewritten {
    pub(super) messages: String,
    /// Was a name left out that a caller could miss?
    pub(super) names_lost: bool,
}

/// Members of a message that every provider takes.
const COMMON: &[&str] = &["role", "content", "tool_calls", "tool_call_id"];
/// The two names of the model's reasoning.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// `messages` as the rules want them; `None` when they fit as they stand. Reads all of them: only for
/// those that [`Rewriting::may_change`].
pub(super) fn rewrite(messages: &str, by: &Rewriting<'_>) -> Option<Rewritten> {
    let raw: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
    let mut drafts: Vec<Draft<'_>> = raw.into_iter().map(Draft::read).collect::<Option<_>>()?;
    let mut names_lost = false;
    if by.renews {
        drafts.iter_mut().for_each(calls::renew);
    }
    calls::find_ids(&mut drafts);
    for draft in &mut drafts {
        by.fit_reasoning(draft);
        names_lost |= by.strip(draft);
        if !by.rules.knows_developer && draft.role == "developer" {
            draft.set_role("system");
        }
    }
    calls::fit(&mut drafts, by.rules.takes.is_some(), by.signatures);
    ids::fit(&mut drafts, by.rules.ids);
    if by.rules.plain_content {
        drafts.iter_mut().for_each(Draft::make_content_plain);
    }
    let before = drafts.len();
    names_lost |= turns::merge(&mut drafts, by.rules);
    let prefill = drafts.last_mut().filter(|it| it.role == "assistant");
    if let Some(prefill) = prefill.filter(|_| by.rules.marks_prefill) {
        prefill.set("prefix", "true".to_owned());
    }
    let changed = drafts.len() != before || drafts.iter().any(|it| it.changed);
    changed.then(|| Rewritten { messages: draft::join(&drafts), names_lost })
}

impl Rewriting<'_> {
    /// Could the rules want a change, by what is known of the conversation?
    pub(super) fn may_change(&self) -> bool {
        let rules = self.rules;
        let is = |wanted: bool, found: &[Trait]| wanted && self.traits.has_any(found);
        is(true, &[Trait::VoidCalls, Trait::LostIds, Trait::OddCalls])
            || is(true, &[Trait::Echoed])
            || is(self.renews, &[Trait::OlderCalls])
            || is(self.signatures.is_some(), &[Trait::Calls])
            || is(rules.takes.is_some(), &[Trait::Name, Trait::Extra])
            || is(!self.refused.is_empty(), &[Trait::Name, Trait::Extra, Trait::Reasoning])
            || is(rules.reasoning != Reasoning::AsItIs, &[Trait::Reasoning])
            || is(rules.reasoning == Reasoning::WithTools, &[Trait::Calls])
            || is(!rules.knows_developer, &[Trait::Developer])
            || is(rules.plain_content, &[Trait::Parts, Trait::NoContent])
            || is(rules.refuses_empty, &[Trait::EmptyTurn])
            || is(rules.marks_prefill, &[Trait::Prefill])
            || is(rules.merges != Merge::Nothing, &[Trait::LateSystem])
            || is(rules.merges == Merge::SameRole, &[Trait::SameRole, Trait::AssistantFirst])
            || is(rules.after_result != AfterResult::Anyone, &[Trait::UserAfterResult])
            || is(rules.ids != Ids::Free, &[Trait::Calls])
    }

    /// Leaves out members the model does not take. Was one of them a name of somebody?
    fn strip(&self, draft: &mut Draft<'_>) -> bool {
        // The name of a tool stands with its call as well.
        let named = draft.role != "tool" && draft.get("name").is_some_and(|it| it != "null");
        let own = match self.rules.reasoning {
            Reasoning::Renamed => "reasoning",
            Reasoning::WithTools => "reasoning_content",
            Reasoning::AsItIs | Reasoning::LeftOut => "",
        };
        let takes = |key: &str| match self.rules.takes {
            Some(takes) => COMMON.contains(&key) || takes.contains(&key) || key == own,
            None => true,
        };
        if let Some(extra) = draft.get("extra_content")
            && let Some(own) = self.signatures.and_then(|it| it.own(extra))
        {
            draft.set("extra_content", own);
        } else {
            draft.drop_members(|key, _| key == "extra_content");
        }
        let goes = |key: &str| {
            let echoed = ECHOED.contains(&key) && !self.rules.echoes.contains(&key);
            echoed
                || !takes(key)
                || (!COMMON.contains(&key) && self.refused.iter().any(|it| it == key))
        };
        draft.drop_members(|key, value| goes(key) || is_void(key, value));
        named && draft.get("name").is_none()
    }

    /// Puts the reasoning of an earlier turn where the model wants it.
    fn fit_reasoning(&self, draft: &mut Draft<'_>) {
        let reasoning = || {
            let written = REASONING.iter().find_map(|it| draft.get(it));
            written.filter(|it| it.starts_with('"')).map(str::to_owned)
        };
        let kept = match self.rules.reasoning {
            Reasoning::AsItIs => return,
            Reasoning::LeftOut => None,
            Reasoning::Renamed => reasoning().map(|it| ("reasoning", it)),
            Reasoning::WithTools => {
                let calls = draft.get("tool_calls").is_some_and(|it| it.starts_with("[{"));
                let in_play = self.thinks && self.traits.has(Trait::Calls);
                let empty = calls.then(|| "\"\"".to_owned());
                let kept = reasoning().or(empty).filter(|_| in_play);
                kept.map(|it| ("reasoning_content", it))
            }
        };
        if let Some((key, value)) = kept {
            draft.drop_members(|it, _| REASONING.contains(&it) && it != key);
            draft.set(key, value);
        } else {
            draft.drop_members(|it, _| REASONING.contains(&it));
        }
    }
}

/// Calls there are none of: `null` from SDKs, and `[]`, which OpenAI itself refuses.
fn is_void(key: &str, value: &str) -> bool {
    key == "tool_calls" && matches!(value, "null" | "[]")
}

#[cfg(test)]
mod tests;
