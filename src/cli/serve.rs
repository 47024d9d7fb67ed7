//! `serve`: the gateway, until it is told to stop.

use std::process::ExitCode;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app::App;
use crate::catalog::IdBook;
use crate::cli::EXIT_FAILED;
use crate::cli::EXIT_REFUSED;
use crate::cli::banner;
use crate::cli::complain;
use crate::cli::say;
use crate::config;
use crate::config::Config;
use crate::config::Flags;
use crate::telemetry;

/// Runs the gateway until Ctrl-C or SIGTERM.
pub(super) fn serve(flags: &Flags) -> ExitCode {
    let environment = &config::process_environment;
    telemetry::start(environment("RUST_LOG").as_deref());
    let mut ids = IdBook::default();
    let config = match config::load(flags, environment, &mut ids) {
        Ok(config) => config,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(config, ids)),
        Err(fault) => complain(&format!("can't start the runtime: {fault}"), EXIT_FAILED),
    }
}

async fn run(config: Config, ids: IdBook) -> ExitCode {
    // Before anything else: a signal that came first would end the process without a save.
    let stop = match StopSignals::new() {
        Ok(stop) => stop,
        Err(fault) => return complain(&format!("can't listen for signals: {fault}"), EXIT_FAILED),
    };
    let notes = config.notes.clone();
    let app = match App::start(config, ids).await {
        Ok(app) => app,
        Err(fault) => return complain(&fault.to_string(), EXIT_FAILED),
    };
    for note in notes {
        tracing::info!("{note}");
    }
    say(&banner::text(&app));
    let told = stop.wait().await;
    tracing::info!("{told}: no new requests; running answers may finish");
    let cut = app.stop().await;
    if cut > 0 {
        tracing::warn!("{cut} connections were still open after 30 s and were closed");
    }
    ExitCode::SUCCESS
}

/// Ctrl-C and SIGTERM, listened for from the moment this is made.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for either and says which it was.
    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
