//! The log: where it goes and how its lines look.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

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
        .with_target(false)
        // A log that can't be written (a closed terminal, a full disk) must not stop the service.
        .log_internal_errors(false)
        .with_timer(LocalTime);
    // Only a log that was started before can be in the way, and then all is well.
    log.try_init().ok();
}

/// The time of day where the machine stands: a line is read by someone who is there.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", jiff::Zoned::now().strftime("%H:%M:%S%.3f"))
    }
}
