//! The built-in registry: nothing but keys and addresses in the environment, and each of its
//! providers behind its own wire.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use relayfreellm::clock::{SharedClock, SystemClock};
use relayfreellm::sim::{Flavour, ModelSpec, ProviderSpec, SimServer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gateway, Log, Program, SOON, ask, call, run, simulate};

/// One provider as the registry tells it.
struct Entry {
    name: String,
    models: Vec<String>,
    /// Each with its successor.
    retired: Vec<(String, String)>,
}

/// The registry that is built in.
fn registry() -> Vec<Entry> {
    let file: Value =
        serde_json::from_str(include_str!("../../provider_model_limits.json")).expect("JSON");
    let providers = file["providers"].as_array().expect("providers").iter();
    let text = |it: &Value| it.as_str().expect("a text").to_owned();
    let entry = |it: &Value| {
        let models = it["models"].as_array().expect("models");
        let (retired, current): (Vec<_>, Vec<_>) =
            models.iter().partition(|it| it["successor"].is_string());
        Entry {
            name: text(&it["name"]),
            models: current.into_iter().map(|it| text(&it["name"])).collect(),
            retired: retired
                .into_iter()
                .map(|it| (text(&it["name"]), text(&it["successor"])))
                .collect(),
        }
    };
    providers.map(entry).collect()
}

/// Whose wire each provider speaks.
fn flavour(name: &str) -> Flavour {
    match name {
        "Groq" => Flavour::Groq,
        "Mistral" => Flavour::Mistral,
        "Cerebras" => Flavour::Cerebras,
        "Gemini" => Flavour::Gemini,
        "Cloudflare" => Flavour::Cloudflare,
        "Ollama" | "OllamaCloud" => Flavour::Ollama,
        "Anthropic" => Flavour::Anthropic,
        _ => Flavour::OpenAi,
    }
}

/// What a user has pulled to the local server.
const LOCAL_MODELS: [&str; 2] = ["llama3.2:3b", "hf.co/org/qwen3:70b"];

impl Entry {
    /// Several keys, so that none has to wait for a limit a second.
    fn keys(&self) -> Vec<String> {
        if self.name == "Ollama" {
            return Vec::new();
        }
        (1..=4).map(|it| format!("key-{it}-of-{}", self.name)).collect()
    }

    /// The simulated provider that has these models and knows no other name.
    fn twin(&self) -> ProviderSpec {
        let mut twin = ProviderSpec::new(&self.name, flavour(&self.name));
        twin.keys = self.keys();
        let local = LOCAL_MODELS.iter().filter(|_| self.name == "Ollama");
        let names = self.models.iter().map(String::as_str).chain(local.copied());
        twin.models = names.map(ModelSpec::new).collect();
        twin
    }

    fn variables(&self, sim: &SimServer) -> Vec<(String, String)> {
        let prefix = self.name.to_uppercase();
        let mut variables = vec![(format!("{prefix}_BASE_URL"), sim.base_url(&self.name))];
        match self.name.as_str() {
            "Ollama" => {}
            "OllamaCloud" => variables.push(("OLLAMA_API_KEY".to_owned(), self.keys().join(","))),
            _ => variables.push((format!("{prefix}_APIKEY"), self.keys().join(","))),
        }
        variables
    }
}

/// A gateway whose environment has a key and a simulated address for every provider there is.
async fn all_twins() -> Gateway {
    let registry = registry();
    let twins = registry.iter().map(Entry::twin).collect();
    Gateway::without_files(twins, |sim| registry.iter().flat_map(|it| it.variables(sim)).collect())
        .await
}

/// Asks `<provider>/<model>` once, as a stream or not.
async fn is_served(gateway: &Gateway, provider: &str, model: &str, stream: bool) {
    let id = format!("{provider}/{model}");
    let (headers, said, told): (_, String, _) = if stream {
        let answer = gateway.stream(&ask(&id)).await.expect_done();
        let choices: Vec<_> = answer.events.iter().map(|it| &it["choices"][0]).collect();
        let said = choices.iter().filter_map(|it| it["delta"]["content"].as_str()).collect();
        assert_eq!(choices.last().expect("a chunk")["finish_reason"], "stop", "{id}");
        (answer.headers.clone(), said, answer.events[0]["model"].clone())
    } else {
        let answer = gateway.chat(&ask(&id)).await.expect(200);
        (answer.headers.clone(), answer.said(), answer.json()["model"].clone())
    };
    assert!(said.contains("sky"), "{id}, streamed: {stream}: {said}");
    assert_eq!(told, id.as_str());
    let headers = ["x-relay-provider", "x-relay-model", "x-relay-attempts"].map(|it| &headers[it]);
    assert_eq!(headers, [provider, model, "1"], "{id}");
}

/// Waits until the local models are in the list.
async fn discovered(gateway: &Gateway) {
    let looking = async {
        let [first, ..] = LOCAL_MODELS;
        while gateway.get(&format!("/v1/models/Ollama/{first}")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("they are found");
}

#[tokio::test]
async fn each_provider_is_served_through_its_twin_whole_and_streamed() {
    let registry = registry();
    assert_eq!(registry.len(), 17);
    let gateway = all_twins().await;
    discovered(&gateway).await;
    let gateway = &gateway;
    // Every model is asked once, and every provider both ways.
    let asking = registry.iter().map(|it| async move {
        let local = LOCAL_MODELS.iter().filter(|_| it.name == "Ollama").copied();
        let models: Vec<_> = it.models.iter().map(String::as_str).chain(local).collect();
        let both = [models[0], models[0]].into_iter().chain(models[1..].iter().copied());
        for (place, model) in both.enumerate() {
            is_served(gateway, &it.name, model, place % 2 == 1).await;
        }
        (&it.name, models.len() as u64 + 1)
    });
    let usage_before = join_all(asking).await;
    let usage = gateway.usage().await;
    for (name, asked) in usage_before {
        assert_eq!(gateway.reached(name), asked, "{name}: each was served at the first attempt");
        let told = gateway.upstream(name).records().into_iter().filter_map(|it| it.reported_usage);
        let told = told.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let mine = &usage["providers"][name];
        let figures = ["requests", "prompt_tokens", "completion_tokens", "estimated_requests"];
        let figures = figures.map(|it| mine[it].as_u64().expect("a number"));
        assert_eq!(figures, [asked, told.0, told.1, 0], "{name}");
    }
}

#[tokio::test]
async fn retired_names_lead_to_their_successors() {
    let registry = registry();
    let gateway = &all_twins().await;
    let asking = registry.iter().map(|it| async move {
        for (place, (old, new)) in it.retired.iter().enumerate() {
            let id = format!("{}/{old}", it.name.to_lowercase());
            let (headers, told) = if place % 2 == 0 {
                let answer = gateway.chat(&ask(&id)).await.expect(200);
                (answer.headers.clone(), answer.json()["model"].clone())
            } else {
                let answer = gateway.stream(&ask(&id)).await.expect_done();
                (answer.headers.clone(), answer.events[0]["model"].clone())
            };
            assert_eq!(headers["x-relay-model"], new.as_str(), "{id}");
            assert_eq!(headers["x-relay-requested-model"], id.as_str());
            let warning = headers["x-relay-warning"].to_str().expect("text");
            assert!(warning.contains(old) && warning.contains(new), "{id}: {warning}");
            assert_eq!(told, format!("{}/{new}", it.name), "{id}");
        }
        it.retired.len()
    });
    let retired: usize = join_all(asking).await.into_iter().sum();
    assert!(retired >= 5, "{retired}");
    let list = gateway.get("/v1/models").await.json().to_string();
    for it in &registry {
        for (old, _) in &it.retired {
            assert!(!list.contains(&format!("\"{}/{old}\"", it.name)), "{old} is on offer");
        }
    }
}

#[tokio::test]
async fn a_url_of_ones_own_may_have_the_account_in_it() {
    let cloudflare =
        registry().into_iter().find(|it| it.name == "Cloudflare").expect("it is there");
    let gateway = Gateway::without_files(vec![cloudflare.twin()], |sim| {
        let url = sim.base_url("cloudflare").replace("/sim/", "/{account_id}/");
        let account = ("CLOUDFLARE_ACCOUNT_ID".to_owned(), "sim".to_owned());
        let mut variables = cloudflare.variables(sim);
        variables[0].1 = url;
        variables.push(account);
        variables
    })
    .await;
    is_served(&gateway, "Cloudflare", &cloudflare.models[0], false).await;
}

#[tokio::test]
async fn local_models_are_found_in_the_background() {
    let ollama = registry().into_iter().find(|it| it.name == "Ollama").expect("it is there");
    let gateway = Gateway::without_files(vec![ollama.twin()], |sim| ollama.variables(sim)).await;
    discovered(&gateway).await;
    let list = gateway.get("/v1/models").await.expect(200).json();
    let listed = list["data"].as_array().expect("a list").iter();
    let found: Vec<_> = listed.filter(|it| it["owned_by"] == "Ollama").collect();
    let facts = |it: &&Value| (it["id"].clone(), it["scale"].clone(), it["status"].clone());
    let expected =
        LOCAL_MODELS.map(|it| format!("Ollama/{it}")).into_iter().zip(["small", "large"]);
    let expected: Vec<_> =
        expected.map(|(id, scale)| (json!(id), json!(scale), json!("available"))).collect();
    assert_eq!(found.iter().map(facts).collect::<Vec<_>>(), expected);
    for model in LOCAL_MODELS {
        for stream in [false, true] {
            is_served(&gateway, "Ollama", model, stream).await;
        }
    }
    for name in ["auto", "free-fast", "free-smart", LOCAL_MODELS[1]] {
        let answer = gateway.chat(&ask(name)).await.expect(200);
        assert_eq!(answer.header("x-relay-provider"), "Ollama", "{name}");
    }
    let records = gateway.upstream("ollama").records();
    assert!(records.iter().all(|it| it.key.is_empty()), "a local server gets no key");
}

#[tokio::test]
async fn a_local_server_that_is_not_there_delays_nobody() {
    let groq = registry().into_iter().find(|it| it.name == "Groq").expect("it is there");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = format!("http://{}", nobody.local_addr().expect("an address"));
    let gateway = Gateway::without_files(vec![groq.twin()], |sim| {
        // It accepts, and never answers.
        let silent = ("OLLAMA_BASE_URL".to_owned(), dead);
        groq.variables(sim).into_iter().chain([silent]).collect()
    })
    .await;
    is_served(&gateway, "Groq", &groq.models[0], false).await;
    gateway.chat(&ask("auto")).await.expect(200);
    gateway.chat(&ask("ollama/llama3.2:3b")).await.expect(404);
    drop(nobody);
}

#[tokio::test]
async fn where_a_local_server_is_all_there_is_and_it_is_away_that_is_said() {
    let log = Log::catch();
    let away = vec![("OLLAMA_BASE_URL".to_owned(), "http://127.0.0.1:9/v1".to_owned())];
    let gateway = Gateway::without_files(vec![], |_| away).await;
    let answer = gateway.chat(&ask("auto")).await.expect(503);
    assert_eq!(answer.error()["code"], "all_providers_failed");
    assert!(answer.text().contains("local server") && answer.header("retry-after") == "5");
    let told = async {
        while !log.text().contains("no list of models from http://127.0.0.1:9 (") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, told).await.expect("the log tells");
}

/// The answer's body as JSON.
fn body(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_an_address_are_all_the_program_needs() {
    let groq = registry().into_iter().find(|it| it.name == "Groq").expect("it is there");
    let clock: SharedClock = Arc::new(SystemClock::start());
    let sim = simulate(vec![groq.twin()], &clock);
    let url = sim.base_url("groq");
    let trying = tokio::task::spawn_blocking(move || {
        let dir = TempDir::new().expect("a directory");
        let variables = [("GROQ_APIKEY", "key-1-of-Groq"), ("GROQ_BASE_URL", url.as_str())];
        let (mut program, addr) = Program::start(dir.path(), &[], &variables);
        let list = body(&call(&addr, "GET /v1/models", ""));
        let listed = list["data"].as_array().expect("a list").iter();
        let ids: Vec<_> = listed
            .filter(|it| it["owned_by"] == "Groq")
            .filter_map(|it| it["id"].as_str()?.strip_prefix("Groq/"))
            .collect();
        assert_eq!(ids, groq.models);
        for model in ["auto", "groq/openai/gpt-oss-20b", "groq/llama-3.3-70b-versatile"] {
            let question = ask(model).to_string();
            let answer = body(&call(&addr, "POST /v1/chat/completions", &question));
            assert!(answer["model"].as_str().expect("a name").starts_with("Groq/"), "{answer}");
        }
        let (code, told) =
            run(dir.path(), &["status", "--port", addr.rsplit(':').next().expect("a port")], &[]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("Groq/openai/gpt-oss-20b"), "{told}");
        assert_eq!(program.terminate().code(), Some(0));
    });
    trying.await.expect("the program serves");
    assert_eq!(sim.provider("groq").expect("it is there").count_served(), 3);
}
