//! What is read once, at the start, and what of the rest is different.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::callers::identifiers;
use crate::config::Config;
use crate::config::Http;
use crate::config::Session;
use crate::config::Settings;
use crate::provider::transport::Network;

/// What holds until the next start.
pub(super) struct Fixed {
    address: (String, u16),
    data_dir: Option<PathBuf>,
    master_key: Option<SecretString>,
    admin_key: Option<SecretString>,
    identifiers: Option<identifiers::Params>,
    network: Network,
    session: Session,
    http: Http,
}

impl Fixed {
    /// Of the configuration that a gateway is started with.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            address: (config.host.clone(), config.port),
            data_dir: config.data_dir.clone(),
            master_key: config.master_key.clone(),
            admin_key: config.admin_key.clone(),
            identifiers: config.identifiers,
            network: config.network.clone(),
            session: config.settings.session.clone(),
            http: config.settings.http.clone(),
        }
    }

    /// The gateway's own keys.
    pub(super) fn own_keys(&self) -> Vec<SecretString> {
        [&self.master_key, &self.admin_key].into_iter().flatten().cloned().collect()
    }

    /// The names of what is different in `new` and holds only after a restart.
    pub(super) fn changed(&self, new: &Config) -> Vec<&'static str> {
        let (old_http, new_http) = (&self.http, &new.settings.http);
        let differs = [
            ("host", self.address.0 != new.host),
            ("port", self.address.1 != new.port),
            ("data directory", self.data_dir != new.data_dir),
            ("RELAY_API_KEY", !same(self.master_key.as_ref(), new.master_key.as_ref())),
            ("RELAY_ADMIN_KEY", !same(self.admin_key.as_ref(), new.admin_key.as_ref())),
            ("RELAY_IDENTIFIER_LIMIT", self.identifiers != new.identifiers),
            ("proxy and certificates", self.network != new.network),
            ("session", held(&self.session) != held(&new.settings.session)),
            ("http.max_body_bytes", old_http.max_body_bytes != new_http.max_body_bytes),
            (
                "http.max_concurrent_requests",
                old_http.max_concurrent_requests != new_http.max_concurrent_requests,
            ),
            ("http.allowed_origins", old_http.allowed_origins != new_http.allowed_origins),
            ("http.trusted_proxies", old_http.trusted_proxies != new_http.trusted_proxies),
        ];
        names(&differs)
    }
}

/// The parts of the settings of which something is different and holds at once.
pub(super) fn changed_settings(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let times = |it: &Http| (it.timeout, it.first_token_timeout);
    let differs = [
        ("session.handoff_note", old.session.handoff_note != new.session.handoff_note),
        ("context", old.context != new.context),
        ("summarization", old.summarization != new.summarization),
        ("routing", old.routing != new.routing),
        ("http time-outs", times(&old.http) != times(&new.http)),
        ("normalizer", old.normalizer != new.normalizer),
    ];
    names(&differs)
}

fn names(differs: &[(&'static str, bool)]) -> Vec<&'static str> {
    differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}

fn same(old: Option<&SecretString>, new: Option<&SecretString>) -> bool {
    old.map(SecretString::expose_secret) == new.map(SecretString::expose_secret)
}

/// A note at a hand-over is given as the settings say now; the book of sessions is as it was made.
fn held(it: &Session) -> impl PartialEq + use<> {
    (it.affinity_enabled, it.id_header.clone(), it.ttl, it.max_sessions)
}
