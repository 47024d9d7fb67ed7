//! Who may call: the loopback rule that keeps web pages out, and the master key.
//!
//! With no master key the gateway serves its own machine alone. It listens on loopback, which
//! keeps other machines out; what is left is the user's browser. A page that had its own name
//! point at 127.0.0.1 shows in `Host`, any other page shows in `Origin`. That is why a body's
//! `Content-Type` need not be looked at: a page that sends JSON as `text/plain` to do without a
//! preflight still says where it comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::extract::Request;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::openai::ApiError;

use super::params::Params;
use super::request_id::X_REQUEST_ID;
use super::route_headers;

/// The rules, ready to be applied.
pub(super) struct Guard {
    local_only: bool,
    origins: Vec<String>,
    master_key: Option<SecretString>,
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
        }
    }

    /// May this request come in at all?
    ///
    /// # Errors
    /// A 403 that says which header is in the way.
    pub(super) fn screen(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        if self.local_only {
            if !names_loopback(request) {
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

    /// Does a request for `path` show the key it needs?
    ///
    /// # Errors
    /// A 401.
    pub(super) fn authorize(&self, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.master_key else { return Ok(()) };
        if !path.starts_with("/v1") && path != "/metrics" {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).and_then(bearer);
        // The comparison tells the key's length and nothing else.
        let fits = given.map(|it| bool::from(it.ct_eq(key.expose_secret().as_bytes())));
        let message = match fits {
            Some(true) => return Ok(()),
            Some(false) => "The API key is not this gateway's key.",
            None => "This gateway asks for its API key: send `Authorization: Bearer <key>`.",
        };
        Err(ApiError::new(401, "authentication_error", message).with_code("invalid_api_key"))
    }
}

/// Is this a browser's question whether a page may send something?
pub(super) fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers browsers on behalf of the allowed origins.
fn cors(origins: Vec<String>) -> CorsLayer {
    let exposed = route_headers::ALL.into_iter().chain([X_REQUEST_ID, http::header::RETRY_AFTER]);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| allows(&origins, origin)))
        .allow_methods(AllowMethods::list([Method::GET, Method::HEAD, Method::POST]))
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3_600))
}

fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Do `Host` and, where the request line has one, its authority name this machine? One that names
/// no host at all does not.
fn names_loopback(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_loopback),
        _ => false,
    };
    host && request.uri().authority().is_none_or(|it| is_loopback(it.as_str()))
}

/// Is `authority` (`host[:port]`) a name or address of this machine?
fn is_loopback(authority: &str) -> bool {
    // An IPv6 address has colons of its own; its brackets tell where the port begins.
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.split_at(colon),
        _ => (authority, ""),
    };
    if !port.bytes().skip(1).all(|it| it.is_ascii_digit()) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>().map(|it| IpAddr::V6(it).to_canonical());
        return address.is_ok_and(|it| it.is_loopback());
    }
    is_localhost(host) || host.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
}

/// `localhost` and names below it are this machine's everywhere (RFC 6761): nobody can register
/// one and have it point here.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    let Some((below, name)) = host.split_last_chunk::<9>() else { return false };
    let label = |it: &u8| it.is_ascii_alphanumeric() || b"-_.".contains(it);
    name.eq_ignore_ascii_case(b"localhost")
        && (below.is_empty() || (below.ends_with(b".") && below.iter().all(label)))
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_first_chunk::<6>()?;
    let token = rest.trim_ascii();
    let apart = rest.first().is_some_and(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"bearer") && apart && !token.is_empty()).then_some(token)
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
    fn loopback_is_told_by_name_or_address() {
        let check = |host, expected| assert_eq!(is_loopback(host), expected, "{host}");
        for host in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "localhost:",
            "app.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.255.255.254:1",
            "[::1]",
            "[::1]:8000",
            "[::ffff:127.0.0.1]:8000",
        ] {
            check(host, true);
        }
        for host in [
            "",
            ":8000",
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evillocalhost",
            "x@localhost",
            "localhost@evil.example",
            "localhost:8000@evil.example",
            "e/.localhost",
            "127.0.0.1.nip.io",
            "127.1",
            "127.0.0.1:80:80",
            "128.0.0.1",
            "0.0.0.0:8000",
            "192.168.1.5:8000",
            "::1",
            "[::1",
            "[::1]x:80",
            "[::2]:8000",
            "[127.0.0.1]",
            "\u{e9}\u{e9}localhost",
        ] {
            check(host, false);
        }
    }

    #[test]
    fn the_bearer_token_is_found() {
        let check = |value: &'static str, expected: Option<&str>| {
            let found = bearer(&HeaderValue::from_static(value)).map(<[u8]>::to_vec);
            assert_eq!(found, expected.map(|it| it.as_bytes().to_vec()), "{value}");
        };
        check("Bearer k", Some("k"));
        check("bearer k", Some("k"));
        check("BEARER \t  k  ", Some("k"));
        check("Bearer a b", Some("a b"));
        check("Bearerk", None);
        check("Bearer", None);
        check("Bearer   ", None);
        check("Basic k", None);
        check("k", None);
        check("", None);
    }

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
