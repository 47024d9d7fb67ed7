//! A streamed answer of another dialect, read event by event into OpenAI's chunks.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::stream::BoxStream;

use crate::openai::Chunk;
use crate::provider::fault::Fault;

/// A stream under way.
pub(super) trait Steps: Send + 'static {
    /// Reads one event.
    ///
    /// # Errors
    /// Why the answer ends before its end.
    fn step(&mut self) -> impl Future<Output = Result<Step, Fault>> + Send;
}

/// What one event gives.
pub(super) struct Step {
    /// What it adds; nothing for an event that tells nothing.
    pub(super) chunks: Vec<Chunk>,
    /// Was it the last?
    pub(super) over: bool,
}

/// The chunks of the answer, up to its end or its fault.
pub(super) fn chunks(steps: impl Steps) -> BoxStream<'static, Result<Chunk, Fault>> {
    // Boxed, for it is moved twice with each chunk.
    let reading = Box::new(Reading { steps, ready: VecDeque::new(), over: false });
    let chunks = futures::stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    });
    chunks.boxed()
}

struct Reading<S> {
    steps: S,
    ready: VecDeque<Chunk>,
    over: bool,
}

impl<S: Steps> Reading<S> {
    async fn next(&mut self) -> Option<Result<Chunk, Fault>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(chunk));
            }
            if self.over {
                return None;
            }
            match self.steps.step().await {
                Ok(step) => {
                    self.ready.extend(step.chunks);
                    self.over = step.over;
                }
                Err(fault) => {
                    self.over = true;
                    return Some(Err(fault));
                }
            }
        }
    }
}
