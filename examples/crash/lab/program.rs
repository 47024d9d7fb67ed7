//! The gateway as a user runs it, until it is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A gateway in a process of its own.
pub(super) struct Program(Child);

impl Program {
    /// Starts it with the files in `dir` and these keys; does not wait until it listens.
    pub(super) fn spawn(program: &Path, dir: &Path, keys: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(["--port", "0", "--data-dir", "data"]);
        command.current_dir(dir).env_clear().envs(keys.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|it| panic!("{}: {it}", program.display())))
    }

    /// Waits until it listens and gives its address.
    pub(super) fn addr(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let addr = line.split("http://").nth(1).and_then(|it| it.split('/').next());
        addr.unwrap_or_else(|| panic!("no address: {line}")).to_owned()
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}
