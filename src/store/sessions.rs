//! Affinity, in the file.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::clock::Now;
use crate::session::Pin;
use crate::session::SavedSession;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::natural;
use crate::store::usage;

/// A session's last use is written again when it has moved by this much: no finer than what a
/// crash may lose anyway.
const PRECISION_MS: u64 = 1_000;

/// One row for each session.
#[derive(Debug)]
pub(super) struct SessionTable;

impl Table for SessionTable {
    type Item = SavedSession;
    type Key = Arc<str>;
    const NAME: &'static str = "sessions";
    const COLUMNS: &'static [&'static str] = &["session", "provider", "model", "used_at"];

    fn key(item: &SavedSession) -> Arc<str> {
        item.id.as_str().into()
    }

    fn is_same(written: &SavedSession, item: &SavedSession, _: Now) -> bool {
        written.pin == item.pin && written.used_unix_ms.abs_diff(item.used_unix_ms) < PRECISION_MS
    }

    fn insert(
        item: &SavedSession,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(model) = names.models.name(item.pin.model) else { return Ok(None) };
        let used_at = integer(item.used_unix_ms);
        into.insert(params![saved_at, item.id, model.provider, model.own, used_at]).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<SavedSession>> {
        let Some(model) = usage::model(row, names)? else { return Ok(None) };
        let provider: Arc<str> = row.get("provider")?;
        let Some(provider) = names.providers.id(&provider) else { return Ok(None) };
        let used_unix_ms = natural(row.get("used_at")?);
        Ok(Some(SavedSession {
            id: row.get("session")?,
            pin: Pin { provider, model },
            used_unix_ms,
        }))
    }
}
