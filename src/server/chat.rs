//! `POST /v1/chat/completions`.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::callers::VirtualKey;
use crate::callers::identifiers::Left;
use crate::dispatch::outcome::{Answer, ChatCall, Failure, Journey, Progress, Route, Who};
use crate::openai::{ApiError, ChatRequest};

use super::Gateway;
use super::arrival::{Arrival, Parting};
use super::body::{self, Bounds};
use super::client_address;
use super::credentials;
use super::errors::{refuse, stopping, told};
use super::guard::Caller;
use super::identifier::Identifier;
use super::request_id::RequestId;
use super::requirements;
use super::route_headers;
use super::slots::{Held, Slot};
use super::sse::{EventBody, Source};

/// Where chat requests go.
pub(super) const PATH: &str = "/v1/chat/completions";

/// The longest session id, in bytes.
const MAX_SESSION_LEN: usize = 256;

/// Asks for the style guide, or does without.
const STYLE_HEADER: HeaderName = HeaderName::from_static("x-use-serverside-system-prompt");

/// Has an answer's text passed on as it came.
const NORMALIZE_HEADER: HeaderName = HeaderName::from_static("x-relay-normalize");

/// Answers one chat request, whole or streamed.
pub(super) async fn chat(
    gateway: &Gateway,
    id: &RequestId,
    arrival: &Arrival,
    request: Request<Incoming>,
) -> Response {
    let user = match user(gateway, arrival.peer, &request) {
        Ok(user) => user,
        Err(error) => return refuse(&error, id),
    };
    let taken = match &user {
        Some((identifier, left)) if !left.passes => Err(identifier.spent(*left)),
        _ => take(gateway, id, arrival.peer, request).await,
    };
    let mut response = match taken {
        Ok((call, slot)) => answer(gateway, id, call, (arrival, slot)).await,
        Err(error) => refuse(&error, id),
    };
    if let Some((identifier, left)) = user {
        identifier.stamp(left, response.headers_mut());
    }
    response
}

/// Who the request is for, and what is left for them; `None` where users are not told apart.
///
/// # Errors
/// A 400 for a name that can't be taken.
fn user(
    gateway: &Gateway,
    peer: IpAddr,
    request: &Request<Incoming>,
) -> Result<Option<(Identifier, Left)>, ApiError> {
    let Some(identifiers) = &gateway.identifiers else { return Ok(None) };
    let client = client_address::client(peer, request.headers(), &gateway.params.trusted_proxies);
    let identifier = Identifier::of(request.headers(), client)?;
    let key = key_of(request.extensions()).map(|it| Arc::clone(&it.id));
    let left = identifiers.take(identifier.bucket(key), gateway.desk.clock.now());
    Ok(Some((identifier, left)))
}

/// The virtual key that was shown, if it was one.
fn key_of(extensions: &Extensions) -> Option<&Arc<VirtualKey>> {
    match extensions.get::<Caller>() {
        Some(Caller::Key(key)) => Some(key),
        _ => None,
    }
}

/// Reads and checks what was sent.
async fn take(
    gateway: &Gateway,
    id: &RequestId,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Result<(ChatCall, Slot), ApiError> {
    let (parts, body) = request.into_parts();
    let params = &gateway.params;
    let bounds = Bounds { bytes: params.max_body_bytes, time: params.body_timeout };
    body::check_announced(&parts.headers, bounds)?;
    let key = key_of(&parts.extensions).cloned();
    let session = session(&parts.headers, &params.session_header)?;
    // No header holds a tab: nobody can name a session of another's key.
    let session = match &key {
        Some(key) => session.map(|it| format!("{}\t{it}", key.id)),
        None => session,
    };
    let requires = requirements::read(&parts.headers)?;
    let style = style(&parts.headers)?;
    let normalize = normalize(&parts.headers)?;
    let mut room = gateway.slots.room()?;
    let body = body::read(body, &parts.headers, bounds, &mut room).await?;
    let slot = gateway.slots.take(room)?;
    let request = ChatRequest::parse(&body)?;
    let who = who(gateway, peer, &parts, session.as_deref());
    let mut requires = requires;
    requires.no_training |= key.as_ref().is_some_and(|it| it.terms.no_training);
    let request_id = id.text();
    let call = ChatCall { request, session, style, normalize, who, request_id, key, requires };
    Ok((call, slot))
}

/// Who shares a turn when quota is short: what comes with one key, or from one address where none is
/// shown, and of that what is of one session. The numbers are made anew with each start, so that they tell nothing
/// of key and address.
fn who(gateway: &Gateway, peer: IpAddr, parts: &Parts, session: Option<&str>) -> Who {
    let numbers = &gateway.caller_numbers;
    let written = credentials::written(&parts.headers);
    let key = match parts.extensions.get::<Caller>() {
        Some(Caller::Key(key)) => numbers.hash_one(&key.id),
        // Whatever else was shown beside a right key.
        Some(Caller::Owner | Caller::Admin) => 0,
        _ if written.iter().any(Option::is_some) => numbers.hash_one(written),
        _ => {
            let proxies = &gateway.params.trusted_proxies;
            let client = client_address::client(peer, &parts.headers, proxies);
            numbers.hash_one(client_address::number(client))
        }
    };
    Who { key, session: session.map_or(0, |it| numbers.hash_one(it)) }
}

/// The session a request names in `header`.
///
/// # Errors
/// A 400 that names the header, when its value could not be kept and logged as it is.
fn session(headers: &HeaderMap, header: &HeaderName) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(header).filter(|it| !it.is_empty()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|it| it.len() <= MAX_SESSION_LEN && !it.contains('\t'));
    text.map(|it| Some(it.to_owned())).ok_or_else(|| {
        let message = format!("{header} must be 1 to {MAX_SESSION_LEN} visible ASCII characters.");
        ApiError::invalid(message, Some(header.as_str()))
    })
}

/// Does the caller want the style guide?
///
/// # Errors
/// A 400 for what is neither yes nor no.
fn style(headers: &HeaderMap) -> Result<Option<bool>, ApiError> {
    let Some(value) = headers.get(STYLE_HEADER).filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    let said = value.as_bytes().trim_ascii();
    if said.eq_ignore_ascii_case(b"true") {
        Ok(Some(true))
    } else if said.eq_ignore_ascii_case(b"false") {
        Ok(Some(false))
    } else {
        let name = "X-Use-ServerSide-System-Prompt";
        Err(ApiError::invalid(format!("{name} must be true or false."), Some(name)))
    }
}

/// Is the answer to be normalised, as far as the settings have it so?
///
/// # Errors
/// A 400 for what is neither on nor off.
fn normalize(headers: &HeaderMap) -> Result<bool, ApiError> {
    let said = headers.get(NORMALIZE_HEADER).map_or(&b"on"[..], HeaderValue::as_bytes);
    let said = said.trim_ascii();
    if said.is_empty() || said.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if said.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        let name = "X-Relay-Normalize";
        Err(ApiError::invalid(format!("{name} must be on or off."), Some(name)))
    }
}

async fn answer(
    gateway: &Gateway,
    id: &RequestId,
    call: ChatCall,
    (arrival, slot): (&Arrival, Slot),
) -> Response {
    let streamed = call.request.stream;
    let Journey { progress, mut answer } = gateway.chat.begin(call);
    let parting = Parting::of(arrival, &progress);
    let begun = if streamed {
        timeout(gateway.params.hold_headers, &mut answer).await.ok()
    } else {
        let Some(ended) = parting.ending.before(answer.as_mut()).await else {
            return traced(refuse(&stopping(), id), &progress);
        };
        Some(ended)
    };
    let (source, route) = match begun {
        Some(Ok(Answer::Whole { route, body })) => {
            return traced(whole(body, &route, slot), &progress);
        }
        Some(Err(failure)) => return traced(failed(&failure, id), &progress),
        Some(Ok(Answer::Stream { route, events })) => (Source::Events(events), Some(route)),
        None => (Source::Silent(answer), progress.get()),
    };
    let events = EventBody::new(source, id.text(), gateway.params.keep_alive, (parting, slot));
    traced(stream(events, route.as_ref()), &progress)
}

/// The answer with its trace in a header, where that was asked for.
fn traced(mut response: Response, progress: &Progress) -> Response {
    if let Some(trace) = progress.trace() {
        route_headers::trace(trace, response.headers_mut());
    }
    response
}

fn whole(body: Bytes, route: &Route, slot: Slot) -> Response {
    let mut response = Response::new(Body::new(Held::new(body, slot)));
    let headers = response.headers_mut();
    headers.reserve(12);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    route_headers::describe(route, headers);
    response
}

fn stream(events: EventBody, route: Option<&Route>) -> Response {
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.reserve(14);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks nginx and its like to pass events on as they come.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Some(route) = route {
        route_headers::describe(route, headers);
    }
    response
}

fn failed(failure: &Failure, id: &RequestId) -> Response {
    // Its journey has left a line in the log already.
    let mut response = told(&failure.error, id);
    if let Some(route) = &failure.route {
        route_headers::describe(route, response.headers_mut());
    }
    response
}
