//! What a journey writes into its story.

use std::borrow::Cow;
use std::sync::Arc;

use crate::dispatch::Core;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::ChatCall;
use crate::dispatch::outcome::Failure;
use crate::dispatch::outcome::Progress;
use crate::dispatch::outcome::Requirements;
use crate::dispatch::story::Story;
use crate::dispatch::whole::Begun;
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
