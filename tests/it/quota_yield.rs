//! What the pool yields in virtual time, over stretches short enough for every day;
//! `examples/quota_yield` measures whole days.

use std::time::Duration;

use relayfreellm::select::Strategy;

#[path = "../../examples/quota_yield/lab/mod.rs"]
pub(crate) mod lab;

use lab::{Demand, Figures, Gateway, Pool, Scenario};

/// A pool under saturation, with nobody else at it.
fn scenario(pool: Pool, minutes: u64) -> Scenario {
    Scenario {
        pool,
        demand: Demand::Saturating,
        patience: Duration::from_secs(10),
        gateway: Gateway::Ours(Strategy::RoundRobin),
        outsider: false,
        told: false,
        minutes,
    }
}

fn check(scenario: &Scenario, least: f64, most_refusals: f64) -> Figures {
    let figures = scenario.run(1);
    let (share, refusals) = (figures.share(), figures.refusals());
    let about = format!(
        "{}, {}: {share} {refusals} {figures:?}",
        scenario.pool.name,
        scenario.demand.name()
    );
    // The optimum is a bound: what comes near it by a thousandth has reached it.
    assert!((least..1.001).contains(&share), "{about}");
    assert!(refusals <= most_refusals, "{about}");
    assert!(figures.answers() > 1_000.0, "{about}");
    figures
}

#[test]
fn minutes_yield_what_they_have() {
    let ours = check(&scenario(Pool::minutes(), 30), 0.98, 1.0);
    let naive = Scenario { gateway: Gateway::Naive, ..scenario(Pool::minutes(), 30) };
    let naive = naive.run(1);
    assert!(naive.refusals() > 1_000.0 && naive.answers() < ours.answers() * 1.02, "{naive:?}");
}

#[test]
fn every_kind_of_window_yields_what_it_has() {
    let demand = Demand::Bursty;
    let gateway = Gateway::Ours(Strategy::Weighted);
    check(
        &Scenario { demand, gateway, ..scenario(Pool::mixed().with_one_key(), 24 * 60) },
        0.97,
        1.0,
    );
}

#[test]
fn bursts_are_answered_nearly_as_well_as_by_one_that_sees_the_counts() {
    let bursty = Scenario { demand: Demand::Bursty, ..scenario(Pool::minutes(), 60) };
    let ours = check(&bursty, 0.97, 1.0);
    let sighted = Scenario { gateway: Gateway::Yardstick, ..bursty }.run(1);
    assert!(ours.answers() > sighted.answers() * 0.98, "{ours:?} {sighted:?}");
}

#[test]
fn seconds_yield_most_of_what_they_have() {
    check(&scenario(Pool::seconds(), 8), 0.93, 1.0);
}

#[test]
fn another_program_with_our_key_is_noticed() {
    let scenario = Scenario { outsider: true, told: true, ..scenario(Pool::minutes(), 30) };
    check(&scenario, 0.9, 200.0);
}
