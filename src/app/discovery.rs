//! Local models are found by asking their server, in the background and again every minute: a user
//! who pulls a model wants to use it without a restart.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::app::live::Live;
use crate::catalog::IdBook;
use crate::catalog::Model;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::provider::ollama::DiscoveredModel;
use crate::provider::ollama::discover;
use crate::provider::quirks;

/// How often a server is asked again.
const EVERY: Duration = Duration::from_secs(60);
/// How soon one is asked again that could not be reached: whoever starts it waits for it. Twice as long
/// each further time, up to [`EVERY`].
const FIRST: Duration = Duration::from_secs(5);

/// How long a first token may take: a large model is read from disk first.
const COLD_LOAD: Duration = Duration::from_secs(120);

/// Looks for local models and adds what it finds to the pool.
pub(super) struct Discovery {
    pub(super) live: Arc<Live>,
}

impl Discovery {
    /// Runs until it is dropped: a reload may bring a local server.
    pub(super) async fn run(self) {
        let (mut missing, mut soon) = (HashSet::new(), FIRST);
        loop {
            self.look(&mut missing).await;
            if missing.is_empty() {
                soon = FIRST;
                tokio::time::sleep(EVERY).await;
            } else {
                tokio::time::sleep(soon).await;
                soon = (soon * 2).min(EVERY);
            }
        }
    }

    /// Asks every local server once. `missing`: those that can't be reached, of which the log tells once.
    async fn look(&self, missing: &mut HashSet<ProviderId>) {
        let catalog = self.live.catalog.load_full();
        missing.retain(|id| catalog.providers().iter().any(|it| it.id == *id));
        for provider in catalog.providers().iter().filter(|it| it.is_local()) {
            match discover(&provider.base_url, &self.live.transport).await {
                Ok(found) => {
                    missing.remove(&provider.id);
                    self.live.add(provider.id, |it, ids| new_models(it, found, ids));
                }
                Err(fault) if missing.insert(provider.id) => tracing::warn!(
                    "{}: no list of models from {} ({}); it is asked again until it answers",
                    provider.name,
                    provider.base_url,
                    fault.summary()
                ),
                Err(_) => {}
            }
        }
    }
}

/// Those of the models that were found that `provider` does not have yet; those configured stay as they
/// are.
fn new_models(provider: &Provider, found: Vec<DiscoveredModel>, ids: &mut IdBook) -> Vec<Model> {
    let mut seen = HashSet::new();
    let mut is_new = |it: &DiscoveredModel| {
        is_name(&it.name)
            && provider.models.iter().all(|known| *known.name != it.name)
            && seen.insert(it.name.clone())
    };
    let new = found.into_iter().filter(|it| is_new(it));
    new.map(|it| model(provider, it, ids)).collect()
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
        // What is passed on to somebody else's machine is not local, wherever the server runs.
        privacy: if found.hosted { Privacy::Unknown } else { provider.privacy },
        privacy_source: None,
        last_verified: None,
        first_token_timeout: Some(COLD_LOAD),
        found: true,
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
