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
    /// Seconds until what is left today is used up at that pace; `null` when it lasts until
    /// midnight UTC, or when a part of the pool has no known limit.
    pub runs_out_in_sec: Option<u64>,
}

/// How much of one unit is left.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What may be spent at once; resting keys and models count as nothing.
    pub now: u64,
    /// What may be spent until midnight UTC, with what comes back until then.
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

/// What one bucket has left, by unit.
#[derive(Clone, Copy, Default)]
struct Share {
    /// May any of its targets be asked at all?
    awake: bool,
    requests: Option<(u64, u64)>,
    tokens: Option<(u64, u64)>,
}

pub(super) fn view(books: &Books) -> Quota {
    let now = books.clock.now();
    let catalog = books.catalog.load();
    let mut buckets: HashMap<Bucket, Share> = HashMap::new();
    let mut add = |it: &TargetView<'_>, windows: &[WindowView], ready: bool| {
        let model = (it.model.scope == QuotaScope::Model).then_some(it.model.id);
        let share = buckets.entry((it.key.account, model)).or_default();
        share.awake |= ready;
        share.requests = least(share.requests, left_of(Unit::Requests, windows, now));
        share.tokens = least(share.tokens, left_of(Unit::Tokens, windows, now));
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
    add: &mut impl FnMut(&TargetView<'_>, &[WindowView], bool),
) -> KeyQuota {
    let models = provider.models.iter().filter(|it| it.successor.is_none());
    let targets = models.flat_map(|it| provider.targets(it)).filter(|it| it.key.id == key.id);
    let models = targets.map(|it| {
        let windows = books.ledger.view(it.id, now);
        let blocked = books.breakers.check(&(&it).into(), now).err();
        add(&it, &windows, blocked.is_none());
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
        let rest = blocked.map_or(now.monotonic, |it| it.until);
        let free = denied.map_or(Some(rest), |it| it.free.time().map(|it| it.max(rest)));
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
    let (mut requests, mut tokens) = (Left::default(), Left::default());
    for share in buckets.values() {
        for (sum, left) in [(&mut requests, share.requests), (&mut tokens, share.tokens)] {
            match left {
                Some((at_once, today)) => {
                    let at_once = if share.awake { at_once } else { 0 };
                    sum.now = sum.now.saturating_add(at_once);
                    sum.today = sum.today.saturating_add(today);
                }
                None => sum.unknown += 1,
            }
        }
    }
    let pace = books.pace.measure(books.usage.total(), now);
    let rest_of_day = rest_of_day(now).as_secs();
    let runs_out = pace.and_then(|pace| {
        // Where one unit knows no bound, a bucket may still be bound by the other.
        let lasts = [(&requests, pace.requests), (&tokens, pace.tokens)].into_iter();
        lasts.filter_map(|(left, pace)| time_for(left, pace)).min()
    });
    PoolQuota {
        requests,
        tokens,
        requests_per_minute: pace.map(|it| rounded(it.requests)),
        tokens_per_minute: pace.map(|it| rounded(it.tokens)),
        runs_out_in_sec: runs_out.filter(|it| *it < rest_of_day),
    }
}

/// Seconds that what is left today lasts at `pace` a minute; `None` when it has no known end.
fn time_for(left: &Left, pace: f64) -> Option<u64> {
    if left.unknown > 0 || pace <= 0.0 {
        return None;
    }
    let left = f64::from(u32::try_from(left.today).unwrap_or(u32::MAX));
    Duration::try_from_secs_f64(left * 60.0 / pace).ok().map(|it| it.as_secs())
}

/// What may be spent of `unit` now and until midnight; `None` when no bound is known.
fn left_of(unit: Unit, windows: &[WindowView], now: Now) -> Option<(u64, u64)> {
    let rest = rest_of_day(now);
    let bounds = windows.iter().filter(|it| it.unit == unit);
    let bounds = bounds.filter_map(|it| Some((it.left?, until(it, rest)?)));
    bounds.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))
}

/// What one window gives until `rest` has passed: what is left of it, what was used once it is back, and
/// a whole window for each period after that.
fn until(window: &WindowView, rest: Duration) -> Option<u64> {
    let (left, max) = (window.left?, window.max.unwrap_or(0));
    let Some(after) = rest.checked_sub(window.resets_in) else { return Some(left) };
    let periods = after.as_nanos() / window.period.rolling().as_nanos().max(1);
    let whole = max.saturating_mul(u64::try_from(periods).unwrap_or(u64::MAX));
    Some(max.max(left).saturating_add(whole))
}

fn rest_of_day(now: Now) -> Duration {
    Duration::from_millis(DAY_MS - now.unix_ms % DAY_MS)
}

/// Targets of one bucket may have bounds of their own; the lowest is what the bucket surely has.
fn least(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.min(b.1))),
        (a, b) => a.or(b),
    }
}

/// To a hundredth: more digits would only pretend.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use crate::catalog::Period;

    use super::*;

    fn window(period: Period, used: u64, resets_in: u64) -> WindowView {
        WindowView {
            unit: Unit::Requests,
            period,
            configured: Some(100),
            learned: None,
            max: Some(100),
            used,
            left: Some(100 - used),
            resets_in: Duration::from_secs(resets_in),
            spent: false,
        }
    }

    #[test]
    fn today_counts_what_comes_back_before_midnight() {
        let check = |window: WindowView, rest: u64, expected: u64| {
            let given = until(&window, Duration::from_secs(rest));
            assert_eq!(given, Some(expected), "{window:?}");
        };
        check(window(Period::Day, 40, 3_600), 3_599, 60);
        check(window(Period::Day, 40, 3_600), 3_600, 100);
        check(window(Period::Minute, 0, 0), 59, 100);
        check(window(Period::Minute, 0, 0), 60, 200);
        check(window(Period::Hour, 100, 600), 4_200, 200);
    }

    #[test]
    fn the_tightest_window_of_a_unit_decides() {
        let noon = Now { monotonic: Duration::ZERO, unix_ms: DAY_MS / 2 };
        let windows = [window(Period::Minute, 90, 30), window(Period::Day, 50, 80_000)];
        assert_eq!(left_of(Unit::Requests, &windows, noon), Some((10, 50)));
        assert_eq!(left_of(Unit::Tokens, &windows, noon), None);
    }

    #[test]
    fn it_runs_out_only_where_everything_is_bounded() {
        let left = |today, unknown| Left { now: 0, today, unknown };
        assert_eq!(time_for(&left(100, 0), 10.0), Some(600));
        assert_eq!(time_for(&left(100, 1), 10.0), None);
        assert_eq!(time_for(&left(100, 0), 0.0), None);
    }
}
