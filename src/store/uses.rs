//! What targets have used, in the file. A row tells whose key and which model it was, and so finds
//! its way also when the key has got a group since, or the models a bucket in common.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;

use crate::catalog::Period;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::SavedUse;
use crate::quota::User;
use crate::store::names::Name;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::windows::from_json;
use crate::store::windows::is_same_count;
use crate::store::windows::kind;
use crate::store::windows::reset_name;
use crate::store::windows::to_json;

/// One row for each window of each target that has used any of it. Its entries are JSON,
/// `[[time, units], ...]`.
#[derive(Debug)]
pub(super) struct UseTable;

impl Table for UseTable {
    type Item = SavedUse;
    type Key = (User, Unit, Period, Reset);
    const NAME: &'static str = "uses";
    const COLUMNS: &'static [&'static str] =
        &["provider", "account", "shared", "key", "model", "unit", "period", "reset", "entries"];

    fn key(item: &SavedUse) -> Self::Key {
        (item.user, item.unit, item.period, item.reset)
    }

    fn is_same(written: &SavedUse, item: &SavedUse, _: Now) -> bool {
        let place = |it: &SavedUse| (it.account, it.scope);
        place(written) == place(item) && is_same_count(&written.entries, &item.entries)
    }

    fn is_of_former(item: &SavedUse) -> bool {
        matches!(item.user, User::Former(..))
    }

    fn insert(
        item: &SavedUse,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let User::Target(target) = item.user else { return Ok(None) };
        let named = || {
            let (key, model) = names.targets.name(target)?;
            let (key, model) = (names.keys.name(*key)?, names.models.name(*model)?);
            Some((names.accounts.name(item.account)?, key, model))
        };
        let Some((account, key, model)) = named() else { return Ok(None) };
        let row = params![
            saved_at,
            account.provider,
            account.own,
            item.scope == QuotaScope::Account,
            key.own,
            model.own,
            item.unit.name(),
            item.period.name(),
            reset_name(item.reset),
            to_json(&item.entries)?,
        ];
        into.insert(row).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<SavedUse>> {
        let name = |column| -> rusqlite::Result<Name> {
            Ok(Name { provider: row.get("provider")?, own: row.get::<_, Arc<str>>(column)? })
        };
        let (account, key, model) = (name("account")?, name("key")?, name("model")?);
        let shared: bool = row.get("shared")?;
        let entries = from_json(row)?;
        let kind = kind(row)?;
        let (key, model) = (names.keys.id(&key), names.models.id(&model));
        let known = || {
            let pair = key.zip(model);
            let target = pair.and_then(|it| names.targets.id(&it));
            // A key that is still there says best whose quota it draws on.
            let account =
                key.and_then(|it| names.account_of(it)).or_else(|| names.accounts.id(&account));
            let user = match (target, shared) {
                (Some(target), _) => User::Target(target),
                (None, true) => User::Former(account?, None),
                // Nobody draws on what a model had that is no more.
                (None, false) => User::Former(account?, Some(model?)),
            };
            let account = account?;
            let (unit, period, reset) = kind?;
            let scope = if shared { QuotaScope::Account } else { QuotaScope::Model };
            Some(SavedUse { user, account, scope, unit, period, reset, entries })
        };
        Ok(known())
    }
}
