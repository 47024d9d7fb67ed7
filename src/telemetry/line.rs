//! How a line of the log looks: time of day, level, what happened, and its fields.
//!
//! The formatter that tracing-subscriber brings looks at every character of every field on its way
//! and asks for the time zone each time; on the one line a request leaves that is 10,000
//! instructions. This one writes the same line with a third of them.

use std::cell::Cell;
use std::fmt::{self, Debug, Write};

use jiff::{Timestamp, tz::TimeZone};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes an event as one line.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
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
        let level = event.metadata().level();
        let (dim, color, plain) = if out.has_ansi_escapes() {
            ("\u{1b}[2m", color(*level), "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        out.write_str(dim)?;
        write_time(&mut out, Timestamp::now())?;
        for part in [plain, " ", color, name(*level), plain] {
            out.write_str(part)?;
        }
        let mut fields = Fields { text: TEXT.take(), written: Ok(()) };
        event.record(&mut fields);
        let Fields { mut text, written } = fields;
        let written = written.and_then(|()| write_printable(&mut out, &text));
        text.clear();
        TEXT.set(text);
        written?;
        out.write_char('\n')
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => " WARN",
        Level::INFO => " INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

thread_local! {
    /// The last second that was written, and its time of day: most lines share theirs with another.
    static SECOND: Cell<(i64, [u8; 9])> = const { Cell::new((i64::MIN, [0; 9])) };
    /// Room for what an event says.
    static TEXT: Cell<String> = const { Cell::new(String::new()) };
}

/// The time of day where the machine stands: a line is read by someone who is there.
fn write_time(out: &mut impl Write, now: Timestamp) -> fmt::Result {
    let (second, ms) = (now.as_second(), now.subsec_millisecond());
    let (last, mut time) = SECOND.get();
    if last != second {
        let there = TimeZone::system().to_datetime(now);
        let parts = [there.hour(), there.minute(), there.second()].map(digits);
        for (place, digits) in time.chunks_exact_mut(3).zip(parts) {
            place.copy_from_slice(&[digits[0], digits[1], b':']);
        }
        SECOND.set((second, time));
    }
    let [_, hundreds] = digits(ms / 100);
    let [tens, ones] = digits(ms % 100);
    let time = time.get(..time.len() - 1).unwrap_or_default();
    for part in [time, b".", &[hundreds, tens, ones]] {
        out.write_str(str::from_utf8(part).unwrap_or_default())?;
    }
    Ok(())
}

/// A number below 100 in two digits.
fn digits(number: impl TryInto<u8>) -> [u8; 2] {
    let number = number.try_into().unwrap_or_default();
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

/// What an event says, message and fields.
struct Fields {
    text: String,
    written: fmt::Result,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = |it: u8| it.is_ascii_graphic() && it != b'"' && it != b'\\';
        if field.name() != "message" && value.bytes().all(plain) {
            // As `Debug` would write it.
            for part in [" ", field.name(), "=\"", value, "\""] {
                self.text.push_str(part);
            }
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.written.is_ok() {
            self.written = match field.name() {
                "message" => write!(self.text, " {value:?}"),
                name => write!(self.text, " {name}={value:?}"),
            };
        }
    }
}

/// Lets nothing through that could move a cursor or begin a line of its own: what a provider says
/// is quoted in the log.
fn write_printable(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    // Summed up rather than searched, in bytes: that is done many at a time.
    let is_odd = |it: u8| u8::from(it.wrapping_sub(b' ') > b'~' - b' ');
    if text.bytes().fold(0, |odd, it| odd | is_odd(it)) == 0 {
        return out.write_str(text);
    }
    for character in text.chars() {
        if character.is_control() {
            write!(out, "{}", character.escape_default())?;
        } else {
            out.write_char(character)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::page::Page;

    fn logged(ansi: bool, log: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let log_to = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(ansi)
            .event_format(Line);
        tracing::subscriber::with_default(log_to.finish(), log);
        page.text()
    }

    #[test]
    fn a_line_holds_time_level_message_and_fields() {
        let line = logged(false, || tracing::warn!(error = %"x y", n = 3, "it {}", "broke"));
        let (time, rest) = line.split_at(12);
        assert_eq!(rest, "  WARN it broke error=x y n=3\n");
        let digits = time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it });
        assert_eq!(digits.collect::<String>(), "00:00:00.000");
        let line = logged(true, || tracing::error!("gone"));
        assert!(line.ends_with("\u{1b}[31mERROR\u{1b}[0m gone\n"), "{line:?}");
    }

    #[test]
    fn nothing_said_can_move_the_cursor_or_begin_a_line() {
        let line = logged(false, || tracing::info!("a\nb\u{1b}[2J\tné 日本 {}", "\r"));
        assert!(line.ends_with("a\\nb\\u{1b}[2J\\tné 日本 \\r\n"), "{line:?}");
    }

    #[test]
    fn the_second_is_kept_and_the_millisecond_is_not() {
        let at = |ms| {
            let mut out = String::new();
            write_time(&mut out, Timestamp::from_millisecond(ms).unwrap()).unwrap();
            out
        };
        let there = Timestamp::from_millisecond(1_700_000_000_007).unwrap();
        let there = there.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string();
        assert_eq!(at(1_700_000_000_007), there);
        assert_eq!(at(1_700_000_000_450)[..9], there[..9]);
        assert_ne!(at(1_700_000_001_007), there);
    }
}
