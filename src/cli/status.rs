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
use crate::status::quota::Left;
use crate::status::quota::Limit;
use crate::status::quota::ModelQuota;
use crate::status::quota::PoolQuota;
use crate::status::quota::ProviderQuota;
use crate::status::quota::Quota;

/// Asks the gateway at `--host` and `--port` and prints what it says.
pub(super) fn status(flags: &Flags) -> ExitCode {
    let reach = match config::reach(flags, &config::process_environment) {
        Ok(reach) => reach,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    match ask(&reach) {
        Ok((pool, quota)) => {
            say(&render(&pool, &quota));
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

fn render(pool: &Pool, quota: &Quota) -> String {
    let quota_of = |it: &ProviderStatus| quota.providers.iter().find(|quota| quota.id == it.id);
    let providers = pool.providers.iter().map(|it| provider_row(it, quota_of(it)));
    let providers: Vec<Vec<String>> = providers.collect();
    let mut out = table(&["provider", "state", "keys", "models", "ready now"], &providers);
    let targets: Vec<Vec<String>> = quota.providers.iter().flat_map(target_rows).collect();
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
                Some(0) => "nothing is left until midnight UTC".to_owned(),
                Some(seconds) => format!("runs out in {}", duration(seconds)),
                None => "does not run out today, as far as is known".to_owned(),
            };
            format!("pace: {requests} requests and {tokens} tokens a minute; {lasts}\n")
        }
        _ => String::new(),
    };
    format!("\nleft in all: {requests}; {tokens}\n{pace}")
}

fn provider_row(provider: &ProviderStatus, quota: Option<&ProviderQuota>) -> Vec<String> {
    let usable = provider.keys.iter().filter(|it| it.circuit.state != "open").count();
    let targets = || quota.into_iter().flat_map(|it| &it.keys).flat_map(|it| &it.models);
    let ready = targets().filter(|it| it.state == "ready").count();
    let models = targets().count() / provider.keys.len().max(1);
    let state = match circuit(&provider.circuit) {
        ok if ok == "ok" && ready == 0 => "none ready".to_owned(),
        state => state,
    };
    vec![
        provider.id.clone(),
        state,
        format!("{usable} of {}", provider.keys.len()),
        models.to_string(),
        format!("{ready} of {}", targets().count()),
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

/// The rows of a provider: each model with each of its keys.
fn target_rows(provider: &ProviderQuota) -> impl Iterator<Item = Vec<String>> {
    provider.keys.iter().flat_map(move |key| {
        key.models.iter().map(move |it| {
            let left: Vec<String> = it.windows.iter().map(limit).collect();
            let left = if left.is_empty() { "no limit known".to_owned() } else { left.join(", ") };
            vec![format!("{}/{}", provider.id, it.model), key.key.clone(), state(it), left]
        })
    })
}

/// `resting 5 min: key rejected`, `spent for 3 h: requests per day`.
fn state(it: &ModelQuota) -> String {
    let word = if it.state == "ready" { "ok" } else { &it.state };
    let time = it.available_in_sec.filter(|it| *it > 0).map(duration);
    let time = match (time, it.state.as_str()) {
        (Some(time), "spent") => format!(" for {time}"),
        (Some(time), _) => format!(" {time}"),
        (None, _) => String::new(),
    };
    let reason = it.reason.as_ref().map(|it| format!(": {}", it.replace('_', " ")));
    format!("{word}{time}{}", reason.unwrap_or_default())
}

/// `29 of 30 requests/minute`; of one that is spent and of unknown size `no requests/day for 3 h`.
fn limit(it: &Limit) -> String {
    let what = format!("{}/{}", it.unit, it.period);
    match (it.limit, it.left) {
        (Some(limit), Some(left)) => format!("{left} of {limit} {what}"),
        _ => format!("no {what} for {}", duration(it.resets_in_sec)),
    }
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
        pool.runs_out_in_sec = Some(0);
        assert!(total(&pool).ends_with("a minute; nothing is left until midnight UTC\n"));
    }

    fn shown(state_is: &str, reason: Option<&str>, available_in_sec: Option<u64>) -> String {
        state(&ModelQuota {
            model: "m".to_owned(),
            state: state_is.to_owned(),
            reason: reason.map(str::to_owned),
            available_in_sec,
            shared: false,
            windows: Vec::new(),
        })
    }

    #[test]
    fn states_are_said_in_words() {
        assert_eq!(shown("ready", None, Some(0)), "ok");
        let resting = shown("resting", Some("key_rejected"), Some(300));
        assert_eq!(resting, "resting 5 min: key rejected");
        let spent = shown("spent", Some("requests per day"), Some(9_000));
        assert_eq!(spent, "spent for 3 h: requests per day");
        assert_eq!(shown("spent", Some("tokens per day"), None), "spent: tokens per day");
        assert_eq!(shown("busy", Some("max_concurrent"), None), "busy: max concurrent");
    }

    #[test]
    fn a_limit_shows_what_is_left_of_it() {
        let it = |limit, left| Limit {
            unit: "requests".to_owned(),
            period: "day".to_owned(),
            limit,
            configured: None,
            learned: limit,
            used: 1,
            left,
            resets_in_sec: 9_000,
            resets_at: 0,
        };
        assert_eq!(limit(&it(Some(20), Some(19))), "19 of 20 requests/day");
        assert_eq!(limit(&it(Some(20), Some(0))), "0 of 20 requests/day");
        assert_eq!(limit(&it(None, Some(0))), "no requests/day for 3 h");
    }
}
