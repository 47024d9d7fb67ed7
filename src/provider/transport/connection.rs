//! One HTTP/1.1 connection: a request goes out, the head of its answer comes in.
//!
//! Who waits for the answer moves the bytes: there is no task of the connection's own to be woken for
//! each of them, and no channel between the two.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::provider::transport::head::Head;
use crate::provider::transport::head::MAX_HEAD;
use crate::provider::transport::stream::Stream;

/// Room made for a read, in bytes: most answers, and any event of a stream, take less.
const ROOM: usize = 8 * 1024;
/// Room that is left is used up to here.
const LITTLE_ROOM: usize = 2 * 1024;
/// The most room made at once for a body that is known to be long, in bytes.
const MOST_ROOM: usize = 256 * 1024;

/// A connection to a provider.
pub(super) struct Connection {
    stream: Stream,
    /// What has been read and not yet taken.
    pub(super) read: BytesMut,
    /// Whom it leads to, for whoever keeps it.
    pub(super) origin: Origin,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Host and port as its URL writes them.
    pub(super) authority: String,
}

impl Connection {
    pub(super) fn new(stream: Stream, origin: Origin) -> Self {
        Self { stream, read: BytesMut::new(), origin }
    }

    /// Is nothing said on it, not even that it is closed? Then it may be used again.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut one = [0];
        let mut buffer = ReadBuf::new(&mut one);
        let mut nobody = Context::from_waker(Waker::noop());
        // Without a system call, where the system has not said that there is something.
        let asked = Pin::new(&mut self.stream).poll_read(&mut nobody, &mut buffer);
        self.read.is_empty() && asked.is_pending()
    }

    /// Sends a request, its head and its body, and reads the head of the answer. That may come
    /// before all is sent; the connection is of no further use then.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is not HTTP.
    pub(super) async fn exchange(&mut self, head: Bytes, body: Bytes) -> io::Result<Head> {
        let mut unsent = head.chain(body);
        let mut flushed = false;
        let mut broken = None;
        poll_fn(|cx| {
            if !flushed && broken.is_none() {
                match self.poll_send(cx, &mut unsent) {
                    Poll::Ready(Ok(())) => flushed = true,
                    // It may have said why before it closed.
                    Poll::Ready(Err(fault)) => broken = Some(fault),
                    Poll::Pending => {}
                }
            }
            let head = ready!(self.poll_head(cx));
            Poll::Ready(match (head, broken.take()) {
                (Ok(head), _) => Ok(Head { keeps: head.keeps && flushed, ..head }),
                (Err(_), Some(earlier)) => Err(earlier),
                (Err(fault), None) => Err(fault),
            })
        })
        .await
    }

    /// Reads more. Gives the number of bytes; none is the end. `wanted`: how many are still to come.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < LITTLE_ROOM.max(wanted.min(MOST_ROOM)) {
            self.read.reserve(wanted.clamp(ROOM, MOST_ROOM));
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        unsent: &mut impl bytes::Buf,
    ) -> Poll<io::Result<()>> {
        while unsent.has_remaining() {
            let written = ready!(poll_write_buf(Pin::new(&mut self.stream), cx, unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Head>> {
        loop {
            if let Some(head) = Head::take(&mut self.read)? {
                return Poll::Ready(Ok(head));
            }
            if self.read.len() > MAX_HEAD {
                return Poll::Ready(Err(io::Error::other("the head of its answer is too long")));
            }
            if ready!(self.poll_read(cx, 0))? == 0 {
                let message = "closed before the head of an answer had come";
                let fault = io::Error::new(io::ErrorKind::UnexpectedEof, message);
                return Poll::Ready(Err(fault));
            }
        }
    }
}
