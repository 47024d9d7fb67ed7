use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::catalog::ModelId;
use crate::dispatch::queue::lines::MOST_OF_KEY;

fn models(of: &[u32]) -> Choice {
    Choice::of(of.iter().map(|it| Bucket::Model(ModelId(*it))).collect())
}

fn one() -> Choice {
    models(&[1])
}

fn who(key: u64, session: u64) -> Who {
    Who { key, session }
}

/// The order in which places get their turn, when each takes what is there once nobody else may before
/// it.
fn turns(queue: &Queue, mut places: Vec<Place>) -> Vec<Who> {
    let mut order = Vec::new();
    loop {
        let may = |it: &Place| {
            let others = queue.others(Some(it));
            let claimed = it.choice().buckets().iter().all(|bucket| others.claim(*bucket));
            it.is_first() && !claimed
        };
        let Some(at) = places.iter().position(may) else { break };
        let place = places.remove(at);
        order.push(place.ticket.who);
        place.served();
    }
    assert!(places.is_empty(), "somebody never came first");
    assert!(!queue.has(one) && queue.lock().is_empty());
    order
}

fn check(callers: &[(u64, u64)], expected: &[(u64, u64)]) {
    let queue = Arc::new(Queue::default());
    let places = callers.iter().map(|it| queue.join(one(), who(it.0, it.1)).unwrap()).collect();
    let order: Vec<_> = turns(&queue, places).into_iter().map(|it| (it.key, it.session)).collect();
    assert_eq!(order, expected, "{callers:?}");
}

#[test]
fn keys_take_turns_whatever_their_appetite() {
    check(
        &[(1, 0), (1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (3, 0)],
        &[(1, 0), (2, 0), (3, 0), (1, 0), (3, 0), (1, 0), (1, 0)],
    );
}

#[test]
fn nobody_gains_by_many_sessions() {
    check(
        &[(1, 1), (1, 2), (1, 3), (1, 4), (2, 0), (2, 0)],
        &[(1, 1), (2, 0), (1, 2), (2, 0), (1, 3), (1, 4)],
    );
}

#[test]
fn the_sessions_of_one_key_take_turns() {
    check(&[(1, 1), (1, 1), (1, 1), (1, 2), (1, 3)], &[(1, 1), (1, 2), (1, 3), (1, 1), (1, 1)]);
}

#[test]
fn lines_that_share_nothing_do_not_mix() {
    let queue = Arc::new(Queue::default());
    let [one, other] = [1, 2].map(|it| queue.join(models(&[it]), who(1, 1)).unwrap());
    for place in [&one, &other] {
        let bucket = place.choice().buckets()[0];
        assert!(place.is_first() && !queue.others(Some(place)).claim(bucket));
    }
    drop(one);
    assert!(!queue.has(self::one) && queue.has(|| models(&[2])));
}

#[test]
fn lines_that_share_a_bucket_keep_one_order() {
    let queue = Arc::new(Queue::default());
    let pin = queue.join(models(&[1]), who(1, 0)).unwrap();
    let any = queue.join(models(&[1, 2]), who(2, 0)).unwrap();
    let [first, second] = [1, 2].map(|it| Bucket::Model(ModelId(it)));
    let claims = |place: Option<&Place>| {
        let others = queue.others(place);
        [first, second].map(|it| others.claim(it))
    };
    assert_eq!(claims(Some(&pin)), [false, false], "it came first");
    assert_eq!(claims(Some(&any)), [true, false], "what nobody else wants is free");
    assert_eq!(claims(None), [true, true], "who comes now waits");
    pin.served();
    assert_eq!(claims(Some(&any)), [false, false]);
    let again = queue.join(models(&[1]), who(1, 0)).unwrap();
    assert_eq!((claims(Some(&again)), claims(Some(&any))), ([true, true], [false, false]));
    let others = queue.others(Some(&any));
    assert_eq!([first, second].map(|it| others.want(it)), [true, false], "it may take the second");
}

#[test]
fn naming_many_models_gains_no_turns() {
    let queue = Arc::new(Queue::default());
    let greedy = [models(&[1]), models(&[1, 2]), models(&[1, 3]), models(&[1, 4])];
    let mut places: Vec<Place> = Vec::new();
    places.extend(greedy.iter().map(|it| queue.join(it.clone(), who(1, 0)).unwrap()));
    places.extend((0..3).map(|_| queue.join(one(), who(2, 0)).unwrap()));
    let bucket = Bucket::Model(ModelId(1));
    let mut order = Vec::new();
    while let Some(at) =
        places.iter().position(|it| it.is_first() && !queue.others(Some(it)).claim(bucket))
    {
        let place = places.remove(at);
        order.push(place.ticket.who.key);
        place.served();
    }
    assert_eq!(order, [1, 2, 1, 2, 1, 2, 1]);
}

#[test]
fn who_leaves_frees_the_place_at_once() {
    let queue = Arc::new(Queue::default());
    let [first, second, third] = [1, 1, 2].map(|it| queue.join(one(), who(it, 0)).unwrap());
    drop(second);
    assert!(first.is_first() && !third.is_first());
    drop(first);
    assert!(third.is_first());
    drop(third);
    assert!(queue.lock().is_empty());
    assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn nobody_fills_a_line_for_the_others() {
    let queue = Arc::new(Queue::default());
    let mut places: Vec<Place> = Vec::new();
    for session in 0.. {
        let before = places.len();
        let mine = std::iter::from_fn(|| queue.join(one(), who(1, session)));
        places.extend(mine.take(MOST_OF_SESSION + 1));
        if places.len() == before {
            break;
        }
        assert_eq!(places.len() - before, MOST_OF_SESSION);
    }
    assert_eq!(places.len(), MOST_OF_KEY);
    places.push(queue.join(one(), who(2, 0)).unwrap());
    for choice in [one(), models(&[2])] {
        assert!(queue.join(choice, who(1, 9)).is_none(), "nor the gateway, by many lines");
    }
    drop(places);
    assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    assert!(queue.lock().is_empty());
}

#[test]
fn how_many_are_served_before_is_known() {
    let check = |callers: &[(u64, u64)], comes: (u64, u64), expected: u64| {
        let queue = Arc::new(Queue::default());
        let join = |it: &(u64, u64)| queue.join(one(), who(it.0, it.1)).unwrap();
        let places: Vec<Place> = callers.iter().map(join).collect();
        let before = queue.before(&one(), who(comes.0, comes.1), None);
        assert_eq!(before, expected, "{comes:?} after {callers:?}");
        drop(places);
    };
    check(&[], (1, 0), 0);
    check(&[(1, 0), (1, 0), (1, 0)], (1, 0), 3);
    check(&[(1, 0), (1, 0), (1, 0)], (1, 1), 1);
    check(&[(1, 0), (1, 0), (1, 0)], (2, 0), 1);
    check(&[(1, 0), (2, 0), (3, 0)], (4, 0), 3);
    check(&[(1, 0), (1, 0), (2, 0), (2, 0)], (1, 0), 4);
    check(&[(1, 0), (1, 0), (2, 0), (2, 0)], (2, 0), 4);
}

#[tokio::test(start_paused = true)]
async fn the_bell_rings_for_the_first_alone() {
    let soon = std::time::Duration::from_millis(1);
    let rings = async |it: &Place| tokio::time::timeout(soon, it.bell()).await.is_ok();
    let queue = Arc::new(Queue::default());
    let [first, second] = [1, 2].map(|it| queue.join(one(), who(it, 0)).unwrap());
    let other = queue.join(models(&[1, 2]), who(3, 0)).unwrap();
    queue.stir();
    assert!(rings(&first).await && !rings(&second).await && rings(&other).await);
    first.served();
    assert!(rings(&second).await, "it has come first");
    assert!(rings(&other).await, "it competes with that line");
}

proptest! {
    /// Whoever comes, goes and is served, everybody is served in the end, no key has two turns
    /// while another waits for one, nothing is left behind, and nobody was told of more requests
    /// before it than there were.
    #[test]
    fn nobody_starves(
        callers in prop::collection::vec((0_u64..4, 0_u64..3), 1..60),
        leaves in prop::collection::vec(any::<bool>(), 60),
    ) {
        let queue = Arc::new(Queue::default());
        let mut places: Vec<(Place, u64)> = Vec::new();
        for (key, session) in callers {
            places.push((queue.join(one(), who(key, session)).unwrap(), 0));
        }
        for (at, leave) in leaves.into_iter().enumerate().rev() {
            if leave && at < places.len() {
                places.remove(at);
            }
        }
        for (place, before) in &mut places {
            *before = queue.before(place.choice(), place.ticket.who, Some(place));
        }
        let (mut served, mut turns) = (0, HashMap::<u64, u64>::new());
        while let Some(at) = places.iter().position(|it| it.0.is_first()) {
            let (place, before) = places.remove(at);
            prop_assert!(before <= served, "{before} told, {served} were");
            served += 1;
            let mine = turns.entry(place.ticket.who.key).or_default();
            *mine += 1;
            let mine = *mine;
            for other in places.iter().map(|it| it.0.ticket.who.key) {
                prop_assert!(mine <= turns.get(&other).copied().unwrap_or(0) + 1);
            }
            place.served();
        }
        prop_assert!(places.is_empty() && queue.lock().is_empty());
    }
}
