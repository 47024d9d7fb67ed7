//! Breaking and mending providers over HTTP, for whoever plays with the demo.

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::body::Body;
use super::chat::json as json_response;
use super::fault::Fault;
use super::provider::SimProvider;
use super::server::House;
use super::wire::headers::Headers;

/// `GET /`: every provider with its state, what is left of its limits, and its counters.
pub(super) fn list(house: &House, request: &Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = foreign(request) {
        return refusal;
    }
    if request.method() != Method::GET {
        return error(405, "GET this path");
    }
    let providers: Vec<Value> = house
        .providers
        .iter()
        .map(|provider| provider.0.describe(&house.base_url(provider.name())))
        .collect();
    pretty(200, &json!({"providers": providers}))
}

/// `POST /<name>/fault?kind=...` and `POST /<name>/mend`.
pub(super) async fn turn(
    provider: &SimProvider,
    action: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(refusal) = foreign(&request) {
        return refusal;
    }
    if request.method() != Method::POST {
        return error(405, "POST to this path");
    }
    if action == "mend" {
        provider.mend();
        return pretty(200, &json!({"name": provider.name(), "state": "healthy"}));
    }
    let kind = kind(request).await;
    let Some(fault) = Fault::from_kind(&kind) else {
        let kinds: Vec<&str> = Fault::kinds().collect();
        return error(400, &format!("kind must be one of {}", kinds.join(", ")));
    };
    provider.set_fault(Some(fault));
    pretty(200, &json!({"name": provider.name(), "state": format!("fault: {kind}")}))
}

/// A web page that the user visits must not drive the demo.
fn foreign(request: &Request<Incoming>) -> Option<Response<Body>> {
    let refused = request.headers().contains_key(ORIGIN);
    refused.then(|| error(403, "requests from web pages (with an Origin) are refused"))
}

/// The kind in the query, or else in a body that is `{"kind":"..."}`, `kind=...` or the bare word.
async fn kind(request: Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    if let Some(kind) = query.split('&').find_map(|pair| pair.strip_prefix("kind=")) {
        return kind.to_owned();
    }
    let Ok(body) = Limited::new(request.into_body(), 1_024).collect().await else {
        return String::new();
    };
    let body = body.to_bytes();
    let from_json = serde_json::from_slice::<Value>(&body).ok();
    if let Some(kind) = from_json.as_ref().and_then(|body| body.get("kind")?.as_str()) {
        return kind.to_owned();
    }
    let text = String::from_utf8_lossy(&body);
    let text = text.trim();
    text.strip_prefix("kind=").unwrap_or(text).to_owned()
}

/// An error in OpenAI's form.
pub(super) fn error(status: u16, message: &str) -> Response<Body> {
    pretty(status, &json!({"error": {"message": message, "type": "simulator"}}))
}

fn pretty(status: u16, body: &Value) -> Response<Body> {
    json_response(status, &Headers::new(), format!("{body:#}\n"))
}
