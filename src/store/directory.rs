//! The data directory: private, and one process's at a time.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::store::OpenError;

/// All files in the directory begin with this.
const OUR_PREFIX: &str = "relayfreellm.";
const LOCK: &str = "relayfreellm.lock";
const DATABASE: &str = "relayfreellm.sqlite3";
/// The database and its companions: what they hold may not be in the main file yet.
const DATABASE_SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Where the database of the directory `path` is.
pub(super) fn database_in(path: &Path) -> PathBuf {
    path.join(DATABASE)
}

/// A directory that belongs to this process while the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The system gives the lock up when this is closed, however the process ends.
    _lock: File,
}

impl Directory {
    /// Makes the directory where there is none, closes it to others, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let unusable = |fault| OpenError::Unusable { dir: path.to_owned(), fault };
        create_private(path).map_err(unusable)?;
        if !is_private(path).map_err(unusable)? {
            if !is_ours(path).map_err(unusable)? {
                return Err(OpenError::NotOurs { dir: path.to_owned() });
            }
            make_private(path).map_err(unusable)?;
        }
        let file = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&file).unwrap_or_default();
                let pid = pid.trim().parse().ok();
                return Err(OpenError::InUse { dir: path.to_owned(), pid });
            }
            Err(TryLockError::Error(fault)) => return Err(unusable(fault)),
        }
        let named = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        named.map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// Renames the database and its companions, and says to what.
    pub(super) fn set_database_aside(&self, unix_seconds: u64) -> io::Result<PathBuf> {
        let aside = self.path.join(format!("{DATABASE}.damaged-{unix_seconds}"));
        for suffix in DATABASE_SUFFIXES {
            let from = with_suffix(&self.database(), suffix);
            match fs::rename(from, with_suffix(&aside, suffix)) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
                _ => {}
            }
        }
        Ok(aside)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// May a directory that others can read be closed to them? Only one that was made for us: closing
/// somebody's home or `/tmp` because it was named by mistake would do harm.
fn is_ours(path: &Path) -> io::Result<bool> {
    let mut strange = false;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes()) {
            return Ok(true);
        }
        // An empty directory often comes with a `.gitkeep`.
        strange |= !name.as_encoded_bytes().starts_with(b".");
    }
    Ok(!strange && !is_shared(path)?)
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(unix)]
fn mode(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode())
}

#[cfg(unix)]
fn is_private(path: &Path) -> io::Result<bool> {
    Ok(mode(path)? & 0o7777 == 0o700)
}

/// Sticky, as `/tmp` is.
#[cfg(unix)]
fn is_shared(path: &Path) -> io::Result<bool> {
    Ok(mode(path)? & 0o1000 != 0)
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Without Unix modes a directory has its parent's access rules, and they are left as they are.
#[cfg(not(unix))]
fn is_private(_: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(not(unix))]
fn is_shared(_: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn make(dir: &Path, mode: u32, files: &[&str]) {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir(dir).expect("made");
        for file in files {
            fs::write(dir.join(file), "").expect("written");
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn only_a_directory_of_ours_is_closed_to_others() {
        let root = tempfile::tempdir().expect("a directory");
        let check = |name: &str, was: u32, files: &[&str], is: u32, claimed: bool| {
            let dir = root.path().join(name);
            make(&dir, was, files);
            assert_eq!(Directory::claim(&dir).is_ok(), claimed, "{name}");
            assert_eq!(mode(&dir).expect("known") & 0o7777, is, "{name}");
        };
        check("empty", 0o755, &[], 0o700, true);
        check("kept by git", 0o775, &[".gitkeep"], 0o700, true);
        check("ours", 0o755, &[DATABASE, "notes.txt"], 0o700, true);
        check("private", 0o700, &["notes.txt"], 0o700, true);
        check("of somebody else", 0o755, &["notes.txt"], 0o755, false);
        check("shared", 0o1777, &[], 0o1777, false);
    }

    #[test]
    fn directories_on_the_way_are_made_and_private_too() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("a/b");
        Directory::claim(&dir).expect("claimed");
        for made in [dir.as_path(), dir.parent().expect("a")] {
            assert_eq!(mode(made).expect("known") & 0o7777, 0o700);
        }
    }
}
