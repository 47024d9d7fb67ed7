//! The program itself, built and run as a user runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The program in a directory of its own, with nothing in its environment.
fn program(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayfreellm"));
    command.args(arguments).current_dir(dir).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end; gives its exit code and all it wrote.
pub(crate) fn run(
    dir: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let output = program(dir, arguments).envs(variables.iter().copied()).output();
    let output = output.expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A running gateway in a process of its own. Killed when dropped, should a test fail.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Program {
    /// Starts the gateway on a port of its own and gives its address.
    pub(crate) fn start(dir: &Path, more: &[&str], variables: &[(&str, &str)]) -> (Self, String) {
        let arguments = [&["--port", "0"], more].concat();
        Self::spawn(program(dir, &arguments).envs(variables.iter().copied()))
    }

    fn spawn(command: &mut Command) -> (Self, String) {
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let addr = line.split("http://").nth(1).and_then(|it| it.split('/').next());
        let addr = addr.unwrap_or_else(|| panic!("no address: {line}")).to_owned();
        (Self(child), addr)
    }

    /// Starts the demo with a log that takes nothing, as on a full disk or a closed terminal.
    #[cfg(target_os = "linux")]
    pub(crate) fn demo_without_log(dir: &Path) -> (Self, String) {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let mut command = program(dir, &["--port", "0", "--demo"]);
        Self::spawn(command.stderr(full))
    }

    /// Starts the demo.
    pub(crate) fn demo(dir: &Path, more: &[&str]) -> (Self, String) {
        Self::start(dir, &[&["--demo"], more].concat(), &[])
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`, for not every machine has a program of that name.
        let kill = format!("kill -{name} {}", self.0.id());
        let told = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(told.success());
    }

    /// Everything it has written into its log, once it has ended.
    pub(crate) fn log(mut self) -> String {
        self.terminate();
        let mut text = String::new();
        let stderr = self.0.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// Tells it to end and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.0.wait().expect("it ends")
    }
}

/// Asks `addr` on a connection of its own; gives the status line and all that follows. `line` is
/// the method and the path.
pub(crate) fn call(addr: &str, line: &str, body: &str) -> String {
    call_with(addr, line, "", body)
}

/// The same with more headers, each with its line end.
pub(crate) fn call_with(addr: &str, line: &str, headers: &str, body: &str) -> String {
    let mut socket = std::net::TcpStream::connect(addr).expect("a connection");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("a writable socket");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}
