//! The log: where it goes and how its lines look.

use tracing_subscriber::EnvFilter;

use super::line::Line;

/// What is logged when the environment says nothing.
const DEFAULT_FILTER: &str = "info";

/// Starts logging to standard error, filtered by `filter` (in `RUST_LOG`'s syntax). Called a second
/// time it does nothing.
pub fn start(filter: Option<&str>) {
    let parsed = filter.and_then(|it| EnvFilter::try_new(it).ok());
    let filter = parsed.unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        // A log that can't be written (a closed terminal, a full disk) must not stop the service.
        .log_internal_errors(false)
        .event_format(Line);
    // Only a log that was started before can be in the way, and then all is well.
    log.try_init().ok();
}
