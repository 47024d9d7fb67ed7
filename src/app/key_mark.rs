//! Remembers that there have been virtual keys, so that chat still wants one when the last is gone, or
//! when the database is.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::callers::Callers;

/// What whoever finds the file reads in it.
const CONTENT: &str = "\
There are virtual keys of relayfreellm here, or there were: chat wants one of them.
When there is none any more, delete this file to open the gateway to everybody again.
";

/// A file beside the database, which is there from the first key on.
#[derive(Debug)]
pub(super) struct KeyMark {
    path: PathBuf,
}

impl KeyMark {
    pub(super) fn in_directory(dir: &Path) -> Self {
        Self { path: dir.join("relayfreellm.had-keys") }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells `callers` of keys that there were, and remembers those that there are.
    pub(super) fn compare(&self, callers: &Callers) {
        if self.is_there() {
            callers.had_others();
        } else if !callers.is_empty()
            && let Err(fault) = self.set()
        {
            tracing::warn!(
                "{}: {fault}; should the database be lost, the gateway will not know that there were \
                 virtual keys",
                self.path.display()
            );
        }
    }

    /// Where the system does not say, nobody is let in by mistake. What is no directory has never held it.
    fn is_there(&self) -> bool {
        let nowhere = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        fs::metadata(&self.path).map_or_else(|it| !nowhere.contains(&it.kind()), |_| true)
    }

    fn set(&self) -> io::Result<()> {
        let fresh = self.path.with_extension("had-keys.new");
        let mut file = File::create(&fresh)?;
        file.write_all(CONTENT.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_were_keys_is_known_to_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let mark = KeyMark::in_directory(dir.path());
        let is_open = || {
            let callers = Callers::new();
            mark.compare(&callers);
            callers.is_empty()
        };
        assert!(is_open() && is_open());
        let callers = Callers::new();
        callers.had_others();
        mark.compare(&callers);
        assert!(!is_open());
        fs::remove_file(mark.path()).unwrap();
        assert!(is_open());
        let file = dir.path().join("no directory");
        fs::write(&file, "").unwrap();
        assert!(!KeyMark::in_directory(&file).is_there());
    }
}
