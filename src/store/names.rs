//! What the ids of this process are called in the file: a provider and a model by their names, a
//! key and an account by a keyed hash.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hash;
use std::sync::Arc;

use ring::hmac;
use secrecy::ExposeSecret;

use crate::catalog::AccountId;
use crate::catalog::Catalog;
use crate::catalog::Key;
use crate::catalog::KeyId;
use crate::catalog::ModelId;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::catalog::TargetId;
use crate::store::schema::Salt;

/// Bytes of a hash that are kept: as good as none will ever meet another.
const DIGEST_BYTES: usize = 16;

/// The name of something that belongs to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) provider: Arc<str>,
    /// A model's name, or the hash of a key or account.
    pub(super) own: Arc<str>,
}

/// All ids that any catalog of this process had: what a reload took away keeps its name, for the
/// rooms keep its state.
#[derive(Debug)]
pub(super) struct Names {
    hash: hmac::Key,
    pub(super) providers: Pairs<ProviderId, Arc<str>>,
    pub(super) models: Pairs<ModelId, Name>,
    pub(super) keys: Pairs<KeyId, Name>,
    pub(super) accounts: Pairs<AccountId, Name>,
    pub(super) targets: Pairs<TargetId, (KeyId, ModelId)>,
    /// Whose quota a key draws on, as last configured.
    drawn_on: HashMap<KeyId, AccountId>,
}

impl Names {
    pub(super) fn new(salt: &Salt) -> Self {
        Self {
            hash: hmac::Key::new(hmac::HMAC_SHA256, salt),
            providers: Pairs::new(),
            models: Pairs::new(),
            keys: Pairs::new(),
            accounts: Pairs::new(),
            targets: Pairs::new(),
            drawn_on: HashMap::new(),
        }
    }

    /// Adds everything `catalog` has.
    pub(super) fn learn(&mut self, catalog: &Catalog) {
        for provider in catalog.providers() {
            self.providers.put(provider.id, Arc::clone(&provider.name));
            for key in &provider.keys {
                self.learn_key(provider, key);
            }
            for model in &provider.models {
                let (provider, own) = (Arc::clone(&provider.name), Arc::clone(&model.name));
                self.models.put(model.id, Name { provider, own });
            }
        }
        for target in catalog.targets() {
            self.targets.put(target.id, (target.key.id, target.model.id));
        }
    }

    fn learn_key(&mut self, provider: &Provider, key: &Key) {
        let secret = key.secret.as_ref().map_or("", |it| it.expose_secret());
        // A group's name is hashed too: of a key that has a colon in it, it may be the beginning.
        let account = match &key.group {
            Some(group) => self.digest(&["group", &provider.name, group]),
            None => self.digest(&["alone", &provider.name, secret]),
        };
        let own = self.digest(&["key", &provider.name, secret]);
        let name = |own| Name { provider: Arc::clone(&provider.name), own };
        self.accounts.put(key.account, name(account));
        self.keys.put(key.id, name(own));
        self.drawn_on.insert(key.id, key.account);
    }

    pub(super) fn account_of(&self, key: KeyId) -> Option<AccountId> {
        self.drawn_on.get(&key).copied()
    }

    fn digest(&self, parts: &[&str]) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.hash);
        for part in parts {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let tag = context.sign();
        let mut text = String::with_capacity(2 * DIGEST_BYTES);
        for byte in tag.as_ref().iter().take(DIGEST_BYTES) {
            // Writing to a string can't fail.
            _ = write!(text, "{byte:02x}");
        }
        text.into()
    }
}

/// Ids and names, one for one.
#[derive(Debug)]
pub(super) struct Pairs<Id, Name> {
    names: HashMap<Id, Name>,
    ids: HashMap<Name, Id>,
}

impl<Id: Copy + Eq + Hash, Name: Clone + Eq + Hash> Pairs<Id, Name> {
    fn new() -> Self {
        Self { names: HashMap::new(), ids: HashMap::new() }
    }

    fn put(&mut self, id: Id, name: Name) {
        self.names.insert(id, name.clone());
        self.ids.insert(name, id);
    }

    pub(super) fn name(&self, id: Id) -> Option<&Name> {
        self.names.get(&id)
    }

    pub(super) fn id(&self, name: &Name) -> Option<Id> {
        self.ids.get(name).copied()
    }
}
