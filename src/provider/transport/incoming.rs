//! The body of an answer as it comes in.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::provider::transport::connection::Connection;
use crate::provider::transport::pool::Pool;

/// How long the end mark of a body that nobody needs any longer is waited for. It is often written by
/// itself, right behind the last words.
const END_WAIT: Duration = Duration::from_millis(250);

/// The body of an answer. Dropping it before its end closes the connection, unless the rest has come.
pub struct Incoming {
    /// `None` once it is over.
    body: Option<body::Incoming>,
    /// `None` once nothing more has to come by it.
    connection: Option<Box<Connection>>,
    /// Who keeps the connection afterwards; `None` when nobody does.
    keeper: Option<Arc<Pool>>,
}

impl Incoming {
    pub(super) fn new(
        body: body::Incoming,
        connection: Box<Connection>,
        keeper: Option<Arc<Pool>>,
    ) -> Self {
        let mut this = Self { body: Some(body), connection: Some(connection), keeper };
        this.give_back();
        this
    }

    /// The next piece, which may be empty; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks before the end, or what comes can't be read.
    pub(super) async fn next(&mut self) -> hyper::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Nothing more of it is of interest. If it ends here, or with what comes next and soon, the
    /// connection can be used again.
    pub(super) fn leave(mut self) {
        let mut nobody = Context::from_waker(Waker::noop());
        if self.poll_next(&mut nobody).is_pending()
            && self.connection.is_some()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { timeout(END_WAIT, self.next()).await.is_ok() });
        }
    }

    /// The bytes it is known to have yet, at the least.
    pub(super) fn least(&self) -> u64 {
        self.body.as_ref().map_or(0, |it| it.size_hint().lower())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<Option<Bytes>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
        let body = Pin::new(body);
        let next = ready!(match &mut self.connection {
            Some(connection) => connection.poll(cx, |cx| body.poll_frame(cx)),
            None => body.poll_frame(cx),
        });
        self.give_back();
        Poll::Ready(match next {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            over => {
                self.body = None;
                self.connection = None;
                over.transpose().map(|_| None)
            }
        })
    }

    /// Lets go of a connection that has brought all of the body.
    fn give_back(&mut self) {
        if !self.connection.as_ref().is_some_and(|it| it.is_idle()) {
            return;
        }
        if let (Some(connection), Some(keeper)) = (self.connection.take(), self.keeper.take()) {
            keeper.keep(connection);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.body = None;
        // The end mark has come, as a rule; if not, hyper closes the connection.
        if let Some(connection) = &mut self.connection {
            connection.move_on(&mut Context::from_waker(Waker::noop()));
            self.give_back();
        }
    }
}
