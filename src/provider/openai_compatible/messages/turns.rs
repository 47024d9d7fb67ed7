//! Which turns there are: instructions in one place, neighbours of one role as one.

use crate::provider::openai_compatible::messages::draft::Draft;
use crate::provider::quirks::AfterResult;
use crate::provider::quirks::Merge;
use crate::provider::quirks::MessageRules;

/// Leaves out turns that say nothing and merges those the model wants as one. Was a name lost?
pub(super) fn merge(drafts: &mut Vec<Draft<'_>>, rules: &MessageRules) -> bool {
    if rules.refuses_empty {
        drafts.retain(|it| it.role != "assistant" || !it.is_empty());
    }
    let names_lost = match rules.merges {
        Merge::Nothing => false,
        Merge::Systems => merge_systems(drafts),
        Merge::SameRole => {
            let lost = merge_systems(drafts) | merge_neighbours(drafts);
            begin_with_user(drafts);
            lost
        }
    };
    if rules.after_result == AfterResult::Assistant {
        answer_results(drafts);
    }
    names_lost
}

/// Has the assistant speak after the results of its calls, before the user goes on.
fn answer_results(drafts: &mut Vec<Draft<'_>>) {
    let mut answered: Vec<Draft<'_>> = Vec::with_capacity(drafts.len() + 1);
    for draft in drafts.drain(..) {
        let after_result = answered.last().is_some_and(|it| it.role == "tool");
        if after_result && draft.role == "user" {
            answered.push(Draft::acknowledging());
        }
        answered.push(draft);
    }
    *drafts = answered;
}

/// Has the user speak first.
fn begin_with_user(drafts: &mut Vec<Draft<'_>>) {
    let first = drafts.iter().position(|it| it.role != "system" && it.role != "developer");
    if let Some(at) = first.filter(|at| drafts.get(*at).is_some_and(|it| it.role == "assistant")) {
        drafts.insert(at, Draft::beginning());
    }
}

/// All instructions in one message before all others.
fn merge_systems(drafts: &mut Vec<Draft<'_>>) -> bool {
    let instructs = |it: &Draft<'_>| it.role == "system" || it.role == "developer";
    let late = drafts.iter().skip(1).any(instructs);
    if !late {
        return false;
    }
    let mut names_lost = false;
    let (systems, mut others): (Vec<_>, Vec<_>) = drafts.drain(..).partition(instructs);
    let mut systems = systems.into_iter();
    if let Some(mut first) = systems.next() {
        // Moved, if nothing else.
        first.changed = true;
        systems.for_each(|it| names_lost |= first.absorb(&it));
        drafts.push(first);
    }
    drafts.append(&mut others);
    names_lost
}

/// Neighbours of one role as one message. A turn that made calls stays the last of its own, for
/// their results follow it.
fn merge_neighbours(drafts: &mut Vec<Draft<'_>>) -> bool {
    let mut names_lost = false;
    let mut merged: Vec<Draft<'_>> = Vec::with_capacity(drafts.len());
    for draft in drafts.drain(..) {
        let merges = matches!(&*draft.role, "user" | "assistant");
        match merged.last_mut() {
            Some(last) if merges && last.role == draft.role && last.get("tool_calls").is_none() => {
                names_lost |= last.absorb(&draft);
            }
            _ => merged.push(draft),
        }
    }
    *drafts = merged;
    names_lost
}
