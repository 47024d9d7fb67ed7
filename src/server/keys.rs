//! `/v1/keys`: making, listing and taking back virtual keys.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::callers::Draft;
use crate::callers::Problem;
use crate::callers::VirtualKey;
use crate::openai::ApiError;
use crate::status::keys::KeyList;
use crate::status::keys::KeyStatus;
use crate::status::keys::NewKey;

use super::Gateway;
use super::admin::Admin;
use super::body::object;
use super::errors::refuse;
use super::request_id::RequestId;
use super::views;

/// The largest draft of a key, in bytes: a thousand models' names fit.
const MOST_BYTES: usize = 256 * 1024;

/// `POST /v1/keys`.
pub(super) async fn create(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    match issue(&gateway, request.into_body()).await {
        Ok(new) => {
            tracing::info!(
                request_id = id.as_str(),
                "made the key {} ({:?})",
                new.status.id,
                new.status.label
            );
            let mut response = views::document(&new);
            *response.status_mut() = StatusCode::CREATED;
            response
        }
        Err(error) => refuse(&error, &id),
    }
}

/// `GET /v1/keys`.
pub(super) async fn list(_: Admin, State(gateway): State<Arc<Gateway>>) -> Response {
    let now = gateway.desk.clock.now();
    let data = gateway.desk.callers.list();
    let data = data.iter().map(|it| KeyStatus::of(it, now)).collect();
    views::document(&KeyList { object: "list".to_owned(), data })
}

/// `GET /v1/keys/{id}`; a label will do.
pub(super) async fn one(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    match named(&gateway, &path.map_or_else(|_| String::new(), |it| it.0)) {
        Ok(key) => views::document(&KeyStatus::of(&key, gateway.desk.clock.now())),
        Err(error) => refuse(&error, &id),
    }
}

/// `DELETE /v1/keys/{id}`; a label will do.
pub(super) async fn revoke(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    match take_back(&gateway, &path.map_or_else(|_| String::new(), |it| it.0)).await {
        Ok(key) => {
            tracing::info!(
                request_id = id.as_str(),
                "took back the key {} ({:?})",
                key.id,
                key.terms.label
            );
            views::document(&json!({"id": *key.id, "object": "api_key", "deleted": true}))
        }
        Err(error) => refuse(&error, &id),
    }
}

async fn issue(gateway: &Gateway, body: Body) -> Result<NewKey, ApiError> {
    let desk = &gateway.desk;
    let reading = timeout(gateway.params.body_timeout, to_bytes(body, MOST_BYTES));
    let body = reading.await.ok().and_then(Result::ok).ok_or_else(|| {
        ApiError::invalid(
            format!("The body must come at once, with {MOST_BYTES} bytes at most."),
            None,
        )
    })?;
    let draft: Draft = object(&body, "description of a key")?;
    let known = |name: &str| gateway.views.known_model(name);
    let terms = draft.check(desk.clock.now(), &known).map_err(|it| faulty(&it))?;
    let mut random = [0; 20];
    let failed = |_| ApiError::new(500, "server_error", "The system gives no random numbers.");
    SystemRandom::new().fill(&mut random).map_err(failed)?;
    let issued = desk.callers.issue(terms, random, desk.clock.now()).map_err(|_| {
        let message = "There are 100000 keys, all of them in use: revoke some first.";
        ApiError::new(409, "invalid_request_error", message).with_code("too_many_keys")
    });
    let (secret, key) = issued?;
    if let Err(fault) = keep(gateway).await {
        desk.callers.withdraw(&key);
        let message = format!("The key could not be stored, so there is none: {fault}.");
        return Err(ApiError::new(500, "server_error", message).with_code("not_stored"));
    }
    let mut warnings = Vec::new();
    if desk.save_now.is_none() {
        let warning = "This gateway keeps nothing: the key and its counts end with this process.";
        tracing::warn!("{warning} ({})", key.id);
        warnings.push(warning.to_owned());
    }
    if gateway.params.master_key.is_none() {
        let warning =
            "RELAY_API_KEY is not set: from now on every chat request needs a virtual key.";
        warnings.push(warning.to_owned());
    }
    let status = KeyStatus::of(&key, desk.clock.now());
    Ok(NewKey { key: secret, warnings, status })
}

async fn take_back(gateway: &Gateway, name: &str) -> Result<Arc<VirtualKey>, ApiError> {
    let key = named(gateway, name)?;
    let desk = &gateway.desk;
    desk.callers.revoke(&key, desk.clock.now()).map_err(|_| {
        let message = format!("The keys file declares {}: take it out of there.", key.id);
        ApiError::new(409, "invalid_request_error", message).with_code("key_is_declared")
    })?;
    keep(gateway).await.map_err(|fault| {
        let message =
            format!("{} is taken back until the gateway is started anew: {fault}.", key.id);
        ApiError::new(500, "server_error", message).with_code("not_stored")
    })?;
    Ok(key)
}

/// What was changed is on the disk when this returns.
async fn keep(gateway: &Gateway) -> Result<(), String> {
    let Some(save) = gateway.desk.save_now.clone() else { return Ok(()) };
    spawn_blocking(move || save()).await.unwrap_or_else(|it| Err(it.to_string()))
}

/// The key of this id or label.
///
/// # Errors
/// A 404, or a 409 when several have the label.
pub(super) fn named(gateway: &Gateway, name: &str) -> Result<Arc<VirtualKey>, ApiError> {
    let found = gateway.desk.callers.named(name, gateway.desk.clock.now()).map_err(|it| {
        let message = format!("Several keys have this label: {}.", it.ids.join(", "));
        ApiError::new(409, "invalid_request_error", message).with_code("ambiguous_label")
    })?;
    found.ok_or_else(|| {
        let message = "There is no key of this id or label. GET /v1/keys lists all.";
        ApiError::new(404, "invalid_request_error", message).with_code("key_not_found")
    })
}

fn faulty(problems: &[Problem]) -> ApiError {
    let told = |it: &Problem| format!("{}: got {}; wanted {}", it.field, it.got, it.wanted);
    let message = problems.iter().map(told).collect::<Vec<_>>().join(". ");
    let param = problems.first().map(|it| it.field);
    ApiError::invalid(format!("{message}."), param)
        .with_code("invalid_key")
        .logged_as("The description of a key can't be used.")
}
