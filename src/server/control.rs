//! What changes a gateway that runs: closing breakers, another order, configuration read anew.

use std::sync::Arc;

use axum::Extension;
use axum::body::to_bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::openai::ApiError;
use crate::select::Strategy;

use super::Gateway;
use super::admin::Admin;
use super::body::object;
use super::errors::{broken, refuse};
use super::request_id::RequestId;
use super::views;

/// The largest change of the order, in bytes.
const MOST_BYTES: usize = 4 * 1024;

/// What a gateway lets itself be told. All of it holds at once; requests under way go on.
pub trait Control: Send + Sync + 'static {
    /// Closes the breakers of the provider of that name, in any case, and forgets what it said of its
    /// quota. `None`: there is no such provider.
    fn reset(&self, provider: &str) -> Option<Reset>;

    /// Asks in another order from now on. May wait for the disk.
    ///
    /// # Errors
    /// Why the order can't be kept; then it has not changed.
    fn route(&self, order: Order) -> Result<Order, String>;

    /// Reads the configuration anew. Waits for the disk.
    ///
    /// # Errors
    /// All that is wrong with it, a line each; then nothing has changed.
    fn reload(&self) -> Result<Reloaded, Vec<String>>;
}

/// What a reset has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The provider's name as the limits file writes it.
    pub provider: String,
    /// Breakers that were not closed.
    pub closed: usize,
}

/// The order in which providers and models are asked; `None` stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Order {
    /// Among providers.
    pub providers: Option<Strategy>,
    /// Among a provider's models.
    pub models: Option<Strategy>,
    /// Is it to hold after a restart, too?
    pub persist: bool,
}

/// What reading the configuration anew has changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// Providers that were not there before.
    pub added: Vec<String>,
    /// Providers that are there no more.
    pub removed: Vec<String>,
    /// Providers of which something is different.
    pub changed: Vec<String>,
    /// Parts of the settings of which something is different, and holds from now on.
    pub settings: Vec<&'static str>,
    /// What is different but can't change while the gateway runs.
    pub after_restart: Vec<&'static str>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

/// `POST /v1/status/providers/{id}/reset`.
pub(super) async fn reset(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let name = path.map_or_else(|_| String::new(), |it| it.0);
    let Some(Reset { provider, closed }) = gateway.control.reset(&name) else {
        let message = "There is no such provider. GET /v1/status lists them.";
        let error = ApiError::new(404, "invalid_request_error", message);
        return refuse(&error.with_code("provider_not_found"), &id);
    };
    tracing::info!(request_id = id.as_str(), "reset {provider}: closed {closed} breakers");
    views::document(&json!({"provider": provider, "reset": true, "breakers_closed": closed}))
}

/// `PATCH /v1/status/routing`.
pub(super) async fn route(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let order = match order(&gateway, request).await {
        Ok(order) => order,
        Err(error) => return refuse(&error, &id),
    };
    let control = Arc::clone(&gateway.control);
    match spawn_blocking(move || control.route(order)).await {
        Ok(Ok(now)) => {
            let name = |it: Option<Strategy>| it.unwrap_or_default().name();
            let (providers, models) = (name(now.providers), name(now.models));
            tracing::info!(
                request_id = id.as_str(),
                "order: {providers} among providers, {models} among their models"
            );
            views::document(&json!({
                "strategy": providers,
                "provider_strategy": providers,
                "model_strategy": models,
                "persisted": now.persist,
            }))
        }
        Ok(Err(why)) => refuse(&ApiError::invalid(why, Some("persist")), &id),
        Err(_) => refuse(&broken(), &id),
    }
}

/// `POST /v1/admin/reload`.
pub(super) async fn reload(
    _: Admin,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
) -> Response {
    let control = Arc::clone(&gateway.control);
    match spawn_blocking(move || control.reload()).await {
        Ok(Ok(done)) => {
            tracing::info!(request_id = id.as_str(), "{}", done.in_a_line());
            views::document(&json!({
                "reloaded": true,
                "providers_added": done.added,
                "providers_removed": done.removed,
                "providers_changed": done.changed,
                "settings_changed": done.settings,
                "after_restart": done.after_restart,
                "notes": done.notes,
            }))
        }
        Ok(Err(faults)) => {
            let message = format!("Nothing was changed: {}", faults.join("; "));
            let error = ApiError::new(422, "invalid_request_error", message);
            refuse(&error.with_code("configuration_refused"), &id)
        }
        Err(_) => refuse(&broken(), &id),
    }
}

impl Reloaded {
    /// What has changed, for the log.
    pub fn in_a_line(&self) -> String {
        let parts =
            [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let mut said: Vec<String> =
            parts.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        if !self.settings.is_empty() {
            said.push(format!("other settings for {}", self.settings.join(", ")));
        }
        if said.is_empty() {
            said.push("the same providers".to_owned());
        }
        if !self.after_restart.is_empty() {
            said.push(format!("only after a restart: {}", self.after_restart.join(", ")));
        }
        format!("read the configuration anew: {}", said.join("; "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    strategy: Option<String>,
    provider_strategy: Option<String>,
    model_strategy: Option<String>,
    #[serde(default)]
    persist: bool,
}

async fn order(gateway: &Gateway, request: Request) -> Result<Order, ApiError> {
    let reading = timeout(gateway.params.body_timeout, to_bytes(request.into_body(), MOST_BYTES));
    let body = reading.await.ok().and_then(Result::ok).ok_or_else(|| {
        ApiError::invalid(format!("The body must come at once, with {MOST_BYTES} bytes."), None)
    })?;
    let wish: Wish = object(&body, "order")?;
    let both = known("strategy", wish.strategy)?;
    let providers = known("provider_strategy", wish.provider_strategy)?.or(both);
    let models = known("model_strategy", wish.model_strategy)?.or(both);
    if providers.is_none() && models.is_none() {
        let message = "Say which: {\"strategy\": \"roundrobin\", \"random\" or \"weighted\"}.";
        return Err(ApiError::invalid(message, Some("strategy")));
    }
    Ok(Order { providers, models, persist: wish.persist })
}

fn known(member: &str, name: Option<String>) -> Result<Option<Strategy>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    let found = Strategy::parse(&name);
    found.map(Some).ok_or_else(|| {
        let message = format!("{member} must be \"roundrobin\", \"random\" or \"weighted\".");
        ApiError::invalid(message, Some(member))
    })
}
