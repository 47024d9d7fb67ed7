//! Which models a server has.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::clock::Now;
use crate::openai::Payload;
use crate::provider::SentMark;
use crate::provider::classify::classify;
use crate::provider::exchange::JSON;
use crate::provider::exchange::post;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Waited;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;
use crate::provider::transport::read_error;

use super::NAME;

/// Models beyond this are not looked at.
const MOST_MODELS: usize = 200;
/// Questions asked at a time.
const AT_A_TIME: usize = 4;
/// Time for all of it; what isn't known by then stays unknown.
const LIMIT: Duration = Duration::from_secs(10);

/// A model that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredModel {
    /// As requests name it, with its tag: `llama3.2:latest`.
    pub name: String,
    /// Tokens it can hold, where the server tells.
    pub context: Option<u64>,
    /// Does it see images? `false` where the server doesn't tell.
    pub vision: bool,
    /// Does it call tools? `true` where the server doesn't tell.
    pub tools: bool,
    /// Does the server pass its requests on to another, such as ollama.com?
    pub hosted: bool,
}

/// Asks the server at `base_url`, its root, for its chat models: at most 200, within 10 s.
///
/// # Errors
/// When the server can't be reached, refuses, or gives no list in time.
pub async fn discover(
    base_url: &str,
    transport: &Transport,
) -> Result<Vec<DiscoveredModel>, Fault> {
    let mut models = Vec::new();
    match tokio::time::timeout(LIMIT, look(base_url, transport, &mut models)).await {
        Ok(looked) => looked?,
        Err(_) if models.is_empty() => {
            let message = format!("no list of models in {} s", LIMIT.as_secs());
            return Err(Fault::new(FaultKind::Timeout(Waited::Answer), message));
        }
        Err(_) => {}
    }
    Ok(models.into_iter().flatten().collect())
}

/// Fills `models` with one entry for each, and takes out those that don't chat.
async fn look(
    base_url: &str,
    transport: &Transport,
    models: &mut Vec<Option<DiscoveredModel>>,
) -> Result<(), Fault> {
    let root = base_url.trim_end_matches('/');
    let uri = |path: &str| -> Result<Uri, Fault> {
        let unusable = |it| Fault::new(FaultKind::Connect, format!("{root} is no URL: {it}"));
        format!("{root}{path}").parse().map_err(unusable)
    };
    let mut listing = Request::new(Payload::default());
    *listing.uri_mut() = uri("/api/tags")?;
    let listed: Tags = ask(transport, listing).await?;
    models.extend(listed.models.into_iter().take(MOST_MODELS).map(Tag::into_model).map(Some));
    let show = uri("/api/show")?;
    let questions: Vec<_> = models
        .iter()
        .enumerate()
        .filter_map(|(at, it)| Some((at, json!({ "model": it.as_ref()?.name }).to_string())))
        .collect();
    let asking = questions.into_iter().map(|(at, question)| {
        let request = post(&show, Bytes::from(question), JSON);
        async move { (at, ask::<Shown>(transport, request).await) }
    });
    let mut answers = futures::stream::iter(asking).buffer_unordered(AT_A_TIME);
    while let Some((at, answer)) = answers.next().await {
        // A server that is too old to tell still has the model.
        if let (Ok(shown), Some(model)) = (answer, models.get_mut(at)) {
            shown.fill_in(model);
        }
    }
    Ok(())
}

async fn ask<T: DeserializeOwned>(
    transport: &Transport,
    request: Request<Payload>,
) -> Result<T, Fault> {
    let (head, body) = transport.send(request, SentMark::default()).await?.into_parts();
    if !head.status.is_success() {
        let body = read_error(body).await;
        // Without a clock no date in it is understood; none is of use here.
        return Err(classify(NAME, head.status.as_u16(), &head.headers, &body, Now::default()));
    }
    let body = read_answer(body).await?;
    serde_json::from_slice(&body).map_err(|it| Fault::new(FaultKind::Unreadable, it.to_string()))
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    remote_host: Option<String>,
    remote_model: Option<String>,
}

impl Tag {
    fn into_model(self) -> DiscoveredModel {
        // By what it is told, and by its name, which such models have had from the first
        // (`gpt-oss:120b-cloud`, `qwen3-coder:480b-cloud`, `glm-4.6:cloud`).
        let hosted = is_told(self.remote_host.as_deref())
            || is_told(self.remote_model.as_deref())
            || self.name.rsplit([':', '-']).next() == Some("cloud");
        let name = self.name;
        DiscoveredModel { name, context: None, vision: false, tools: true, hosted }
    }
}

fn is_told(text: Option<&str>) -> bool {
    text.is_some_and(|it| !it.is_empty())
}

#[derive(Deserialize)]
struct Shown {
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    model_info: Map<String, Value>,
    remote_host: Option<String>,
}

impl Shown {
    fn fill_in(self, entry: &mut Option<DiscoveredModel>) {
        let Some(model) = entry else { return };
        model.hosted |= is_told(self.remote_host.as_deref());
        // `<architecture>.context_length`
        let context = self.model_info.iter().find(|(key, _)| key.ends_with(".context_length"));
        model.context = context.and_then(|(_, it)| it.as_u64());
        let Some(capabilities) = self.capabilities.filter(|it| !it.is_empty()) else { return };
        let can = |what: &str| capabilities.iter().any(|it| it == what);
        model.vision = can("vision");
        model.tools = can("tools");
        if !can("completion") {
            *entry = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, expected: Option<(Option<u64>, bool, bool)>) {
        let mut entry = Some(DiscoveredModel {
            name: "m".to_owned(),
            context: None,
            vision: false,
            tools: true,
            hosted: false,
        });
        serde_json::from_str::<Shown>(shown).unwrap().fill_in(&mut entry);
        assert_eq!(entry.map(|it| (it.context, it.vision, it.tools)), expected, "{shown}");
    }

    #[test]
    fn what_a_model_can_do_is_read() {
        let sample = include_str!("../../../tests/wire/ollama/show.json");
        check(sample, Some((Some(131_072), false, true)));
        check(r#"{"capabilities":["completion","vision"]}"#, Some((None, true, false)));
        check(r#"{"capabilities":["embedding"]}"#, None);
        check("{}", Some((None, false, true)));
        let hosted = |tag: &str| serde_json::from_str::<Tag>(tag).unwrap().into_model().hosted;
        assert!(hosted(r#"{"name":"gpt-oss:120b-cloud","remote_host":"https://ollama.com:443"}"#));
        assert!(hosted(r#"{"name":"mine","remote_host":"https://ollama.com:443"}"#));
        assert!(hosted(r#"{"name":"mine","remote_model":"gpt-oss:120b"}"#));
        assert!(hosted(r#"{"name":"glm-4.6:cloud"}"#));
        assert!(!hosted(r#"{"name":"cloud-llm:8b","remote_host":"","remote_model":null}"#));
        let tags: Tags =
            serde_json::from_str(include_str!("../../../tests/wire/ollama/tags.json")).unwrap();
        assert_eq!(tags.models[0].name, "llama3.2:latest");
    }
}
