//! A caller's connection as the HTTP engine sees it: a TCP stream that gives up on callers who
//! don't read, and takes leave of refused ones so that they can.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::idle::BytesRead;

/// The most that is taken in and thrown away after a refusal, in bytes.
const MAX_DISCARDED: usize = 64 << 20;

/// How long a socket waits for its caller.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For room to write.
    pub(super) write: Duration,
    /// For the end of what a refused caller sends.
    pub(super) linger: Duration,
}

/// What a socket and those who serve it tell each other.
pub(super) struct Signs {
    /// Was the last answer a refusal, which may have left a body unread?
    pub(super) refused: Arc<AtomicBool>,
    /// Has it given up on a caller who does not read?
    pub(super) unread: Arc<AtomicBool>,
    pub(super) read: BytesRead,
}

pub(super) struct Socket {
    stream: TcpStream,
    patience: Patience,
    signs: Signs,
    stalled: Option<Pin<Box<Sleep>>>,
    leaving: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, patience: Patience, signs: Signs) -> Self {
        Self { stream, patience, signs, stalled: None, leaving: None, discarded: 0 }
    }

    /// Passes on what a write came to, unless it has waited for too long.
    fn bound(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        self.signs.unread.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads on until the caller closes. A socket closed with bytes unread resets the connection,
    /// and a reset takes the answer with it before a caller that is still sending has read it.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience.linger;
        let leaving = self.leaving.get_or_insert_with(|| Box::pin(sleep(patience)));
        if leaving.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 16 * 1024];
        while self.discarded < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.discarded += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let more = buffer.filled().len() - before;
        self.signs.read.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.signs.refused.load(Ordering::Relaxed) {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}
