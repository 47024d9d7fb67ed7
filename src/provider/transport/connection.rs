//! One HTTP/1.1 connection, moved by whoever waits for the answer.
//!
//! hyper parses and frames. Its connection is a future apart from the request and the body of the
//! answer, usually given a task of its own; here it is polled just before these, so that no task
//! has to be woken for what another has read.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Buf as _;
use http::{Extensions, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::Connection as _;

use crate::openai::Payload;
use crate::provider::SentMark;
use crate::provider::connection::Pulse;
use crate::provider::transport::dialer::Stream;
use crate::provider::transport::inline_waker::InlineWaker;

/// A connection to a provider.
pub(super) struct Connection {
    sender: http1::SendRequest<MarkedBody>,
    /// `None` once it has ended.
    moved: Option<http1::Connection<Stream, MarkedBody>>,
    inline: Arc<InlineWaker>,
    /// The same as a waker.
    waker: Waker,
    /// What is known of the stream below it.
    pub(super) pulse: Pulse,
    /// Whom it leads to, for whoever keeps it.
    pub(super) origin: Origin,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Host and port as its URL writes them.
    pub(super) authority: String,
    /// The same as the header `Host`.
    pub(super) host: HeaderValue,
}

impl Connection {
    /// HTTP on a stream that stands.
    ///
    /// # Errors
    /// None, as hyper has it today.
    pub(super) async fn new(stream: Stream, origin: Origin) -> hyper::Result<Self> {
        let pulse = pulse_of(&stream);
        let (sender, moved) = http1::handshake(stream).await?;
        let inline = Arc::new(InlineWaker::default());
        let waker = Waker::from(Arc::clone(&inline));
        Ok(Self { sender, moved: Some(moved), inline, waker, pulse, origin })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When the connection breaks before it has come. The request comes back when nothing of it has
    /// been sent: the connection had been closed before.
    pub(super) async fn exchange(
        &mut self,
        request: Request<MarkedBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<MarkedBody>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| self.poll(cx, |cx| answer.as_mut().poll(cx))).await
    }

    /// Moves the connection on, then asks what waits for that.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.inline.enter(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        // An error goes to whoever waits for the answer or reads its body.
        if self.moved.as_mut().is_some_and(|it| Pin::new(it).poll(&mut inner).is_ready()) {
            self.moved = None;
        }
        let asked = ask(&mut inner);
        // hyper yields now and then, and tokio makes it.
        if self.inline.leave() && asked.is_pending() {
            cx.waker().wake_by_ref();
        }
        asked
    }

    /// Is all said on it, and may it be used again?
    pub(super) fn is_idle(&self) -> bool {
        self.moved.is_some() && self.sender.is_ready()
    }

    /// Is it idle still, as far as the system has told? Asked of connections that nobody uses: the
    /// task that used it last is let go of.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.move_on(&mut nobody);
        self.is_idle()
    }

    /// Moves the connection on while nobody waits for anything.
    pub(super) fn move_on(&mut self, cx: &mut Context<'_>) {
        let _: Poll<()> = self.poll(cx, |_| Poll::Pending);
    }

    /// Nobody waits on it any longer.
    pub(super) fn rest(&self) {
        self.inline.forget();
    }
}

fn pulse_of(stream: &Stream) -> Pulse {
    let mut known = Extensions::new();
    stream.connected().get_extras(&mut known);
    known.remove().unwrap_or_default()
}

/// A request body that says when it is first asked for: hyper asks once a connection stands and
/// the head is on its way, so until then nothing has reached the provider.
pub(super) struct MarkedBody {
    data: Option<Payload>,
    sent: SentMark,
}

impl MarkedBody {
    pub(super) fn new(data: Payload, sent: SentMark) -> Self {
        Self { data: Some(data), sent }
    }
}

impl Body for MarkedBody {
    type Data = Payload;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Payload>, Self::Error>>> {
        self.sent.set();
        Poll::Ready(self.data.take().map(|it| Ok(Frame::data(it))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |it| it.remaining() as u64))
    }
}
