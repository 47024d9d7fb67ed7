//! What a journey writes into its story.

use std::borrow::Cow;
use std::sync::Arc;

use crate::breaker::Path;
use crate::catalog::TargetId;
use crate::dispatch::Core;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::ChatCall;
use crate::dispatch::outcome::Failure;
use crate::dispatch::outcome::Progress;
use crate::dispatch::outcome::Requirements;
use crate::dispatch::story::Story;
use crate::dispatch::whole::Begun;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Scope;
use crate::select::Walk;
use crate::telemetry::plain;
use crate::trace::Record;

/// The story of a request that begins.
pub(super) fn story(
    core: &Arc<Core>,
    call: &ChatCall,
    progress: &Arc<Progress>,
    (requested, requires): (&Arc<str>, Requirements),
) -> Story {
    let name = match plain(requested) {
        Cow::Borrowed(name) if name.len() == requested.len() => Arc::clone(requested),
        other => other.into(),
    };
    let mut record = Record::begin(Arc::clone(&call.request_id), name, core.clock.now());
    record.key = call.key.as_ref().map(|it| Arc::clone(&it.id));
    record.stream = call.request.stream;
    (record.no_training, record.strict) = (requires.no_training, requires.strict);
    Story::begin(core, progress, record)
}

impl Travel {
    /// Those that were passed over since the last time.
    pub(super) fn note_rejected(&mut self, walk: &Walk, noted: &mut usize) {
        let all = &walk.rejected;
        if let Some(new) = all.get(*noted..).filter(|it| !it.is_empty())
            && let Some(story) = &mut self.story
        {
            story.passed_over(&self.pool.selector.catalog, new);
        }
        *noted = all.len();
    }

    /// A key that its provider does not take is something for a person to mend.
    pub(super) fn note_key(&mut self, target: TargetId, fault: &Fault) {
        let kinds = [FaultKind::KeyRejected, FaultKind::Barred, FaultKind::NoCredit];
        let Some(target) = self.pool.selector.catalog.target(target) else { return };
        if fault.scope == Scope::Request || !kinds.contains(&fault.kind) {
            return;
        }
        let Some(record) = self.story.as_mut().and_then(Story::record) else { return };
        let rest = self.core.books.breakers.cooldown(&Path::from(&target), self.core.clock.now());
        tracing::warn!(
            request_id = &*record.request_id,
            "{}: key {} is no good: {}; asked again in {} s",
            target.provider.name,
            target.key.label,
            fault.summary(),
            rest.unwrap_or_default().as_secs()
        );
    }

    /// How it ended, as far as that is known: a stream has only begun.
    pub(super) fn note_ending(&mut self, ending: &Result<Begun, Failure>) {
        let Some(story) = &mut self.story else { return };
        match ending {
            Ok(Begun::Whole { .. }) => story.settled(),
            Ok(Begun::Stream { .. }) => story.answers(),
            Err(failure) => story.refused(&failure.error),
        }
        if let Some(record) = story.record() {
            record.waited = self.waited;
            if let Ok(begun) = ending {
                record.context.clone_from(&begun.route().context);
                record.normalizer.0 = begun.mode();
            }
        }
        if self.requires.trace {
            self.progress.tell_trace(story.summary());
        }
    }
}
