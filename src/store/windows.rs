//! Quota windows, in the file.

use std::sync::Arc;

use rusqlite::CachedStatement;
use rusqlite::Row;
use rusqlite::params;
use rusqlite::types::Type;

use crate::catalog::AccountId;
use crate::catalog::ModelId;
use crate::catalog::Period;
use crate::catalog::Reset;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::SavedWindow;
use crate::store::names::Name;
use crate::store::names::Names;
use crate::store::table::Table;
use crate::store::table::integer;
use crate::store::table::is_same_time;
use crate::store::table::natural;

const UNITS: [Unit; 2] = [Unit::Requests, Unit::Tokens];
const PERIODS: [Period; 5] =
    [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month];
const RESETS: [Reset; 4] = [Reset::Rolling, Reset::UtcDay, Reset::PacificDay, Reset::Month];

/// One row for each window of which more is known than what targets have used: what a provider has
/// said of it, and units that nobody says whose they are (of a file of an earlier version). Those
/// are JSON, `[[time, units], ...]`.
#[derive(Debug)]
pub(super) struct WindowTable;

impl Table for WindowTable {
    type Item = SavedWindow;
    type Key = (AccountId, Option<ModelId>, Unit, Period, Reset);
    const NAME: &'static str = "windows";
    const COLUMNS: &'static [&'static str] = &[
        "provider",
        "account",
        "model",
        "unit",
        "period",
        "reset",
        "entries",
        "learned_max",
        "learned_until",
        "spent_until",
    ];

    fn key(item: &SavedWindow) -> Self::Key {
        (item.account, item.model, item.unit, item.period, item.reset)
    }

    fn is_same(written: &SavedWindow, item: &SavedWindow, _: Now) -> bool {
        let entries = is_same_count(&written.entries, &item.entries);
        let learned = match (written.learned, item.learned) {
            (Some(written), Some(fresh)) => {
                written.0 == fresh.0 && is_same_time(written.1, fresh.1)
            }
            (written, fresh) => written == fresh,
        };
        let spent = match (written.spent_until, item.spent_until) {
            (Some(written), Some(fresh)) => is_same_time(written, fresh),
            (written, fresh) => written == fresh,
        };
        entries && learned && spent
    }

    fn insert(
        item: &SavedWindow,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(account) = names.accounts.name(item.account) else { return Ok(None) };
        let model = match item.model {
            None => "",
            Some(model) => match names.models.name(model) {
                Some(name) => &*name.own,
                None => return Ok(None),
            },
        };
        let row = params![
            saved_at,
            account.provider,
            account.own,
            model,
            item.unit.name(),
            item.period.name(),
            reset_name(item.reset),
            to_json(&item.entries)?,
            item.learned.map(|(max, _)| integer(max)),
            item.learned.map(|(_, until)| integer(until)),
            item.spent_until.map(integer),
        ];
        into.insert(row).map(Some)
    }

    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<SavedWindow>> {
        let text = |column| row.get::<_, Arc<str>>(column);
        let number = |column| row.get::<_, Option<i64>>(column).map(|it| it.map(natural));
        let provider = text("provider")?;
        let account = Name { provider: Arc::clone(&provider), own: text("account")? };
        let model = Some(text("model")?).filter(|it| !it.is_empty());
        let model = model.map(|own| names.models.id(&Name { provider, own }));
        let (kind, entries) = (kind(row)?, from_json(row)?);
        let learned = number("learned_max")?.zip(number("learned_until")?);
        let spent_until = number("spent_until")?;
        let known = || {
            let (unit, period, reset) = kind?;
            Some(SavedWindow {
                account: names.accounts.id(&account)?,
                model: model.map_or(Some(None), |it| it.map(Some))?,
                unit,
                period,
                reset,
                entries,
                learned,
                spent_until,
            })
        };
        Ok(known())
    }
}

/// Are both the same, told by the same clocks a little later?
pub(super) fn is_same_count(written: &[(u64, u64)], fresh: &[(u64, u64)]) -> bool {
    let same = |(written, fresh): (&(u64, u64), &(u64, u64))| {
        is_same_time(written.0, fresh.0) && written.1 == fresh.1
    };
    written.len() == fresh.len() && written.iter().zip(fresh).all(same)
}

pub(super) fn to_json(entries: &[(u64, u64)]) -> rusqlite::Result<String> {
    serde_json::to_string(entries)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// A row's `entries`.
pub(super) fn from_json(row: &Row<'_>) -> rusqlite::Result<Vec<(u64, u64)>> {
    let text: Arc<str> = row.get("entries")?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

/// Which kind of window a row is about; `None` when no such kind is known.
pub(super) fn kind(row: &Row<'_>) -> rusqlite::Result<Option<(Unit, Period, Reset)>> {
    let text = |column| row.get::<_, Arc<str>>(column);
    let (unit, period, reset) = (text("unit")?, text("period")?, text("reset")?);
    let unit = UNITS.into_iter().find(|it| it.name() == &*unit);
    let period = PERIODS.into_iter().find(|it| it.name() == &*period);
    let reset = RESETS.into_iter().find(|it| reset_name(*it) == &*reset);
    Ok(unit.zip(period).zip(reset).map(|((unit, period), reset)| (unit, period, reset)))
}

/// As the limits file writes it.
pub(super) fn reset_name(reset: Reset) -> &'static str {
    match reset {
        Reset::Rolling => "rolling",
        Reset::UtcDay => "utc_day",
        Reset::PacificDay => "pacific_day",
        Reset::Month => "month",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_written_again_when_it_tells_something_new() {
        let written = SavedWindow {
            account: AccountId(1),
            model: None,
            unit: Unit::Requests,
            period: Period::Day,
            reset: Reset::Rolling,
            entries: vec![(1_000, 2), (2_000, 3)],
            learned: Some((10, 9_000)),
            spent_until: Some(8_000),
        };
        let check = |expected: bool, change: &dyn Fn(&mut SavedWindow)| {
            let mut item = written.clone();
            change(&mut item);
            assert_eq!(WindowTable::is_same(&written, &item, Now::default()), expected, "{item:?}");
        };
        check(true, &|_| {});
        check(true, &|it| it.entries[0].0 -= 10);
        check(false, &|it| it.entries[0].0 -= 11);
        check(false, &|it| it.entries[0].0 += 1);
        check(false, &|it| it.entries[1].1 += 1);
        check(false, &|it| it.entries.truncate(1));
        check(true, &|it| it.learned = Some((10, 8_995)));
        check(false, &|it| it.learned = Some((11, 9_000)));
        check(false, &|it| it.learned = None);
        check(true, &|it| it.spent_until = Some(7_999));
        check(false, &|it| it.spent_until = Some(8_001));
        check(false, &|it| it.spent_until = None);
    }
}
