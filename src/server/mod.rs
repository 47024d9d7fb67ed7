//! HTTP in front of the gateway: who may call, what a request must look like, and how answers,
//! streams and errors are written. It knows nothing of providers.

mod admission;
mod body;
mod chat;
mod ending;
mod errors;
mod guard;
mod idle;
mod params;
mod request_id;
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
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::dispatch::outcome::ChatService;
use crate::status::Views;

pub use params::Params;
pub use serve::CROWD;
pub use serve::serve;

/// What the handlers work with.
struct Gateway {
    params: Params,
    guard: guard::Guard,
    slots: slots::Slots,
    /// Makes a number of who calls.
    caller_numbers: RandomState,
    chat: Arc<dyn ChatService>,
    views: Arc<dyn Views>,
}

/// All routes, with the checks on who may call in front of them.
pub fn router(params: Params, chat: Arc<dyn ChatService>, views: Arc<dyn Views>) -> Router {
    let guard = guard::Guard::new(&params);
    // One body of the largest size must fit when nothing else is under way.
    let body_memory = params.max_body_memory.max(params.max_body_bytes);
    let sockets = Arc::clone(&params.sockets);
    let slots = slots::Slots::new(params.max_concurrent_requests, body_memory, sockets);
    let gateway =
        Arc::new(Gateway { params, guard, slots, caller_numbers: RandomState::new(), chat, views });
    Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/models", get(views::models))
        .route("/v1/models/{*id}", get(views::model))
        .route("/v1/usage", get(views::usage))
        .route("/v1/status", get(views::status))
        .route("/v1/quota", get(views::quota))
        .route("/metrics", get(views::metrics))
        .route("/health", get(views::health))
        .fallback(errors::unknown_path)
        .method_not_allowed_fallback(errors::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&gateway), admission::admit))
        .with_state(gateway)
}
