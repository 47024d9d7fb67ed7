//! `check`: one token from every configured key and model.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::Semaphore;

use crate::app::Parts;
use crate::catalog::IdBook;
use crate::catalog::Provider;
use crate::catalog::TargetView;
use crate::cli::EXIT_FAILED;
use crate::cli::EXIT_REFUSED;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::table::table;
use crate::clock::SharedClock;
use crate::clock::SystemClock;
use crate::config;
use crate::config::Config;
use crate::config::Flags;
use crate::openai::ChatRequest;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::ChatProvider;
use crate::provider::Reply;
use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::fault::Waited;
use crate::provider::ollama::discover;

/// Calls under way at once with one provider: enough to be quick, too few to be throttled.
const AT_ONCE: usize = 2;
/// A throttle of at most this is waited for; it says nothing of the key.
const SHORT_THROTTLE: Duration = Duration::from_secs(5);
/// Characters shown of what a provider says to a failure.
const SAID: usize = 160;
/// The question. One token of answer is enough to know that key and model work.
const QUESTION: &str = r#"{"messages":[{"role":"user","content":"Say hi."}],"max_tokens":1}"#;

/// How one key and model did.
struct Outcome {
    row: Vec<String>,
    passed: bool,
}

/// Checks them all. The data directory is not touched.
pub(super) fn check(flags: &Flags) -> ExitCode {
    let mut ids = IdBook::default();
    let mut config = match config::load(flags, &config::process_environment, &mut ids) {
        Ok(config) => config,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(fault) => return complain(&format!("can't start the runtime: {fault}"), EXIT_FAILED),
    };
    for note in &config.notes {
        say(note);
    }
    match runtime.block_on(check_all(&mut config, &mut ids)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(text) => complain(&text, EXIT_FAILED),
    }
}

async fn check_all(config: &mut Config, ids: &mut IdBook) -> Result<bool, String> {
    let clock: SharedClock = Arc::new(SystemClock::start());
    let patience = config.settings.http.timeout;
    let sockets = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let parts = Parts::make(config, 0, sockets, ids, &clock).map_err(|it| it.to_string())?;
    let request = ChatRequest::parse(&Bytes::from_static(QUESTION.as_bytes()));
    let request = Arc::new(request.map_err(|it| it.message)?);
    let models = parts.catalog.targets().filter(|it| it.model.successor.is_none()).count();
    let progress = Progress::new(models);
    let providers = parts.catalog.providers().iter().map(|provider| {
        let client = parts.clients.get(&provider.id).cloned();
        check_provider(provider, client, Arc::clone(&request), patience, &progress)
    });
    let local = check_local(&parts);
    let outcomes: Vec<Outcome> =
        futures::future::join_all(providers).await.into_iter().flatten().collect();
    let outcomes: Vec<Outcome> = outcomes.into_iter().chain(local.await).collect();
    progress.clear();
    let rows: Vec<Vec<String>> = outcomes.iter().map(|it| it.row.clone()).collect();
    say(&table(&["", "provider", "key", "model", "took", ""], &rows));
    let failed = outcomes.iter().filter(|it| !it.passed).count();
    say(&format!("{} passed, {failed} failed", outcomes.len() - failed));
    Ok(failed == 0)
}

/// Servers on the user's own machine are asked for their models: configured or not, they must be
/// there.
async fn check_local(parts: &Parts) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let local = parts.catalog.providers().iter().filter(|it| it.is_local());
    for provider in local {
        let started = tokio::time::Instant::now();
        let found = discover(&provider.base_url, &parts.transport).await;
        let (passed, why) = match &found {
            Ok(models) => (true, format!("{} models there", models.len())),
            Err(fault) => (false, in_plain_words(fault)),
        };
        let verdict = if passed { "PASS" } else { "FAIL" };
        let took = format!("{:.1} s", started.elapsed().as_secs_f64());
        let cells = [verdict, &provider.name, "", "(its list of models)", &took, &why];
        outcomes.push(Outcome { row: cells.map(str::to_owned).to_vec(), passed });
    }
    outcomes
}

async fn check_provider(
    provider: &Provider,
    client: Option<Arc<dyn ChatProvider>>,
    request: Arc<ChatRequest>,
    patience: Duration,
    progress: &Progress,
) -> Vec<Outcome> {
    let Some(client) = client else { return Vec::new() };
    let models = provider.models.iter().filter(|it| it.successor.is_none());
    let targets = models.flat_map(|model| provider.targets(model));
    let checks = targets.map(|target| {
        let (client, request) = (Arc::clone(&client), Arc::clone(&request));
        async move {
            let patience = patience.max(target.model.first_token_timeout.unwrap_or_default());
            let outcome = check_target(target, client, request, patience).await;
            progress.step();
            outcome
        }
    });
    // Results keep the limits file's order, whichever comes first.
    futures::stream::iter(checks).buffered(AT_ONCE).collect().await
}

async fn check_target(
    target: TargetView<'_>,
    client: Arc<dyn ChatProvider>,
    request: Arc<ChatRequest>,
    patience: Duration,
) -> Outcome {
    let started = tokio::time::Instant::now();
    let mut result = ask(&target, &client, &request, patience).await;
    if let Err(Fault { kind: FaultKind::RateLimited(_), retry_after: Some(rest), .. }) = &result
        && *rest <= SHORT_THROTTLE
    {
        tokio::time::sleep(*rest).await;
        result = ask(&target, &client, &request, patience).await;
    }
    let took = format!("{:.1} s", started.elapsed().as_secs_f64());
    let why = result.as_ref().err().map(in_plain_words).unwrap_or_default();
    let verdict = if result.is_ok() { "PASS" } else { "FAIL" };
    let (provider, key, model) = (&target.provider.name, &target.key.label, &target.model.name);
    Outcome {
        row: vec![
            verdict.to_owned(),
            provider.to_string(),
            key.to_string(),
            model.to_string(),
            took,
            why,
        ],
        passed: result.is_ok(),
    }
}

async fn ask(
    target: &TargetView<'_>,
    client: &Arc<dyn ChatProvider>,
    request: &Arc<ChatRequest>,
    patience: Duration,
) -> Result<Reply, Fault> {
    let call = Call {
        model: Arc::clone(&target.model.name),
        secret: target.key.secret.clone(),
        request: Arc::clone(request),
        edits: RequestEdits::default(),
        verbatim: false,
        sent: SentMark::default(),
    };
    let late = || Fault::new(FaultKind::Timeout(Waited::Answer), String::new());
    let secret = call.secret.clone();
    let asked = tokio::time::timeout(patience, client.send(call)).await;
    asked.unwrap_or_else(|_| Err(late())).map_err(|it| it.without(secret.as_ref()))
}

/// What a failure means to someone who has just typed in a key.
fn in_plain_words(fault: &Fault) -> String {
    let meaning = match &fault.kind {
        FaultKind::KeyRejected => "the key was refused; is it whole, and still valid?",
        FaultKind::Barred => "the provider does not serve this account, or not from here",
        FaultKind::NoCredit => "the key is good, but its account has no credit",
        FaultKind::RateLimited(Some(crate::catalog::Period::Day)) => {
            "the key is good, but today's quota is used up"
        }
        FaultKind::RateLimited(_) => "the key is good, but its quota is used up for now",
        FaultKind::TooManyInFlight => "the key is good, but too many calls are under way",
        FaultKind::Busy => "the provider is full at the moment; the key may be good",
        FaultKind::ModelGone => "the provider has no such model (any more), or not for this key",
        FaultKind::Connect => "no connection; is the address right, is a proxy in the way?",
        FaultKind::Timeout(_) => "no answer in time",
        FaultKind::Cut | FaultKind::Unanswered | FaultKind::Stale | FaultKind::Astray => {
            "the connection broke before the answer was there"
        }
        FaultKind::Unreadable => "what answered does not speak this API; is the URL right?",
        FaultKind::TooLarge => "the answer is larger than is read",
        FaultKind::Empty => "an answer with nothing in it",
        FaultKind::OffSchema | FaultKind::NoJson => "an answer without the JSON asked for",
        FaultKind::Server => "the provider failed",
        FaultKind::ContextTooLong
        | FaultKind::FieldUnknown(_)
        | FaultKind::BadRequest
        | FaultKind::NotHere => "the provider refused the request",
    };
    let status = fault.status.map(|it| format!(" (HTTP {it})")).unwrap_or_default();
    if fault.message.is_empty() {
        return format!("{meaning}{status}");
    }
    let mut said: String = fault.message.chars().take(SAID).collect();
    if said.len() < fault.message.len() {
        said.push('…');
    }
    let stop = if meaning.ends_with('?') && status.is_empty() { "" } else { "." };
    format!("{meaning}{status}{stop} It said: {said}")
}

/// A line that counts, where someone can see it.
struct Progress {
    done: AtomicUsize,
    of: usize,
    shown: bool,
}

impl Progress {
    fn new(of: usize) -> Self {
        Self { done: AtomicUsize::new(0), of, shown: std::io::stderr().is_terminal() }
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.shown {
            write!(std::io::stderr().lock(), "\rchecked {done} of {}", self.of).ok();
        }
    }

    fn clear(&self) {
        if self.shown {
            write!(std::io::stderr().lock(), "\r{:40}\r", "").ok();
        }
    }
}
