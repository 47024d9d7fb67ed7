//! How models count tokens, in the file.

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::catalog::ModelId;
use crate::clock::Now;
use crate::quota::SavedRatio;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::usage::model;

/// A ratio moves with every answer. What differs by less is not worth a write.
const SAME: f64 = 0.01;

/// One row for each model whose answers have shown a ratio.
#[derive(Debug)]
pub(super) struct RatioTable;

impl Table for RatioTable {
    type Item = SavedRatio;
    type Key = ModelId;
    const NAME: &'static str = "ratios";
    const COLUMNS: &'static [&'static str] = &["provider", "model", "ratio"];

    fn key(item: &SavedRatio) -> ModelId {
        item.model
    }

    fn is_same(written: &SavedRatio, item: &SavedRatio, _: Now) -> bool {
        (written.ratio - item.ratio).abs() < SAME
    }

    fn insert(
        item: &SavedRatio,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(name) = names.models.name(item.model) else { return Ok(None) };
        into.insert(params![saved_at, name.provider, name.own, item.ratio]).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<SavedRatio>> {
        let ratio = row.get("ratio")?;
        Ok(model(row, names)?.map(|model| SavedRatio { model, ratio }))
    }
}
