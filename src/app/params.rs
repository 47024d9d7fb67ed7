//! What each room is told of the settings.

use secrecy::SecretString;

use crate::config;
use crate::config::Config;
use crate::config::Settings;
use crate::context;
use crate::dispatch;
use crate::normalize;
use crate::select;
use crate::select::Strategy;
use crate::server;

pub(super) fn select_params(settings: &Settings) -> select::Params {
    let strategy = |it| match it {
        config::Strategy::RoundRobin => Strategy::RoundRobin,
        config::Strategy::Random => Strategy::Random,
        config::Strategy::Weighted => Strategy::Weighted,
    };
    select::Params {
        provider_strategy: strategy(settings.routing.provider_strategy),
        model_strategy: strategy(settings.routing.model_strategy),
    }
}

/// `own_keys`: those of the gateway itself.
pub(super) fn dispatch_params(settings: &Settings, own_keys: &[SecretString]) -> dispatch::Params {
    dispatch::Params {
        max_retries: settings.routing.max_retries,
        no_training: settings.routing.no_training,
        max_quota_wait: settings.routing.max_quota_wait,
        stream_continuation: settings.routing.stream_continuation,
        deadline: settings.routing.deadline,
        timeout: settings.http.timeout,
        first_token_timeout: settings.http.first_token_timeout,
        context: context_params(settings),
        normalizer: normalize::Params { enabled: settings.normalizer.enabled },
        own_keys: own_keys.to_vec(),
    }
}

fn context_params(settings: &Settings) -> context::Params {
    let (context, summary) = (&settings.context, &settings.summarization);
    let summed = |tokens| if summary.enabled { tokens } else { 0 };
    let guide = settings.routing.style_guide.as_deref().unwrap_or(context::style::GUIDE);
    context::Params {
        mode: match context.management_mode {
            config::ContextMode::Static => context::Mode::Static,
            config::ContextMode::Dynamic => context::Mode::Dynamic,
            config::ContextMode::Reservoir => context::Mode::Reservoir,
            config::ContextMode::Adaptive => context::Mode::Adaptive,
            config::ContextMode::Disabled => context::Mode::Disabled,
        },
        apply: match context.apply {
            config::ContextApply::WhenNeeded => context::Apply::WhenNeeded,
            config::ContextApply::Always => context::Apply::Always,
        },
        static_keep: context.static_recent_keep,
        dynamic: context::Dynamic {
            target: context.dynamic_utilization_target,
            least: context.dynamic_min_utilization,
            most_boost: context.dynamic_max_boost,
        },
        reservoir_keep: context.reservoir_recent_keep,
        reservoir_summary: summed(context.reservoir_summary_budget),
        adaptive_summary: summed(summary.max_tokens),
        summary_timeout: summary.timeout,
        answer_reserve: context.answer_reserve_tokens,
        style: context::Style {
            enabled: settings.routing.use_server_side_system_prompt,
            guide: guide.trim().into(),
            handoff: settings.session.handoff_note,
        },
    }
}

pub(super) fn server_params(config: &Config) -> server::Params {
    let http = &config.settings.http;
    server::Params {
        master_key: config.master_key.clone(),
        admin_key: config.admin_key.clone(),
        insecure: config.insecure,
        allowed_origins: http.allowed_origins.clone(),
        trusted_proxies: http.trusted_proxies.clone(),
        identifiers: config.identifiers,
        session_header: config.settings.session.id_header.clone(),
        max_body_bytes: http.max_body_bytes,
        max_concurrent_requests: http.max_concurrent_requests,
        ..server::Params::default()
    }
}
