//! A provider that answers at once and remembers when it was asked with which key.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use relayfreellm::clock::{Clock, SystemClock};

use super::http::Connection;

const ANSWER: &str = r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

/// What it got, each with its time.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Inside>);

struct Inside {
    addr: String,
    clock: SystemClock,
    got: Mutex<Vec<(Duration, String)>>,
}

impl Upstream {
    /// Listens on a port of its own until the process ends.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address").to_string();
        let clock = SystemClock::start();
        let upstream = Self(Arc::new(Inside { addr, clock, got: Mutex::default() }));
        let inside = Arc::clone(&upstream.0);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let inside = Arc::clone(&inside);
                thread::spawn(move || {
                    // It ends when the gateway goes, however it goes.
                    let _gone = Connection::over(socket).and_then(|it| inside.serve(it));
                });
            }
        });
        upstream
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.0.addr)
    }

    pub(super) fn now(&self) -> Duration {
        self.0.clock.now().monotonic
    }

    /// Requests with this key later than `since`, until `until` where that is given.
    pub(super) fn count(&self, key: &str, since: Duration, until: Option<Duration>) -> u64 {
        let got = self.0.got.lock().unwrap_or_else(PoisonError::into_inner);
        let from = got.partition_point(|(time, _)| *time <= since);
        let within = got.iter().skip(from).filter(|(time, _)| until.is_none_or(|it| *time <= it));
        u64::try_from(within.filter(|(_, it)| it == key).count()).expect("not so many")
    }

    /// When the last request but so many came with this key.
    pub(super) fn last_but(&self, key: &str, count: u64) -> Option<Duration> {
        let got = self.0.got.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = got.iter().rev().filter(|(_, it)| it == key);
        mine.map(|(time, _)| *time).nth(usize::try_from(count).expect("not so many"))
    }
}

impl Inside {
    fn serve(&self, mut connection: Connection) -> std::io::Result<()> {
        loop {
            let question = connection.receive()?;
            let key = question.head.split("Bearer ").nth(1).and_then(|it| it.lines().next());
            let key = key.unwrap_or_default().to_owned();
            let mut got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
            got.push((self.clock.now().monotonic, key));
            drop(got);
            connection.send("HTTP/1.1 200 OK", ANSWER)?;
        }
    }
}
