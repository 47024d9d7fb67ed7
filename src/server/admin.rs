//! What every route that changes the gateway's state asks for first.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;

use super::Gateway;
use super::admission::slow_down;
use super::arrival::Arrival;
use super::credentials;
use super::errors::refuse;
use super::request_id::RequestId;

/// Somebody who may change the gateway's state. A handler that takes one is reached by nobody else.
pub(super) struct Admin;

impl FromRequestParts<Arc<Gateway>> for Admin {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Response> {
        let id = parts.extensions.get::<RequestId>().cloned();
        let id = id.unwrap_or_else(|| RequestId::of(&parts.headers));
        let Err(error) = gateway.guard.may_administer(parts) else { return Ok(Self) };
        if error.status == 401 && credentials::shown(&parts.headers).next().is_some() {
            let peer = parts.extensions.get::<Arrival>().map(|it| it.peer);
            let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            slow_down(gateway, peer, &parts.headers).await;
        }
        Err(refuse(&error, &id))
    }
}
