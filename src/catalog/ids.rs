//! Ids, and who they belong to.

use std::collections::HashMap;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
    };
}

id!(
    /// A provider by name. Never reused while the process lives, so state survives a reload.
    ProviderId
);
id!(
    /// One provider's model by name.
    ModelId
);
id!(
    /// One key of one provider.
    KeyId
);
id!(
    /// What a provider counts as one customer: a key, or all keys of one group.
    AccountId
);
id!(
    /// One (provider, key, model): what a request is sent to.
    TargetId
);

/// Gives out ids by name and never gives one out twice, so that what is remembered under an id
/// keeps its meaning across reloads.
#[derive(Debug, Default)]
pub struct IdBook {
    ids: HashMap<String, u32>,
}

impl IdBook {
    /// The id of `name` within `space`: the same one each time it is asked for.
    fn id(&mut self, space: &str, name: &str) -> u32 {
        let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        *self.ids.entry(format!("{space}\u{0}{name}")).or_insert(next)
    }

    /// A provider's id.
    pub fn provider(&mut self, name: &str) -> ProviderId {
        ProviderId(self.id("provider", name))
    }

    /// The id of a provider's model.
    pub fn model(&mut self, provider: &str, model: &str) -> ModelId {
        ModelId(self.id("model", &format!("{provider}\u{0}{model}")))
    }

    /// The id of a provider's key, told by its secret.
    pub fn key(&mut self, provider: &str, secret: &str) -> KeyId {
        KeyId(self.id("key", &format!("{provider}\u{0}{secret}")))
    }

    /// The id of a provider's account: a group's name, or the secret of a key that stands alone.
    pub fn account(&mut self, provider: &str, group_or_secret: &str) -> AccountId {
        AccountId(self.id("account", &format!("{provider}\u{0}{group_or_secret}")))
    }

    /// The id of a (provider, key, model).
    pub fn target(&mut self, key: KeyId, model: ModelId) -> TargetId {
        TargetId(self.id("target", &format!("{}\u{0}{}", key.0, model.0)))
    }
}
