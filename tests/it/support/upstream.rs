//! One provider of a test: what the limits file says of it, and how it is simulated.

use relayfreellm::sim::{Flavour, ModelSpec, ProviderSpec};
use serde_json::{Value, json};

use super::with;

/// A provider with the same name, keys and models on both sides.
pub(crate) struct Upstream {
    name: String,
    /// Each with the group it is written with, if any.
    keys: Vec<(Option<String>, String)>,
    entry: Value,
    models: Vec<Value>,
    pub(super) spec: ProviderSpec,
}

impl Upstream {
    /// A provider of this name in the limits file.
    pub(crate) fn new(name: &str, flavour: Flavour) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            entry: json!({}),
            models: Vec::new(),
            spec: ProviderSpec::new(name, flavour),
        }
    }

    /// One that speaks plain OpenAI, with one unlimited model `m`.
    pub(crate) fn plain(name: &str) -> Self {
        Self::new(name, Flavour::OpenAi).model("m")
    }

    /// One more key. A provider for which none is named has one, `key-of-<name>`.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.keys.push((None, key.to_owned()));
        self
    }

    /// One more key, of the account `group`.
    pub(crate) fn grouped_key(mut self, group: &str, key: &str) -> Self {
        self.keys.push((Some(group.to_owned()), key.to_owned()));
        self
    }

    /// One more model.
    pub(crate) fn model(self, name: &str) -> Self {
        self.model_with(name, json!({}))
    }

    /// One more model, with more members in the limits file.
    pub(crate) fn model_with(mut self, name: &str, more: Value) -> Self {
        let usual = json!({"name": name, "type": "text", "scale": "medium"});
        self.models.push(with(usual, more));
        self.spec = self.spec.model(ModelSpec::new(name));
        self
    }

    /// What the limits file says the model named last allows.
    pub(crate) fn limits(mut self, limits: Value) -> Self {
        self.models.last_mut().expect("a model comes first")["limits"] = limits;
        self
    }

    /// More members of the provider in the limits file.
    pub(crate) fn entry(mut self, more: Value) -> Self {
        self.entry = with(self.entry, more);
        self
    }

    /// Changes how it is simulated.
    pub(crate) fn simulated(mut self, change: impl FnOnce(&mut ProviderSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The last steps: a key, and the same keys on both sides.
    pub(super) fn finished(mut self) -> Self {
        if self.keys.is_empty() {
            self.keys.push((None, format!("key-of-{}", self.name)));
        }
        self.spec.keys = self.keys.iter().map(|(_, key)| key.clone()).collect();
        self
    }

    /// Its entry in the limits file.
    pub(super) fn limits_entry(&self, url: &str) -> Value {
        let usual = json!({"name": self.name, "url": url, "models": self.models});
        with(usual, self.entry.clone())
    }

    /// The variable its keys stand in, with its value.
    pub(super) fn variable(&self) -> (String, String) {
        let written = self.keys.iter().map(|(group, key)| match group {
            Some(group) => format!("{group}:{key}"),
            None => key.clone(),
        });
        let value = written.collect::<Vec<_>>().join(",");
        (format!("{}_APIKEY", self.name.to_uppercase()), value)
    }
}
