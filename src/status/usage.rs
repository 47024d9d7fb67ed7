//! `GET /v1/usage`: what was spent, by provider and model.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::Books;
use crate::usage::Usage;

#[derive(Serialize)]
pub(super) struct Document {
    total: Figures,
    providers: BTreeMap<String, ProviderFigures>,
}

#[derive(Serialize)]
struct ProviderFigures {
    #[serde(flatten)]
    figures: Figures,
    models: BTreeMap<String, Figures>,
}

#[derive(Serialize)]
struct Figures {
    /// Answers. In the total one that went on elsewhere after a cut counts once; each provider and
    /// model counts the part it delivered.
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// How many of the answers had no usage from their provider and were counted here.
    estimated_requests: u64,
    /// Upstream calls that gave no answer.
    failed_attempts: u64,
}

impl From<Usage> for Figures {
    fn from(it: Usage) -> Self {
        Self {
            requests: it.requests,
            prompt_tokens: it.prompt_tokens,
            completion_tokens: it.completion_tokens,
            estimated_requests: it.estimated_requests,
            failed_attempts: it.failed_attempts,
        }
    }
}

/// Every provider and model of the catalog, used or not.
pub(super) fn view(books: &Books) -> Document {
    let spent: std::collections::HashMap<_, _> = books.usage.view().into_iter().collect();
    let catalog = books.catalog.load();
    let mut providers = BTreeMap::new();
    for provider in catalog.providers() {
        let mut sum = Usage::default();
        let mut models = BTreeMap::new();
        for model in &provider.models {
            let usage = spent.get(&model.id).copied().unwrap_or_default();
            sum = sum.plus(usage);
            models.insert(model.name.to_string(), Figures::from(usage));
        }
        let figures = ProviderFigures { figures: sum.into(), models };
        providers.insert(provider.name.to_string(), figures);
    }
    Document { total: books.usage.total().into(), providers }
}
