//! Counting the events of a stream as they come.

use std::time::Duration;

/// What has come of a stream. It counts whatever framing the bytes come in.
#[derive(Default)]
pub(crate) struct Counted {
    /// Events with data, the end mark among them.
    pub(crate) events: u64,
    /// Has the end mark come?
    pub(crate) done: bool,
    /// When the first event came, since the request was sent.
    pub(crate) first: Option<Duration>,
    /// A line that has not ended.
    line: Vec<u8>,
}

impl Counted {
    pub(crate) fn take(&mut self, mut bytes: &[u8], now: Duration) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.line(line, now);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, now);
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(bytes);
    }

    fn line(&mut self, line: &[u8], now: Duration) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        self.events += 1;
        self.done |= data.trim_ascii() == b"[DONE]";
        self.first.get_or_insert(now);
    }
}
