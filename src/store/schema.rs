//! The database's form: its versions, and what to do with a file that does not have it.

use std::fmt::Write;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;
use rusqlite::OptionalExtension;

/// Each brings a database from the version of its place to the next. Never change one that was
/// released; add another.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6];

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

/// Virtual keys. `hash` is a key's SHA-256 in hex.
const VERSION_3: &str = "
CREATE TABLE virtual_keys (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    expires_at INTEGER,
    daily_requests INTEGER,
    daily_tokens INTEGER,
    models TEXT,
    no_training INTEGER NOT NULL
) STRICT;
CREATE TABLE virtual_key_counts (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    estimated_requests INTEGER NOT NULL,
    day TEXT NOT NULL
) STRICT;
";

/// How many tokens a model holds, where its provider has told it, and until when that is believed.
const VERSION_4: &str = "
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    until INTEGER NOT NULL,
    UNIQUE (provider, model)
) STRICT;
";

/// Answers that went on with another call's.
const VERSION_5: &str = "
ALTER TABLE usage ADD COLUMN continued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN continued_estimated INTEGER NOT NULL DEFAULT 0;
";

/// What each key has used of each model. `shared`: of a bucket of all models of the account.
const VERSION_6: &str = "
CREATE TABLE uses (
    id INTEGER PRIMARY KEY,
    saved_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    shared INTEGER NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    unit TEXT NOT NULL,
    period TEXT NOT NULL,
    reset TEXT NOT NULL,
    entries TEXT NOT NULL,
    UNIQUE (provider, key, model, unit, period, reset)
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

/// Opens the database `file` to be read alone, where it has the latest form. A directory that can't
/// be written to is enough.
pub(super) fn open_to_read(file: &Path) -> Result<(Connection, Salt), Unfit> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = |sql: Connection| {
        check(&sql)?;
        let found: i64 = sql.query_row("PRAGMA user_version", (), |row| row.get(0))?;
        let (known, found) = (MIGRATIONS.len(), usize::try_from(found).unwrap_or_default());
        if found != known {
            return Err(Unfit::Newer { found, known });
        }
        let salt = saved_salt(&sql)?.ok_or_else(|| Unfit::Damaged("no salt".to_owned()))?;
        Ok((sql, salt))
    };
    // What a process that was killed had written last is in a log beside the file.
    if file.with_extension("sqlite3-wal").exists()
        && let Ok(sql) = Connection::open_with_flags(file, flags)
        && let Ok(opened) = read(sql)
    {
        return Ok(opened);
    }
    // Where no companion may be made it can be read only as a file that nobody changes.
    read(Connection::open_with_flags(unchanging(file), flags | OpenFlags::SQLITE_OPEN_URI)?)
}

/// The URI of a file that nobody changes.
fn unchanging(file: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            it if it.is_ascii_alphanumeric() => uri.push(char::from(*it)),
            // Writing to a string cannot fail.
            it => {
                let _ = write!(uri, "%{it:02X}");
            }
        }
    }
    uri + "?immutable=1"
}

/// Opens the database `file`, an empty one where there is none, and brings it to the latest form.
/// `new_salt` is for a database that has none yet.
pub(super) fn open(file: &Path, new_salt: &Salt) -> Result<(Connection, Salt), Unfit> {
    // Without SQLITE_OPEN_URI: a path that begins with `file:` is still a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(file, flags)?;
    check(&sql)?;
    if sql.query_row("PRAGMA page_count", (), |row| row.get::<_, i64>(0))? == 0 {
        // A new file holds nothing that a power failure could take. Waiting for the disk after each step of
        // making it would be most of the time that a first start takes.
        sql.execute_batch("PRAGMA synchronous = OFF")?;
    }
    migrate(&sql)?;
    let salt = salt(&sql, new_salt)?;
    // Last, for it changes the file. With the log, what was committed survives the end of the process at any moment. NORMAL does
    // not wait for the disk at each commit: a power failure may lose the latest commits (never the
    // file), which is no more than those of a crash a little earlier would.
    sql.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    Ok((sql, salt))
}

fn check(sql: &Connection) -> Result<(), Unfit> {
    let verdict: String = sql.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Unfit::Damaged(verdict)) }
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
    if let Some(salt) = saved_salt(sql)? {
        return Ok(salt);
    }
    sql.execute("INSERT INTO meta (name, value) VALUES ('salt', ?1)", [new])?;
    Ok(*new)
}

fn saved_salt(sql: &Connection) -> Result<Option<Salt>, Unfit> {
    let find = "SELECT value FROM meta WHERE name = 'salt'";
    let found: Option<Vec<u8>> = sql.query_row(find, (), |row| row.get(0)).optional()?;
    let whole =
        |it: Vec<u8>| Salt::try_from(it).map_err(|_| Unfit::Damaged("its salt is cut".to_owned()));
    found.map(whole).transpose()
}
