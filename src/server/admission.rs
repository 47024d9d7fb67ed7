//! What every request passes first: its id, the checks on who may call, and a net for panics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;
use http::header::ORIGIN;
use http::{Extensions, HeaderMap};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::Gateway;
use super::arrival::Arrival;
use super::client_address;
use super::errors::{broken, refuse, told};
use super::guard::{Caller, is_preflight};
use super::request_id::RequestId;

/// One function in place of a stack of layers: each layer costs a request a boxed future and a
/// cloned service, and their order would have to be understood.
pub(super) async fn admit(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let mut response = if let Err(error) = gateway.guard.screen(&request) {
        refuse(&error, &id)
    } else {
        request.extensions_mut().insert(id.clone());
        // Nothing a handler leaves behind is used after it has panicked.
        let passing = AssertUnwindSafe(pass(&gateway, &id, request, next));
        passing.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(request_id = id.as_str(), "a handler panicked");
            told(&broken(), &id)
        })
    };
    id.stamp(response.headers_mut());
    response
}

/// A page's request goes through CORS, which answers preflights itself and lets the page read
/// whatever else is answered, refusals of its key included.
async fn pass(gateway: &Arc<Gateway>, id: &RequestId, request: Request, next: Next) -> Response {
    let from_page = request.headers().contains_key(ORIGIN);
    // The layer takes every OPTIONS for a preflight.
    let for_cors =
        from_page && (request.method() != http::Method::OPTIONS || is_preflight(&request));
    match &gateway.guard.cors {
        Some(cors) if for_cors => {
            let (gateway, id) = (Arc::clone(gateway), id.clone());
            let inner = service_fn(move |request| {
                let (gateway, id, next) = (Arc::clone(&gateway), id.clone(), next.clone());
                async move { Ok::<_, Infallible>(authorized(&gateway, &id, request, next).await) }
            });
            let Ok(response) = cors.layer(inner).oneshot(request).await;
            response
        }
        _ => authorized(gateway, id, request, next).await,
    }
}

async fn authorized(
    gateway: &Gateway,
    id: &RequestId,
    mut request: Request,
    next: Next,
) -> Response {
    match gateway.guard.authorize(&request) {
        Ok(Caller::Anyone) => {}
        Ok(caller) => {
            request.extensions_mut().insert(caller);
        }
        Err(refusal) => {
            if refusal.guessed {
                slow_down(gateway, request.extensions(), request.headers()).await;
            }
            return refuse(&refusal.error, id);
        }
    }
    next.run(request).await
}

/// Who guesses keys waits, longer each time. Who has the right one never comes here.
pub(super) async fn slow_down(gateway: &Gateway, extensions: &Extensions, headers: &HeaderMap) {
    let Some(arrival) = extensions.get::<Arrival>() else { return };
    let proxies = &gateway.params.trusted_proxies;
    let client = client_address::client(arrival.peer, headers, proxies);
    let wait = gateway.tries.wait(client_address::number(client), gateway.desk.clock.now());
    tokio::time::sleep(wait).await;
}
