//! A steady mixture, every answer of which is checked.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Fallible;
use crate::Shared;
use crate::Target;
use crate::tell;
use crate::times::Times;
use crate::wire::Connection;

/// The longest an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a provider that fails is asked for the right answer.
const TRIES: usize = 50;
/// Kinds of bad answers that are told apart.
const KINDS: usize = 20;
/// Bytes of a bad answer that are shown.
const SHOWN: usize = 300;

/// What is to be done.
pub(crate) struct Plan {
    targets: Vec<Target>,
    host: String,
    connections: usize,
    rate: f64,
    length: Duration,
    tick: Duration,
    aborts: u8,
}

impl Plan {
    pub(crate) fn new(
        shared: &Shared,
        bodies: &[Vec<u8>],
        rate: f64,
        aborts: u8,
        tick: f64,
    ) -> Fallible<Self> {
        let targets = targets(&shared.url, &shared.headers, bodies)?;
        Ok(Self {
            host: targets.first().ok_or("no body")?.address.host.clone(),
            targets,
            connections: shared.connections,
            rate,
            length: Duration::from_secs_f64(shared.seconds),
            tick: Duration::from_secs_f64(tick),
            aborts,
        })
    }

    /// Carries it out, and prints a line with what came of it every tick.
    pub(crate) async fn run(self, truth: &str, bodies: &[Vec<u8>]) -> Fallible<()> {
        let right = Right::ask(&targets(truth, &[], bodies)?).await?;
        let began = Instant::now();
        let (tick, until) = (self.tick, began + self.length);
        let soak = Arc::new(Soak { plan: self, right, began, seen: Mutex::default() });
        let mut workers = JoinSet::new();
        for number in 0..soak.plan.connections {
            workers.spawn(Arc::clone(&soak).work(number));
        }
        let mut at = began + tick;
        while at < until {
            sleep_until(at).await;
            soak.report()?;
            at += tick;
        }
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        soak.report()
    }
}

/// Each body plain and as a stream.
fn targets(url: &str, headers: &[String], bodies: &[Vec<u8>]) -> Fallible<Vec<Target>> {
    let both =
        |body: &Vec<u8>| [false, true].map(|streamed| Target::new(url, headers, body, streamed));
    bodies.iter().flat_map(both).collect()
}

/// The texts that answers must have.
struct Right {
    whole: String,
    streamed: String,
}

impl Right {
    /// The provider may be one that fails at times.
    async fn ask(targets: &[Target]) -> Fallible<Self> {
        let mut right = Self { whole: String::new(), streamed: String::new() };
        for target in targets.iter().take(2) {
            for _ in 0..TRIES {
                let Ok(mut connection) = Connection::open(&target.address.host).await else {
                    continue;
                };
                if connection.send(&target.request).await.is_err() {
                    continue;
                }
                let mut body = Vec::new();
                let status = connection.receive(keep(&mut body)).await;
                let text = said(&body, target.streamed);
                if let (Ok(200), Some(text)) = (status, text) {
                    let place =
                        if target.streamed { &mut right.streamed } else { &mut right.whole };
                    *place = text;
                    break;
                }
            }
        }
        if right.whole.is_empty() || right.streamed.is_empty() {
            return Err("the provider gave no right answer".into());
        }
        Ok(right)
    }
}

fn keep(body: &mut Vec<u8>) -> impl FnMut(&[u8]) -> bool {
    |it| {
        body.extend_from_slice(it);
        true
    }
}

/// What has happened since the last report.
#[derive(Default)]
struct Seen {
    good: u64,
    aborted: u64,
    times: Times,
    bad: BTreeMap<String, u64>,
}

struct Soak {
    plan: Plan,
    right: Right,
    began: Instant,
    seen: Mutex<Seen>,
}

/// How a caller behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Stays,
    /// Leaves as soon as it has asked.
    LeavesAtOnce,
    /// Leaves with the first piece of the answer.
    LeavesInBetween,
}

impl Soak {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> Fallible<()> {
        let seen = std::mem::take(&mut *self.seen());
        let bad: u64 = seen.bad.values().sum();
        tell(
            &json!({
                "at": self.began.elapsed().as_secs_f64().round(), "good": seen.good,
                "aborted": seen.aborted, "bad": bad, "why": seen.bad,
                "us": [seen.times.percentile(50), seen.times.percentile(99)],
            })
            .to_string(),
        )
    }

    /// One connection after another, with requests at its share of the rate.
    async fn work(self: Arc<Self>, number: usize) {
        let mut rng = Rng::with_seed(u64::try_from(number).unwrap_or_default());
        let workers = f64::from(u32::try_from(self.plan.connections).unwrap_or(u32::MAX));
        let each = if self.plan.rate > 0.0 { workers / self.plan.rate } else { 0.0 };
        let each = Duration::from_secs_f64(each);
        let mut due = self.began + each.mul_f64(rng.f64());
        let until = self.began + self.plan.length;
        let mut kept = None;
        loop {
            // Who is late does not make up for it: the rate is a bound.
            due = (due + each).max(Instant::now());
            if due >= until {
                return;
            }
            sleep_until(due).await;
            let connection = match kept.take() {
                Some(connection) => connection,
                None => match Connection::open(&self.plan.host).await {
                    Ok(connection) => connection,
                    Err(fault) => {
                        self.bad(format!("connecting: {}", fault.kind()));
                        due += Duration::from_millis(100);
                        continue;
                    }
                },
            };
            kept = self.ask(connection, &mut rng).await;
        }
    }

    /// Gives the connection back if it can be used again.
    async fn ask(&self, mut connection: Connection, rng: &mut Rng) -> Option<Connection> {
        let target = self.plan.targets.get(rng.usize(0..self.plan.targets.len()))?;
        let caller = match (rng.u8(0..100) < self.plan.aborts, rng.bool()) {
            (false, _) => Caller::Stays,
            (true, true) => Caller::LeavesAtOnce,
            (true, false) => Caller::LeavesInBetween,
        };
        let began = Instant::now();
        let mut body = Vec::new();
        let asking = async {
            connection.send(&target.request).await?;
            if caller == Caller::LeavesAtOnce {
                return Ok(None);
            }
            let mut keep = keep(&mut body);
            let status = connection.receive(|it| keep(it) && caller == Caller::Stays).await?;
            io::Result::Ok(Some(status))
        };
        let answer = timeout(PATIENCE, asking).await;
        if caller != Caller::Stays {
            self.seen().aborted += 1;
            return None;
        }
        let status = match answer {
            Ok(Ok(status)) => status,
            Ok(Err(fault)) => return self.bad(format!("broken: {}", fault.kind())),
            Err(_) => return self.bad("nothing for a minute".to_owned()),
        };
        let right = if target.streamed { &self.right.streamed } else { &self.right.whole };
        if status == Some(200) && said(&body, target.streamed).as_ref() == Some(right) {
            let mut seen = self.seen();
            seen.good += 1;
            seen.times.add(began.elapsed());
        } else {
            let shown = body.len().saturating_sub(SHOWN);
            let shown = String::from_utf8_lossy(body.get(shown..).unwrap_or_default());
            self.bad(format!("{}: ...{shown}", status.unwrap_or_default()));
        }
        Some(connection)
    }

    fn bad(&self, why: String) -> Option<Connection> {
        let mut seen = self.seen();
        let many = seen.bad.len() >= KINDS && !seen.bad.contains_key(&why);
        *seen.bad.entry(if many { "others".to_owned() } else { why }).or_default() += 1;
        None
    }
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "delta")]
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

/// The text of an answer; `None` when it is not complete or no answer at all.
fn said(body: &[u8], streamed: bool) -> Option<String> {
    if !streamed {
        return text(body);
    }
    let mut all = String::new();
    let mut ended = false;
    for line in body.split(|it| *it == b'\n') {
        let Some(data) = line.strip_prefix(b"data:") else { continue };
        match data.trim_ascii() {
            b"[DONE]" => ended = true,
            data => all.push_str(&text(data)?),
        }
    }
    ended.then_some(all)
}

fn text(json: &[u8]) -> Option<String> {
    let answer: Answer = serde_json::from_slice(json).ok()?;
    let first = answer.choices.into_iter().next();
    Some(first.and_then(|it| it.message.content).unwrap_or_default())
}
