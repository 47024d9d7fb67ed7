//! Local models are found by asking their server, in the background and again every minute: a user
//! who pulls a model wants to use it without a restart.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Model;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::dispatch::Dispatcher;
use crate::dispatch::Pool;
use crate::provider::ChatProvider;
use crate::provider::ollama::DiscoveredModel;
use crate::provider::ollama::discover;
use crate::provider::quirks;
use crate::provider::transport::Transport;
use crate::quota::Ledger;
use crate::select;
use crate::select::Selector;

/// How often a server is asked again.
const EVERY: Duration = Duration::from_secs(60);

/// How long a first token may take: a large model is read from disk first.
const COLD_LOAD: Duration = Duration::from_secs(120);

/// Looks for local models and adds what it finds to the pool.
pub(super) struct Discovery {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) catalog: Arc<ArcSwap<Catalog>>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clients: HashMap<ProviderId, Arc<dyn ChatProvider>>,
    pub(super) params: select::Params,
    pub(super) transport: Transport,
    pub(super) ids: IdBook,
}

impl Discovery {
    /// Runs until it is dropped; ends at once where there is nothing local to ask.
    pub(super) async fn run(mut self) {
        let transport = self.transport.clone();
        while self.look(&transport).await {
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Asks every local server once. False when there is none.
    async fn look(&mut self, transport: &Transport) -> bool {
        let catalog = self.catalog.load_full();
        let local: Vec<&Provider> = catalog.providers().iter().filter(|it| it.is_local()).collect();
        for provider in &local {
            match discover(&provider.base_url, transport).await {
                Ok(found) => self.add(provider, found),
                Err(fault) => {
                    tracing::debug!(provider = %provider.name, fault = %fault.message, "no models found");
                }
            }
        }
        !local.is_empty()
    }

    /// Adds the models of `provider` that are new; those configured stay as they are.
    fn add(&mut self, provider: &Provider, found: Vec<DiscoveredModel>) {
        let mut seen = HashSet::new();
        let mut is_new = |it: &DiscoveredModel| {
            is_name(&it.name)
                && provider.models.iter().all(|known| *known.name != it.name)
                && seen.insert(it.name.clone())
        };
        let new: Vec<Model> = found
            .into_iter()
            .filter(|it| is_new(it))
            .map(|it| model(provider, it, &mut self.ids))
            .collect();
        if new.is_empty() {
            return;
        }
        let names: Vec<&str> = new.iter().map(|it| &*it.name).collect();
        tracing::info!("{}: found {}", provider.name, names.join(", "));
        let mut providers = self.catalog.load().providers().to_vec();
        if let Some(it) = providers.iter_mut().find(|it| it.id == provider.id) {
            it.models.extend(new);
        }
        let catalog = Arc::new(Catalog::new(providers));
        self.ledger.configure(super::target_books(&catalog));
        self.catalog.store(Arc::clone(&catalog));
        let selector = Selector::new(catalog, self.params);
        self.dispatcher.replace(Pool { selector, clients: self.clients.clone() });
    }
}

/// Names go into headers and logs, as the limits file's do.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 200 && name.bytes().all(|it| it.is_ascii_graphic())
}

fn model(provider: &Provider, found: DiscoveredModel, ids: &mut IdBook) -> Model {
    let id = ids.model(&provider.name, &found.name);
    let quirks = quirks::of_kind(provider.kind, &provider.name);
    let policy = quirks.policy(&found.name);
    Model {
        id,
        routable: format!("{}/{}", provider.name, found.name).into(),
        kind: "text".into(),
        scale: scale(&found.name),
        vision: found.vision,
        limits: Vec::new(),
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        max_context: found.context,
        images: policy.images,
        capabilities: policy.capabilities(&HashMap::from([("tools".to_owned(), found.tools)])),
        weight: None,
        max_concurrent: None,
        failed_requests_count: false,
        reserves_max_tokens: false,
        privacy: Privacy::Local,
        first_token_timeout: Some(COLD_LOAD),
        successor: None,
        targets: provider.keys.iter().map(|key| ids.target(key.id, id)).collect(),
        name: found.name.into(),
    }
}

/// By the billions of parameters that names of local models carry, as in `llama3.2:3b`.
fn scale(name: &str) -> Scale {
    let parts = name.split([':', '-', '_']);
    let mut sizes = parts.filter_map(|it| it.strip_suffix(['b', 'B'])?.parse::<f64>().ok());
    let billions = sizes.next_back();
    match billions {
        Some(it) if it < 10.0 => Scale::Small,
        Some(it) if it >= 50.0 => Scale::Large,
        _ => Scale::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read_off_names() {
        for (name, expected) in [
            ("llama3.2:3b", Scale::Small),
            ("gpt-oss:20b", Scale::Medium),
            ("llama3.3:70b-instruct-q4_0", Scale::Large),
            ("qwen2.5-0.5b", Scale::Small),
            ("mistral:latest", Scale::Medium),
            ("b", Scale::Medium),
        ] {
            assert_eq!(scale(name), expected, "{name}");
        }
    }
}
