//! Sudden ends under load, a few of them; `examples/crash` kills a thousand times.

use std::path::PathBuf;
use std::time::Duration;

#[path = "../../examples/crash/lab/mod.rs"]
mod lab;

#[test]
fn killed_under_load_it_knows_what_it_spent() {
    let trial = lab::Trial {
        program: PathBuf::from(env!("CARGO_BIN_EXE_relayfreellm")),
        kills: 10,
        seed: 1,
        // Twice what is promised: on a busy machine the thread that saves may have to wait.
        latest: Duration::from_secs(2),
    };
    let found = trial.run();
    assert!(found.kills == 10 && found.reached > 200, "{found}");
}
