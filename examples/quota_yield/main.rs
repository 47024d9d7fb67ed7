//! How much of its pool's free quota the gateway turns into answers: days in virtual time, in front
//! of providers that hold their own limits strictly.
//!
//! `cargo run --release --example quota_yield [-- POOL [HOURS [SEEDS [WORDS]]]]` prints, for each pool and
//! demand, the share of the optimum that was answered (mean and worst of all seeds) and how many
//! requests in 10,000 a provider had to refuse. Words choose rows: `bursty`, `weighted`, `program`.
//! docs/BENCHMARKS.md says how the optimum is worked out.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement may stop where it can't go on"
)]

mod lab;

use std::io::Write as _;
use std::time::Duration;

use lab::{Demand, Figures, Gateway, Pool, Scenario};
use relayfreellm::select::Strategy;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let mut number =
        |usual: u64| -> u64 { arguments.next().map_or(usual, |it| it.parse().expect("a number")) };
    let (hours, seeds) = (number(24), number(10));
    let words: Vec<String> = arguments.collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "| pool | demand | gateway | yield | worst seed | 429s in 10,000 | answered |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for scenario in scenarios(hours * 60) {
        let name = name(&scenario);
        if !scenario.pool.name.starts_with(&wanted) || !words.iter().all(|it| name.contains(it)) {
            continue;
        }
        let figures: Vec<Figures> = (0..seeds).map(|it| scenario.run(it)).collect();
        writeln!(out, "{name} {}", results(&figures))?;
    }
    Ok(())
}

fn scenarios(minutes: u64) -> Vec<Scenario> {
    let round_robin = Gateway::Ours(Strategy::RoundRobin);
    let weighted = Gateway::Ours(Strategy::Weighted);
    // Who stands between, whether another program uses the keys, and whether answers tell what is
    // left.
    let variants = [
        (round_robin, false, false),
        (round_robin, false, true),
        (weighted, false, true),
        (round_robin, true, true),
        (round_robin, true, false),
        (Gateway::Naive, false, false),
        (Gateway::Yardstick, false, false),
    ];
    let demands = [(Demand::Saturating, 10), (Demand::Bursty, 10), (Demand::Bursty, 0)];
    let mut all = Vec::new();
    for pool in [Pool::minutes(), Pool::mixed(), Pool::mixed().with_one_key(), Pool::seconds()] {
        // Nobody who asks at random meets a free second without waiting for it.
        let waits = if pool.name == "seconds" { &demands[..2] } else { &demands[..] };
        for &(demand, patience) in waits {
            let patience = Duration::from_secs(patience);
            for (gateway, outsider, told) in variants {
                let pool = pool.clone();
                all.push(Scenario { pool, demand, patience, gateway, outsider, told, minutes });
            }
        }
    }
    all
}

fn name(scenario: &Scenario) -> String {
    let gateway = match scenario.gateway {
        Gateway::Ours(Strategy::Weighted) => "weighted",
        Gateway::Ours(Strategy::Random) => "random",
        Gateway::Ours(Strategy::RoundRobin) => "round robin",
        Gateway::Naive => "(naive)",
        Gateway::Yardstick => "(yardstick)",
    };
    format!(
        "| {}{}{} | {}, waiting {} s | {gateway} |",
        scenario.pool.name,
        if scenario.outsider { ", another program" } else { "" },
        if scenario.told { ", told" } else { "" },
        scenario.demand.name(),
        scenario.patience.as_secs(),
    )
}

fn results(figures: &[Figures]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few seeds")]
    let mean =
        |of: &dyn Fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>() / figures.len() as f64;
    let worst = figures.iter().map(|it| it.share()).fold(f64::INFINITY, f64::min);
    format!(
        "{:.4} | {worst:.4} | {:.2} | {:.0} |",
        mean(&|it| it.share()),
        mean(&|it| it.refusals()),
        mean(&|it| it.answers()),
    )
}
