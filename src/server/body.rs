//! A request's body, whole and within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::openai::ApiError;

use super::slots::Room;

/// What is set aside at once for a body that announces its length; a longer one grows as it comes.
const FIRST_CAPACITY: usize = 256 * 1024;

/// How big and how slow a body may be.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// Reads a JSON object. A list is none, though serde would take its items for members by their order.
///
/// # Errors
/// A 400: it is no `what`.
pub(super) fn object<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, ApiError> {
    let refused = |why: &str| {
        let error = ApiError::invalid(format!("This is no {what}: {why}."), None);
        error.logged_as(format!("This is no {what}."))
    };
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused("it must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|it| refused(&it.to_string()))
}

/// Refuses by its headers alone a body that would not be taken.
///
/// # Errors
/// A 413 or 415.
pub(super) fn check_announced(headers: &HeaderMap, bounds: Bounds) -> Result<(), ApiError> {
    if announced(headers).is_some_and(|it| it > bounds.bytes) {
        return Err(too_large(bounds));
    }
    let encoded = |it: &http::HeaderValue| !it.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        let message = "Bodies are taken as they are: send this one without Content-Encoding.";
        let error = ApiError::new(415, "invalid_request_error", message);
        return Err(error.with_code("unsupported_content_encoding"));
    }
    Ok(())
}

/// Reads the body. The time is for all of it, so that a caller who sends a byte now and then is
/// cut off like one who sends none.
///
/// # Errors
/// A 408, 413 or 503, or a 400 when the body breaks off.
pub(super) async fn read(
    body: Incoming,
    headers: &HeaderMap,
    bounds: Bounds,
    room: &mut Room,
) -> Result<Bytes, ApiError> {
    let capacity = announced(headers).unwrap_or_default().min(FIRST_CAPACITY);
    timeout(bounds.time, gather(body, capacity, bounds, room)).await.unwrap_or_else(|_| {
        let message = format!("The body did not arrive within {} s.", bounds.time.as_secs());
        Err(ApiError::new(408, "timeout_error", message).with_code("request_timeout"))
    })
}

async fn gather(
    mut body: Incoming,
    capacity: usize,
    bounds: Bounds,
    room: &mut Room,
) -> Result<Bytes, ApiError> {
    // Most bodies arrive in one piece, which is then used where it lies.
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid("The body broke off.", None))?;
        let Ok(data) = frame.into_data() else { continue };
        if only.len() + joined.len() + data.len() > bounds.bytes {
            return Err(too_large(bounds));
        }
        room.grow(data.len())?;
        if only.is_empty() && joined.is_empty() {
            only = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(capacity.max(only.len() + data.len()));
            joined.extend_from_slice(&std::mem::take(&mut only));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { only } else { joined.freeze() })
}

/// The length a body is said to have. A wrong one never gets here: the parser refuses it.
fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

fn too_large(bounds: Bounds) -> ApiError {
    let message = format!("The body is larger than the {} bytes allowed here.", bounds.bytes);
    ApiError::new(413, "request_too_large", message).with_code("request_too_large")
}
