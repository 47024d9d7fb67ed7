//! One chat request from arrival to answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::answer::draft;
use super::anthropic;
use super::body::{Body, Cut, body_of, full};
use super::cloudflare;
use super::connection::{Afterwards, LastAct};
use super::fault::Fault;
use super::gemini;
use super::gemini::Target;
use super::ollama;
use super::plan::{Plan, Script, plan};
use super::provider::Provider;
use super::record::{Record, Trace, lock};
use super::refusal::{of_model, refusal};
use super::request::Ask;
use super::spec::{Flavour, ModelSpec};
use super::wire::completion::{Page, Telling};
use super::wire::headers::{Headers, rate_limits, retry_after};
use super::wire::problem::{Problem, any_breach};

/// A request body above this is refused with 413.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Answers one chat request, well or badly. `target` is what its path names, if that names any.
pub(super) async fn chat(
    provider: Arc<Provider>,
    request: Request<Incoming>,
    target: Option<Target>,
    afterwards: Afterwards,
) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let (_, body) = Problem::Status(413).refusal(provider.spec.flavour);
        return Ok(json(413, &Headers::new(), body));
    };
    let body = body.to_bytes();
    let ask = match (&target, provider.spec.flavour) {
        (Some(target), _) => gemini::ask::read(&body, target),
        (None, Flavour::Anthropic) => anthropic::read(&parts.headers, &body),
        (None, Flavour::Ollama) => ollama::read(&body),
        (None, flavour) => {
            let ask = Ask::parse(&body).map_err(Problem::Invalid).map(|it| flavour.heard(it));
            if flavour == Flavour::Cloudflare { ask.map(cloudflare::capped) } else { ask }
        }
    };
    let model = ask.as_ref().map_or("", |ask| ask.model.as_str());
    let fault = lock(&provider.faults).draw(model);
    let key = match provider.spec.flavour {
        Flavour::Gemini => gemini::key(&parts),
        Flavour::Anthropic => anthropic::key(&parts.headers),
        _ => bearer(&parts.headers),
    };
    let mut record = record(&provider, &parts, body, &ask, fault.clone());
    record.key.clone_from(&key);
    let trace = provider.records.open(record);
    let outcome = decide(&provider, &key, ask, fault);
    perform(outcome, trace, afterwards).await
}

/// What is to happen to a request.
enum Outcome {
    /// An error, or exact bytes.
    Respond(Response<Body>),
    /// An answer, with rate-limit headers; `bool`: does it count as served?
    Answer(Box<Plan>, Headers, bool),
    Hang,
    Leave(LastAct),
    EndlessHeaders,
}

async fn perform(
    outcome: Outcome,
    trace: Trace,
    afterwards: Afterwards,
) -> Result<Response<Body>, Cut> {
    match outcome {
        Outcome::Respond(response) => {
            trace.status(response.status().as_u16());
            trace.end(false);
            Ok(response)
        }
        Outcome::Answer(plan, limits, served) => {
            if plan.head_wait > Duration::ZERO {
                tokio::time::sleep(plan.head_wait).await;
            }
            trace.status(200);
            let (kind, length) = (plan.content_type, plan.length);
            let mut response = Response::new(body_of(*plan, trace, served));
            add(response.headers_mut(), &limits);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Some(length) = length {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            Ok(response)
        }
        Outcome::Hang => {
            // Held here, so that it is dropped when the caller hangs up.
            let _trace = trace;
            std::future::pending().await
        }
        Outcome::Leave(last_act) => {
            trace.end(false);
            afterwards.set(last_act);
            Err(Cut)
        }
        Outcome::EndlessHeaders => {
            afterwards.set(LastAct::EndlessHeaders(trace));
            Err(Cut)
        }
    }
}

fn decide(
    provider: &Provider,
    key: &str,
    ask: Result<Ask, Problem>,
    fault: Option<Fault>,
) -> Outcome {
    let flavour = provider.spec.flavour;
    if let Some(outcome) = fault.as_ref().and_then(|fault| blunt(flavour, fault, &ask, key)) {
        return outcome;
    }
    match answer(provider, key, ask, fault.as_ref()) {
        Ok((plan, limits)) => {
            Outcome::Answer(Box::new(plan), limits, fault.is_none_or(|it| it.is_harmless()))
        }
        Err((problem, headers)) => Outcome::Respond(refuse(flavour, &problem, &headers)),
    }
}

/// The faults that need no look at the request.
fn blunt(
    flavour: Flavour,
    fault: &Fault,
    ask: &Result<Ask, Problem>,
    key: &str,
) -> Option<Outcome> {
    let model = ask.as_ref().map_or("", |ask| ask.model.as_str());
    Some(match fault {
        Fault::RateLimited { retry_after: hint } => {
            let mut breach = any_breach();
            breach.wait = hint.unwrap_or(breach.wait);
            let headers = hint.map(|wait| retry_after(flavour, wait)).unwrap_or_default();
            let problem = Problem::Limited { model: model.to_owned(), breach };
            Outcome::Respond(refuse(flavour, &problem, &headers))
        }
        Fault::Status(status) => {
            // The status asked for, even where the flavour says the same thing with another one.
            let (_, body) = Problem::of_status(*status, model, key).refusal(flavour);
            Outcome::Respond(json(*status, &Headers::new(), body))
        }
        Fault::RawResponse { status, headers, body } => {
            Outcome::Respond(raw(*status, headers, body.clone()))
        }
        Fault::Hang => Outcome::Hang,
        Fault::Reset => Outcome::Leave(LastAct::Reset),
        Fault::Down => Outcome::Leave(LastAct::Close),
        Fault::NeverEndingHeaders => Outcome::EndlessHeaders,
        _ => return None,
    })
}

/// The way a healthy provider goes: key, model, fields, context, limits, answer.
fn answer(
    provider: &Provider,
    key: &str,
    ask: Result<Ask, Problem>,
    fault: Option<&Fault>,
) -> Result<(Plan, Headers), (Problem, Headers)> {
    let bare = |problem| (problem, Headers::new());
    let spec = &provider.spec;
    if !provider.accepts(key) {
        return Err(bare(Problem::Key(key.to_owned())));
    }
    let ask = ask.map_err(bare)?;
    let model = spec.models.iter().find(|model| model.name == ask.model);
    if model.is_none() && !spec.models.is_empty() {
        return Err(bare(Problem::Model(ask.model)));
    }
    if let Some(problem) = misfit(spec.flavour, &ask, model, &spec.tolerates) {
        return Err(bare(problem));
    }
    let manner = lock(&provider.manner).clone();
    let said = model.and_then(|model| model.answer.as_ref()).unwrap_or(&manner.answer);
    let signature = format!("simulated {}, {}", spec.name, ask.model);
    let draft = draft(&ask, said, model.is_some_and(|model| model.reasoning), &signature);
    let cost = (draft.usage.prompt, draft.usage.completion);
    let limits = match model {
        Some(model) => admit(provider, key, model, cost)?,
        None => Headers::new(),
    };
    let stream = ask.stream.is_some();
    let asked = ask.stream.is_some_and(|options| options.include_usage);
    let usage = if asked { Telling::OnRequest } else { Telling::AsEver };
    let page = Page {
        flavour: spec.flavour,
        serial: provider.next_serial(),
        created: provider.now().unix_ms / 1_000,
        choices: ask.n.max(1),
        logprobs: ask.logprobs,
        usage,
        model: ask.model,
    };
    let chunk_chars = manner.chunk_chars;
    let script = Script { page, draft, pace: manner.pace, chunk_chars, fault, stream };
    Ok((plan(script), limits))
}

/// What is wrong with a request to this model, limits aside.
fn misfit(
    flavour: Flavour,
    ask: &Ask,
    model: Option<&ModelSpec>,
    tolerates: &[String],
) -> Option<Problem> {
    if let Some(problem) = refusal(flavour, ask, tolerates) {
        return Some(problem);
    }
    if flavour == Flavour::Ollama
        && let Some(problem) = ollama::refusal(ask, model)
    {
        return Some(problem);
    }
    let model = model?;
    if let Some(problem) = of_model(flavour, ask, model) {
        return Some(problem);
    }
    let tokens = ask.prompt_tokens;
    // Ollama cuts a prompt that is too long, and says nothing.
    let tells = flavour != Flavour::Ollama;
    let limit = model.context.filter(|limit| tells && tokens > *limit);
    if let Some(limit) = limit {
        return Some(Problem::Context { tokens, limit });
    }
    let max = model.minute_tokens().filter(|_| flavour == Flavour::Groq)?;
    let requested = tokens + ask.cap.unwrap_or(0);
    (requested > max).then(|| Problem::TooLarge { model: model.name.clone(), max, requested })
}

/// Charges the request against its model's limits.
fn admit(
    provider: &Provider,
    key: &str,
    model: &ModelSpec,
    (prompt, completion): (u64, u64),
) -> Result<Headers, (Problem, Headers)> {
    if model.limits.is_empty() {
        return Ok(Headers::new());
    }
    let flavour = provider.spec.flavour;
    let (admitted, gauges) = provider.charge(key, model, prompt, completion);
    let mut headers = rate_limits(flavour, &gauges, prompt + completion);
    admitted.map(|()| headers.clone()).map_err(|breach| {
        headers.extend(retry_after(flavour, breach.wait));
        (Problem::Limited { model: model.name.clone(), breach }, headers)
    })
}

fn record(
    provider: &Provider,
    parts: &Parts,
    body: Bytes,
    ask: &Result<Ask, Problem>,
    fault: Option<Fault>,
) -> Record {
    if !provider.records.remembers() {
        return Record::default();
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let ask = ask.as_ref().ok();
    Record {
        at: provider.now(),
        model: ask.map(|ask| ask.model.clone()).unwrap_or_default(),
        path: parts.uri.to_string(),
        headers: parts
            .headers
            .iter()
            .map(|(name, it)| (name.as_str().to_owned(), text(it)))
            .collect(),
        body,
        stream: ask.is_some_and(|ask| ask.stream.is_some()),
        fault,
        ..Record::default()
    }
}

fn bearer(headers: &HeaderMap) -> String {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned()
}

fn refuse(flavour: Flavour, problem: &Problem, headers: &Headers) -> Response<Body> {
    let (status, body) = problem.refusal(flavour);
    json(status, headers, body)
}

/// A JSON response with these headers.
pub(super) fn json(status: u16, headers: &Headers, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    add(response.headers_mut(), headers);
    response
}

fn raw(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    let known = StatusCode::from_u16(status).ok().filter(|_| (200..600).contains(&status));
    *response.status_mut() = known.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn add(to: &mut HeaderMap, headers: &Headers) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value.as_str()) {
            to.insert(HeaderName::from_static(name), value);
        }
    }
}
