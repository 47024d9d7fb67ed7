//! `GET /v1/quota`: what is used and left, by provider, key and model, and for the whole pool.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::AccountId;
use crate::catalog::Key;
use crate::catalog::ModelId;
use crate::catalog::Provider;
use crate::catalog::QuotaScope;
use crate::catalog::TargetView;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::quota::Bound;
use crate::quota::Demand;
use crate::quota::Denial;
use crate::quota::WindowView;
use crate::status::Books;
use crate::status::pool::seconds;

const DAY_MS: u64 = 86_400_000;
/// The smallest thing that can be asked.
const ONE: Demand = Demand { requests: 1, tokens: 1 };

/// The whole answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Quota {
    /// All of it together.
    pub pool: PoolQuota,
    /// In the limits file's order.
    pub providers: Vec<ProviderQuota>,
}

/// What the pool has left. Quota that several models or keys share is counted once.
#[derive(Debug, Serialize, Deserialize)]
pub struct PoolQuota {
    /// Requests.
    pub requests: Left,
    /// Tokens.
    pub tokens: Left,
    /// Answers a minute over the last ten minutes; `null` just after the start.
    pub requests_per_minute: Option<f64>,
    /// Tokens a minute over the last ten minutes; `null` just after the start.
    pub tokens_per_minute: Option<f64>,
    /// Seconds until what is left today is used up at that pace, 0 when nothing is left; `null` when
    /// it lasts until midnight UTC, or when a part of the pool has no known limit.
    pub runs_out_in_sec: Option<u64>,
}

/// How much of one unit is left.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What may be spent at once; resting keys and models count as nothing.
    pub now: u64,
    /// What may be spent until midnight UTC, with what comes back until then; what rests for longer
    /// counts as nothing.
    pub today: u64,
    /// Buckets of quota without a known limit in this unit; they are in neither figure.
    pub unknown: u64,
}

/// One provider.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProviderQuota {
    /// Its name.
    pub id: String,
    /// Its keys.
    pub keys: Vec<KeyQuota>,
}

/// One key.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyQuota {
    /// Its last characters.
    pub key: String,
    /// The models it may ask.
    pub models: Vec<ModelQuota>,
}

/// One model with one key.
#[derive(Debug, Serialize, Deserialize)]
pub struct ModelQuota {
    /// The provider's name for the model.
    pub model: String,
    /// `ready`, `spent` (its quota), `busy` (as many calls under way as it may have) or `resting`
    /// (a breaker).
    pub state: String,
    /// What it rests for, or which window is spent.
    pub reason: Option<String>,
    /// Seconds until it may be asked; `null` when that is not known.
    pub available_in_sec: Option<u64>,
    /// Does it share its quota with the account's other models?
    pub shared: bool,
    /// Its limits; empty when none is known.
    pub windows: Vec<Limit>,
}

/// One limit.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limit {
    /// `requests` or `tokens`.
    pub unit: String,
    /// `second`, `minute`, `hour`, `day` or `month`.
    pub period: String,
    /// The bound that holds: the lower of the two below; `null` when neither is known.
    pub limit: Option<u64>,
    /// The limits file's.
    pub configured: Option<u64>,
    /// The provider's own, told or found out.
    pub learned: Option<u64>,
    /// Units used, or reserved by calls under way.
    pub used: u64,
    /// Units left; `null` when no bound is known.
    pub left: Option<u64>,
    /// Seconds until all of it is back if nothing more is used.
    pub resets_in_sec: u64,
    /// The same as Unix time, in seconds.
    pub resets_at: u64,
}

/// Quota that is counted once: an account's, for one model or for all of them.
type Bucket = (AccountId, Option<ModelId>);

/// What one bucket has left, by unit; `None` = no bound is known.
#[derive(Clone, Copy)]
struct Share {
    /// How long until one of its targets may be asked; zero = now.
    rests: Duration,
    requests: Option<Bounds>,
    tokens: Option<Bounds>,
}

/// What the tightest windows of one unit leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    now: u64,
    /// Until midnight UTC; `None` = only now is known.
    today: Option<u64>,
}

pub(super) fn view(books: &Books) -> Quota {
    let now = books.clock.now();
    let catalog = books.catalog.load();
    let mut buckets: HashMap<Bucket, Share> = HashMap::new();
    let mut add = |it: &TargetView<'_>, windows: &[WindowView], rests: Duration| {
        let model = (it.model.scope == QuotaScope::Model).then_some(it.model.id);
        let share = Share {
            rests,
            requests: left_of(Unit::Requests, windows),
            tokens: left_of(Unit::Tokens, windows),
        };
        let sum = buckets.entry((it.key.account, model)).or_insert(share);
        sum.rests = sum.rests.min(rests);
        sum.requests = least(sum.requests, share.requests);
        sum.tokens = least(sum.tokens, share.tokens);
    };
    let providers = catalog.providers().iter().map(|provider| ProviderQuota {
        id: provider.name.to_string(),
        keys: provider.keys.iter().map(|it| key(books, provider, it, now, &mut add)).collect(),
    });
    let providers = providers.collect();
    Quota { pool: pool(books, &buckets, now), providers }
}

fn key(
    books: &Books,
    provider: &Provider,
    key: &Key,
    now: Now,
    add: &mut impl FnMut(&TargetView<'_>, &[WindowView], Duration),
) -> KeyQuota {
    let models = provider.models.iter().filter(|it| it.successor.is_none());
    let targets = models.flat_map(|it| provider.targets(it)).filter(|it| it.key.id == key.id);
    let models = targets.map(|it| {
        let windows = books.ledger.view(it.id, now);
        let blocked = books.breakers.check(&(&it).into(), now).err();
        let rests = blocked.map_or(now.monotonic, |it| it.until);
        add(&it, &windows, rests.saturating_sub(now.monotonic));
        let denied = books.ledger.peek(it.id, ONE, now).err();
        let (state, reason) = match (blocked, denied) {
            (Some(it), _) => ("resting", Some(it.reason.as_str().to_owned())),
            (None, Some(Denial { bound: Bound::Concurrency, .. })) => {
                ("busy", Some("max_concurrent".to_owned()))
            }
            (None, Some(Denial { bound: Bound::Window { unit, period }, .. })) => {
                ("spent", Some(format!("{} per {}", unit.name(), period.name())))
            }
            (None, None | Some(Denial { bound: Bound::NotConfigured, .. })) => ("ready", None),
        };
        let free = denied.map_or(Some(rests), |it| it.free.time().map(|it| it.max(rests)));
        let available = free.map(|it| seconds(it.saturating_sub(now.monotonic)));
        ModelQuota {
            model: it.model.name.to_string(),
            state: state.to_owned(),
            reason,
            available_in_sec: available,
            shared: it.model.scope == QuotaScope::Account,
            windows: windows.iter().map(|it| limit(it, now)).collect(),
        }
    });
    KeyQuota { key: key.label.to_string(), models: models.collect() }
}

fn limit(it: &WindowView, now: Now) -> Limit {
    let resets_in = seconds(it.resets_in);
    Limit {
        unit: it.unit.name().to_owned(),
        period: it.period.name().to_owned(),
        limit: it.max,
        configured: it.configured,
        learned: it.learned,
        used: it.used,
        left: it.left,
        resets_in_sec: resets_in,
        resets_at: (now.unix_ms / 1_000).saturating_add(resets_in),
    }
}

fn pool(books: &Books, buckets: &HashMap<Bucket, Share>, now: Now) -> PoolQuota {
    let rest_of_day = Duration::from_millis(DAY_MS - now.unix_ms % DAY_MS);
    let (mut requests, mut tokens) = (Left::default(), Left::default());
    for share in buckets.values() {
        requests.add(share.requests, (share.rests, rest_of_day));
        tokens.add(share.tokens, (share.rests, rest_of_day));
    }
    let pace = books.pace.measure(books.usage.total(), now);
    // Where one unit knows no bound, a bucket may still be bound by the other.
    let lasts = [
        time_for(&requests, pace.map(|it| it.requests)),
        time_for(&tokens, pace.map(|it| it.tokens)),
    ];
    let runs_out = lasts.into_iter().flatten().min();
    PoolQuota {
        requests,
        tokens,
        requests_per_minute: pace.map(|it| rounded(it.requests)),
        tokens_per_minute: pace.map(|it| rounded(it.tokens)),
        runs_out_in_sec: runs_out.filter(|it| *it < rest_of_day.as_secs()),
    }
}

impl Left {
    /// Adds a bucket that rests for so long, with so much left of the day.
    fn add(&mut self, bounds: Option<Bounds>, (rests, rest_of_day): (Duration, Duration)) {
        if rests.is_zero() {
            self.now = self.now.saturating_add(bounds.map_or(0, |it| it.now));
        }
        match bounds.and_then(|it| it.today) {
            Some(_) if rests >= rest_of_day => {}
            Some(today) => self.today = self.today.saturating_add(today),
            None => self.unknown += 1,
        }
    }
}

/// Seconds that what is left today lasts at `pace` a minute; `None` when it has no known end.
fn time_for(left: &Left, pace: Option<f64>) -> Option<u64> {
    if left.unknown > 0 {
        return None;
    }
    if left.today == 0 {
        return Some(0);
    }
    #[expect(clippy::cast_precision_loss, reason = "a forecast is no more exact than that")]
    let minutes = left.today as f64 / pace.filter(|it| *it > 0.0)?;
    Duration::try_from_secs_f64(minutes * 60.0).ok().map(|it| it.as_secs())
}

/// What may be spent of `unit`; `None` when no bound is known.
fn left_of(unit: Unit, windows: &[WindowView]) -> Option<Bounds> {
    let bounds = windows.iter().filter(|it| it.unit == unit);
    let bounds = bounds.filter_map(|it| Some(Bounds { now: it.left?, today: it.today }));
    bounds.reduce(Bounds::least)
}

impl Bounds {
    fn least(self, other: Self) -> Self {
        let today = self.today.into_iter().chain(other.today).min();
        Self { now: self.now.min(other.now), today }
    }
}

/// Targets of one bucket may have bounds of their own; the lowest is what the bucket surely has.
fn least(a: Option<Bounds>, b: Option<Bounds>) -> Option<Bounds> {
    a.into_iter().chain(b).reduce(Bounds::least)
}

/// To a hundredth: more digits would only pretend.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use crate::catalog::Period;

    use super::*;

    const NOON: Duration = Duration::from_secs(12 * 3_600);

    fn window(period: Period, left: u64, today: Option<u64>) -> WindowView {
        WindowView {
            unit: Unit::Requests,
            period,
            configured: today.map(|_| 100),
            learned: None,
            max: today.map(|_| 100),
            used: 0,
            left: Some(left),
            today,
            resets_in: Duration::ZERO,
            spent: false,
        }
    }

    #[test]
    fn the_tightest_window_of_a_unit_decides() {
        let check = |windows: &[WindowView], expected: Option<(u64, Option<u64>)>| {
            let found = left_of(Unit::Requests, windows).map(|it| (it.now, it.today));
            assert_eq!(found, expected, "{windows:?}");
            assert_eq!(left_of(Unit::Tokens, windows), None);
        };
        let (minute, day) =
            (window(Period::Minute, 10, Some(900)), window(Period::Day, 50, Some(50)));
        check(&[minute, day], Some((10, Some(50))));
        // A window of unknown size that is spent: there is nothing now, and who knows about later.
        let spent = window(Period::Hour, 0, None);
        check(&[spent], Some((0, None)));
        check(&[spent, day], Some((0, Some(50))));
        check(&[], None);
    }

    #[test]
    fn what_rests_counts_for_the_day_if_it_wakes_in_time() {
        let check = |bounds, rests, expected| {
            let mut left = Left::default();
            left.add(bounds, (Duration::from_secs(rests), NOON));
            assert_eq!((left.now, left.today, left.unknown), expected, "{bounds:?} {rests}");
        };
        let bounds = Some(Bounds { now: 5, today: Some(50) });
        check(bounds, 0, (5, 50, 0));
        check(bounds, 1, (0, 50, 0));
        check(bounds, 43_199, (0, 50, 0));
        check(bounds, 43_200, (0, 0, 0));
        check(Some(Bounds { now: 0, today: None }), 0, (0, 0, 1));
        check(None, 0, (0, 0, 1));
    }

    #[test]
    fn it_runs_out_only_where_everything_is_bounded() {
        let left = |today, unknown| Left { now: 0, today, unknown };
        assert_eq!(time_for(&left(100, 0), Some(10.0)), Some(600));
        assert_eq!(time_for(&left(100, 1), Some(10.0)), None);
        assert_eq!(time_for(&left(100, 0), Some(0.0)), None);
        assert_eq!(time_for(&left(100, 0), None), None);
        // Nothing is left: whatever the pace, it has run out.
        assert_eq!(time_for(&left(0, 0), Some(0.0)), Some(0));
        assert_eq!(time_for(&left(0, 1), Some(5.0)), None);
        let plenty = left(60_000_000_000, 0);
        assert_eq!(time_for(&plenty, Some(1_000_000_000.0)), Some(3_600));
    }
}
