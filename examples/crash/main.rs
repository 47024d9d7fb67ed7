//! Kills a gateway under load, again and again, and checks after each restart that it knows what it
//! has spent.
//!
//! `cargo build && cargo run --example crash [-- KILLS [SEED]]` (1,000 kills unless told otherwise; about 15
//! minutes) kills the program beside it in `target/` and prints what it found. It stops at the first
//! thing that is not as it should be.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a check may stop where something is wrong"
)]

mod lab;

use std::io::Write as _;
use std::time::Duration;

use lab::Trial;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |usual: u64| arguments.next().map_or(usual, |it| it.parse().expect("a number"));
    let (kills, seed) = (number(1_000), number(1));
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).expect("target/debug/examples/crash lies deep");
    let trial =
        Trial { program: target.join("relayfreellm"), kills, seed, latest: Duration::from_secs(1) };
    let found = trial.run();
    writeln!(std::io::stdout().lock(), "{found}")
}
