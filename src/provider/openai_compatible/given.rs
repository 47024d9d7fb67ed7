//! Answers that are there already, for the fuzz targets.

use bytes::Bytes;
use fastrand::Rng;
use futures::stream::BoxStream;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::provider::event_stream::EventStream;
use crate::provider::fault::Fault;
use crate::provider::transport::AnswerBody;

use super::incoming::Asked;
use super::incoming::complete::complete;
use super::incoming::mender::Mender;
use super::incoming::reading;
use super::incoming::source::Source;
use super::incoming::written::Tools;

/// A request of `provider` that offers a tool by the name of `f`.
pub(super) fn asked(provider: &'static str) -> Asked {
    Asked { provider, tools: Tools::named(&["f"]), choices: 1, shelf: None, verbatim: false }
}

/// Ids that are made up are the same on every run.
fn rng() -> Rng {
    Rng::with_seed(7)
}

pub(in crate::provider) fn whole(
    provider: &'static str,
    body: &Bytes,
    now: Now,
) -> Result<Completion, Fault> {
    complete(&asked(provider), body, now, &mut rng())
}

pub(in crate::provider) fn stream(
    provider: &'static str,
    body: AnswerBody,
    clock: SharedClock,
) -> BoxStream<'static, Result<Chunk, Fault>> {
    let source = Source::Events(Box::new(EventStream::new(body)));
    reading(source, Mender::new(asked(provider), rng(), clock))
}
