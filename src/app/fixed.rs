//! What is read once, at the start.

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::config::Config;
use crate::config::Session;

/// The names of what is different in `new` and holds only after a restart.
pub(super) fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (old_http, new_http) = (&old.settings.http, &new.settings.http);
    let differs = [
        ("host", old.host != new.host),
        ("port", old.port != new.port),
        ("data directory", old.data_dir != new.data_dir),
        ("RELAY_API_KEY", !same(old.master_key.as_ref(), new.master_key.as_ref())),
        ("RELAY_ADMIN_KEY", !same(old.admin_key.as_ref(), new.admin_key.as_ref())),
        ("RELAY_IDENTIFIER_LIMIT", old.identifiers != new.identifiers),
        ("proxy and certificates", old.network != new.network),
        ("session", is_session_different(&old.settings.session, &new.settings.session)),
        ("http.max_body_bytes", old_http.max_body_bytes != new_http.max_body_bytes),
        (
            "http.max_concurrent_requests",
            old_http.max_concurrent_requests != new_http.max_concurrent_requests,
        ),
        ("http.allowed_origins", old_http.allowed_origins != new_http.allowed_origins),
        ("http.trusted_proxies", old_http.trusted_proxies != new_http.trusted_proxies),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn same(old: Option<&SecretString>, new: Option<&SecretString>) -> bool {
    old.map(SecretString::expose_secret) == new.map(SecretString::expose_secret)
}

/// A note at a hand-over is given as the settings say now; the book of sessions is as it was made.
fn is_session_different(old: &Session, new: &Session) -> bool {
    let held = |it: &Session| (it.affinity_enabled, it.id_header.clone(), it.ttl, it.max_sessions);
    held(old) != held(new)
}
