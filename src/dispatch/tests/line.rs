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
use crate::dispatch::queue::MOST_OF_ONE;

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

fn call_of(caller: u64) -> ChatCall {
    ChatCall { caller, ..call("") }
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
    let stage = paced(1);
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

#[tokio::test(start_paused = true)]
async fn one_too_many_of_a_caller_is_told_the_true_time_and_another_caller_waits() {
    let stage = paced(1);
    stage.ask("").await.unwrap();
    let line: Vec<_> =
        (0..MOST_OF_ONE).map(|_| stage.dispatcher.begin(call_of(1)).answer).collect();
    let waiting = async {
        join_all(line).await;
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let refused = stage.dispatcher.begin(call_of(1)).answer.await.err().unwrap().error;
        assert_eq!((refused.status, stage.seconds()), (429, 0), "at once: {}", refused.message);
        assert_eq!(refused.code.as_deref(), Some("all_providers_exhausted"));
        let told = refused.retry_after.map(|it| it.as_secs());
        assert!((999..=1_002).contains(&told.unwrap()), "a second for each in line: {told:?}");
        stage.dispatcher.begin(call_of(2)).answer.await.map_err(|it| it.error.message).unwrap();
        assert!(stage.seconds() <= 2, "its turn came second: {}", stage.seconds());
    };
    tokio::join!(waiting, others);
}
