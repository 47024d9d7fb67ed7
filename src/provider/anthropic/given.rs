//! Answers that are there already, for the fuzz targets.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::clock::Now;
use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::Completion;
use crate::provider::event_stream::EventStream;
use crate::provider::fault::Fault;
use crate::provider::steps::chunks;
use crate::provider::thoughts::Thoughts;
use crate::provider::transport::AnswerBody;

use super::stream::Reading;

pub(in crate::provider) fn whole(body: &Bytes, now: Now) -> Result<Completion, Fault> {
    super::answer::completion(body, &Thoughts::new().shelf(None, "m"), now)
}

pub(in crate::provider) fn stream(
    body: AnswerBody,
    clock: SharedClock,
) -> BoxStream<'static, Result<Chunk, Fault>> {
    let shelf = Thoughts::new().shelf(None, "m");
    chunks(Reading::new(EventStream::new(body), shelf, clock))
}
