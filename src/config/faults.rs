//! What is wrong with a configuration, said so that it can be mended.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, or `environment`, or `command line`.
    pub place: String,
    /// The JSON path, the variable or the flag; empty when the place as a whole is meant.
    pub key: String,
    /// What stands there. Never a secret.
    pub got: String,
    /// What should stand there.
    pub wanted: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, got, wanted } = self;
        let gap = if key.is_empty() { "" } else { ": " };
        write!(out, "{place}{gap}{key}: got {got}; wanted {wanted}")
    }
}

/// Why the program does not start. Its text is all a user needs to read.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Something is wrong; all of it is listed.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
    /// Nothing is wrong, but there is no provider to send a request to.
    #[error("{0}")]
    NothingUsable(String),
}

fn listed(faults: &[Fault]) -> String {
    let count = match faults.len() {
        1 => "is one fault".to_owned(),
        several => format!("are {several} faults"),
    };
    let lines: Vec<_> = faults.iter().map(|it| format!("  {it}")).collect();
    format!("There {count} in the configuration:\n{}\nNothing was started.", lines.join("\n"))
}

/// Where every reader puts the faults it finds, so that one start names them all.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    pub(super) fn add(
        &self,
        place: &str,
        key: &str,
        got: impl Into<String>,
        wanted: impl Into<String>,
    ) {
        self.0.borrow_mut().push(Fault {
            place: place.to_owned(),
            key: key.to_owned(),
            got: got.into(),
            wanted: wanted.into(),
        });
    }

    pub(super) fn into_list(self) -> Vec<Fault> {
        self.0.into_inner()
    }
}
