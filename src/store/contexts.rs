//! What models hold, in the file.

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::catalog::ModelId;
use crate::clock::Now;
use crate::quota::ToldContext;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::natural;
use crate::store::usage::model;

/// One row for each model whose provider has told it.
#[derive(Debug)]
pub(super) struct ContextTable;

impl Table for ContextTable {
    type Item = ToldContext;
    type Key = ModelId;
    const NAME: &'static str = "contexts";
    const COLUMNS: &'static [&'static str] = &["provider", "model", "tokens", "until"];

    fn key(item: &ToldContext) -> ModelId {
        item.model
    }

    fn is_same(written: &ToldContext, item: &ToldContext, _: Now) -> bool {
        written == item
    }

    fn insert(
        item: &ToldContext,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(name) = names.models.name(item.model) else { return Ok(None) };
        let (tokens, until) = (integer(item.tokens), integer(item.until_unix_ms));
        into.insert(params![saved_at, name.provider, name.own, tokens, until]).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<ToldContext>> {
        let (tokens, until) = (natural(row.get("tokens")?), natural(row.get("until")?));
        let told = |model| ToldContext { model, tokens, until_unix_ms: until };
        Ok(model(row, names)?.map(told))
    }
}
