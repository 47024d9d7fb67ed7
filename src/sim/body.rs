//! Carrying out a plan as an HTTP body.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::unfold;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use super::plan::{Act, Plan, Step};
use super::record::Trace;

/// Any body this server sends.
pub(super) type Body = BoxBody<Bytes, Cut>;

/// The connection is to end here. hyper closes it when a body or a service fails.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated cut")
    }
}

impl std::error::Error for Cut {}

/// A body that is there at once.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// The body of `plan`. The trace learns of each step just before its bytes are handed to the
/// connection, and ends with the last one; `served` is what it then says.
pub(super) fn body_of(mut plan: Plan, trace: Trace, served: bool) -> Body {
    if plan.length.is_some()
        && plan.steps.len() == 1
        && let Some(Step { act: Act::Send(bytes), text, usage, .. }) = plan.steps.pop_front()
    {
        told(&trace, &text, usage.then_some(plan.usage));
        trace.end(served);
        return full(bytes);
    }
    let performance = Performance { plan, trace: Some(trace), served };
    StreamBody::new(unfold(performance, Performance::next)).boxed()
}

fn told(trace: &Trace, text: &str, usage: Option<(u64, u64)>) {
    if !text.is_empty() {
        trace.said(text);
    }
    if let Some(usage) = usage {
        trace.told_usage(usage);
    }
}

struct Performance {
    plan: Plan,
    trace: Option<Trace>,
    served: bool,
}

/// A huge body goes out in pieces of this size.
const FILLING: &[u8] = &[b'x'; 64 * 1024];

impl Performance {
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Cut>, Self)> {
        let step = self.plan.steps.pop_front()?;
        if step.wait > Duration::ZERO {
            tokio::time::sleep(step.wait).await;
        }
        let result = match step.act {
            Act::Send(bytes) => Ok(bytes),
            Act::Fill(left) => {
                let now = usize::try_from(left).unwrap_or(usize::MAX).min(FILLING.len());
                let later = left.saturating_sub(now as u64);
                if later > 0 {
                    self.plan.steps.push_front(Step::act(Act::Fill(later)));
                }
                Ok(Bytes::from_static(FILLING.get(..now).unwrap_or_default()))
            }
            Act::Stall => std::future::pending().await,
            Act::Cut => {
                // hyper forgets what it has buffered when a body fails: let it flush first.
                tokio::task::yield_now().await;
                Err(Cut)
            }
        };
        self.tell(&step.text, step.usage);
        Some((result.map(Frame::data), self))
    }

    fn tell(&mut self, text: &str, usage: bool) {
        if let Some(trace) = &self.trace {
            told(trace, text, usage.then_some(self.plan.usage));
        }
        if self.plan.steps.is_empty()
            && let Some(trace) = self.trace.take()
        {
            trace.end(self.served);
        }
    }
}
