//! The commands a user types.

pub mod args;
mod banner;
mod check;
mod gateway;
mod keys;
mod serve;
mod status;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use args::Command;
use args::CommandLine;

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let (command, flags) = CommandLine::parse().into_parts();
    match command {
        Command::Serve => serve::serve(&flags),
        Command::Check => check::check(&flags),
        Command::Status => status::status(&flags),
        Command::Keys { command } => keys::keys(&command, &flags),
    }
}

/// A configuration that can't be used.
const EXIT_REFUSED: u8 = 2;
/// Anything else that stood in the way.
const EXIT_FAILED: u8 = 1;

fn complain(text: &str, code: u8) -> ExitCode {
    // A closed standard error is no reason to fail differently.
    writeln!(std::io::stderr().lock(), "relayfreellm: {text}").ok();
    ExitCode::from(code)
}

fn say(text: &str) {
    // So is a closed standard output.
    writeln!(std::io::stdout().lock(), "{text}").ok();
}
