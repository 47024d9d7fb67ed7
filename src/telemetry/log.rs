//! The log: where it goes and how its lines look.

use std::fmt;
use std::fmt::Write as _;

use serde_json::Value;
use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

use super::line::Line;

/// What is logged when the environment says nothing.
const DEFAULT_FILTER: &str = "info";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For somebody who reads it: the time of day, the level, the words.
    #[default]
    Human,
    /// For a program: one JSON object, with `time`, `level` and `message`, and the rest under names of
    /// its own, such as `request_id`.
    Json,
}

/// Starts logging to standard error, filtered by `filter` (in `RUST_LOG`'s syntax). Called a second
/// time it does nothing.
pub fn start(filter: Option<&str>, format: LogFormat) {
    let parsed = filter.map(EnvFilter::try_new).transpose();
    let unread = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.ok().flatten().unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi && format == LogFormat::Human)
        // A log that can't be written (a closed terminal, a full disk) must not stop the service.
        .log_internal_errors(false)
        .event_format(Line);
    // Only a log that was started before can be in the way, and then all is well.
    match format {
        LogFormat::Human => log.try_init().ok(),
        LogFormat::Json => log.event_format(JsonLines).try_init().ok(),
    };
    if let Some(why) = unread {
        tracing::warn!("RUST_LOG can't be read ({why}); wanted a level such as debug");
    }
}

/// Each event as a flat JSON object on a line of its own.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let time = jiff::Timestamp::now();
        let level = event.metadata().level();
        write!(out, r#"{{"time":"{time:.3}","level":"{}""#, level.as_str().to_ascii_lowercase())?;
        let mut members = Members(String::new());
        event.record(&mut members);
        out.write_str(&members.0)?;
        out.write_str("}\n")
    }
}

/// The members of an object, each with a comma before it.
struct Members(String);

impl Members {
    fn add(&mut self, field: &Field, value: &Value) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, ",{}:{value}", Value::from(field.name()));
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::page::Page;

    #[test]
    fn a_json_line_is_one_flat_object() {
        let lines = Page::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(request_id = "req_1", ms = 5_u64, "two\n\"{}\"", "words");
            tracing::info!(fine = true, reason = ?Some(1), "plain");
        });
        let text = lines.text();
        let read: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).expect(it)).collect();
        let [first, second] = read.as_slice() else { panic!("{text}") };
        assert_eq!(first["level"], "warn");
        assert_eq!(first["message"], "two\n\"words\"");
        assert_eq!((&first["request_id"], &first["ms"]), (&"req_1".into(), &5.into()));
        assert_eq!((&second["fine"], &second["reason"]), (&true.into(), &"Some(1)".into()));
        assert!(first["time"].as_str().is_some_and(|it| it.ends_with('Z')), "{first}");
    }
}
