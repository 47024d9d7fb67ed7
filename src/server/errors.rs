//! The one place where errors meet HTTP.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode, Uri};

use crate::openai::ApiError;
use crate::telemetry::plain;

use super::chat;
use super::request_id::RequestId;

/// The largest part of a caller's text that is repeated in an error, in characters.
const MAX_QUOTED: usize = 100;

/// Turns a caller away and says so in the log: these are the mistakes people look there for.
pub(super) fn refuse(error: &ApiError, id: &RequestId) -> Response {
    tracing::info!(request_id = id.as_str(), "refused: {} | {}", error.status, error.for_the_log());
    told(error, id)
}

/// The answer that tells a caller of `error`.
pub(super) fn told(error: &ApiError, id: &RequestId) -> Response {
    let verbatim = error.verbatim();
    let body = verbatim.map_or_else(|| error.to_json(id.as_str()), |it| it.body.clone());
    let kind = verbatim.map_or("application/json", |it| &*it.content_type);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    // Room for the headers of a route: growing a header map means hashing it anew.
    headers.reserve(12);
    if let Ok(kind) = HeaderValue::from_str(kind)
        && !kind.is_empty()
    {
        headers.insert(CONTENT_TYPE, kind);
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if leaves_body_unread(error.status) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// After these statuses the rest of the body may still be on its way, and nobody wants it.
fn leaves_body_unread(status: u16) -> bool {
    matches!(status, 408 | 413)
}

/// No such path.
pub(super) async fn unknown_path(
    Extension(id): Extension<RequestId>,
    method: Method,
    uri: Uri,
) -> Response {
    let hint = if uri.path().starts_with("/v1/") {
        "Chat is POST /v1/chat/completions, models are GET /v1/models."
    } else {
        "The base URL of this API ends in /v1."
    };
    let message = format!("Unknown URL: {method} {}. {hint}", quoted(uri.path()));
    let error = ApiError::new(404, "invalid_request_error", message).with_code("unknown_url");
    refuse(&error.logged_as(format!("Unknown URL: {method} {}", plain(uri.path()))), &id)
}

/// The path exists; the router adds `Allow`.
pub(super) async fn wrong_method(
    Extension(id): Extension<RequestId>,
    method: Method,
    uri: Uri,
) -> Response {
    let message = format!("{method} is not allowed on {}", quoted(uri.path()));
    let error = ApiError::new(405, "invalid_request_error", message);
    let error = error.with_code("method_not_allowed");
    refuse(&error.logged_as(format!("{method} is not allowed on {}", plain(uri.path()))), &id)
}

/// The one path that no router answers for.
pub(super) fn chat_is_posted(method: &Method, id: &RequestId) -> Response {
    let message = format!("{method} is not allowed on {}", chat::PATH);
    let error = ApiError::new(405, "invalid_request_error", message);
    let mut response = refuse(&error.with_code("method_not_allowed"), id);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// A model that is not there, under the id by which it was asked for.
pub(super) fn no_such_model(model: &str) -> ApiError {
    let message = format!("The model `{}` does not exist.", quoted(model));
    ApiError::new(404, "invalid_request_error", message)
        .with_param("model")
        .with_code("model_not_found")
        .logged_as(format!("The model `{}` does not exist.", plain(model)))
}

/// A request that is not remembered, or not this caller's.
pub(super) fn no_such_request(asked: &str) -> ApiError {
    let message =
        format!("There is no request `{}` among the last 1,000 that have ended.", quoted(asked));
    ApiError::new(404, "invalid_request_error", message)
        .with_code("request_not_found")
        .logged_as("There is no such request among the last 1,000 that have ended.")
}

/// The gateway stops, and this answer has taken longer than it may then.
pub(super) fn stopping() -> ApiError {
    let message = "The gateway is stopping, and this answer took too long to be finished.";
    ApiError::new(503, "server_error", message).with_code("stream_interrupted")
}

/// More is under way than the gateway takes on.
pub(super) fn overloaded() -> ApiError {
    let message = "The gateway is answering as many requests as it takes on at once.";
    ApiError::new(503, "server_error", message)
        .with_code("overloaded")
        .with_retry_after(Duration::from_secs(1))
}

/// A fault of the gateway's own.
pub(super) fn broken() -> ApiError {
    ApiError::new(500, "server_error", "The gateway made a mistake.").with_code("internal_error")
}

fn quoted(text: &str) -> &str {
    text.char_indices().nth(MAX_QUOTED).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}
