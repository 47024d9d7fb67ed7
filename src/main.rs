//! The program `relayfreellm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    relayfreellm::cli::run()
}
