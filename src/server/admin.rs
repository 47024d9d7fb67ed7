//! What every route that changes the gateway's state asks for first.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;

use super::Gateway;
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
        gateway.guard.may_administer(parts).map(|()| Self).map_err(|it| refuse(&it, &id))
    }
}
