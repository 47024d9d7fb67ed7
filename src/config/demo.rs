//! A catalog of simulated providers.

use std::collections::HashMap;

use secrecy::SecretString;

use super::keys::label;

use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Key;
use crate::catalog::Kind;
use crate::catalog::Limit;
use crate::catalog::Model;
use crate::catalog::Period;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::catalog::Unit;
use crate::provider::quirks;

/// One simulated provider.
#[derive(Clone, Debug)]
pub struct DemoEntry {
    /// Its name.
    pub name: String,
    /// What stands before `/chat/completions`.
    pub base_url: String,
    /// The key it takes.
    pub key: String,
    /// Its models.
    pub models: Vec<DemoModel>,
}

/// One model of a simulated provider.
#[derive(Clone, Debug)]
pub struct DemoModel {
    /// The provider's own name for it.
    pub name: String,
    /// What it is for: `text`, `coding` and so on.
    pub kind: String,
    /// How big it is.
    pub scale: Scale,
    /// Does it see images?
    pub vision: bool,
    /// Tokens it can hold, prompt and answer together.
    pub max_context: Option<u64>,
    /// What it allows each key.
    pub limits: Vec<(Unit, Period, u64)>,
}

/// The catalog of `entries`, with the defaults of the limits file for all they don't say.
pub fn demo_catalog(entries: &[DemoEntry], ids: &mut IdBook) -> Catalog {
    Catalog::new(entries.iter().map(|it| provider(it, ids)).collect())
}

fn provider(entry: &DemoEntry, ids: &mut IdBook) -> Provider {
    let key = Key {
        id: ids.key(&entry.name, &entry.key),
        account: ids.account(&entry.name, &entry.key),
        group: None,
        secret: Some(SecretString::from(entry.key.as_str())),
        label: label(&entry.key),
    };
    Provider {
        id: ids.provider(&entry.name),
        name: entry.name.as_str().into(),
        kind: Kind::OpenAi,
        base_url: entry.base_url.trim_end_matches('/').into(),
        synonyms: &[],
        privacy: Privacy::Local,
        models: entry.models.iter().map(|it| model(entry, it, &key, ids)).collect(),
        keys: vec![key],
    }
}

fn model(provider: &DemoEntry, entry: &DemoModel, key: &Key, ids: &mut IdBook) -> Model {
    let id = ids.model(&provider.name, &entry.name);
    let limits = entry.limits.iter();
    let quirks = quirks::of(&provider.name);
    let policy = quirks.policy(&entry.name);
    Model {
        id,
        name: entry.name.as_str().into(),
        routable: format!("{}/{}", provider.name, entry.name).into(),
        kind: entry.kind.as_str().into(),
        scale: entry.scale,
        vision: entry.vision,
        limits: limits.map(|&(unit, period, max)| Limit { unit, period, max }).collect(),
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        max_context: entry.max_context,
        images: policy.images,
        capabilities: policy.capabilities(&HashMap::new()),
        weight: None,
        max_concurrent: None,
        failed_requests_count: false,
        reserves_max_tokens: false,
        privacy: Privacy::Local,
        privacy_source: None,
        last_verified: None,
        first_token_timeout: None,
        found: false,
        successor: None,
        targets: vec![ids.target(key.id, id)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_can_be_reached_with_its_providers_key() {
        let model = DemoModel {
            name: "m/1".to_owned(),
            kind: "text".to_owned(),
            scale: Scale::Small,
            vision: false,
            max_context: Some(8_000),
            limits: vec![(Unit::Requests, Period::Minute, 30)],
        };
        let entry = |name: &str| DemoEntry {
            name: name.to_owned(),
            base_url: "http://127.0.0.1:1/v1/".to_owned(),
            key: "demo-key-0123".to_owned(),
            models: vec![model.clone()],
        };
        let catalog = demo_catalog(&[entry("A"), entry("B")], &mut IdBook::default());
        let seen: Vec<_> = catalog
            .targets()
            .map(|it| format!("{} {} {}", it.model.routable, it.provider.base_url, it.key.label))
            .collect();
        assert_eq!(
            seen,
            ["A/m/1 http://127.0.0.1:1/v1 …0123", "B/m/1 http://127.0.0.1:1/v1 …0123"]
        );
        let ids: std::collections::HashSet<_> = catalog.targets().map(|it| it.id).collect();
        assert_eq!(ids.len(), 2);
    }
}
