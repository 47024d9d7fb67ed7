//! Virtual keys at the start of a gateway, and, while none runs, in its data directory.

use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::app::key_mark::KeyMark;
use crate::breaker::Breakers;
use crate::callers::Callers;
use crate::callers::Declared;
use crate::callers::Terms;
use crate::catalog::Catalog;
use crate::clock::Now;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::quota::Ledger;
use crate::select;
use crate::server;
use crate::session;
use crate::session::Sessions;
use crate::store::OpenError;
use crate::store::Rooms;
use crate::store::SaveError;
use crate::store::Saving;
use crate::store::Store;
use crate::usage::UsageBook;

/// Characters of a key that nobody guesses over a network.
const LEAST_LENGTH: usize = 16;

/// The declared keys with the models they allow as `catalog` writes them: a demo's is not there when the
/// file is read.
pub(super) fn with_names_of(catalog: &Catalog, declared: Vec<Declared>) -> Vec<Declared> {
    let named = |name: &Arc<str>| match select::canonical(catalog, name) {
        Ok(name) => name.into(),
        Err(_) => Arc::clone(name),
    };
    let renamed = |it: Declared| {
        let models = it.terms.models.as_ref().map(|it| it.iter().map(named).collect());
        Declared { terms: Arc::new(Terms { models, ..(*it.terms).clone() }), ..it }
    };
    declared.into_iter().map(renamed).collect()
}

/// Says at the start what virtual keys mean for those who have none.
pub(super) fn tell_of_keys(callers: &Callers, mark: Option<&KeyMark>, has_master_key: bool) {
    if let Some(mark) = mark {
        mark.compare(callers);
    }
    if has_master_key || callers.is_empty() {
        return;
    }
    match mark.filter(|_| callers.list().is_empty()) {
        None => tracing::info!(
            "there are virtual keys and RELAY_API_KEY is not set: every chat request needs one of them"
        ),
        Some(mark) => tracing::warn!(
            "there were virtual keys here and none is left, so no chat request is let in: make one \
             (relayfreellm keys create), set RELAY_API_KEY, or, to let everybody in who reaches this \
             address, delete {} and start again",
            mark.path().display()
        ),
    }
}

/// Warns of own keys that protect less than whoever has set them may think.
pub(super) fn warn_of_weak_keys(config: &Config) {
    let length = |it: &SecretString| it.expose_secret().len();
    for (name, key) in
        [("RELAY_API_KEY", &config.master_key), ("RELAY_ADMIN_KEY", &config.admin_key)]
    {
        if let Some(short) = key.as_ref().map(length).filter(|it| *it < LEAST_LENGTH) {
            tracing::warn!(
                "{name} has {short} characters and can be guessed; make a long one, for instance with \
                 `openssl rand -hex 20`"
            );
        }
    }
    if let (Some(master), Some(admin)) = (&config.master_key, &config.admin_key)
        && master.expose_secret() == admin.expose_secret()
    {
        tracing::warn!(
            "RELAY_ADMIN_KEY is RELAY_API_KEY: whoever may chat may change the gateway, too"
        );
    }
}

/// What the server knows of callers. What changes there is on the disk before that is answered.
pub(super) fn desk(
    callers: &Arc<Callers>,
    clock: &SharedClock,
    (saving, key_mark): (Option<&Saving>, Option<&Arc<KeyMark>>),
) -> server::Desk {
    let save_now = saving.map(|it| {
        let (saving, callers, mark) = (it.save_now(), Arc::clone(callers), key_mark.cloned());
        let save = move || {
            saving.save()?;
            if let Some(mark) = &mark {
                mark.compare(&callers);
            }
            Ok(())
        };
        Arc::new(save) as server::SaveNow
    });
    server::Desk { callers: Arc::clone(callers), clock: Arc::clone(clock), save_now }
}

/// The keys in a data directory, which is this process's while the value lives.
pub struct StoredKeys {
    store: Store,
    rooms: Rooms,
    catalog: Arc<Catalog>,
    mark: KeyMark,
}

impl StoredKeys {
    /// Opens the directory. What it holds of quota and usage is left alone: it speaks of providers, and
    /// none is known here.
    ///
    /// # Errors
    /// Whatever keeps a gateway from using it does, too, and a damaged database.
    pub fn open(dir: &Path, now: Now) -> Result<Self, OpenError> {
        let nobody =
            session::Params { enabled: false, ttl: std::time::Duration::ZERO, max_sessions: 0 };
        let rooms = Rooms {
            ledger: Arc::new(Ledger::new()),
            usage: Arc::new(UsageBook::new()),
            sessions: Arc::new(Sessions::new(nobody)),
            breakers: Arc::new(Breakers::new()),
            callers: Arc::new(Callers::new()),
        };
        let mut store = Store::open_sound(dir)?;
        let catalog = Arc::default();
        store.restore(&rooms, &catalog, now);
        let mark = KeyMark::in_directory(dir);
        Ok(Self { store, rooms, catalog, mark })
    }

    /// The keys.
    pub fn callers(&self) -> &Callers {
        &self.rooms.callers
    }

    /// Writes what was changed.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn save(&mut self, now: Now) -> Result<(), SaveError> {
        self.store.save(&self.rooms, &self.catalog, now)?;
        self.mark.compare(&self.rooms.callers);
        Ok(())
    }
}
