//! Asking a model again with a shorter conversation, when its provider has told in refusing the longer
//! one how much it holds.

use crate::catalog::ModelId;
use crate::catalog::TargetId;
use crate::context::Mode;
use crate::dispatch::journey::Travel;
use crate::select::Eligible;

/// Models that have told how much they hold in this journey.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// All of them: each is asked once more.
    all: Vec<ModelId>,
    /// Those that have not been asked since.
    unasked: Vec<ModelId>,
    /// Their keys with them, which would be told the same until the conversation is cut.
    pub(super) waiting: Vec<TargetId>,
}

impl Travel {
    /// May the model of a target that has told how much it holds be asked with a shorter conversation? Its
    /// other keys wait for that, too.
    pub(super) fn may_fit_again(&mut self, target: TargetId) -> bool {
        let Some(found) = self.pool.selector.catalog.target(target) else { return false };
        let uncut = self.requires.strict || self.core.params.context.mode == Mode::Disabled;
        if uncut || self.told.all.contains(&found.model.id) {
            return false;
        }
        self.told.all.push(found.model.id);
        self.told.unasked.push(found.model.id);
        self.told.waiting.extend_from_slice(&found.model.targets);
        true
    }

    /// Takes those out of `done` that are to be asked again.
    pub(super) fn reopen(&mut self, done: &mut Eligible) {
        let told = std::mem::take(&mut self.told.unasked);
        self.told.waiting.clear();
        if !told.is_empty() {
            let is_told = |it: &(usize, usize)| {
                self.model_at(*it).is_some_and(|(model, _)| told.contains(&model.id))
            };
            done.retain(|it| !is_told(it));
        }
    }

    /// What may not be cut is too long for these models, which no time will change.
    pub(super) fn give_up(&mut self, models: &Eligible) {
        let targets = models.iter().filter_map(|it| self.model_at(*it));
        let targets: Vec<TargetId> =
            targets.flat_map(|(model, _)| model.targets.iter().copied()).collect();
        self.out.extend_from_slice(&targets);
        self.refused.extend(targets);
    }
}
