//! HTTP in front of the gateway: who may call, what a request must look like, and how answers,
//! streams and errors are written. It knows nothing of providers.

mod admin;
mod admission;
mod arrival;
mod bell;
mod body;
mod chat;
mod client_address;
mod control;
mod credentials;
mod desk;
mod ending;
mod errors;
mod guard;
mod identifier;
mod idle;
mod keys;
mod loopback;
mod params;
mod request_id;
mod requirements;
mod route_headers;
mod serve;
mod slots;
mod socket;
mod sse;
#[cfg(test)]
mod tests;
mod views;

use std::hash::RandomState;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, patch, post};

use crate::callers::FailedTries;
use crate::callers::identifiers::Identifiers;
use crate::dispatch::outcome::ChatService;
use crate::status::Views;

pub use admission::Front;
pub use control::Control;
pub use control::Order;
pub use control::Reloaded;
pub use control::Reset;
pub use desk::Desk;
pub use desk::SaveNow;
pub use ending::Stop;
pub use params::Params;
pub use serve::CROWD;
pub use serve::serve;

/// What the handlers work with.
struct Gateway {
    params: Params,
    guard: guard::Guard,
    desk: Desk,
    tries: FailedTries,
    identifiers: Option<Identifiers>,
    slots: slots::Slots,
    /// Makes a number of who calls.
    caller_numbers: RandomState,
    chat: Arc<dyn ChatService>,
    views: Arc<dyn Views>,
    control: Arc<dyn Control>,
}

/// All routes, with the checks on who may call in front of them.
pub fn front(
    params: Params,
    (desk, control): (Desk, Arc<dyn Control>),
    chat: Arc<dyn ChatService>,
    views: Arc<dyn Views>,
) -> Front {
    let guard = guard::Guard::new(&params, &desk);
    // One body of the largest size must fit when nothing else is under way.
    let body_memory = params.max_body_memory.max(params.max_body_bytes);
    let sockets = Arc::clone(&params.sockets);
    let slots = slots::Slots::new(params.max_concurrent_requests, body_memory, sockets);
    let identifiers = params.identifiers.map(Identifiers::new);
    let gateway = Arc::new(Gateway {
        params,
        guard,
        desk,
        tries: FailedTries::default(),
        identifiers,
        slots,
        caller_numbers: RandomState::new(),
        chat,
        views,
        control,
    });
    let router = Router::new()
        .route("/v1/models", get(views::models))
        .route("/v1/models/{*id}", get(views::model))
        .route("/v1/usage", get(views::usage))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", get(keys::one).delete(keys::revoke))
        .route("/v1/status", get(views::status))
        .route("/v1/status/providers/{id}/reset", post(control::reset))
        .route("/v1/status/routing", patch(control::route))
        .route("/v1/admin/reload", post(control::reload))
        .route("/v1/quota", get(views::quota))
        .route("/v1/requests/{*id}", get(views::request))
        .route("/metrics", get(views::metrics))
        .route("/health", get(views::health))
        .fallback(errors::unknown_path)
        .method_not_allowed_fallback(errors::wrong_method)
        .with_state(Arc::clone(&gateway));
    Front::new(gateway, router)
}
