//! `serve`: the gateway, until it is told to stop.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app::App;
use crate::app::GRACE;
use crate::app::Reread;
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
use crate::telemetry::LogFormat;

/// Runs the gateway until Ctrl-C or SIGTERM.
pub(super) fn serve(flags: &Flags) -> ExitCode {
    let environment = &config::process_environment;
    let format = match log_format(flags, environment("RELAY_LOG_FORMAT").as_deref()) {
        Ok(format) => format,
        Err(fault) => return complain(&fault, EXIT_REFUSED),
    };
    telemetry::start(environment("RUST_LOG").as_deref(), format);
    let mut ids = IdBook::default();
    let config = match config::load(flags, environment, &mut ids) {
        Ok(config) => config,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let flags = flags.clone();
    let reread: Reread =
        Arc::new(move |ids| config::load(&flags, &config::process_environment, ids));
    match runtime {
        Ok(runtime) => runtime.block_on(run(config, ids, reread)),
        Err(fault) => complain(&format!("can't start the runtime: {fault}"), EXIT_FAILED),
    }
}

/// The flag, else the process's variable: the log begins before any file is read.
fn log_format(flags: &Flags, variable: Option<&str>) -> Result<LogFormat, String> {
    match (flags.log_json, variable.map(str::trim)) {
        (Some(true), _) | (None, Some("json")) => Ok(LogFormat::Json),
        (Some(false), _) | (None, None | Some("" | "human")) => Ok(LogFormat::Human),
        (None, Some(other)) => Err(format!(
            "environment: RELAY_LOG_FORMAT: got {other:?}; wanted \"human\" or \"json\""
        )),
    }
}

async fn run(config: Config, ids: IdBook, reread: Reread) -> ExitCode {
    // Before anything else: a signal that came first would end the process without a save.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(fault) => return complain(&format!("can't listen for signals: {fault}"), EXIT_FAILED),
    };
    let notes = config.notes.clone();
    let app = match App::start(config, ids, reread).await {
        Ok(app) => app,
        Err(fault) => return complain(&fault.to_string(), EXIT_FAILED),
    };
    for note in notes {
        tracing::info!("{note}");
    }
    say(&banner::text(&app));
    let told = loop {
        match signals.next().await {
            Told::Reload => reload(&app).await,
            Told::Stop(by) => break by,
        }
    };
    stop(app, &mut signals, told).await;
    ExitCode::SUCCESS
}

/// Lets running answers finish, unless it is told to stop once more.
async fn stop(app: App, signals: &mut Signals, told: &str) {
    tracing::info!(
        "{told}: no new requests; running answers have {} s, or until you say it again",
        GRACE.as_secs()
    );
    let hurried = app.hurried();
    let mut stopping = pin!(app.stop());
    let cut = loop {
        tokio::select! {
            cut = &mut stopping => break cut,
            told = signals.next() => match told {
                Told::Stop(_) => hurried.cancel(),
                Told::Reload => {}
            },
        }
    };
    if cut > 0 {
        tracing::warn!("answers that were still under way and have been cut: {cut}");
    }
}

async fn reload(app: &App) {
    match app.reload().await {
        Ok(done) => {
            for note in &done.notes {
                tracing::info!("{note}");
            }
            tracing::info!("SIGHUP: {}", done.in_a_line());
        }
        Err(faults) => {
            for fault in &faults {
                tracing::error!("{fault}");
            }
            tracing::error!("SIGHUP: the configuration can't be used, so nothing was changed");
        }
    }
}

/// What a signal asks for.
enum Told {
    /// To stop, by this signal.
    Stop(&'static str),
    /// To read the configuration anew.
    Reload,
}

/// Ctrl-C, SIGTERM and SIGHUP, listened for from the moment this is made.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop("Ctrl-C"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
