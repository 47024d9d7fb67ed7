//! The database's form: its versions, and what to do with a file that does not have it.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;
use rusqlite::OptionalExtension;

/// Each brings a database from the version of its place to the next. Never change one that was
/// released; add another.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

/// `saved_at` and other times are milliseconds since 1970. Empty text stands where a row is for all
/// models or keys, for a unique constraint takes no two NULLs as the same.
const VERSION_1: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE usage (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    estimated_requests INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    UNIQUE (provider, model)
) STRICT;
CREATE TABLE windows (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    unit TEXT NOT NULL,
    period TEXT NOT NULL,
    reset TEXT NOT NULL,
    entries TEXT NOT NULL,
    learned_max INTEGER,
    learned_until INTEGER,
    spent_until INTEGER,
    UNIQUE (provider, account, model, unit, period, reset)
) STRICT;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    session TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
CREATE TABLE breakers (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    level INTEGER NOT NULL,
    open_until INTEGER NOT NULL,
    UNIQUE (provider, key, model)
) STRICT;
";

/// How many tokens a model makes of one that is estimated.
const VERSION_2: &str = "
CREATE TABLE ratios (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    ratio REAL NOT NULL,
    UNIQUE (provider, model)
) STRICT;
";

/// Random bytes of this file that keyed hashes are made with.
pub(super) type Salt = [u8; 32];

/// Why a database can't be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is no database, or broken, or not ours.
    Damaged(String),
    /// A later program made it.
    Newer {
        /// Its version.
        found: usize,
        /// The latest one known here.
        known: usize,
    },
    /// It may be sound; the system does not let us see.
    Unreachable(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            // Our own statements don't fit what is in the file.
            rusqlite::Error::SqlInputError { msg, .. } => Self::Damaged(msg.clone()),
            rusqlite::Error::SqliteFailure(cause, _)
                if matches!(
                    cause.code,
                    ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            _ => Self::Unreachable(error),
        }
    }
}

/// Opens the database `file`, an empty one where there is none, and brings it to the latest form.
/// `new_salt` is for a database that has none yet.
pub(super) fn open(file: &Path, new_salt: &Salt) -> Result<(Connection, Salt), Unfit> {
    // Without SQLITE_OPEN_URI: a path that begins with `file:` is still a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(file, flags)?;
    let verdict: String = sql.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unfit::Damaged(verdict));
    }
    migrate(&sql)?;
    let salt = salt(&sql, new_salt)?;
    // Last, for it changes the file. With the log, what was committed survives the end of the process at any moment. NORMAL does
    // not wait for the disk at each commit: a power failure may lose the latest commits (never the
    // file), which is no more than those of a crash a little earlier would.
    sql.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    Ok((sql, salt))
}

fn migrate(sql: &Connection) -> Result<(), Unfit> {
    let known = MIGRATIONS.len();
    let version: i64 = sql.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    let found = usize::try_from(version)
        .map_err(|_| Unfit::Damaged(format!("schema version {version}")))?;
    let Some(missing) = MIGRATIONS.get(found..) else { return Err(Unfit::Newer { found, known }) };
    if missing.is_empty() {
        return Ok(());
    }
    let change = sql.unchecked_transaction()?;
    for migration in missing {
        change.execute_batch(migration)?;
    }
    change.execute_batch(&format!("PRAGMA user_version = {known}"))?;
    change.commit()?;
    Ok(())
}

fn salt(sql: &Connection, new: &Salt) -> Result<Salt, Unfit> {
    let find = "SELECT value FROM meta WHERE name = 'salt'";
    let found: Option<Vec<u8>> = sql.query_row(find, (), |row| row.get(0)).optional()?;
    if let Some(salt) = found {
        return salt.try_into().map_err(|_| Unfit::Damaged("its salt is cut".to_owned()));
    }
    sql.execute("INSERT INTO meta (name, value) VALUES ('salt', ?1)", [new])?;
    Ok(*new)
}
