//! Reads configuration files, or says why it cannot.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::io::Read;

use super::faults::Faults;
use super::flags::FileChoice;

/// The content of `choice`; `built_in` when the usual file is missing; `None` after a fault.
pub(super) fn content(
    choice: &FileChoice,
    built_in: &'static str,
    faults: &Faults,
) -> Option<Cow<'static, [u8]>> {
    let got = match read(choice) {
        Ok(bytes) => return Some(Cow::Owned(bytes)),
        Err(Unread::Missing) if !choice.named => return Some(Cow::Borrowed(built_in.as_bytes())),
        Err(Unread::Missing) => "no such file".to_owned(),
        Err(Unread::Directory) => "a directory".to_owned(),
        Err(Unread::TooBig) => "more than 16 MiB".to_owned(),
        Err(Unread::Broken(error)) => format!("an error on reading it ({error})"),
    };
    faults.add(&place(choice), "", got, "a file that can be read");
    None
}

/// How faults name the file.
pub(super) fn place(choice: &FileChoice) -> String {
    choice.path.display().to_string()
}

enum Unread {
    Missing,
    Directory,
    TooBig,
    Broken(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Broken(error),
        }
    }
}

fn read(choice: &FileChoice) -> Result<Vec<u8>, Unread> {
    /// A device such as `/dev/zero` never ends.
    const MOST_BYTES: usize = 16 << 20;
    let file = File::open(&choice.path)?;
    if file.metadata()?.is_dir() {
        return Err(Unread::Directory);
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_BYTES { Err(Unread::TooBig) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(choice: &FileChoice, wanted: Option<&[u8]>, fault: &str) {
        let faults = Faults::default();
        assert_eq!(content(choice, "built in", &faults).as_deref(), wanted);
        let got: String = faults.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(got.replace(&place(choice), "FILE"), fault);
    }

    #[test]
    fn a_named_file_must_be_there_and_the_usual_one_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        check(&FileChoice::usual(&missing), Some(b"built in"), "");
        let fault = "FILE: got no such file; wanted a file that can be read";
        check(&FileChoice::named(&missing), None, fault);
        let fault = "FILE: got a directory; wanted a file that can be read";
        check(&FileChoice::usual(dir.path()), None, fault);
        let there = dir.path().join("there");
        std::fs::write(&there, b"\xffwritten").unwrap();
        check(&FileChoice::usual(&there), Some(b"\xffwritten"), "");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_without_end_is_refused() {
        let fault = "FILE: got more than 16 MiB; wanted a file that can be read";
        check(&FileChoice::named("/dev/zero"), None, fault);
    }
}
