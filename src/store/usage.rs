//! What was spent, in the file.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::catalog::ModelId;
use crate::clock::Now;
use crate::store::names::Name;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::natural;
use crate::usage::Usage;

/// One row for each model.
#[derive(Debug)]
pub(super) struct UsageTable;

impl Table for UsageTable {
    type Item = (ModelId, Usage);
    type Key = ModelId;
    const NAME: &'static str = "usage";
    const COLUMNS: &'static [&'static str] = &[
        "provider",
        "model",
        "requests",
        "prompt_tokens",
        "completion_tokens",
        "estimated_requests",
        "failed_attempts",
        "continued",
        "continued_estimated",
    ];

    fn key((model, _): &Self::Item) -> ModelId {
        *model
    }

    fn is_same(written: &Self::Item, item: &Self::Item, _: Now) -> bool {
        written == item
    }

    fn insert(
        (model, usage): &Self::Item,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(model) = names.models.name(*model) else { return Ok(None) };
        let row = params![
            saved_at,
            model.provider,
            model.own,
            integer(usage.requests),
            integer(usage.prompt_tokens),
            integer(usage.completion_tokens),
            integer(usage.estimated_requests),
            integer(usage.failed_attempts),
            integer(usage.continued),
            integer(usage.continued_estimated),
        ];
        into.insert(row).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<Self::Item>> {
        let Some(model) = model(row, names)? else { return Ok(None) };
        let usage = Usage {
            requests: natural(row.get("requests")?),
            prompt_tokens: natural(row.get("prompt_tokens")?),
            completion_tokens: natural(row.get("completion_tokens")?),
            estimated_requests: natural(row.get("estimated_requests")?),
            failed_attempts: natural(row.get("failed_attempts")?),
            continued: natural(row.get("continued")?),
            continued_estimated: natural(row.get("continued_estimated")?),
        };
        Ok(Some((model, usage)))
    }
}

/// The model that a row's `provider` and `model` name.
pub(super) fn model(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<ModelId>> {
    let (provider, own): (Arc<str>, Arc<str>) = (row.get("provider")?, row.get("model")?);
    Ok(names.models.id(&Name { provider, own }))
}
