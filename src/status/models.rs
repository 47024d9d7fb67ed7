//! `GET /v1/models`: what can be asked for, and whether it would answer now.

use std::time::Duration;

use serde::Serialize;

use crate::catalog::Model;
use crate::catalog::Provider;
use crate::clock::Now;
use crate::quota::Demand;
use crate::select::META_MODELS;
use crate::select::is_meta;
use crate::status::Books;

/// OpenAI's list of models.
#[derive(Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

/// One model in OpenAI's form, with what a pool adds to it. Meta-models have no own facts.
#[derive(Serialize)]
pub(super) struct Entry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    scale: Option<&'static str>,
    max_context_length: Option<u64>,
    status: Option<&'static str>,
    cooldown_remaining_sec: Option<u64>,
}

/// When the models were made is not told by providers, so all carry this day: 2026-11-01.
const CREATED: u64 = 1_793_491_200;

/// The models that fit the filters; without filters the meta-models come first.
pub(super) fn list(books: &Books, kind: Option<&str>, scale: Option<&str>) -> List {
    let now = books.clock.now();
    let catalog = books.catalog.load();
    let fits = |model: &Model| {
        kind.is_none_or(|it| model.kind.eq_ignore_ascii_case(it))
            && scale.is_none_or(|it| model.scale.name().eq_ignore_ascii_case(it))
    };
    let metas = META_MODELS.iter().filter(|_| kind.is_none() && scale.is_none()).map(|it| meta(it));
    let models = catalog
        .models()
        .filter(|(_, model)| model.successor.is_none() && fits(model))
        .map(|(provider, model)| entry(books, provider, model, now));
    List { object: "list", data: metas.chain(models).collect() }
}

/// One model by its id, or by the name that stands for any.
pub(super) fn one(books: &Books, id: &str) -> Option<Entry> {
    if is_meta(id) {
        return Some(meta(id));
    }
    let catalog = books.catalog.load();
    let named = |provider: &Provider, model: &Model| {
        let rest = id.get(provider.name.len()..).and_then(|it| it.strip_prefix('/'));
        let prefix = id.get(..provider.name.len());
        rest == Some(&*model.name)
            && prefix.is_some_and(|it| it.eq_ignore_ascii_case(&provider.name))
    };
    let mut models = catalog.models();
    let (provider, model) = models.find(|(provider, model)| named(provider, model))?;
    Some(entry(books, provider, model, books.clock.now()))
}

fn meta(id: &str) -> Entry {
    Entry {
        id: id.to_owned(),
        object: "model",
        created: CREATED,
        owned_by: "relayfreellm".to_owned(),
        kind: None,
        scale: None,
        max_context_length: None,
        status: None,
        cooldown_remaining_sec: None,
    }
}

fn entry(books: &Books, provider: &Provider, model: &Model, now: Now) -> Entry {
    let cooldown = cooldown(books, provider, model, now);
    let seconds = |it: Duration| it.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
    Entry {
        id: model.routable.to_string(),
        object: "model",
        created: CREATED,
        owned_by: provider.name.to_string(),
        kind: Some(model.kind.to_string()),
        scale: Some(model.scale.name()),
        max_context_length: least(model.max_context, books.ledger.context(model.id, now)),
        status: Some(if cooldown == Some(Duration::ZERO) { "available" } else { "cooldown" }),
        cooldown_remaining_sec: cooldown.map(seconds),
    }
}

/// The lesser of what is configured and what the provider has told.
fn least(configured: Option<u64>, told: Option<u64>) -> Option<u64> {
    configured.into_iter().chain(told).min()
}

/// How long until some key of this model may be asked for one request; `None` = nobody knows.
fn cooldown(books: &Books, provider: &Provider, model: &Model, now: Now) -> Option<Duration> {
    let waits = provider.targets(model).filter_map(|target| {
        let rest = books.breakers.cooldown(&(&target).into(), now).unwrap_or_default();
        match books.ledger.peek(target.id, Demand { requests: 1, tokens: 1 }, now) {
            Ok(()) => Some(rest),
            Err(it) => it.free.time().map(|it| it.saturating_sub(now.monotonic).max(rest)),
        }
    });
    waits.min()
}
