//! One run: a pool, a demand, a gateway, a seed; and what came of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use relayfreellm::clock::{SharedClock, VirtualClock};
use relayfreellm::openai::ChatRequest;
use relayfreellm::select::Strategy;

use super::clients::{Demand, bursts, follow, saturate};
use super::naive::Naive;
use super::optimum::{Asked, Offer, optimum};
use super::pool::Pool;
use super::provider::Simulated;
use super::stage::Stage;
use super::yardstick::Yardstick;

/// Days to begin at, each at a whole hour UTC: ordinary ones, both changes of the clock in Los
/// Angeles, ends of months and of a year, and a leap day.
const STARTS: &[u64] = &[
    1_795_208_400_000, // 2026-11-20 21:00
    1_793_494_800_000, // 2026-11-01 01:00
    1_805_004_000_000, // 2027-03-14 06:00
    1_798_718_400_000, // 2026-12-31 12:00
    1_835_373_600_000, // 2028-02-28 18:00
    1_796_083_200_000, // 2026-12-01 00:00
    1_811_772_000_000, // 2027-05-31 14:00
    1_816_329_600_000, // 2027-07-23 08:00
    1_793_462_400_000, // 2026-10-31 16:00
    1_800_356_400_000, // 2027-01-19 11:00
];

/// Something that can be asked. Refused: when to come back, where it is told.
pub(super) trait Asking: Send + Sync {
    fn ask(&self, request: ChatRequest) -> BoxFuture<'static, Result<(), Option<Duration>>>;
}

/// Who stands between the callers and the providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// This program, with one of its strategies.
    Ours(Strategy),
    /// One that learns from refusals alone.
    Naive,
    /// One that sees the providers' own counts.
    Yardstick,
}

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) pool: Pool,
    pub(crate) demand: Demand,
    /// How long a request may wait for quota.
    pub(crate) patience: Duration,
    pub(crate) gateway: Gateway,
    /// Does another program use the first key of every provider, a tenth of what it allows?
    pub(crate) outsider: bool,
    /// Do the providers' answers say what is left?
    pub(crate) told: bool,
    pub(crate) minutes: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) answered: u64,
    /// What was left to be answered by the best of gateways.
    pub(crate) optimum: u64,
    /// Requests that reached a provider.
    pub(crate) reached: u64,
    /// How many of them it refused.
    pub(crate) refused: u64,
}

impl Figures {
    /// Answered, of the optimum.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn share(self) -> f64 {
        self.answers() / self.optimum as f64
    }

    /// Requests answered.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn answers(self) -> f64 {
        self.answered as f64
    }

    /// Refusals in 10,000 requests that reached a provider.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn refusals(self) -> f64 {
        self.refused as f64 * 10_000.0 / self.reached.max(1) as f64
    }
}

impl Scenario {
    /// One day (or less) under this seed.
    pub(crate) fn run(&self, seed: u64) -> Figures {
        fastrand::seed(seed);
        let starts = u64::try_from(STARTS.len()).expect("few");
        let start = STARTS[usize::try_from(seed % starts).expect("few")];
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(self.pass(start, seed))
    }

    async fn pass(&self, start: u64, seed: u64) -> Figures {
        let clock: SharedClock = Arc::new(VirtualClock::starting_at(start));
        let houses = self.pool.houses.iter();
        let providers: Vec<Arc<Simulated>> =
            houses.map(|it| Simulated::new(it, self.told, &clock)).collect();
        let catalog = self.pool.catalog();
        let gateway: Arc<dyn Asking> = match self.gateway {
            Gateway::Ours(strategy) => {
                Arc::new(Stage::new(catalog, &providers, &clock, (strategy, self.patience)))
            }
            Gateway::Naive => Arc::new(Naive::new(&catalog, &providers)),
            Gateway::Yardstick => Arc::new(Yardstick::new(&providers, self.patience)),
        };
        let ideal: Vec<Offer<'_>> = self
            .pool
            .houses
            .iter()
            .map(|house| Offer { house, mean: house.mean(), foreign: &[] })
            .collect();
        let all = optimum(&ideal, self.asked(None, start));
        let mut rng = fastrand::Rng::with_seed(seed);
        let arrivals = (self.demand == Demand::Bursty).then(|| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let sustained = all as f64 / self.minutes as f64;
            bursts(sustained, self.minutes, &mut rng)
        });
        let asking = async {
            match &arrivals {
                Some(arrivals) => follow(&gateway, arrivals).await,
                None => saturate(&gateway, self.minutes).await,
            }
        };
        let (answered, ()) = tokio::join!(asking, self.others(&providers, rng.fork(), start));
        let sum = |of: fn(&Simulated) -> &std::sync::atomic::AtomicU64| -> u64 {
            providers.iter().map(|it| of(it).load(Ordering::Relaxed)).sum()
        };
        let foreign: Vec<Vec<Duration>> = providers.iter().map(|it| it.foreign()).collect();
        let offers = providers.iter().zip(&foreign).map(|(it, foreign)| Offer {
            house: &it.house,
            mean: it.mean(),
            foreign,
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        Figures {
            answered,
            optimum: optimum(&offers, self.asked(arrivals.as_deref(), start)),
            reached: sum(|it| &it.reached),
            refused: sum(|it| &it.refused),
        }
    }

    fn asked<'a>(&self, arrivals: Option<&'a [Duration]>, start: u64) -> Asked<'a> {
        Asked { arrivals, patience: self.patience, start, minutes: self.minutes }
    }

    /// The other program: a tenth of what the first key of each provider sustains, at random times.
    async fn others(&self, providers: &[Arc<Simulated>], mut rng: fastrand::Rng, start: u64) {
        if !self.outsider {
            return;
        }
        let run = Duration::from_secs(self.minutes * 60);
        let begin = tokio::time::Instant::now();
        join_all(providers.iter().map(|simulated| {
            let mut rng = rng.fork();
            async move {
                let house = &simulated.house;
                let alone = Offer { house, mean: house.mean(), foreign: &[] };
                let sustains = optimum(&[alone], self.asked(None, start));
                let uses = sustains / u64::try_from(simulated.house.keys).expect("few") / 10;
                let mut times: Vec<Duration> = (0..uses).map(|_| run.mul_f64(rng.f64())).collect();
                times.sort();
                for time in times {
                    tokio::time::sleep_until(begin + time).await;
                    let model = rng.usize(..simulated.house.models);
                    simulated.used_elsewhere(simulated.house.bucket_of(0, model));
                }
            }
        }))
        .await;
    }
}
