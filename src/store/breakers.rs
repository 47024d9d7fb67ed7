//! Breakers that are not closed, in the file.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::breaker::Reason;
use crate::breaker::SavedBreaker;
use crate::breaker::Scope;
use crate::clock::Now;
use crate::store::names::Name;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::is_same_time;
use crate::store::table::natural;

/// One row for each scope. Which one it is for is told by the columns that are not empty.
#[derive(Debug)]
pub(super) struct BreakerTable;

impl Table for BreakerTable {
    type Item = SavedBreaker;
    type Key = Scope;
    const NAME: &'static str = "breakers";
    const COLUMNS: &'static [&'static str] =
        &["provider", "key", "model", "reason", "level", "open_until"];

    fn key(item: &SavedBreaker) -> Scope {
        item.scope
    }

    fn is_same(written: &SavedBreaker, item: &SavedBreaker, now: Now) -> bool {
        // A half-open one says that its time ended just now, each time anew.
        let half_open = |it: &SavedBreaker| it.until_unix_ms <= now.unix_ms;
        let until = is_same_time(written.until_unix_ms, item.until_unix_ms)
            || (half_open(written) && half_open(item));
        until && written.reason == item.reason && written.level == item.level
    }

    fn insert(
        item: &SavedBreaker,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some((provider, key, model)) = columns(item, names) else {
            return Ok(None);
        };
        let (reason, until) = (item.reason.as_str(), integer(item.until_unix_ms));
        into.insert(params![saved_at, provider, key, model, reason, item.level, until]).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<SavedBreaker>> {
        let (provider, key, model) = (row.get("provider")?, row.get("key")?, row.get("model")?);
        let reason: Arc<str> = row.get("reason")?;
        let reason = Reason::ALL.into_iter().find(|it| it.as_str() == &*reason);
        let level = u32::try_from(natural(row.get("level")?)).unwrap_or(u32::MAX);
        let until_unix_ms = natural(row.get("open_until")?);
        let scope = scope(&provider, key, model, names);
        let known = || {
            let provider = names.providers.id(&provider)?;
            Some(SavedBreaker { provider, scope: scope?, reason: reason?, level, until_unix_ms })
        };
        Ok(known())
    }
}

/// Provider, key and model.
fn columns<'a>(item: &SavedBreaker, names: &'a Names) -> Option<(&'a str, &'a str, &'a str)> {
    let provider = names.providers.name(item.provider)?;
    let (key, model) = match item.scope {
        Scope::Provider(_) => (None, None),
        Scope::Key(id) => (Some(id), None),
        Scope::Model(id) => (None, Some(id)),
        Scope::Target(id) => {
            let (key, model) = names.targets.name(id)?;
            (Some(*key), Some(*model))
        }
    };
    let key = key.map_or(Some(""), |it| names.keys.name(it).map(|it| &*it.own))?;
    let model = model.map_or(Some(""), |it| names.models.name(it).map(|it| &*it.own))?;
    Some((provider, key, model))
}

fn scope(provider: &Arc<str>, key: Arc<str>, model: Arc<str>, names: &Names) -> Option<Scope> {
    let name = |own| Name { provider: Arc::clone(provider), own };
    match (key.is_empty(), model.is_empty()) {
        (true, true) => names.providers.id(provider).map(Scope::Provider),
        (false, true) => names.keys.id(&name(key)).map(Scope::Key),
        (true, false) => names.models.id(&name(model)).map(Scope::Model),
        (false, false) => {
            let pair = (names.keys.id(&name(key))?, names.models.id(&name(model))?);
            names.targets.id(&pair).map(Scope::Target)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ProviderId;

    #[test]
    fn a_half_open_breaker_is_not_written_again_and_again() {
        let check = |written: u64, fresh: u64, now: u64, expected: bool| {
            let breaker = |until_unix_ms| SavedBreaker {
                provider: ProviderId(1),
                scope: Scope::Provider(ProviderId(1)),
                reason: Reason::Faults,
                level: 1,
                until_unix_ms,
            };
            let now = Now { unix_ms: now, ..Now::default() };
            let same = BreakerTable::is_same(&breaker(written), &breaker(fresh), now);
            assert_eq!(same, expected, "{written} {fresh} {now:?}");
        };
        check(5_000, 5_000, 1_000, true);
        check(5_000, 4_995, 1_000, true);
        check(5_000, 5_001, 1_000, false);
        check(5_000, 5_400, 5_400, true);
        check(5_000, 9_000, 5_400, false);
    }
}
