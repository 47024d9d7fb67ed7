//! The body of an answer as it comes in.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use crate::provider::transport::connection::Connection;
use crate::provider::transport::framing::Framing;
use crate::provider::transport::framing::Taken;
use crate::provider::transport::pool::Pool;

/// Pieces that are read and thrown away when nobody wants the rest of a body: its end has come, as a
/// rule, and the connection can be used again.
const MOST_DISCARDED: usize = 8;

/// The body of an answer. Dropping it before its end closes the connection.
pub struct Incoming {
    /// `None` once the body is over.
    connection: Option<Box<Connection>>,
    framing: Framing,
    /// Who keeps the connection afterwards; `None` when it is of no further use.
    keeper: Option<Arc<Pool>>,
}

impl Incoming {
    pub(super) fn new(
        connection: Box<Connection>,
        framing: Framing,
        keeper: Option<Arc<Pool>>,
    ) -> Self {
        let mut body = Self { connection: Some(connection), framing, keeper };
        if body.framing.is_over() {
            body.give_back();
        }
        body
    }

    /// The next piece, never empty; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks before the end, or what comes can't be read.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The bytes it is known to have yet, at the least.
    pub(super) fn least(&self) -> u64 {
        self.framing.least()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let next = ready!(self.poll_piece(cx));
        if next.is_err() {
            self.connection = None;
        } else if self.framing.is_over() {
            self.give_back();
        }
        Poll::Ready(next)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(None)) };
        loop {
            let wanted = match self.framing.take(&mut connection.read)? {
                Taken::Data(data) => return Poll::Ready(Ok(Some(data))),
                Taken::Over => return Poll::Ready(Ok(None)),
                Taken::More(wanted) => wanted,
            };
            if ready!(connection.poll_read(cx, wanted))? == 0 {
                if self.framing == Framing::UntilClosed {
                    self.connection = None;
                    return Poll::Ready(Ok(None));
                }
                let message = "closed before the end of the answer";
                let fault = io::Error::new(io::ErrorKind::UnexpectedEof, message);
                return Poll::Ready(Err(fault));
            }
        }
    }

    fn give_back(&mut self) {
        if let (Some(connection), Some(keeper)) = (self.connection.take(), self.keeper.take()) {
            keeper.keep(connection);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.keeper.is_none() {
            return;
        }
        let mut nobody = Context::from_waker(Waker::noop());
        for _ in 0..MOST_DISCARDED {
            let Poll::Ready(Ok(Some(_))) = self.poll_next(&mut nobody) else { return };
        }
    }
}
