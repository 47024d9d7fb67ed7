//! A thousand requests of ten callers in one line. Virtual time shows how long each really waited,
//! however busy the machine is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use crate::catalog::Limit;
use crate::catalog::Period;
use crate::catalog::Unit;
use crate::dispatch::Params;
use crate::dispatch::outcome::ChatCall;
use crate::dispatch::outcome::ChatService as _;
use crate::dispatch::outcome::Who;
use crate::dispatch::queue::MOST_OF_SESSION;

use super::Stage;
use super::call;
use super::params;
use super::stage;

/// What the one provider allows in a second, and the seconds that are waited for it.
const A_SECOND: u64 = 40;
const WAIT: u64 = 4;

/// How each of the ten differs: a thousand in all.
const APPETITES: [usize; 10] = [20, 40, 60, 80, 100, 100, 120, 140, 160, 180];

fn paced(per_second: u64) -> Stage {
    let limit = Limit { unit: Unit::Requests, period: Period::Second, max: per_second };
    let params = Params { max_quota_wait: Duration::from_secs(WAIT), ..params() };
    stage(vec![vec![]], &[limit], params)
}

/// One request a second, and nobody can be certain of it: who knows how many tokens the others really
/// use?
fn untold() -> Stage {
    let limit = Limit { unit: Unit::Tokens, period: Period::Second, max: 20 };
    let params = Params { max_quota_wait: Duration::from_secs(WAIT), ..params() };
    stage(vec![vec![]], &[limit], params)
}

fn call_of(key: u64) -> ChatCall {
    ChatCall { who: Who { key, session: 0 }, ..call("") }
}

/// Jain's index: 1 when all have as much, 0.1 when one of ten has all.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn fairness(served: &[u64]) -> f64 {
    let total: f64 = served.iter().map(|it| *it as f64).sum();
    let squares: f64 = served.iter().map(|it| (*it as f64).powi(2)).sum();
    total * total / (served.len() as f64 * squares)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_of_ten_callers_are_served_alike_and_in_time() {
    let stage = paced(A_SECOND);
    // The greediest comes first with all it has, the most modest last.
    let callers = APPETITES.iter().enumerate().rev();
    let callers = callers.flat_map(|(caller, appetite)| vec![caller as u64; *appetite]);
    let latest = Duration::from_secs(WAIT) + Duration::from_millis(100);
    let asks = callers.map(|caller| {
        let answer = stage.dispatcher.begin(call_of(caller)).answer;
        async move {
            let began = tokio::time::Instant::now();
            let status = answer.await.map_or_else(|it| it.error.status, |_| 200);
            (caller, status, began.elapsed())
        }
    });
    let mut served: BTreeMap<u64, u64> = (0..10).map(|it| (it, 0)).collect();
    for (caller, status, after) in join_all(asks.collect::<Vec<_>>()).await {
        assert!(after <= latest, "{status} after {after:?}");
        assert!([200, 429].contains(&status), "{status}");
        if status == 200 && after > Duration::ZERO {
            *served.entry(caller).or_default() += 1;
        }
    }
    let served: Vec<u64> = served.into_values().collect();
    let total: u64 = served.iter().sum();
    assert!(total >= A_SECOND * (WAIT - 1), "all that came free in time: {total}");
    assert!(fairness(&served) > 0.95, "{} of {served:?}", fairness(&served));
    assert!(!stage.dispatcher.0.load().queue.has(|| unreachable!("nobody waits any more")));
}

#[tokio::test(start_paused = true)]
async fn waiters_that_go_free_their_places_at_once() {
    let stage = untold();
    stage.ask("").await.unwrap();
    let line: Vec<_> = (0..900).map(|_| stage.dispatcher.begin(call_of(1)).answer).collect();
    let crowd = tokio::time::timeout(Duration::from_millis(10), join_all(line));
    let (gone, stayed) = tokio::join!(crowd, async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let answer = stage.dispatcher.begin(call_of(1)).answer;
        answer.await.map_err(|it| it.error.message)
    });
    assert!(gone.is_err() && stayed.is_ok(), "{:?}", stayed.err());
    assert_eq!(stage.seconds(), 1, "it had the next unit");
}

/// How one request ended, and when.
struct End {
    key: u64,
    status: u16,
    after: Duration,
    told: Option<Duration>,
}

/// All at once, in this order.
async fn at_once(stage: &Stage, calls: impl IntoIterator<Item = ChatCall>) -> Vec<End> {
    let asks = calls.into_iter().map(|call| {
        let key = call.who.key;
        let answer = stage.dispatcher.begin(call).answer;
        async move {
            let began = tokio::time::Instant::now();
            let failed = answer.await.err().map(|it| it.error);
            let status = failed.as_ref().map_or(200, |it| it.status);
            let told = failed.and_then(|it| it.retry_after);
            End { key, status, after: began.elapsed(), told }
        }
    });
    join_all(asks.collect::<Vec<_>>()).await
}

fn served(ends: &[End], key: u64) -> u64 {
    ends.iter().filter(|it| it.key == key && it.status == 200).count() as u64
}

#[tokio::test(start_paused = true)]
async fn who_is_certain_to_wait_in_vain_is_told_at_once() {
    let stage = paced(1);
    let ends = at_once(&stage, (0..20).map(|_| call_of(1))).await;
    // One at once, and one after each of three seconds (the fourth comes 160 ms too late).
    assert_eq!(served(&ends, 1), 4, "all that could be served");
    let refused: Vec<&End> = ends.iter().filter(|it| it.status != 200).collect();
    assert!(refused.iter().all(|it| it.status == 429));
    let soon = refused.iter().filter(|it| it.after < Duration::from_millis(10)).count();
    assert!(soon >= 14, "{soon} of {} at once", refused.len());
    for it in refused {
        let whole = it.after + it.told.unwrap_or_default();
        assert!(whole >= Duration::from_secs(WAIT), "{:?} after {:?}", it.told, it.after);
        assert!(it.after < Duration::from_secs(WAIT), "{:?}", it.after);
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_be_served_waits() {
    let stage = untold();
    let ends = at_once(&stage, (0..30).map(|_| call_of(1))).await;
    // Whoever is first knows in the last second that the next unit comes too late.
    let early = Duration::from_secs(WAIT - 1);
    assert!(!ends.iter().any(|it| it.status != 200 && it.after < early));
    assert!((4..30).contains(&served(&ends, 1)));
}

#[tokio::test(start_paused = true)]
async fn of_a_crowd_few_wait_in_vain_and_none_less_is_served() {
    let wait = Duration::from_secs(10);
    let limit = Limit { unit: Unit::Requests, period: Period::Second, max: A_SECOND };
    let params = Params { max_quota_wait: wait, ..params() };
    let stage = stage(vec![vec![]], &[limit], params);
    let ends = at_once(&stage, (0..1_500).map(|it| call_of(it % 30))).await;
    let all: u64 = (0..30).map(|it| served(&ends, it)).sum();
    // As many as come free in ten seconds: a unit is kept for 1.04 s.
    assert_eq!(all, A_SECOND * 10);
    let in_vain = ends.iter().filter(|it| it.status != 200 && it.after > wait / 10);
    assert!(in_vain.count() <= 60, "waited for more than a second");
}

#[tokio::test(start_paused = true)]
async fn requests_that_share_a_part_of_their_choice_wait_for_it_in_one_order() {
    let limit = Limit { unit: Unit::Requests, period: Period::Second, max: 1 };
    let params = Params { max_quota_wait: Duration::from_secs(WAIT), ..params() };
    let two = || stage(vec![vec![], vec![]], &[limit], params.clone());
    let pinned = |key| ChatCall { who: Who { key, session: 0 }, ..call(r#""model":"p0/m","#) };
    // Whoever comes first, and however many of them: of what both want each gets every other unit at
    // least.
    for pins_first in [true, false] {
        let (pins, any) = ((0..20).map(|_| pinned(1)), (0..20).map(|_| call_of(2)));
        let calls: Vec<ChatCall> =
            if pins_first { pins.chain(any).collect() } else { any.chain(pins).collect() };
        let ends = at_once(&two(), calls).await;
        let got = [1, 2].map(|it| served(&ends, it));
        assert_eq!(got.iter().sum::<u64>(), 8, "two at once, and two in each of three seconds");
        assert!(got.iter().all(|it| (2..=6).contains(it)), "{got:?}, pins first: {pins_first}");
    }
    // Two keys for the one model and two for any: nobody starves.
    let calls = (0..40).map(|it| if it % 4 < 2 { pinned(it % 4) } else { call_of(it % 4) });
    let ends = at_once(&two(), calls).await;
    let got = [0, 1, 2, 3].map(|it| served(&ends, it));
    assert_eq!(got, [2; 4]);
}

#[tokio::test(start_paused = true)]
async fn one_with_many_sessions_gets_no_more_than_one_with_one() {
    let stage = paced(4);
    let many = |it| ChatCall { who: Who { key: 1, session: it }, ..call("") };
    let calls = (0..30).map(many).chain((0..30).map(|_| call_of(2)));
    let ends = at_once(&stage, calls).await;
    // The first four come before anybody waits.
    assert_eq!([served(&ends, 1), served(&ends, 2)], [10, 6]);
}

#[tokio::test(start_paused = true)]
async fn one_too_many_of_a_caller_is_told_the_true_time_and_another_caller_waits() {
    let stage = untold();
    stage.ask("").await.unwrap();
    let line: Vec<_> =
        (0..MOST_OF_SESSION).map(|_| stage.dispatcher.begin(call_of(1)).answer).collect();
    let waiting = async {
        join_all(line).await;
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let refused = stage.dispatcher.begin(call_of(1)).answer.await.err().unwrap().error;
        assert_eq!((refused.status, stage.seconds()), (429, 0), "at once: {}", refused.message);
        assert_eq!(refused.code.as_deref(), Some("all_providers_exhausted"));
        let told = refused.retry_after.map(|it| it.as_secs());
        assert!((1_039..=1_043).contains(&told.unwrap()), "a second for each in line: {told:?}");
        stage.dispatcher.begin(call_of(2)).answer.await.map_err(|it| it.error.message).unwrap();
        assert!(stage.seconds() <= 2, "its turn came second: {}", stage.seconds());
    };
    tokio::join!(waiting, others);
}
