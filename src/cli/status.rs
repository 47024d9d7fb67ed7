//! `status`: a running gateway's providers and quota, as tables.

use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;

use crate::cli::EXIT_FAILED;
use crate::cli::EXIT_REFUSED;
use crate::cli::complain;
use crate::cli::gateway;
use crate::cli::gateway::Unanswered;
use crate::cli::say;
use crate::cli::table::table;
use crate::config;
use crate::config::Flags;
use crate::config::Reach;
use crate::status::pool::CircuitStatus;
use crate::status::pool::Pool;
use crate::status::pool::ProviderStatus;
use crate::status::pool::TargetStatus;
use crate::status::pool::WindowStatus;
use crate::status::quota::Left;
use crate::status::quota::PoolQuota;
use crate::status::quota::Quota;

/// Asks the gateway at `--host` and `--port` and prints what it says.
pub(super) fn status(flags: &Flags) -> ExitCode {
    let reach = match config::reach(flags, &config::process_environment) {
        Ok(reach) => reach,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    match ask(&reach) {
        Ok((pool, quota)) => {
            say(&render(&pool));
            say(&total(&quota.pool));
            ExitCode::SUCCESS
        }
        Err(text) => complain(&text, EXIT_FAILED),
    }
}

fn ask(reach: &Reach) -> Result<(Pool, Quota), String> {
    Ok((get(reach, "/v1/status")?, get(reach, "/v1/quota")?))
}

fn get<T: DeserializeOwned>(reach: &Reach, path: &str) -> Result<T, String> {
    let answer = gateway::ask_once(reach, (Method::GET, path), Bytes::new());
    answer.map_err(Unanswered::into_text)?.read()
}

fn render(pool: &Pool) -> String {
    let providers = pool.providers.iter().map(provider_row).collect::<Vec<_>>();
    let mut out = table(&["provider", "state", "keys", "models", "ready now"], &providers);
    let targets: Vec<Vec<String>> = pool
        .providers
        .iter()
        .flat_map(|provider| provider.targets.iter().map(|it| target_row(provider, it)))
        .collect();
    out.push('\n');
    out.push_str(&table(&["model", "key", "state", "left"], &targets));
    out
}

/// What the whole pool has left.
fn total(pool: &PoolQuota) -> String {
    let left = |it: &Left, unit: &str| {
        let unknown = match it.unknown {
            0 => String::new(),
            n => format!(" and {n} without a known limit"),
        };
        format!("{} {unit} now, {} until midnight UTC{unknown}", it.now, it.today)
    };
    let (requests, tokens) = (left(&pool.requests, "requests"), left(&pool.tokens, "tokens"));
    let pace = match (pool.requests_per_minute, pool.tokens_per_minute) {
        (Some(requests), Some(tokens)) => {
            let lasts = match pool.runs_out_in_sec {
                Some(seconds) => format!("runs out in {}", duration(seconds)),
                None => "does not run out today, as far as is known".to_owned(),
            };
            format!("pace: {requests} requests and {tokens} tokens a minute; {lasts}\n")
        }
        _ => String::new(),
    };
    format!("\nleft in all: {requests}; {tokens}\n{pace}")
}

fn provider_row(provider: &ProviderStatus) -> Vec<String> {
    let usable = provider.keys.iter().filter(|it| it.circuit.state != "open").count();
    let ready = |it: &&TargetStatus| {
        it.cooldown_remaining_sec == 0 && it.windows.iter().all(|it| it.left != Some(0))
    };
    let ready = provider.targets.iter().filter(ready).count();
    let models = provider.targets.len() / provider.keys.len().max(1);
    let state = match circuit(&provider.circuit) {
        ok if ok == "ok" && ready == 0 => "none ready".to_owned(),
        state => state,
    };
    vec![
        provider.id.clone(),
        state,
        format!("{usable} of {}", provider.keys.len()),
        models.to_string(),
        format!("{ready} of {}", provider.targets.len()),
    ]
}

fn circuit(it: &CircuitStatus) -> String {
    match (it.state.as_str(), &it.reason, it.retry_in_sec) {
        ("closed", _, _) => "ok".to_owned(),
        (state, Some(reason), Some(seconds)) => {
            format!("{state}: {}, again in {}", reason.replace('_', " "), duration(seconds))
        }
        (state, _, _) => state.to_owned(),
    }
}

fn target_row(provider: &ProviderStatus, it: &TargetStatus) -> Vec<String> {
    let state = match (&it.reason, it.cooldown_remaining_sec) {
        (Some(reason), rest) => {
            format!("resting {}: {}", duration(rest), reason.replace('_', " "))
        }
        (None, _) if it.windows.iter().any(|it| it.left == Some(0)) => "spent".to_owned(),
        (None, _) => "ok".to_owned(),
    };
    let left: Vec<String> = it.windows.iter().filter_map(window).collect();
    let left = if left.is_empty() { "no limit known".to_owned() } else { left.join(", ") };
    vec![format!("{}/{}", provider.id, it.model), it.key.clone(), state, left]
}

/// `29 of 30 requests/minute`.
fn window(it: &WindowStatus) -> Option<String> {
    let limit = match (it.configured, it.learned) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    Some(format!("{} of {limit} {}/{}", it.left.unwrap_or(limit), it.unit, it.period))
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_the_unit_that_fits() {
        assert_eq!([duration(5), duration(150), duration(7201)], ["5 s", "3 min", "3 h"]);
    }

    #[test]
    fn the_pool_is_said_in_a_line_or_two() {
        let mut pool = PoolQuota {
            requests: Left { now: 5, today: 50, unknown: 0 },
            tokens: Left { now: 7, today: 70, unknown: 2 },
            requests_per_minute: None,
            tokens_per_minute: None,
            runs_out_in_sec: None,
        };
        let left = "\nleft in all: 5 requests now, 50 until midnight UTC; 7 tokens now, 70 until \
                    midnight UTC and 2 without a known limit\n";
        assert_eq!(total(&pool), left);
        (pool.requests_per_minute, pool.tokens_per_minute) = (Some(1.5), Some(30.0));
        pool.runs_out_in_sec = Some(600);
        let pace = "pace: 1.5 requests and 30 tokens a minute; runs out in 10 min\n";
        assert_eq!(total(&pool), format!("{left}{pace}"));
    }

    #[test]
    fn the_lower_of_two_limits_is_shown() {
        let it = |configured, learned, left| WindowStatus {
            unit: "requests".to_owned(),
            period: "day".to_owned(),
            configured,
            learned,
            used: 1,
            left,
            resets_in_sec: 9,
        };
        assert_eq!(
            window(&it(Some(30), Some(20), Some(19))),
            Some("19 of 20 requests/day".to_owned())
        );
        assert_eq!(window(&it(None, None, None)), None);
    }
}
