//! What the gateway writes into its log.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

thread_local! {
    /// What has been logged on this thread since its test began to listen.
    static CAUGHT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// All that is logged on this test's thread, where the whole gateway runs, at the finest level. One
/// subscriber serves all tests: with one each, a call site that another thread has just passed may be
/// taken for one that nobody listens to.
pub(crate) struct Log;

impl Log {
    /// Listens until it is dropped.
    pub(crate) fn catch() -> Self {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let listening = dynamic_filter_fn(|_, _| CAUGHT.with_borrow(Option::is_some));
            let lines = fmt::layer().with_ansi(false).with_writer(|| Writer).with_filter(listening);
            tracing_subscriber::registry().with(lines).init();
        });
        CAUGHT.set(Some(Vec::new()));
        Self
    }

    #[expect(clippy::unused_self, reason = "what is read is caught only while this lives")]
    /// The lines so far.
    pub(crate) fn text(&self) -> String {
        CAUGHT.with_borrow(|it| {
            String::from_utf8_lossy(it.as_deref().unwrap_or_default()).into_owned()
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        CAUGHT.set(None);
    }
}

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAUGHT.with_borrow_mut(|it| it.get_or_insert_default().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
