//! The cast of `--demo`: one provider out of quota, one slow, one flaky, one healthy.

use std::time::Duration;

use super::spec::{
    Answer, Flavour, LimitSpec, ModelSpec, Pace, ProviderSpec, SimConfig, Voice, What,
};

/// What a gateway has to know of a demo provider to route to it.
#[derive(Clone, Copy, Debug)]
pub struct DemoProvider {
    /// Also its path prefix; see [`SimServer::base_url`](crate::sim::SimServer::base_url).
    pub name: &'static str,
    /// The one key it accepts.
    pub key: &'static str,
    /// What it offers.
    pub models: &'static [DemoModel],
    flavour: Flavour,
    voice: Voice,
    pace: Pace,
}

/// What a gateway has to know of a demo model.
#[derive(Clone, Copy, Debug)]
pub struct DemoModel {
    /// The provider's name for it; may contain slashes.
    pub name: &'static str,
    /// `text` or `coding`.
    pub kind: &'static str,
    /// `small`, `medium` or `large`.
    pub scale: &'static str,
    /// Tokens it holds.
    pub max_context: u64,
    /// As a limits file would have them. What the provider enforces is the same, except that one
    /// of them has been used up elsewhere.
    pub limits: &'static [DemoLimit],
    reasoning: bool,
}

/// One limit of a demo model.
#[derive(Clone, Copy, Debug)]
pub struct DemoLimit {
    /// The limits file's key: `requests_per_minute` and so on.
    pub key: &'static str,
    /// The most in one window.
    pub max: u64,
    what: What,
    window: Duration,
}

const fn requests(key: &'static str, seconds: u64, max: u64) -> DemoLimit {
    DemoLimit { key, max, what: What::Requests, window: Duration::from_secs(seconds) }
}

const fn tokens(key: &'static str, seconds: u64, max: u64) -> DemoLimit {
    DemoLimit { key, max, what: What::Tokens, window: Duration::from_secs(seconds) }
}

const fn pace(first_token_ms: u64, per_chunk_ms: u64) -> Pace {
    Pace {
        first_token: Duration::from_millis(first_token_ms),
        per_chunk: Duration::from_millis(per_chunk_ms),
    }
}

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

/// The provider whose day was used up before the demo began.
const OUT_OF_QUOTA: &str = "groq";
/// When its requests come back: long enough for the demo to show it resting.
const BACK_IN: Duration = Duration::from_secs(15 * MINUTE);
/// The provider that fails every third request or so.
const FLAKY: &str = "cerebras";

const GROQ: &[DemoLimit] = &[
    requests("requests_per_minute", MINUTE, 30),
    requests("requests_per_day", DAY, 1_000),
    tokens("tokens_per_minute", MINUTE, 8_000),
    tokens("tokens_per_day", DAY, 200_000),
];
const MISTRAL: &[DemoLimit] =
    &[requests("requests_per_minute", MINUTE, 60), tokens("tokens_per_minute", MINUTE, 500_000)];
const CEREBRAS: &[DemoLimit] = &[
    requests("requests_per_minute", MINUTE, 5),
    requests("requests_per_day", DAY, 2_400),
    tokens("tokens_per_minute", MINUTE, 30_000),
];
const NVIDIA: &[DemoLimit] = &[requests("requests_per_minute", MINUTE, 40)];

const fn model(name: &'static str, scale: &'static str, limits: &'static [DemoLimit]) -> DemoModel {
    DemoModel { name, kind: "text", scale, max_context: 131_072, limits, reasoning: false }
}

const CAST: &[DemoProvider] = &[
    DemoProvider {
        name: OUT_OF_QUOTA,
        key: "gsk_simulated_demo_key",
        flavour: Flavour::Groq,
        voice: Voice::Brisk,
        pace: pace(120, 8),
        models: &[
            DemoModel { reasoning: true, ..model("openai/gpt-oss-120b", "large", GROQ) },
            DemoModel { reasoning: true, ..model("openai/gpt-oss-20b", "medium", GROQ) },
        ],
    },
    DemoProvider {
        name: "mistral",
        key: "simulated-mistral-demo-key",
        flavour: Flavour::Mistral,
        voice: Voice::Warm,
        pace: pace(1_500, 40),
        models: &[
            DemoModel { max_context: 262_144, ..model("mistral-small-latest", "medium", MISTRAL) },
            DemoModel { max_context: 262_144, ..model("ministral-8b-latest", "small", MISTRAL) },
            DemoModel {
                kind: "coding",
                max_context: 262_144,
                ..model("codestral-latest", "medium", MISTRAL)
            },
        ],
    },
    DemoProvider {
        name: FLAKY,
        key: "csk-simulated-demo-key",
        flavour: Flavour::Cerebras,
        voice: Voice::Scholarly,
        pace: pace(150, 8),
        models: &[
            DemoModel {
                reasoning: true,
                max_context: 65_536,
                ..model("gpt-oss-120b", "large", CEREBRAS)
            },
            DemoModel { max_context: 65_536, ..model("qwen-3.8-27b", "medium", CEREBRAS) },
        ],
    },
    DemoProvider {
        name: "nvidia",
        key: "nvapi-simulated-demo-key",
        flavour: Flavour::OpenAi,
        voice: Voice::Plain,
        pace: pace(300, 14),
        models: &[
            model("meta/llama-3.3-70b-instruct", "large", NVIDIA),
            DemoModel {
                max_context: 262_144,
                ..model("nvidia/nemotron-3-nano-30b-a3b", "medium", NVIDIA)
            },
        ],
    },
];

/// The cast as a gateway has to know it.
pub fn demo_providers() -> &'static [DemoProvider] {
    CAST
}

/// The cast as a [`SimServer`](crate::sim::SimServer) has to start it. Nobody asks a demo for its
/// records, so few are kept.
pub fn demo() -> SimConfig {
    SimConfig { keep_records: 100, ..SimConfig::new(CAST.iter().map(provider).collect()) }
}

fn provider(cast: &DemoProvider) -> ProviderSpec {
    ProviderSpec {
        keys: vec![cast.key.to_owned()],
        models: cast.models.iter().map(|model| model_spec(cast.name, model)).collect(),
        pace: cast.pace,
        answer: Answer::Woven(cast.voice),
        flaky: (cast.name == FLAKY).then_some((0.3, 7)),
        ..ProviderSpec::new(cast.name, cast.flavour)
    }
}

fn model_spec(provider: &str, model: &DemoModel) -> ModelSpec {
    let limit = |limit: &DemoLimit| {
        let used_up = provider == OUT_OF_QUOTA && limit.key == "requests_per_day";
        let spent = used_up.then_some((limit.max, BACK_IN));
        LimitSpec { what: limit.what, window: limit.window, max: limit.max, spent }
    };
    ModelSpec {
        limits: model.limits.iter().map(limit).collect(),
        context: Some(model.max_context),
        reasoning: model.reasoning,
        ..ModelSpec::new(model.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_is_told_is_what_is_enforced() {
        for (told, started) in demo_providers().iter().zip(demo().providers) {
            assert_eq!((told.name, &[told.key.to_owned()][..]), (&*started.name, &*started.keys));
            for (model, spec) in told.models.iter().zip(started.models) {
                let limits: Vec<u64> = spec.limits.iter().map(|it| it.max).collect();
                let told: Vec<u64> = model.limits.iter().map(|it| it.max).collect();
                assert_eq!((model.name, told), (&*spec.name, limits));
            }
        }
    }
}
