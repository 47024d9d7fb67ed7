//! Who may call: the loopback rule that keeps web pages out, and the keys that are asked for.
//!
//! With no master key the gateway serves its own machine alone. It listens on loopback, which
//! keeps other machines out; what is left is the user's browser. A page that had its own name
//! point at 127.0.0.1 shows in `Host`, any other page shows in `Origin`. That is why a body's
//! `Content-Type` need not be looked at: a page that sends JSON as `text/plain` to do without a
//! preflight still says where it comes from.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::callers;
use crate::callers::Standing;
use crate::callers::VirtualKey;
use crate::openai::ApiError;

use super::arrival::Arrival;
use super::credentials;
use super::desk::Desk;
use super::identifier;
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
    desk: Desk,
    /// `None` when no origin is allowed, as it is unless settings say otherwise.
    pub(super) cors: Option<CorsLayer>,
}

impl Guard {
    pub(super) fn new(params: &Params, desk: &Desk) -> Self {
        let origins: Vec<String> =
            params.allowed_origins.iter().map(|it| it.trim_end_matches('/').to_owned()).collect();
        Self {
            local_only: params.master_key.is_none() && !params.insecure,
            cors: (!origins.is_empty()).then(|| cors(origins.clone())),
            origins,
            master_key: params.master_key.clone(),
            admin_key: params.admin_key.clone(),
            desk: desk.clone(),
        }
    }

    /// May this request come in at all?
    ///
    /// # Errors
    /// A 403 that says which header is in the way.
    pub(super) fn screen<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
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

    /// Whose key does a request show, if it needs one?
    ///
    /// # Errors
    /// A 401; a 403 for a virtual key that does not open this path.
    pub(super) fn authorize<B>(
        &self,
        peer: IpAddr,
        request: &Request<B>,
    ) -> Result<Caller, Refusal> {
        let path = request.uri().path();
        if !path.starts_with("/v1") && path != "/metrics" {
            return Ok(Caller::Anyone);
        }
        let open = self.master_key.is_none() && self.desk.callers.is_empty();
        let mut wrong: Option<ApiError> = None;
        let mut found: Option<Result<Caller, Refusal>> = None;
        // Of several that are right the one that opens most counts, in whatever header it stands.
        for key in credentials::shown(request.headers()) {
            if fits(self.admin_key.as_ref(), key) {
                return Ok(Caller::Admin);
            }
            if fits(self.master_key.as_ref(), key) {
                found = Some(Ok(Caller::Owner));
            }
            if found.is_some() {
                continue;
            }
            match self.virtual_key(key) {
                Ok(Some(key)) if opens(path) => found = Some(Ok(Caller::Key(key))),
                Ok(Some(_)) => found = Some(Err(Refusal::of(closed(), false))),
                // Where no key is asked for any will do, but for one that says it is a virtual one.
                Ok(None) if open && !key.starts_with(callers::PREFIX.as_bytes()) => {}
                Ok(None) => wrong = wrong.or_else(|| Some(unauthorized(WRONG))),
                Err(expired) => wrong = Some(expired),
            }
        }
        if let Some(found) = found {
            return found;
        }
        match wrong {
            Some(error) => Err(Refusal::of(error, true)),
            None if open || self.is_owners_view(peer, request) => Ok(Caller::Anyone),
            None => Err(Refusal::of(unauthorized(MISSING), false)),
        }
    }

    /// The virtual key that is shown; `None` for one that was never made, and for one that was taken
    /// back, which are not to be told apart.
    ///
    /// # Errors
    /// A 401 that tells whoever has the key that its time is over.
    fn virtual_key(&self, shown: &[u8]) -> Result<Option<Arc<VirtualKey>>, ApiError> {
        let callers = &self.desk.callers;
        if callers.is_empty() {
            return Ok(None);
        }
        let Some(key) = callers.find(shown) else { return Ok(None) };
        match key.standing(self.desk.clock.now()) {
            Standing::Good => Ok(Some(key)),
            Standing::Revoked => Ok(None),
            Standing::Expired => {
                let until = key.terms.expires().unwrap_or_default();
                Err(unauthorized(&format!("This API key expired at {until}.")))
            }
        }
    }

    /// Does the owner look, from this very machine, at what no virtual key opens? With no master key
    /// there is none they could show.
    fn is_owners_view<B>(&self, peer: IpAddr, request: &Request<B>) -> bool {
        self.master_key.is_none()
            && is_owners(request.uri().path())
            && is_local(Some(peer), request.headers(), request.uri())
    }

    /// May this request change the gateway's state? It may with the admin key. Where none is set, whoever
    /// sits at this machine may: not a web page in their browser, nor anyone a proxy speaks for.
    ///
    /// # Errors
    /// A 401 where the admin key is asked for, a 403 where there is none.
    pub(super) fn may_administer(&self, parts: &Parts) -> Result<(), ApiError> {
        let peer = parts.extensions.get::<Arrival>().map(|it| it.peer);
        match (&self.admin_key, parts.extensions.get::<Caller>()) {
            (Some(_), Some(Caller::Admin)) => Ok(()),
            (Some(_), Some(Caller::Owner | Caller::Key(_))) => {
                Err(forbidden("The key does not allow this. It takes RELAY_ADMIN_KEY."))
            }
            (Some(_), None | Some(Caller::Anyone)) => Err(unauthorized(
                "This takes the gateway's admin key: send `Authorization: Bearer <RELAY_ADMIN_KEY>`.",
            )),
            (None, _) if is_local(peer, &parts.headers, &parts.uri) => Ok(()),
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
    /// Who has this virtual key.
    Key(Arc<VirtualKey>),
}

/// Why a request is turned away.
pub(super) struct Refusal {
    pub(super) error: Box<ApiError>,
    /// A key was shown, and it is a wrong one.
    pub(super) guessed: bool,
}

impl Refusal {
    fn of(error: ApiError, guessed: bool) -> Self {
        Self { error: Box::new(error), guessed }
    }
}

const WRONG: &str = "The API key is not one of this gateway's keys.";
const MISSING: &str =
    "This gateway asks for an API key: send `Authorization: Bearer <key>`, or `x-api-key: <key>`.";

/// What a virtual key opens. A path that is not here is the owner's.
fn opens(path: &str) -> bool {
    matches!(path, "/v1/chat/completions" | "/v1/models" | "/v1/usage")
        || path.starts_with("/v1/models/")
        || path.starts_with("/v1/requests/")
}

/// What the owner may look at and change from this very machine without a key, when there is none
/// they could show. A path that is not here wants one.
fn is_owners(path: &str) -> bool {
    const PATHS: [&str; 8] = [
        "/v1/models",
        "/v1/usage",
        "/v1/quota",
        "/v1/status",
        "/v1/keys",
        "/v1/requests",
        "/v1/admin",
        "/metrics",
    ];
    let below =
        |it: &&str| path.strip_prefix(*it).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    PATHS.iter().any(below)
}

/// Is this a header that proxies add? They have many names for whom they speak, so parts of names
/// tell: no program on this machine sends such a header for itself.
fn is_from_a_proxy(name: &HeaderName) -> bool {
    const PARTS: [&str; 5] = ["forwarded", "client-ip", "clientip", "connecting-ip", "x-envoy-"];
    let name = name.as_str();
    matches!(name, "via" | "x-real-ip" | "cdn-loop" | "cf-ray")
        || PARTS.iter().any(|it| name.contains(it))
}

/// Was it sent by somebody at this machine, who is neither a web page nor a proxy?
fn is_local(peer: Option<IpAddr>, headers: &HeaderMap, uri: &Uri) -> bool {
    peer.is_some_and(|it| it.is_loopback())
        && names_loopback(headers, uri)
        && !headers.contains_key(ORIGIN)
        && !headers.keys().any(is_from_a_proxy)
}

/// The comparison tells the key's length and nothing else.
fn fits(key: Option<&SecretString>, shown: &[u8]) -> bool {
    key.is_some_and(|it| shown.ct_eq(it.expose_secret().as_bytes()).into())
}

/// Is this a browser's question whether a page may send something?
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
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
    let exposed = route_headers::ALL
        .into_iter()
        .chain([X_REQUEST_ID, http::header::RETRY_AFTER])
        .chain(identifier::ALL);
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

fn closed() -> ApiError {
    let message = "A virtual key opens chat, models and its own usage; this takes the master key.";
    ApiError::new(403, "permission_error", message).with_code("key_not_allowed")
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
    use crate::server::ending::Ending;

    #[test]
    fn only_this_machine_itself_is_local() {
        let check = |peer: Option<&str>, headers: &[(&'static str, &'static str)], expected| {
            let mut request = Request::new(());
            request.headers_mut().insert("host", HeaderValue::from_static("localhost:8000"));
            for (name, value) in headers {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            if let Some(peer) = peer {
                let (peer, ending) = (peer.parse().unwrap(), Ending::default());
                let unread = Arc::default();
                request.extensions_mut().insert(Arrival { unread, peer, ending });
            }
            let (parts, ()) = request.into_parts();
            let peer = parts.extensions.get::<Arrival>().map(|it| it.peer);
            let local = is_local(peer, &parts.headers, &parts.uri);
            assert_eq!(local, expected, "{peer:?} {headers:?}");
            let guard = Guard::new(&Params::default(), &Desk::empty());
            assert_eq!(guard.may_administer(&parts).is_ok(), expected);
        };
        check(Some("127.0.0.1"), &[], true);
        check(Some("127.1.2.3"), &[], true);
        check(Some("::1"), &[], true);
        check(Some("192.168.0.7"), &[], false);
        check(Some("203.0.113.7"), &[("host", "127.0.0.1")], false);
        check(Some("fe80::1"), &[], false);
        check(None, &[], false);
        check(Some("127.0.0.1"), &[("host", "gateway.example")], false);
        check(Some("127.0.0.1"), &[("origin", "http://localhost:8000")], false);
        for header in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-server",
            "x-forwarded",
            "x-original-forwarded-for",
            "forwarded-for",
            "x-real-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "fly-client-ip",
            "fastly-client-ip",
            "true-client-ip",
            "x-azure-clientip",
            "cf-connecting-ip",
            "do-connecting-ip",
            "x-envoy-external-address",
        ] {
            check(Some("127.0.0.1"), &[(header, "127.0.0.1")], false);
        }
        check(Some("127.0.0.1"), &[("x-relay-identifier", "a"), ("user-agent", "curl")], true);
    }

    #[test]
    fn a_path_is_the_owners_unless_it_is_known_to_be_everybodys() {
        let check = |path, everybodys, owners| {
            assert_eq!((opens(path), is_owners(path)), (everybodys, owners), "{path}");
        };
        check("/v1/chat/completions", true, false);
        check("/v1/models", true, true);
        check("/v1/models/groq/a/b", true, true);
        check("/v1/usage", true, true);
        check("/v1/usages", false, false);
        check("/v1/status/providers/groq/reset", false, true);
        check("/v1/keys", false, true);
        check("/v1/admin/reload", false, true);
        check("/metrics", false, true);
        check("/v1/chat/completions/", false, false);
        check("/v1/embeddings", false, false);
        check("/v1", false, false);
    }

    #[test]
    fn origins_are_compared_whole() {
        let params = Params {
            allowed_origins: vec!["https://App.example/".to_owned()],
            ..Params::default()
        };
        let guard = Guard::new(&params, &Desk::empty());
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
