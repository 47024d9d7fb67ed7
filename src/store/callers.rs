//! Virtual keys, in the file: those that were made here, and what all keys have used. A key stands
//! there as its hash.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;
use serde::Serialize;

use crate::callers::Digest;
use crate::callers::SavedCounts;
use crate::callers::SavedKey;
use crate::callers::Terms;
use crate::clock::Now;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::natural;
use crate::usage::Usage;

/// One row for each key that was made here.
#[derive(Debug)]
pub(super) struct KeyTable;

impl Table for KeyTable {
    type Item = SavedKey;
    type Key = Digest;
    const NAME: &'static str = "virtual_keys";
    const COLUMNS: &'static [&'static str] = &[
        "hash",
        "label",
        "created_at",
        "revoked_at",
        "expires_at",
        "daily_requests",
        "daily_tokens",
        "models",
        "no_training",
    ];

    fn key(item: &SavedKey) -> Digest {
        item.digest
    }

    fn is_same(written: &SavedKey, item: &SavedKey, _: Now) -> bool {
        // What a key allows is never changed.
        written.revoked_unix_ms == item.revoked_unix_ms
    }

    fn insert(
        item: &SavedKey,
        _: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let terms = &item.terms;
        let models: Option<Vec<&str>> =
            terms.models.as_ref().map(|it| it.iter().map(|it| &**it).collect());
        let row = params![
            saved_at,
            item.digest.hex(),
            terms.label,
            integer(item.created_unix_ms),
            item.revoked_unix_ms.map(integer),
            terms.expires_unix_ms.map(integer),
            terms.daily_requests.map(integer),
            terms.daily_tokens.map(integer),
            models.map(|it| json(&it)).transpose()?,
            terms.no_training,
        ];
        into.insert(row).map(Some)
    }

    fn parse(row: &Row<'_>, _: &Names) -> rusqlite::Result<Option<SavedKey>> {
        let number = |column| row.get::<_, Option<i64>>(column).map(|it| it.map(natural));
        let models: Option<Arc<str>> = row.get("models")?;
        let models = models.map(|it| serde_json::from_str::<Vec<String>>(&it)).transpose();
        // What can't be read allows nothing.
        let (Ok(models), Some(digest)) = (models, digest(row)?) else { return Ok(None) };
        let terms = Terms {
            label: row.get("label")?,
            daily_requests: number("daily_requests")?,
            daily_tokens: number("daily_tokens")?,
            models: models.map(|it| it.into_iter().map(Arc::from).collect()),
            expires_unix_ms: number("expires_at")?,
            no_training: row.get("no_training")?,
        };
        let key = SavedKey {
            digest,
            terms: Arc::new(terms),
            created_unix_ms: natural(row.get("created_at")?),
            revoked_unix_ms: number("revoked_at")?,
        };
        Ok(Some(key))
    }
}

/// One row for each key that has used anything, also those that no file declares any more. Its days
/// are JSON, `[[[time, requests], ...], [[time, tokens], ...]]`.
#[derive(Debug)]
pub(super) struct CountTable;

impl Table for CountTable {
    type Item = SavedCounts;
    type Key = Digest;
    const NAME: &'static str = "virtual_key_counts";
    const COLUMNS: &'static [&'static str] =
        &["hash", "requests", "prompt_tokens", "completion_tokens", "estimated_requests", "day"];

    fn key(item: &SavedCounts) -> Digest {
        item.digest
    }

    fn is_same(written: &SavedCounts, item: &SavedCounts, _: Now) -> bool {
        written == item
    }

    fn insert(
        item: &SavedCounts,
        _: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let row = params![
            saved_at,
            item.digest.hex(),
            integer(item.total.requests),
            integer(item.total.prompt_tokens),
            integer(item.total.completion_tokens),
            integer(item.total.estimated_requests),
            json(&item.day)?,
        ];
        into.insert(row).map(Some)
    }

    fn parse(row: &Row<'_>, _: &Names) -> rusqlite::Result<Option<SavedCounts>> {
        let number = |column| row.get(column).map(natural);
        let total = Usage {
            requests: number("requests")?,
            prompt_tokens: number("prompt_tokens")?,
            completion_tokens: number("completion_tokens")?,
            estimated_requests: number("estimated_requests")?,
            ..Usage::default()
        };
        let day: Arc<str> = row.get("day")?;
        let known = digest(row)?.zip(serde_json::from_str(&day).ok());
        Ok(known.map(|(digest, day)| SavedCounts { digest, total, day }))
    }
}

fn digest(row: &Row<'_>) -> rusqlite::Result<Option<Digest>> {
    let text: Arc<str> = row.get("hash")?;
    Ok(Digest::parse(&text))
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
