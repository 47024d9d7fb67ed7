//! Who may call: the loopback rule that keeps web pages out, and the keys that are asked for.
//!
//! With no master key the gateway serves its own machine alone. It listens on loopback, which
//! keeps other machines out; what is left is the user's browser. A page that had its own name
//! point at 127.0.0.1 shows in `Host`, any other page shows in `Origin`. That is why a body's
//! `Content-Type` need not be looked at: a page that sends JSON as `text/plain` to do without a
//! preflight still says where it comes from.

use std::time::Duration;

use axum::extract::Request;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, FORWARDED, ORIGIN, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::openai::ApiError;

use super::arrival::Arrival;
use super::credentials;
use super::loopback::names_loopback;
use super::params::Params;
use super::request_id::X_REQUEST_ID;
use super::route_headers;

/// The rules, ready to be applied.
pub(super) struct Guard {
    local_only: bool,
    origins: Vec<String>,
    master_key: Option<SecretString>,
    admin_key: Option<SecretString>,
    /// `None` when no origin is allowed, as it is unless settings say otherwise.
    pub(super) cors: Option<CorsLayer>,
}

impl Guard {
    pub(super) fn new(params: &Params) -> Self {
        let origins: Vec<String> =
            params.allowed_origins.iter().map(|it| it.trim_end_matches('/').to_owned()).collect();
        Self {
            local_only: params.master_key.is_none() && !params.insecure,
            cors: (!origins.is_empty()).then(|| cors(origins.clone())),
            origins,
            master_key: params.master_key.clone(),
            admin_key: params.admin_key.clone(),
        }
    }

    /// May this request come in at all?
    ///
    /// # Errors
    /// A 403 that says which header is in the way.
    pub(super) fn screen(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        if self.local_only {
            if !names_loopback(headers, request.uri()) {
                return Err(foreign_host());
            }
        } else {
            return Ok(());
        }
        if headers.get_all(ORIGIN).iter().all(|it| allows(&self.origins, it)) {
            Ok(())
        } else {
            Err(foreign_origin())
        }
    }

    /// Whose key does a request for `path` show, if it needs one?
    ///
    /// # Errors
    /// A 401.
    pub(super) fn authorize(&self, path: &str, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if !path.starts_with("/v1") && path != "/metrics" {
            return Ok(Caller::Anyone);
        }
        let mut guessed = false;
        for key in credentials::shown(headers) {
            if fits(self.admin_key.as_ref(), key) {
                return Ok(Caller::Admin);
            }
            if fits(self.master_key.as_ref(), key) {
                return Ok(Caller::Owner);
            }
            guessed = true;
        }
        match (&self.master_key, guessed) {
            (None, _) => Ok(Caller::Anyone),
            (Some(_), true) => Err(unauthorized("The API key is not this gateway's key.")),
            (Some(_), false) => Err(unauthorized(
                "This gateway asks for its API key: send `Authorization: Bearer <key>`.",
            )),
        }
    }

    /// May this request change the gateway's state? It may with the admin key. Where none is set, whoever
    /// sits at this machine may: not a web page in their browser, nor anyone a proxy speaks for.
    ///
    /// # Errors
    /// A 401 where the admin key is asked for, a 403 where there is none.
    pub(super) fn may_administer(&self, parts: &Parts) -> Result<(), ApiError> {
        match (&self.admin_key, parts.extensions.get::<Caller>()) {
            (Some(_), Some(Caller::Admin)) => Ok(()),
            (Some(_), Some(Caller::Owner)) => {
                Err(forbidden("The key does not allow this. It takes RELAY_ADMIN_KEY."))
            }
            (Some(_), None | Some(Caller::Anyone)) => Err(unauthorized(
                "This takes the gateway's admin key: send `Authorization: Bearer <RELAY_ADMIN_KEY>`.",
            )),
            (None, _) if is_local(parts) => Ok(()),
            (None, _) => Err(forbidden(
                "Without RELAY_ADMIN_KEY this is open to the gateway's own machine alone: by a loopback \
                 address and Host, without Origin, and not through a proxy.",
            )),
        }
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Whoever it is: no key was asked for. Never found in a request's extensions.
    Anyone,
    /// Who has the master key.
    Owner,
    /// Who has the admin key, which opens everything.
    Admin,
}

/// Headers that proxies add.
const FROM_A_PROXY: [HeaderName; 7] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("cf-connecting-ip"),
];

/// Was it sent by somebody at this machine, who is neither a web page nor a proxy?
fn is_local(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<Arrival>().map(|it| it.peer);
    let headers = &parts.headers;
    peer.is_some_and(|it| it.is_loopback())
        && names_loopback(headers, &parts.uri)
        && !headers.contains_key(ORIGIN)
        && !FROM_A_PROXY.iter().any(|it| headers.contains_key(it))
}

/// The comparison tells the key's length and nothing else.
fn fits(key: Option<&SecretString>, shown: &[u8]) -> bool {
    key.is_some_and(|it| shown.ct_eq(it.expose_secret().as_bytes()).into())
}

/// Is this a browser's question whether a page may send something?
pub(super) fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page of an allowed origin may do; to change anything it needs the admin key as well.
const METHODS: [Method; 5] =
    [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE];

/// Answers browsers on behalf of the allowed origins.
fn cors(origins: Vec<String>) -> CorsLayer {
    let exposed = route_headers::ALL.into_iter().chain([X_REQUEST_ID, http::header::RETRY_AFTER]);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| allows(&origins, origin)))
        .allow_methods(AllowMethods::list(METHODS))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3_600))
}

fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(401, "authentication_error", message).with_code("invalid_api_key")
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(403, "permission_error", message).with_code("admin_only")
}

fn foreign_host() -> ApiError {
    let message = "The Host header must name this machine (localhost, 127.0.0.1 or [::1]). \
                   To serve others set RELAY_API_KEY, or start with --insecure.";
    ApiError::new(403, "permission_error", message).with_code("host_not_allowed")
}

fn foreign_origin() -> ApiError {
    let message = "Web pages of this origin may not use the gateway. To allow it, add the origin \
                   to http.allowed_origins in settings.json.";
    ApiError::new(403, "permission_error", message).with_code("origin_not_allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let params = Params {
            allowed_origins: vec!["https://App.example/".to_owned()],
            ..Params::default()
        };
        let guard = Guard::new(&params);
        let check = |origin, expected| {
            assert_eq!(allows(&guard.origins, &HeaderValue::from_static(origin)), expected);
        };
        check("https://app.example", true);
        check("http://app.example", false);
        check("https://app.example:8443", false);
        check("https://app.example.evil.example", false);
        check("null", false);
        check("", false);
    }
}
