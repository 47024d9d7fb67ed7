//! How much the gateway takes on at once, in requests and in bytes of bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::openai::ApiError;

use super::errors::overloaded;

/// What is free.
pub(super) struct Slots {
    requests: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
}

/// What one request's body takes up, given back when dropped.
pub(super) struct Room {
    all: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// One request's share, given back when dropped.
pub(super) struct Slot {
    _body: Room,
    _request: OwnedSemaphorePermit,
    /// For its call to a provider.
    _socket: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(requests: usize, body_bytes: usize, sockets: Arc<Semaphore>) -> Self {
        let semaphore = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { requests: semaphore(requests), body_bytes: semaphore(body_bytes), sockets }
    }

    /// Room for a body that is to be read. It takes no slot: how long its caller takes to send it is
    /// nothing to the others.
    ///
    /// # Errors
    /// A 503 when no slot is free as things stand: then there is no use in reading it.
    pub(super) fn room(&self) -> Result<Room, ApiError> {
        if self.requests.available_permits() == 0 || self.sockets.available_permits() == 0 {
            return Err(overloaded());
        }
        Ok(Room { all: Arc::clone(&self.body_bytes), held: None })
    }

    /// A slot for one more request, whose body is there; there is no queue, since a caller that is told
    /// to come back can go elsewhere.
    ///
    /// # Errors
    /// A 503 when all are taken.
    pub(super) fn take(&self, body: Room) -> Result<Slot, ApiError> {
        let one = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned();
        let (request, socket) = one(&self.requests)
            .and_then(|request| Ok((request, one(&self.sockets)?)))
            .map_err(|_| overloaded())?;
        Ok(Slot { _body: body, _request: request, _socket: socket })
    }
}

impl Room {
    /// Room for `bytes` more of the body. They are counted as they arrive: to count what a caller
    /// announces would let a few who send nothing take it all.
    ///
    /// # Errors
    /// A 503 when the bodies of all requests take too much.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let more = u32::try_from(bytes).map_err(|_| overloaded())?;
        let permit =
            Arc::clone(&self.all).try_acquire_many_owned(more).map_err(|_| overloaded())?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// A whole body that keeps its request's slot until it has been sent.
pub(super) struct Held {
    rest: Option<Bytes>,
    _slot: Slot,
}

impl Held {
    pub(super) fn new(body: Bytes, slot: Slot) -> Self {
        Self { rest: Some(body), _slot: slot }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.rest.take().map(|it| Ok(Frame::data(it))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Slots) -> Result<Slot, u16> {
        let room = slots.room().map_err(|it| it.status)?;
        slots.take(room).map_err(|it| it.status)
    }

    #[test]
    fn what_is_dropped_is_free_again() {
        let slots = Slots::new(2, 10, Arc::new(Semaphore::new(2)));
        let [mut first, mut second] = [(); 2].map(|()| slots.room().unwrap());
        first.grow(4).unwrap();
        first.grow(4).unwrap();
        assert_eq!(second.grow(3).err().map(|it| it.status), Some(503));
        second.grow(2).unwrap();
        let first = slots.take(first).unwrap();
        let other = take(&slots).unwrap();
        assert_eq!(take(&slots).err(), Some(503));
        drop((first, other));
        second.grow(8).unwrap();
        assert!(slots.take(second).is_ok());
    }

    #[test]
    fn a_body_on_its_way_takes_no_slot() {
        let slots = Slots::new(1, 10, Arc::new(Semaphore::new(1)));
        let [first, second] = [(); 2].map(|()| slots.room().unwrap());
        let taken = slots.take(second).unwrap();
        assert_eq!(slots.room().err().map(|it| it.status), Some(503), "there is no use in reading");
        assert_eq!(slots.take(first).err().map(|it| it.status), Some(503));
        drop(taken);
        assert!(take(&slots).is_ok());
    }

    #[test]
    fn without_a_socket_for_its_call_a_request_is_not_taken() {
        let slots = Slots::new(2, 10, Arc::new(Semaphore::new(1)));
        let first = take(&slots).unwrap();
        assert_eq!(take(&slots).err(), Some(503));
        drop(first);
        assert!(take(&slots).is_ok());
    }
}
