//! The read-only routes.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::openai::ApiError;
use crate::status::keys::KeyUsage;

use super::Gateway;
use super::errors::{no_such_model, no_such_request, refuse};
use super::guard::Caller;
use super::keys;
use super::request_id::RequestId;

/// Which models to list; an absent or empty one filters nothing.
#[derive(Deserialize)]
pub(super) struct ModelFilters {
    #[serde(rename = "type")]
    kind: Option<String>,
    scale: Option<String>,
}

/// `GET /v1/models`.
pub(super) async fn models(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    filters: Result<Query<ModelFilters>, QueryRejection>,
) -> Response {
    let Ok(Query(filters)) = filters else {
        let message = "The query may hold `type` and `scale`, each once.";
        return refuse(&ApiError::invalid(message, None), &id);
    };
    let given = |it: &'_ Option<String>| it.clone().filter(|it| !it.is_empty());
    let (kind, scale) = (given(&filters.kind), given(&filters.scale));
    json(gateway.views.models(kind.as_deref(), scale.as_deref()))
}

/// `GET /v1/models/{id}`; the id may hold slashes, encoded or not.
pub(super) async fn model(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    // A path that is not UTF-8 once decoded names no model.
    let model = path.map_or_else(|_| String::new(), |Path(it)| it);
    let found = Some(&*model).filter(|it| !it.is_empty()).and_then(|it| gateway.views.model(it));
    found.map_or_else(|| refuse(&no_such_model(&model), &id), json)
}

/// Whose usage to tell; all when it is absent or empty.
#[derive(Deserialize)]
pub(super) struct UsageFilter {
    key: Option<String>,
}

/// `GET /v1/usage`. Who calls with a virtual key is told of that key alone.
pub(super) async fn usage(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    caller: Option<Extension<Caller>>,
    filter: Result<Query<UsageFilter>, QueryRejection>,
) -> Response {
    let Ok(Query(filter)) = filter else {
        let message = "The query may hold `key`, once: the id or the label of a virtual key.";
        return refuse(&ApiError::invalid(message, None), &id);
    };
    let asked = filter.key.filter(|it| !it.is_empty());
    let found = match (caller, asked) {
        (Some(Extension(Caller::Key(own))), asked) => {
            let is_own = |it: &str| *own.id == *it || *own.terms.label == *it;
            if asked.is_none_or(|it| is_own(&it)) { Ok(own) } else { Err(others_usage()) }
        }
        (_, Some(asked)) => keys::named(&gateway, &asked),
        (_, None) => return json(gateway.views.usage()),
    };
    match found {
        Ok(key) => document(&KeyUsage::of(&key, gateway.desk.clock.now())),
        Err(error) => refuse(&error, &id),
    }
}

fn others_usage() -> ApiError {
    let message = "A virtual key is told what it has used itself, and nothing of other keys.";
    ApiError::new(403, "permission_error", message).with_code("key_not_allowed")
}

/// `GET /v1/status`.
pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    json(gateway.views.status())
}

/// `GET /v1/requests/{id}`; the id may hold slashes. Who calls with a virtual key sees that key's alone.
pub(super) async fn request(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    caller: Option<Extension<Caller>>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let asked = path.map_or_else(|_| String::new(), |Path(it)| it);
    let found = match &caller {
        Some(Extension(Caller::Key(own))) => gateway.views.request(&asked, Some(&own.id)),
        _ => gateway.views.request(&asked, None),
    };
    found.map_or_else(|| refuse(&no_such_request(&asked), &id), json)
}

/// `GET /v1/quota`.
pub(super) async fn quota(State(gateway): State<Arc<Gateway>>) -> Response {
    json(gateway.views.quota())
}

/// `GET /metrics`, in Prometheus' text form.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    page(gateway.views.metrics(), text)
}

/// `GET /health`.
pub(super) async fn health(State(gateway): State<Arc<Gateway>>) -> Response {
    json(gateway.views.health())
}

/// A document as JSON. It holds strings, numbers and maps with string keys, so writing it can't fail.
pub(super) fn document(document: &impl Serialize) -> Response {
    json(serde_json::to_string(document).unwrap_or_default())
}

fn json(text: String) -> Response {
    page(text, "application/json")
}

fn page(text: String, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
