//! The program `relayfreellm`.

use std::process::ExitCode;

/// Spares a short request a twelfth of its instructions (`scripts/instructions.sh`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    relayfreellm::cli::run()
}
