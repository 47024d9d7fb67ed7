//! A provider in memory: it lets in what its limits allow and refuses the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use relayfreellm::clock::SharedClock;
use relayfreellm::openai::Completion;
use relayfreellm::provider::fault::{Fault, FaultKind, QuotaSaid};
use relayfreellm::provider::rate_limits::RateLimit;
use relayfreellm::provider::{Call, ChatProvider, Reply, Unmet, Whole};
use secrecy::ExposeSecret;

use super::limiter::{Bucket, Job, Refused};
use super::pool::House;

/// The longest answer that requests allow, and the shortest and longest that come.
pub(super) const ALLOWED: u64 = 200;
const ANSWERS: std::ops::Range<u64> = 20..180;
/// The text of a request and what stands around it, in bytes. All have the same: a gateway that
/// answered more of the short ones would seem to answer more.
pub(super) const TEXT: usize = 400;
const AROUND: usize = 30;

/// Tokens of a request on the average.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    /// Prompt and answer.
    pub(super) took: f64,
    /// How much longer the answer might have been.
    pub(super) spare: f64,
}

/// A provider at work.
pub(super) struct Simulated {
    pub(super) house: House,
    /// Do its answers say what is left?
    tells: bool,
    buckets: Mutex<Vec<Bucket>>,
    clock: SharedClock,
    pub(super) reached: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Requests answered, their tokens, and by how much the answers might have been longer.
    answers: Mutex<(u64, u64, u64)>,
    /// When others used a request, on the monotonic clock.
    foreign: Mutex<Vec<Duration>>,
}

impl Simulated {
    pub(super) fn new(house: &House, tells: bool, clock: &SharedClock) -> Arc<Self> {
        Arc::new(Self {
            buckets: Mutex::new((0..house.buckets()).map(|_| Bucket::new(house)).collect()),
            house: house.clone(),
            tells,
            clock: Arc::clone(clock),
            reached: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            answers: Mutex::default(),
            foreign: Mutex::default(),
        })
    }

    /// Somebody else's program sends a request like ours with this key.
    pub(super) fn used_elsewhere(&self, bucket: usize) {
        let job = self.house.mean_job();
        let now = self.clock.now();
        if self.with(bucket, |it| it.foreign(job, now)) {
            self.foreign.lock().unwrap_or_else(PoisonError::into_inner).push(now.monotonic);
        }
    }

    pub(super) fn foreign(&self) -> Vec<Duration> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tokens of a request on the average, those it was allowed and those it took.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn mean(&self) -> Mean {
        let (count, took, spare) = *self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            return self.house.mean();
        }
        Mean { took: took as f64 / count as f64, spare: spare as f64 / count as f64 }
    }

    fn with<T>(&self, bucket: usize, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut buckets[bucket])
    }

    fn job(&self, bytes: usize) -> Job {
        Job { prompt: self.house.tokens(bytes), allowed: ALLOWED, answer: fastrand::u64(ANSWERS) }
    }

    /// How long until a prompt of so many bytes would be let in.
    pub(super) fn opens_in(&self, bytes: usize) -> Duration {
        let (job, now) = (self.job(bytes), self.clock.now());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.iter_mut().map(|it| it.opens_in(job, now)).min().unwrap_or_default()
    }

    /// The most urgent of its buckets': see [`Bucket::urgency`].
    pub(super) fn urgency(&self, bytes: usize) -> f64 {
        self.most_urgent(bytes).map_or(0.0, |it| it.1)
    }

    fn most_urgent(&self, bytes: usize) -> Option<(usize, f64)> {
        let (job, now) = (self.job(bytes), self.clock.now());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let all = buckets.iter_mut().map(|it| it.urgency(job, now)).enumerate();
        all.filter(|it| it.1 > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Lets a prompt of so many bytes in where it is most urgent, and gives what answers it; `None`
    /// where it does not fit.
    pub(super) fn begin(self: &Arc<Self>, bytes: usize) -> Option<BoxFuture<'static, ()>> {
        let (bucket, _) = self.most_urgent(bytes)?;
        let job = self.job(bytes);
        self.reached.fetch_add(1, Ordering::Relaxed);
        let ticket = self.with(bucket, |it| it.admit(job, self.clock.now())).ok()?;
        let this = Arc::clone(self);
        Some(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(100..700))).await;
            this.with(bucket, |it| it.settle(ticket, job));
            this.note(job);
        }))
    }

    /// One that tells says what is spent; any says when to come back, in whole seconds as headers do.
    fn refusal(&self, refused: Refused) -> Fault {
        let kind = FaultKind::RateLimited(Some(refused.period).filter(|_| self.tells));
        let said = QuotaSaid {
            unit: refused.unit,
            period: refused.period,
            limit: None,
            remaining: None,
            exhausted: true,
            until: Some(refused.wait),
            account_wide: false,
        };
        Fault {
            status: Some(429),
            retry_after: Some(Duration::from_secs(refused.wait.as_secs() + 1)),
            quota: if self.tells { [said].into() } else { Box::default() },
            ..Fault::new(kind, "slow down")
        }
    }

    /// The head of an answer.
    fn head(&self, call: &Call, left: Vec<RateLimit>) {
        if self.tells {
            call.sent.hear(left);
        }
    }

    fn note(&self, job: Job) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.0 += 1;
        answers.1 += job.total();
        answers.2 += job.allowed - job.answer;
    }

    fn bucket_of(&self, call: &Call) -> usize {
        let key = call.secret.as_ref().map_or("0", ExposeSecret::expose_secret);
        self.house.bucket_of(key.parse().expect("a number"), call.model.parse().expect("a number"))
    }

    async fn answer(self: Arc<Self>, call: Call) -> Result<Reply, Fault> {
        let bucket = self.bucket_of(&call);
        let mut rng = fastrand::Rng::new();
        let job = Job {
            prompt: self.house.tokens(call.request.prompt_bytes()),
            allowed: ALLOWED,
            answer: rng.u64(ANSWERS),
        };
        call.sent.set();
        tokio::time::sleep(Duration::from_millis(rng.u64(2..6))).await;
        self.reached.fetch_add(1, Ordering::Relaxed);
        let ticket = self.with(bucket, |it| it.admit(job, self.clock.now()));
        let left = self.with(bucket, |it| it.tell(self.clock.now()));
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.head(&call, left);
                return Err(self.refusal(refused));
            }
        };
        tokio::time::sleep(Duration::from_millis(rng.u64(100..700))).await;
        self.head(&call, left);
        self.with(bucket, |it| it.settle(ticket, job));
        self.note(job);
        let body = format!(
            r#"{{"id":"x","choices":[{{"message":{{"role":"assistant","content":"Yes."}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{},"completion_tokens":{}}}}}"#,
            job.prompt, job.answer
        );
        let completion = Completion::parse(&Bytes::from(body)).expect("an answer");
        Ok(Reply::Whole(Box::new(Whole { completion, unmet: Unmet::default() })))
    }
}

impl House {
    fn tokens(&self, bytes: usize) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "some hundreds of bytes"
        )]
        let tokens = (bytes as f64 / self.bytes_per_token) as u64;
        tokens
    }

    /// What requests are expected to take on the average.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn mean(&self) -> Mean {
        let job = self.mean_job();
        Mean { took: job.total() as f64, spare: (job.allowed - job.answer) as f64 }
    }

    /// A request of the mean size.
    fn mean_job(&self) -> Job {
        let bytes = TEXT + AROUND;
        Job {
            prompt: self.tokens(bytes),
            allowed: ALLOWED,
            answer: u64::midpoint(ANSWERS.start, ANSWERS.end),
        }
    }
}

/// What the gateway is given of it.
pub(super) struct Door(pub(super) Arc<Simulated>);

impl ChatProvider for Door {
    fn send(&self, call: Call) -> BoxFuture<'static, Result<Reply, Fault>> {
        Box::pin(Arc::clone(&self.0).answer(call))
    }
}
