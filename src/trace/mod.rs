//! Why an answer came from where it did: what happened to each of the last requests, without a word
//! of what was asked or answered.
//!
//! A record is filled in while its request is under way, as facts that take no formatting, and is
//! written out when somebody asks for it.

mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::Now;
use crate::quota::Left;

/// Requests that are remembered.
const REMEMBERED: usize = 1_000;
/// Candidates that are remembered of one request; more are counted.
const MOST_CANDIDATES: usize = 64;

/// What happened to one request.
#[derive(Debug)]
pub struct Record {
    /// Under which id it was answered.
    pub request_id: Arc<str>,
    /// The virtual key it came with.
    pub key: Option<Arc<str>>,
    /// The model as it was named.
    pub requested: Arc<str>,
    /// Was a stream asked for?
    pub stream: bool,
    /// Were only providers asked that are known not to train on prompts?
    pub no_training: bool,
    /// Was it passed on as it came, and to one provider alone?
    pub strict: bool,
    /// When it began.
    pub began: Now,
    /// Models that could answer at all, of how many.
    pub eligible: (usize, usize),
    /// Models that were asked for and could not answer, with what each lacks, and how many there are.
    pub ruled_out: (Vec<(Arc<str>, String)>, usize),
    /// Time spent waiting for quota.
    pub waited: Duration,
    /// What was done to the history, where it was cut.
    pub context: Option<String>,
    /// What the normaliser was to do, and whether it changed anything.
    pub normalizer: (&'static str, bool),
    candidates: Vec<Candidate>,
    unremembered: usize,
    /// How it ended.
    pub ending: Ending,
}

/// One key with one model, in the order in which they were looked at.
#[derive(Debug)]
pub struct Candidate {
    /// `<provider>/<model>`.
    pub model: Arc<str>,
    /// The key's last characters.
    pub key: Arc<str>,
    /// Since the request began.
    pub at: Duration,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a candidate.
#[derive(Debug)]
pub enum Fate {
    /// It was not asked.
    PassedOver(Obstacle),
    /// It was asked.
    Asked(Call),
}

/// What stood in a candidate's way.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle {
    /// In a word: `quota`, `concurrency`, `breaker` or `not_configured`.
    pub what: &'static str,
    /// Which: the window's unit, or what opened the breaker.
    pub which: &'static str,
    /// The window's period; empty for a breaker.
    pub period: &'static str,
    /// Until when, since the request began; `None` when nobody knows.
    pub until: Option<Duration>,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// When its stream began, since it was asked.
    pub first_token: Option<Duration>,
    /// How long it took; `None` while it is under way.
    pub took: Option<Duration>,
    /// What went wrong, in a word, with the provider's status; `None` when it answered.
    pub fault: Option<(&'static str, Option<u16>)>,
    /// What its quota had left before it.
    pub before: Left,
    /// What it had left when the call was in the books.
    pub after: Option<Left>,
}

/// How a request ended.
#[derive(Debug, Default)]
pub enum Ending {
    /// The caller has gone.
    #[default]
    Abandoned,
    /// With an answer, and so many tokens of prompt and completion.
    Answered(u64, u64),
    /// With an error: its status and code.
    Failed(u16, Option<String>),
    /// In the middle of an answer.
    Broken,
    /// This gateway has ended it before its time, for this reason.
    Cut(&'static str),
}

impl Record {
    /// A record of a request that begins.
    pub fn begin(request_id: Arc<str>, requested: Arc<str>, began: Now) -> Self {
        Self {
            request_id,
            key: None,
            requested,
            stream: false,
            no_training: false,
            strict: false,
            began,
            eligible: (0, 0),
            ruled_out: (Vec::new(), 0),
            waited: Duration::ZERO,
            context: None,
            normalizer: ("off", false),
            candidates: Vec::new(),
            unremembered: 0,
            ending: Ending::default(),
        }
    }

    /// A candidate has been looked at.
    pub fn note(&mut self, model: &Arc<str>, key: &Arc<str>, fate: Fate, now: Now) {
        // One that was asked is worth more than one that was passed over.
        let passed_over = |it: &Candidate| matches!(it.fate, Fate::PassedOver(_));
        if self.candidates.len() >= MOST_CANDIDATES {
            self.unremembered += 1;
            let spare = self.candidates.iter().position(passed_over);
            match (spare, &fate) {
                (Some(place), Fate::Asked(_)) => drop(self.candidates.remove(place)),
                _ => return,
            }
        }
        let at = self.since(now);
        let (model, key) = (Arc::clone(model), Arc::clone(key));
        self.candidates.push(Candidate { model, key, at, fate });
    }

    /// The call made last.
    pub fn last_call(&mut self) -> Option<&mut Call> {
        self.candidates.iter_mut().rev().find_map(|it| match &mut it.fate {
            Fate::Asked(call) => Some(call),
            Fate::PassedOver(_) => None,
        })
    }

    /// How long it has been under way.
    pub fn since(&self, now: Now) -> Duration {
        now.monotonic.saturating_sub(self.began.monotonic)
    }
}

/// The records of the last requests.
#[derive(Debug, Default)]
pub struct Traces(Mutex<VecDeque<Box<Record>>>);

impl Traces {
    /// Remembers a request that has ended, and forgets the oldest if there are too many.
    pub fn keep(&self, record: Box<Record>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if all.len() >= REMEMBERED { all.pop_front() } else { None };
        all.push_back(record);
        drop(all);
        // Freed when nobody waits for the lock.
        drop(oldest);
    }

    /// The last request of that id as a JSON document; only one that came with `key`, where there is
    /// one.
    pub fn find(&self, request_id: &str, key: Option<&str>) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |it: &Record| {
            *it.request_id == *request_id && key.is_none_or(|key| it.key.as_deref() == Some(key))
        };
        all.iter().rev().map(|it| &**it).find(|it| is_it(it)).map(Record::to_json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, key: Option<&str>) -> Box<Record> {
        let mut record = Record::begin(id.into(), "auto".into(), Now::default());
        record.key = key.map(Arc::from);
        Box::new(record)
    }

    #[test]
    fn the_last_thousand_are_remembered_and_of_one_id_the_last() {
        let traces = Traces::default();
        for at in 0..=REMEMBERED {
            traces.keep(record(&format!("r{at}"), None));
        }
        assert_eq!(traces.find("r0", None), None);
        assert!(traces.find("r1", None).is_some());
        let mut again = record("r1", None);
        again.stream = true;
        traces.keep(again);
        assert!(traces.find("r1", None).is_some_and(|it| it.contains(r#""stream":true"#)));
    }

    #[test]
    fn a_key_sees_its_own_requests_alone() {
        let traces = Traces::default();
        traces.keep(record("a", Some("k1")));
        traces.keep(record("b", None));
        let check = |id, key, expected| assert_eq!(traces.find(id, key).is_some(), expected);
        check("a", None, true);
        check("a", Some("k1"), true);
        check("a", Some("k2"), false);
        check("b", Some("k1"), false);
    }

    #[test]
    fn however_many_candidates_there_are_the_calls_stay() {
        let mut record = record("a", None);
        let shut = Obstacle { what: "quota", which: "requests", period: "day", until: None };
        let asked = Call {
            first_token: None,
            took: None,
            fault: None,
            before: Left::default(),
            after: None,
        };
        let (model, key): (Arc<str>, Arc<str>) = ("p/m".into(), "…1".into());
        for _ in 0..100 {
            record.note(&model, &key, Fate::PassedOver(shut), Now::default());
        }
        record.note(&model, &key, Fate::Asked(asked), Now::default());
        assert_eq!((record.candidates.len(), record.unremembered), (MOST_CANDIDATES, 37));
        assert!(record.last_call().is_some());
    }
}
