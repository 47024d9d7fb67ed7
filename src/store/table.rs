//! A room's state as rows of a table, and a memory of what the table holds, so that only what has
//! changed is written.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use rusqlite::CachedStatement;
use rusqlite::Connection;
use rusqlite::Row;

use crate::clock::Now;
use crate::store::names::Names;

/// Rows that nobody knows are kept for this long after they were written: 62 days, two months
/// of any length.
const KEPT_MS: u64 = 62 * 86_400_000;

/// Times told twice differ by a little, for each telling reads two clocks. A written time may be
/// ahead by this much and still tell the same: later is the safe side.
const JITTER_MS: u64 = 10;

/// How one room's state is written.
pub(super) trait Table: Debug {
    /// What the room gives and takes.
    type Item: Debug;
    /// What tells items apart while the process lives.
    type Key: Clone + Debug + Eq + Hash;
    /// The table's name.
    const NAME: &'static str;
    /// Its columns but `id` and `saved_at`, in the order of [`Self::insert`].
    const COLUMNS: &'static [&'static str];

    fn key(item: &Self::Item) -> Self::Key;

    /// Does what was written still tell all about `item`?
    fn is_same(written: &Self::Item, item: &Self::Item, now: Now) -> bool;

    /// Is it about somebody who is no more? Then it is given out once, and its row stays as it is.
    fn is_of_former(_: &Self::Item) -> bool {
        false
    }

    /// Inserts a row and says its id; `None` when the item has no name yet.
    fn insert(
        item: &Self::Item,
        names: &Names,
        saved_at: i64,
        into: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<Option<i64>>;

    /// The item of a row; `None` when nobody here knows what it is about.
    fn parse(row: &Row<'_>, names: &Names) -> rusqlite::Result<Option<Self::Item>>;
}

/// What the table holds of what is known here.
#[derive(Debug)]
pub(super) struct Mirror<T: Table> {
    written: HashMap<T::Key, Written<T>>,
    /// Rows about those who are no more.
    former: HashSet<i64>,
    /// Rows nobody knows that have been kept long enough.
    stale: Vec<i64>,
}

#[derive(Debug)]
struct Written<T: Table> {
    id: i64,
    item: T::Item,
}

/// Rows that were read for the first time.
pub(super) struct Found<T: Table> {
    known: Vec<Written<T>>,
    stale: Vec<i64>,
}

/// What to do for the table to be up to date.
pub(super) struct Changes<T: Table> {
    put: Vec<T::Item>,
    gone: Vec<T::Key>,
    /// What became of `put`, once written.
    written: Vec<Written<T>>,
}

impl<T: Table> Mirror<T> {
    pub(super) fn new() -> Self {
        Self { written: HashMap::new(), former: HashSet::new(), stale: Vec::new() }
    }

    /// Does the file have the table, with all its columns?
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn check(sql: &Connection) -> rusqlite::Result<()> {
        sql.prepare(&insert_statement::<T>()).map(|_| ())
    }

    /// Reads the rows that `names` knows and the mirror doesn't.
    pub(super) fn read(
        &self,
        sql: &Connection,
        names: &Names,
        now: Now,
    ) -> rusqlite::Result<Found<T>> {
        let seen: HashSet<i64> = self.written.values().map(|it| it.id).collect();
        let mut found = Found { known: Vec::new(), stale: Vec::new() };
        let mut statement = sql.prepare(&format!("SELECT * FROM {}", T::NAME))?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get("id")?;
            if seen.contains(&id) || self.former.contains(&id) {
                continue;
            }
            let old = natural(row.get("saved_at")?) < now.unix_ms.saturating_sub(KEPT_MS);
            let parsed = T::parse(row, names).unwrap_or_else(|fault| {
                tracing::warn!("row {id} of what was saved as {} is left out: {fault}", T::NAME);
                None
            });
            match parsed {
                Some(item) if !(old && T::is_of_former(&item)) => {
                    found.known.push(Written { id, item });
                }
                _ if old => found.stale.push(id),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Takes note of what was found, and hands it out.
    pub(super) fn adopt(&mut self, found: Found<T>) -> Vec<T::Item>
    where
        T::Item: Clone,
    {
        self.stale = found.stale;
        let items = found.known.iter().map(|it| it.item.clone()).collect();
        for it in found.known {
            if T::is_of_former(&it.item) {
                self.former.insert(it.id);
            } else {
                self.written.insert(T::key(&it.item), it);
            }
        }
        items
    }

    /// What differs between the table and `items`, which are all there are.
    pub(super) fn changes(&self, items: Vec<T::Item>, now: Now) -> Changes<T> {
        let keys: Vec<T::Key> = items.iter().map(T::key).collect();
        let mut known = 0;
        let mut put = Vec::new();
        for (key, item) in keys.iter().zip(items) {
            let written = self.written.get(key);
            known += usize::from(written.is_some());
            if written.is_none_or(|it| !T::is_same(&it.item, &item, now)) {
                put.push(item);
            }
        }
        let mut gone = Vec::new();
        if known < self.written.len() {
            let keys: HashSet<&T::Key> = keys.iter().collect();
            gone.extend(self.written.keys().filter(|it| !keys.contains(it)).cloned());
        }
        Changes { put, gone, written: Vec::new() }
    }

    /// Writes `changes` and says how many rows that took. Nothing holds until [`Self::settle`].
    pub(super) fn write(
        &self,
        changes: &mut Changes<T>,
        sql: &Connection,
        names: &Names,
        now: Now,
    ) -> rusqlite::Result<usize> {
        let mut delete = sql.prepare_cached(&format!("DELETE FROM {} WHERE id = ?1", T::NAME))?;
        // First of all, for a new row may get the id of one that was deleted.
        let gone = changes.gone.iter().filter_map(|it| self.written.get(it)).map(|it| it.id);
        let mut count = 0;
        for id in gone.chain(self.stale.iter().copied()) {
            count += delete.execute([id])?;
        }
        let mut insert = sql.prepare_cached(&insert_statement::<T>())?;
        for item in changes.put.drain(..) {
            if let Some(id) = T::insert(&item, names, integer(now.unix_ms), &mut insert)? {
                changes.written.push(Written { id, item });
                count += 1;
            }
        }
        Ok(count)
    }

    /// What was written is committed.
    pub(super) fn settle(&mut self, changes: Changes<T>) {
        self.stale.clear();
        for key in changes.gone {
            self.written.remove(&key);
        }
        self.written.extend(changes.written.into_iter().map(|it| (T::key(&it.item), it)));
    }

    /// Is there anything to write?
    pub(super) fn is_due(&self, changes: &Changes<T>) -> bool {
        !(changes.put.is_empty() && changes.gone.is_empty() && self.stale.is_empty())
    }
}

fn insert_statement<T: Table>() -> String {
    let columns = T::COLUMNS.join(", ");
    let values = ", ?".repeat(T::COLUMNS.len());
    format!("INSERT OR REPLACE INTO {} (saved_at, {columns}) VALUES (?{values})", T::NAME)
}

/// Is `written` as good as `fresh`, told by the same clocks a little later?
pub(super) fn is_same_time(written: u64, fresh: u64) -> bool {
    written.checked_sub(fresh).is_some_and(|ahead| ahead <= JITTER_MS)
}

/// As SQLite keeps it: what does not fit is so large that the most is as good.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// As SQLite gives it back; a negative number is nobody's.
pub(super) fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
