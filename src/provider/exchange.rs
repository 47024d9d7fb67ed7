//! One HTTP exchange with a provider: what every dialect's requests and refusals have in common.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri};
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::clock::SharedClock;
use crate::openai::Payload;
use crate::provider::ErrorBody;
use crate::provider::SentMark;
use crate::provider::classify::classify;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::rate_limits;
use crate::provider::transport::Incoming;
use crate::provider::transport::Transport;
use crate::provider::transport::read_error;

/// The media type of whole answers.
pub(super) const JSON: &str = "application/json";
/// The media type of streams of events.
pub(super) const EVENTS: &str = "text/event-stream";

/// A POST of a JSON `body` that wants an answer of the type `accept`.
pub(super) fn post(to: &Uri, body: impl Into<Payload>, accept: &'static str) -> Request<Payload> {
    let mut request = Request::new(body.into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = to.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let agent = concat!("relayfreellm/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    request
}

/// Puts the key into the header of that name, after `scheme`.
///
/// # Errors
/// [`FaultKind::NotHere`] for a key that no header can hold.
pub(super) fn sign(
    request: &mut Request<Payload>,
    name: HeaderName,
    scheme: &str,
    secret: &SecretString,
) -> Result<(), Fault> {
    let value = format!("{scheme}{}", secret.expose_secret());
    let mut value = HeaderValue::try_from(value)
        .map_err(|it| Fault::new(FaultKind::NotHere, format!("the request can't be sent: {it}")))?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(())
}

/// Sends the request; an answer that is no success becomes the fault it tells of.
///
/// # Errors
/// Those of [`Transport::send`], and the provider's refusals.
pub(super) async fn exchange(
    provider: &str,
    transport: &Transport,
    request: Request<Payload>,
    sent: SentMark,
    clock: &SharedClock,
) -> Result<Response<Incoming>, Fault> {
    let answer = transport.send(request, sent.clone()).await?;
    sent.hear(rate_limits::read(provider, answer.headers(), clock.now()));
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status.is_redirection() {
        let mut fault = Fault::new(FaultKind::Unreadable, "a redirect, which is not followed");
        fault.status = Some(status.as_u16());
        return Err(fault);
    }
    let (head, body) = answer.into_parts();
    let body = read_error(body).await;
    let content_type = head.headers.get(CONTENT_TYPE).cloned();
    sent.hear_refusal(ErrorBody { content_type, body: body.clone() });
    Err(classify(provider, status.as_u16(), &head.headers, &body, clock.now()))
}

/// Checks that the answer to a request for a stream is one.
///
/// # Errors
/// [`FaultKind::Unreadable`] when its type is another.
pub(super) fn check_is_stream(answer: &Response<Incoming>, part: &str) -> Result<(), Fault> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match kind.filter(|it| !it.contains(part)) {
        Some(kind) => {
            let message = format!("a stream was asked for and {kind} came");
            Err(Fault::new(FaultKind::Unreadable, message))
        }
        None => Ok(()),
    }
}
