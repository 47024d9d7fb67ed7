//! Answers that are there already, for the fuzz targets.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::provider::fault::Fault;
use crate::provider::ndjson::LineStream;
use crate::provider::steps::chunks;
use crate::provider::transport::AnswerBody;

use super::stream::Reading;

pub(in crate::provider) fn whole(body: &Bytes, now: Now) -> Result<Completion, Fault> {
    super::answer::completion(body, now)
}

pub(in crate::provider) fn stream(
    body: AnswerBody,
    clock: SharedClock,
) -> BoxStream<'static, Result<Chunk, Fault>> {
    chunks(Reading::new(LineStream::new(body), "m", clock))
}
