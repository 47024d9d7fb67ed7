//! What survives a restart: usage, quota, affinity, breakers and virtual keys, in an SQLite file of
//! the data directory.
//!
//! One thread asks the rooms for their state four times a second and writes what has changed; nobody
//! waits for it. The ids of a process mean nothing to the next one, so the file has names: see
//! [`names`]. Rows about what the catalog does not have now are left alone, for it may return.

mod breakers;
mod callers;
mod contexts;
mod directory;
mod names;
mod ratios;
mod saving;
mod schema;
mod sessions;
mod table;
mod usage;
mod uses;
mod windows;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use rusqlite::Connection;

use crate::breaker::Breakers;
use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::clock::Now;
use crate::quota::Ledger;
use crate::quota::Saved;
use crate::session::Sessions;
use crate::store::breakers::BreakerTable;
use crate::store::callers::CountTable;
use crate::store::callers::KeyTable;
use crate::store::contexts::ContextTable;
use crate::store::directory::Directory;
use crate::store::names::Names;
use crate::store::ratios::RatioTable;
use crate::store::schema::Salt;
use crate::store::schema::Unfit;
use crate::store::sessions::SessionTable;
use crate::store::table::Mirror;
use crate::store::usage::UsageTable;
use crate::store::uses::UseTable;
use crate::store::windows::WindowTable;
use crate::usage::UsageBook;

pub use crate::store::saving::SaveNow;
pub use crate::store::saving::Saving;

/// Why the data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another relayfreellm ({}); stop that one, or give \
         this one a directory of its own with --data-dir",
        dir.display(),
        pid.map_or_else(|| "process unknown".to_owned(), |it| format!("process {it}"))
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The other process, where it has said so.
        pid: Option<u32>,
    },
    /// Others may read it, and it holds other things than ours.
    #[error(
        "the data directory {} is open to other users and holds files of something else; name an \
         empty or new one with --data-dir, or close this one (chmod 700)",
        dir.display()
    )]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// A later version of this program has written the file.
    #[error(
        "{} was written by a newer relayfreellm (its form is version {found}, known here is \
         {known}); use that one, or another --data-dir",
        file.display()
    )]
    Newer {
        /// The database.
        file: PathBuf,
        /// Its version.
        found: usize,
        /// The latest version this program knows.
        known: usize,
    },
    /// What is in the file can't be read, and is not to be set aside.
    #[error(
        "{} is damaged ({damage}); a gateway that starts there moves it aside and begins anew, without \
         the virtual keys in it",
        file.display()
    )]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What is wrong with it.
        damage: String,
    },
    /// The system does not let us use the directory or a file in it.
    #[error(
        "can't use the data directory {}: {fault}; name another with --data-dir, or none with \
         --data-dir none",
        dir.display()
    )]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
}

/// The file could not be read or written. What was committed before stands.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct SaveError {
    file: PathBuf,
    fault: rusqlite::Error,
}

/// The rooms whose state is saved.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Quota.
    pub ledger: Arc<Ledger>,
    /// What was spent.
    pub usage: Arc<UsageBook>,
    /// Affinity.
    pub sessions: Arc<Sessions>,
    /// Breakers.
    pub breakers: Arc<Breakers>,
    /// Virtual keys.
    pub callers: Arc<Callers>,
}

/// An open data directory.
#[derive(Debug)]
pub struct Store {
    records: Records,
    /// Last, so that the directory is ours until the connection is closed.
    directory: Directory,
}

/// A data directory that can't be used, or not yet.
#[derive(Debug)]
pub struct Unopened {
    dir: PathBuf,
    /// What could be read of it.
    read: Option<Records>,
}

/// An open database, and what is known of what is in it.
#[derive(Debug)]
struct Records {
    sql: Connection,
    salt: Salt,
    names: Names,
    usage: Mirror<UsageTable>,
    uses: Mirror<UseTable>,
    windows: Mirror<WindowTable>,
    ratios: Mirror<RatioTable>,
    contexts: Mirror<ContextTable>,
    sessions: Mirror<SessionTable>,
    breakers: Mirror<BreakerTable>,
    keys: Mirror<KeyTable>,
    counts: Mirror<CountTable>,
    /// The catalog whose rows the rooms have been given.
    restored: Option<Arc<Catalog>>,
}

impl Store {
    /// Makes `dir` ours and opens the database in it. A damaged one is moved aside, with a warning
    /// in the log, and a new one begun.
    ///
    /// # Errors
    /// After [`OpenError::Unusable`] a caller may go on without a store; the others say that this
    /// directory is not for this process.
    pub fn open(dir: &Path, now: Now) -> Result<Self, OpenError> {
        Self::open_or_begin(dir, Some(now))
    }

    /// The same, but a damaged database stays where it is.
    ///
    /// # Errors
    /// As [`open`](Self::open) has them, and [`OpenError::Damaged`].
    pub fn open_sound(dir: &Path) -> Result<Self, OpenError> {
        Self::open_or_begin(dir, None)
    }

    /// `now`: when a damaged database is set aside; `None` = it is not.
    fn open_or_begin(dir: &Path, now: Option<Now>) -> Result<Self, OpenError> {
        let directory = Directory::claim(dir)?;
        let unusable = |fault| OpenError::Unusable { dir: dir.to_owned(), fault };
        let mut salt = [0; 32];
        let filled = SystemRandom::new().fill(&mut salt);
        filled.map_err(|_| unusable(io::Error::other("the system gives no random numbers")))?;
        let file = directory.database();
        let opened = schema::open(&file, &salt).and_then(|it| {
            check_tables(&it.0)?;
            Ok(it)
        });
        let opened = match (opened, now) {
            (Err(Unfit::Damaged(damage)), None) => return Err(OpenError::Damaged { file, damage }),
            (Err(Unfit::Damaged(damage)), Some(now)) => {
                let aside = directory.set_database_aside(now.unix_ms / 1_000).map_err(unusable)?;
                tracing::warn!(
                    "{} is damaged ({damage}): moved to {}, starting with no memory of usage, \
                     quota, sessions and virtual keys: those that were made here are gone",
                    file.display(),
                    aside.display()
                );
                schema::open(&file, &salt)
            }
            (opened, _) => opened,
        };
        let (sql, salt) = opened.map_err(|unfit| match unfit {
            Unfit::Newer { found, known } => OpenError::Newer { file, found, known },
            Unfit::Damaged(damage) => unusable(io::Error::other(damage)),
            Unfit::Unreachable(fault) => unusable(io::Error::other(fault)),
        })?;
        Ok(Self { directory, records: Records::new(sql, &salt) })
    }

    /// Gives the rooms what is in the file about what `catalog` has. Where that fails, the log
    /// says so, and it is tried again before anything is saved.
    pub fn restore(&mut self, rooms: &Rooms, catalog: &Arc<Catalog>, now: Now) {
        if let Err(fault) = self.records.give_back(rooms, catalog, now) {
            let error = self.error(fault);
            tracing::warn!("can't read what was saved: {error}; trying again while serving");
        }
    }

    /// Writes what has changed since the last time, in one transaction, and says how many rows
    /// that took. A `catalog` that is new has its rows given to the rooms first.
    ///
    /// # Errors
    /// Nothing was written then; the next call tries all of it again.
    pub fn save(
        &mut self,
        rooms: &Rooms,
        catalog: &Arc<Catalog>,
        now: Now,
    ) -> Result<usize, SaveError> {
        let given = self.records.give_back(rooms, catalog, now);
        given.and_then(|()| self.records.write(rooms, now)).map_err(|fault| self.error(fault))
    }

    fn error(&self, fault: rusqlite::Error) -> SaveError {
        SaveError { file: self.directory.database(), fault }
    }
}

impl Unopened {
    /// Gives the rooms what is in the file of a `dir` that could not be opened to be written, as far
    /// as it can be read. Nothing there is changed.
    pub fn recall(dir: &Path, rooms: &Rooms, catalog: &Arc<Catalog>, now: Now) -> Self {
        let opened = schema::open_to_read(&directory::database_in(dir));
        let read = opened.ok().and_then(|(sql, salt)| {
            let mut records = Records::new(sql, &salt);
            records.give_back(rooms, catalog, now).ok().map(|()| records)
        });
        Self { dir: dir.to_owned(), read }
    }

    /// Has the file been read?
    pub fn has_read(&self) -> bool {
        self.read.is_some()
    }

    /// Opens it after all. What the rooms were given before they are not given again.
    fn open(&mut self, now: Now) -> Result<Store, OpenError> {
        let mut store = Store::open(&self.dir, now)?;
        // Is it still the same file?
        if let Some(read) = self.read.take_if(|it| it.salt == store.records.salt) {
            let fresh = std::mem::replace(&mut store.records, read);
            (store.records.sql, store.records.restored) = (fresh.sql, None);
        }
        Ok(store)
    }
}

impl Records {
    fn new(sql: Connection, salt: &Salt) -> Self {
        Self {
            sql,
            salt: *salt,
            names: Names::new(salt),
            usage: Mirror::new(),
            uses: Mirror::new(),
            windows: Mirror::new(),
            ratios: Mirror::new(),
            contexts: Mirror::new(),
            sessions: Mirror::new(),
            breakers: Mirror::new(),
            keys: Mirror::new(),
            counts: Mirror::new(),
            restored: None,
        }
    }

    /// Reads everything before it gives anything, so that it happens wholly or not at all.
    fn give_back(
        &mut self,
        rooms: &Rooms,
        catalog: &Arc<Catalog>,
        now: Now,
    ) -> rusqlite::Result<()> {
        if self.restored.as_ref().is_some_and(|it| Arc::ptr_eq(it, catalog)) {
            return Ok(());
        }
        self.names.learn(catalog);
        let usage = self.usage.read(&self.sql, &self.names, now)?;
        let uses = self.uses.read(&self.sql, &self.names, now)?;
        let windows = self.windows.read(&self.sql, &self.names, now)?;
        let ratios = self.ratios.read(&self.sql, &self.names, now)?;
        let contexts = self.contexts.read(&self.sql, &self.names, now)?;
        let sessions = self.sessions.read(&self.sql, &self.names, now)?;
        let breakers = self.breakers.read(&self.sql, &self.names, now)?;
        let keys = self.keys.read(&self.sql, &self.names, now)?;
        let counts = self.counts.read(&self.sql, &self.names, now)?;
        self.restored = Some(Arc::clone(catalog));

        rooms.usage.restore(self.usage.adopt(usage));
        let (uses, windows) = (self.uses.adopt(uses), self.windows.adopt(windows));
        rooms.ledger.restore(Saved { uses, windows }, now);
        rooms.ledger.restore_ratios(self.ratios.adopt(ratios));
        rooms.ledger.restore_contexts(self.contexts.adopt(contexts));
        let mut sessions = self.sessions.adopt(sessions);
        sessions.sort_by_key(|it| it.used_unix_ms);
        rooms.sessions.restore(sessions, now);
        rooms.breakers.restore(self.breakers.adopt(breakers), now);
        rooms.callers.restore((self.keys.adopt(keys), self.counts.adopt(counts)), now);
        Ok(())
    }

    /// The rooms are asked first and left alone while the disk works.
    fn write(&mut self, rooms: &Rooms, now: Now) -> rusqlite::Result<usize> {
        let mut usage = self.usage.changes(rooms.usage.view(), now);
        let Saved { uses, windows } = rooms.ledger.snapshot(now);
        let mut uses = self.uses.changes(uses, now);
        let mut windows = self.windows.changes(windows, now);
        let mut ratios = self.ratios.changes(rooms.ledger.ratios(), now);
        let mut contexts = self.contexts.changes(rooms.ledger.contexts(now), now);
        let mut sessions = self.sessions.changes(rooms.sessions.snapshot(now), now);
        let mut breakers = self.breakers.changes(rooms.breakers.snapshot(now), now);
        let (keys, counts) = rooms.callers.snapshot(now);
        let mut keys = self.keys.changes(keys, now);
        let mut counts = self.counts.changes(counts, now);
        let due = self.usage.is_due(&usage)
            || self.uses.is_due(&uses)
            || self.windows.is_due(&windows)
            || self.ratios.is_due(&ratios)
            || self.contexts.is_due(&contexts)
            || self.sessions.is_due(&sessions)
            || self.breakers.is_due(&breakers)
            || self.keys.is_due(&keys)
            || self.counts.is_due(&counts);
        if !due {
            return Ok(0);
        }
        let transaction = self.sql.unchecked_transaction()?;
        let count = self.usage.write(&mut usage, &transaction, &self.names, now)?
            + self.uses.write(&mut uses, &transaction, &self.names, now)?
            + self.windows.write(&mut windows, &transaction, &self.names, now)?
            + self.ratios.write(&mut ratios, &transaction, &self.names, now)?
            + self.contexts.write(&mut contexts, &transaction, &self.names, now)?
            + self.sessions.write(&mut sessions, &transaction, &self.names, now)?
            + self.breakers.write(&mut breakers, &transaction, &self.names, now)?
            + self.keys.write(&mut keys, &transaction, &self.names, now)?
            + self.counts.write(&mut counts, &transaction, &self.names, now)?;
        transaction.commit()?;
        self.usage.settle(usage);
        self.uses.settle(uses);
        self.windows.settle(windows);
        self.ratios.settle(ratios);
        self.contexts.settle(contexts);
        self.sessions.settle(sessions);
        self.breakers.settle(breakers);
        self.keys.settle(keys);
        self.counts.settle(counts);
        Ok(count)
    }
}

/// Is every table there, as it is written here?
fn check_tables(sql: &Connection) -> rusqlite::Result<()> {
    Mirror::<UsageTable>::check(sql)?;
    Mirror::<UseTable>::check(sql)?;
    Mirror::<WindowTable>::check(sql)?;
    Mirror::<RatioTable>::check(sql)?;
    Mirror::<ContextTable>::check(sql)?;
    Mirror::<SessionTable>::check(sql)?;
    Mirror::<BreakerTable>::check(sql)?;
    Mirror::<KeyTable>::check(sql)?;
    Mirror::<CountTable>::check(sql)
}

#[cfg(test)]
mod tests;
