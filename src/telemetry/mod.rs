//! What people watch: the log, and counters for Prometheus.

mod line;
mod log;
mod metrics;
#[cfg(test)]
mod page;
mod plain;

pub use log::LogFormat;
pub use log::start;
pub use metrics::Metrics;
pub use metrics::OpenStream;
pub use metrics::QuotaLeft;
pub use plain::plain;
