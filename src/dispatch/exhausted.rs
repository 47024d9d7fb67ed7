//! Nothing could answer: what the caller is told, with true times and other ways to go.

use std::time::Duration;

use crate::breaker::Reason;
use crate::breaker::Scope;
use crate::breaker::State;
use crate::catalog::Limit;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::dispatch::demand::demand;
use crate::dispatch::demand::gates;
use crate::dispatch::journey::Travel;
use crate::dispatch::verdict;
use crate::dispatch::waiting::bucket;
use crate::openai::ApiError;
use crate::openai::Exhaustion;
use crate::openai::More;
use crate::openai::ProviderState;
use crate::openai::Suggestion;
use crate::provider::fault::FaultKind;
use crate::quota;
use crate::quota::Bound;
use crate::quota::Demand;
use crate::select;
use crate::select::Asked;
use crate::select::Gates;
use crate::select::Needs;
use crate::select::Shut;

/// Models suggested in an error.
const SUGGESTIONS: usize = 5;
/// What a caller is told when nobody can know: long enough to be kind, short enough to be useful.
const UNKNOWN_REST: Duration = Duration::from_secs(5);

/// When a target can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// From this monotonic time on.
    At(Duration),
    /// When another call ends.
    Unknown,
    /// Not in this request's life.
    Never,
}

/// What keeps it from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nothing.
    Ready,
    /// Spent quota: waiting helps.
    Quota,
    /// Too much to do, and it has said until when: waiting helps, though it is no quota.
    Overload,
    /// A fault that may pass.
    Fault,
    /// A key or a model that somebody has to repair.
    Repair,
    /// The request itself.
    Refused,
}

/// When a target can be asked, and what is in the way until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outlook {
    when: When,
    why: Why,
}

impl Outlook {
    fn waits_for_quota(self) -> bool {
        self.why == Why::Quota && self.when != When::Never
    }

    /// Does it end at a time that is known?
    fn is_a_wait(self) -> bool {
        self.waits_for_quota() || self.why == Why::Overload
    }
}

/// What there is to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Some target that this request may go to can be asked after so long.
    For(Duration),
    /// It can when another call ends, whenever that is.
    ForACall,
    /// Waiting does not help.
    InVain,
}

/// What this request could wait for.
pub(super) fn soonest(travel: &Travel) -> Wait {
    let now = travel.core.clock.now();
    wait(&outlooks(travel, now), now)
}

/// Who may be asked although faults have shut them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeastBad {
    /// This one.
    Target(TargetId),
    /// Another request is just asking this one.
    Probed(TargetId),
    /// None: something else than faults is in the way.
    Nobody,
}

/// Could one be asked now that has only been too busy for this request before?
pub(super) fn is_back(travel: &Travel) -> bool {
    let now = travel.core.clock.now();
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let gates = gates(&travel.core, &demand, now);
    let was_asked = |it: &TargetView<'_>| travel.faults.iter().any(|(asked, _)| *asked == it.id);
    let is_ready = |it| outlook(travel, &it, &gates).why == Why::Ready;
    targets(travel).filter(was_asked).any(is_ready)
}

/// Could some target be asked now?
pub(super) fn is_ready(travel: &Travel) -> bool {
    let now = travel.core.clock.now();
    outlooks(travel, now).iter().any(|it| it.why == Why::Ready)
}

/// Of those whose breakers faults have opened, who have quota, and who have not had their pardon in
/// this request, the one that is to be asked again soonest.
pub(super) fn least_bad(travel: &Travel) -> LeastBad {
    let now = travel.core.clock.now();
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let gates = gates(&travel.core, &demand, now);
    let mut probed = None;
    let shut_by_faults = targets(travel).filter_map(|it| {
        let may_be_asked = |pardoned| Gates { pardoned, ..gates }.check(&it);
        let Err(Shut::Breaker(shut)) = may_be_asked(None) else { return None };
        match may_be_asked(Some(it.id)) {
            _ if travel.out.contains(&it.id) || travel.pardons.had.contains(&it.id) => None,
            Ok(()) => Some((shut.until, it.id)),
            Err(Shut::Breaker(by)) if by.reason.is_fault() && by.probed => {
                probed = probed.or(Some(it.id));
                None
            }
            Err(_) => None,
        }
    });
    let soonest = shut_by_faults.min_by_key(|(until, _)| *until);
    match soonest {
        Some((_, target)) => LeastBad::Target(target),
        None => probed.map_or(LeastBad::Nobody, LeastBad::Probed),
    }
}

fn wait(outlooks: &[Outlook], now: Now) -> Wait {
    let soonest = outlooks.iter().filter(|it| it.is_a_wait()).map(|it| it.when).min();
    match soonest {
        Some(When::At(time)) => Wait::For(time.saturating_sub(now.monotonic)),
        Some(_) => Wait::ForACall,
        None => Wait::InVain,
    }
}

/// What there is to wait for at one (provider, model) place; [`Wait::InVain`] when it is ready.
pub(super) fn wait_for(travel: &Travel, (p, m): (usize, usize)) -> Wait {
    let now = travel.core.clock.now();
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let gates = gates(&travel.core, &demand, now);
    let provider = travel.pool.selector.catalog.providers().get(p);
    let model = provider.and_then(|it| it.models.get(m));
    let Some((provider, model)) = provider.zip(model) else { return Wait::InVain };
    let all: Vec<Outlook> =
        provider.targets(model).map(|it| outlook(travel, &it, &gates)).collect();
    if all.iter().any(|it| it.why == Why::Ready) {
        return Wait::InVain;
    }
    wait(&all, now)
}

/// The error for a journey without an answer.
pub(super) fn error(travel: &Travel) -> ApiError {
    let faults = &travel.faults;
    let now = travel.core.clock.now();
    let outlooks = outlooks(travel, now);
    let last = faults.last().map(|(_, it)| it);
    if let Some(last) = last.filter(|_| {
        faults.iter().all(|(_, it)| verdict::speaks_of_request(it))
            && outlooks.iter().all(|it| it.when == When::Never)
    }) {
        if faults.iter().all(|(_, it)| it.kind == FaultKind::BadRequest) {
            return travel.given_back();
        }
        let code = match last.kind {
            FaultKind::ContextTooLong => "context_length_exceeded",
            _ => last.code.as_deref().unwrap_or("model_not_supported"),
        };
        let message = format!("No model took this request. The last said: {}", last.message);
        return ApiError::invalid(message, last.param.as_deref()).with_code(code);
    }
    // A target that failed may be well again any moment; waiting is what helps only where spent
    // quota is all there is, keys and models that need a repair aside.
    let line = travel.line_before();
    let waiting = outlooks.iter().any(|it| it.waits_for_quota())
        && !outlooks.iter().any(|it| matches!(it.why, Why::Ready | Why::Overload | Why::Fault))
        // Its turn may have come too late by a moment.
        || (line > 0 || travel.place.is_some()) && faults.is_empty()
        || !faults.is_empty() && faults.iter().all(|(_, it)| verdict::is_throttle(it));
    let timed_out =
        !faults.is_empty() && faults.iter().all(|(_, it)| matches!(it.kind, FaultKind::Timeout(_)));
    let in_line = if line > 0 { after(travel, line + 1, now) } else { Duration::ZERO };
    let rest = in_line.max(rest(&outlooks, now));
    let said = last.map_or_else(String::new, |it| format!(" The last said: {}.", it.summary()));
    let tried = faults.len();
    let error = if waiting {
        let message = format!("All quota that this request may use is spent for now.{said}");
        ApiError::new(429, "rate_limit_error", message).with_code("all_providers_exhausted")
    } else if timed_out {
        let message = format!("No provider answered in time ({tried} asked).{said}");
        ApiError::new(504, "timeout_error", message).with_code("all_providers_timed_out")
    } else {
        let message = format!("No provider could answer ({tried} asked).{said}");
        ApiError::new(503, "server_error", message).with_code("all_providers_failed")
    };
    let more = Some(Box::new(More::Exhaustion(exhaustion(travel, now))));
    ApiError { more, ..error.with_retry_after(rest) }
}

/// When the last of so many in line has had its own, if each takes as much as this request and all
/// targets give alike.
fn after(travel: &Travel, line: u64, now: Now) -> Duration {
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let count = u64::try_from(targets(travel).count()).unwrap_or(u64::MAX);
    let turns = line.div_ceil(count.max(1)).max(1);
    let free = targets(travel).filter_map(|it| {
        let one = demand(it.model);
        let all = Demand {
            requests: one.requests.saturating_mul(turns),
            tokens: one.tokens.saturating_mul(turns),
        };
        let (left, windows) = beyond_whole_windows(all, &it.model.limits);
        let free = match travel.core.books.ledger.peek(it.id, left, now) {
            Ok(()) => now.monotonic,
            Err(denial) => denial.free.time()?,
        };
        Some(windows + free.saturating_sub(now.monotonic))
    });
    free.filter(|it| !it.is_zero()).min().unwrap_or(UNKNOWN_REST)
}

/// What is left of a demand for the last of the windows it takes, and how long those before it last.
fn beyond_whole_windows(all: Demand, limits: &[Limit]) -> (Demand, Duration) {
    let (mut left, mut time) = (all, Duration::ZERO);
    for limit in limits {
        let (left, all) = match limit.unit {
            Unit::Requests => (&mut left.requests, all.requests),
            Unit::Tokens => (&mut left.tokens, all.tokens),
        };
        let whole = all.saturating_sub(1).checked_div(limit.max).unwrap_or(0);
        *left = (*left).min(all.saturating_sub(whole.saturating_mul(limit.max)));
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        time = time.max(quota::kept_for(limit.period).saturating_mul(whole));
    }
    (left, time)
}

fn rest(outlooks: &[Outlook], now: Now) -> Duration {
    match outlooks.iter().map(|it| it.when).min() {
        Some(When::At(time)) => time.saturating_sub(now.monotonic),
        _ => UNKNOWN_REST,
    }
}

/// The outlook for every target this request may go to.
fn outlooks(travel: &Travel, now: Now) -> Vec<Outlook> {
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let gates = gates(&travel.core, &demand, now);
    let others = travel.others_in_line();
    let with_turns = |it: TargetView<'_>| match outlook(travel, &it, &gates) {
        // It is free for somebody else, who has waited longer.
        Outlook { why: Why::Ready, .. } if others.claim(bucket(it.provider.id, it.model)) => {
            Outlook { when: When::Unknown, why: Why::Quota }
        }
        outlook => outlook,
    };
    targets(travel).map(with_turns).collect()
}

/// Everyone that a request may go to.
pub(super) fn targets(travel: &Travel) -> impl Iterator<Item = TargetView<'_>> {
    travel.eligible.iter().flat_map(|(p, m)| {
        let provider = travel.pool.selector.catalog.providers().get(*p);
        let model = provider.and_then(|it| it.models.get(*m));
        provider.zip(model).into_iter().flat_map(|(provider, model)| provider.targets(model))
    })
}

fn outlook(travel: &Travel, target: &TargetView<'_>, gates: &Gates<'_>) -> Outlook {
    if travel.refused.contains(&target.id) {
        return Outlook { when: When::Never, why: Why::Refused };
    }
    if travel.gave_something_else(target.id) {
        // It is not asked again, so there is no point in waiting for its quota.
        return Outlook { when: When::At(gates.now.monotonic + UNKNOWN_REST), why: Why::Fault };
    }
    let last = travel.faults.iter().rfind(|(it, _)| *it == target.id);
    match gates.check(target) {
        // It has just failed, and nothing says when it will do better.
        Ok(()) if last.is_some_and(|(_, it)| !verdict::is_throttle(it)) => {
            Outlook { when: When::At(gates.now.monotonic + UNKNOWN_REST), why: Why::Fault }
        }
        Ok(()) => Outlook { when: When::At(gates.now.monotonic), why: Why::Ready },
        Err(Shut::Breaker(it)) => Outlook {
            when: When::At(it.until),
            why: match it.reason {
                Reason::Throttled => Why::Quota,
                Reason::Overloaded => Why::Overload,
                Reason::KeyRejected | Reason::ModelGone => Why::Repair,
                Reason::Faults | Reason::Unreachable | Reason::Slow => Why::Fault,
            },
        },
        Err(Shut::Quota(it)) => Outlook {
            when: match (it.free.time(), it.bound) {
                (Some(time), _) => When::At(time),
                (None, Bound::Concurrency) => When::Unknown,
                (None, _) => When::Never,
            },
            why: Why::Quota,
        },
    }
}

fn exhaustion(travel: &Travel, now: Now) -> Exhaustion {
    let demand = demand(&travel.core, &travel.request, travel.guide_bytes());
    let gates = gates(&travel.core, &demand, now);
    let mut providers: Vec<ProviderState> = Vec::new();
    let catalog = &travel.pool.selector.catalog;
    for provider in catalog.providers() {
        let mine: Vec<TargetView<'_>> =
            targets(travel).filter(|it| it.provider.id == provider.id).collect();
        if !mine.is_empty() {
            providers.push(provider_state(travel, provider, &mine, &gates));
        }
    }
    // Only what could take this very request, under another name, is worth suggesting.
    let needs = Needs::of(&travel.request).without_training(travel.requires.no_training);
    let able = select::eligible(catalog, &Asked::Any, &needs);
    let mut others: Vec<(Duration, &Model)> = able
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(p, m)| {
            let provider = catalog.providers().get(p)?;
            let model = provider.models.get(m)?;
            let hopeful = |it: &Outlook| !matches!(it.why, Why::Fault | Why::Refused);
            let soonest = provider
                .targets(model)
                .map(|it| outlook(travel, &it, &gates))
                .filter(hopeful)
                .filter_map(|it| wait_of(it, now))
                .min()?;
            Some((soonest, model))
        })
        .collect();
    others.sort_by_key(|(wait, _)| *wait);
    let suggestions = others.into_iter().take(SUGGESTIONS).map(|(wait, model)| Suggestion {
        model: model.routable.to_string(),
        available_in_ms: millis(wait),
    });
    Exhaustion { providers, suggestions: suggestions.collect() }
}

fn provider_state(
    travel: &Travel,
    provider: &Provider,
    targets: &[TargetView<'_>],
    gates: &Gates<'_>,
) -> ProviderState {
    let breakers = &travel.core.books.breakers;
    let waits = targets.iter().filter_map(|it| wait_of(outlook(travel, it, gates), gates.now));
    let keys_available = provider
        .keys
        .iter()
        .filter(|it| breakers.state(Scope::Key(it.id), gates.now).state != State::Open)
        .count();
    // The provider is as well as the best of its targets.
    let state = |it: &TargetView<'_>| match breakers.check(&it.into(), gates.now) {
        Ok(()) => State::Closed,
        Err(blocked) => blocked.state,
    };
    let states: Vec<State> = targets.iter().map(state).collect();
    let best = [State::Closed, State::HalfOpen].into_iter().find(|it| states.contains(it));
    ProviderState {
        id: provider.name.to_string(),
        retry_after_ms: waits.min().map(millis),
        keys_available,
        circuit_state: best.unwrap_or(State::Open).as_str(),
    }
}

fn wait_of(outlook: Outlook, now: Now) -> Option<Duration> {
    match outlook.when {
        When::At(time) => Some(time.saturating_sub(now.monotonic)),
        When::Unknown | When::Never => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
