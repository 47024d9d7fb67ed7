//! A gateway with one model for each sample, so that no sample suffers from another's faults.

use relayfreellm::sim::Flavour;
use serde_json::{Value, json};

use super::scripted::{Script, Scripted};
use super::{Reads, Sample, results};
use crate::support::{Gateway, Setup, StreamAnswer, Upstream, ask, streamed, with};

pub(super) struct Bed {
    gateway: Gateway,
    upstream: Scripted,
}

impl Bed {
    /// A gateway that tries again so often.
    pub(super) async fn start(samples: &[Sample], max_retries: u32) -> Self {
        let upstream = Scripted::start().await;
        let mut names: Vec<&str> = samples.iter().map(|it| it.provider.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let provider = |name: &&str| {
            let mine = samples.iter().filter(|it| it.provider == *name);
            // All calls go to the script: how the provider would be simulated does not matter.
            let entry = Upstream::new(name, Flavour::OpenAi).entry(json!({"kind": kind(name)}));
            mine.fold(entry, |entry, it| entry.model(&model(it)))
        };
        let settings = json!({
            "routing": {"max_retries": max_retries, "max_quota_wait_seconds": 0},
            "normalizer": {"enabled": false},
        });
        let setup = Gateway::with(names.iter().map(provider)).settings(settings);
        let place = |setup: Setup, name: &&str| setup.url(name, &upstream.url());
        let gateway = names.iter().fold(setup, place).start().await;
        Self { gateway, upstream }
    }

    /// What the provider says when it is asked next.
    pub(super) fn script(&self, scripts: impl IntoIterator<Item = Script>) {
        self.upstream.script(scripts);
    }

    /// Asks the sample's model, with these members in the request, and gives what the caller gets.
    pub(super) async fn ask(&self, sample: &Sample, members: &Value) -> Value {
        let question = ask(&format!("{}/{}", sample.provider, model(sample)));
        let question = with(question, members.clone());
        let body = sample.body();
        let body = String::from_utf8_lossy(&body);
        if sample.reads != Reads::Stream {
            return results::whole(&self.gateway.chat(&question).await, &body);
        }
        let usage = json!({"stream_options": {"include_usage": true}});
        let answer = self.gateway.chat(&with(streamed(question), usage)).await;
        if answer.status == 200 {
            results::stream(&StreamAnswer::read(answer.headers.clone(), answer.text()), &body)
        } else {
            results::whole(&answer, &body)
        }
    }

    /// What the provider was asked since the last script.
    pub(super) fn sent(&self) -> Vec<Value> {
        self.upstream.sent()
    }
}

fn model(sample: &Sample) -> String {
    sample.file.replace(['/', '.'], "-")
}

/// The wire of the provider called so.
fn kind(provider: &str) -> &'static str {
    match provider {
        "Anthropic" => "anthropic",
        "Gemini" => "gemini",
        "Ollama" | "OllamaCloud" => "ollama",
        _ => "openai",
    }
}
