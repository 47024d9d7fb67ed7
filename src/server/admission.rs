//! What every request passes first: its id, the checks on who may call, and a net for panics.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures::FutureExt as _;
use http::header::ORIGIN;
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::Gateway;
use super::arrival::Arrival;
use super::chat;
use super::client_address;
use super::errors::{broken, chat_is_posted, refuse, told};
use super::guard::{Caller, is_preflight};
use super::request_id::RequestId;

/// The way in. Functions in place of a stack of layers around the router: each layer costs a request
/// a boxed future and a cloned service, and their order would have to be understood. The one path that
/// is asked for all the time does without the router too.
pub struct Front {
    gateway: Arc<Gateway>,
    /// All other paths.
    router: Router,
}

impl Front {
    pub(super) fn new(gateway: Arc<Gateway>, router: Router) -> Self {
        Self { gateway, router }
    }

    pub(super) async fn admit(&self, arrival: &Arrival, request: Request<Incoming>) -> Response {
        let id = RequestId::of(request.headers());
        let mut response = if let Err(error) = self.gateway.guard.screen(&request) {
            refuse(&error, &id)
        } else {
            // Nothing a handler leaves behind is used after it has panicked.
            let passing = AssertUnwindSafe(self.pass(arrival, &id, request));
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
    async fn pass(
        &self,
        arrival: &Arrival,
        id: &RequestId,
        request: Request<Incoming>,
    ) -> Response {
        let from_page = request.headers().contains_key(ORIGIN);
        // The layer takes every OPTIONS for a preflight.
        let for_cors = from_page && (request.method() != Method::OPTIONS || is_preflight(&request));
        match &self.gateway.guard.cors {
            Some(cors) if for_cors => {
                let inner = service_fn(|request| async move {
                    Ok::<_, Infallible>(self.authorized(arrival, id, request).await)
                });
                let Ok(response) = Box::pin(cors.layer(inner).oneshot(request)).await;
                response
            }
            _ => self.authorized(arrival, id, request).await,
        }
    }

    async fn authorized(
        &self,
        arrival: &Arrival,
        id: &RequestId,
        mut request: Request<Incoming>,
    ) -> Response {
        match self.gateway.guard.authorize(arrival.peer, &request) {
            Ok(Caller::Anyone) => {}
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(refusal) => {
                if refusal.guessed {
                    Box::pin(slow_down(&self.gateway, arrival.peer, request.headers())).await;
                }
                return refuse(&refusal.error, id);
            }
        }
        if request.uri().path() != chat::PATH {
            return Box::pin(self.route(arrival, id, request)).await;
        }
        if request.method() != Method::POST {
            return chat_is_posted(request.method(), id);
        }
        chat::chat(&self.gateway, id, arrival, request).await
    }

    async fn route(
        &self,
        arrival: &Arrival,
        id: &RequestId,
        mut request: Request<Incoming>,
    ) -> Response {
        request.extensions_mut().insert(arrival.clone());
        request.extensions_mut().insert(id.clone());
        let Ok(response) = self.router.clone().oneshot(request.map(Body::new)).await;
        response
    }
}

/// Who guesses keys waits, longer each time. Who has the right one never comes here.
pub(super) async fn slow_down(gateway: &Gateway, peer: IpAddr, headers: &HeaderMap) {
    let client = client_address::client(peer, headers, &gateway.params.trusted_proxies);
    let wait = gateway.tries.wait(client_address::number(client), gateway.desk.clock.now());
    tokio::time::sleep(wait).await;
}
