//! Asking the gateway that runs.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Reach;
use crate::provider::SentMark;
use crate::provider::fault::FaultKind;
use crate::provider::transport::Transport;
use crate::provider::transport::read_answer;

/// A gateway on this machine answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What it said.
pub(super) struct Answer {
    url: String,
    status: StatusCode,
    body: Bytes,
}

/// Why it said nothing.
pub(super) enum Unanswered {
    /// There is none.
    NotRunning(String),
    /// Something else was in the way.
    Failed(String),
}

impl Unanswered {
    /// For people.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::NotRunning(text) => format!("{text}; is it running, and on this port?"),
            Self::Failed(text) => text,
        }
    }
}

/// Asks on a runtime of its own.
pub(super) fn ask_once(
    reach: &Reach,
    line: (Method, &str),
    body: Bytes,
) -> Result<Answer, Unanswered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|it| Unanswered::Failed(format!("can't start the runtime: {it}")))?;
    runtime.block_on(ask(reach, line, body))
}

/// Asks for `path`, with the key that opens most.
pub(super) async fn ask(
    reach: &Reach,
    (method, path): (Method, &str),
    body: Bytes,
) -> Result<Answer, Unanswered> {
    let host =
        if reach.host.contains(':') { format!("[{}]", reach.host) } else { reach.host.clone() };
    let url = format!("http://{host}:{}{path}", reach.port);
    let mut request = Request::builder().method(method).uri(&url);
    if let Some(key) = reach.key() {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(body).map_err(|it| Unanswered::Failed(format!("{url}: {it}")))?;
    let asking = async {
        let answer = Transport::default().send(request, SentMark::default()).await?;
        let status = answer.status();
        Ok((status, read_answer(answer.into_body()).await?))
    };
    let answer: Result<_, crate::provider::fault::Fault> = tokio::time::timeout(PATIENCE, asking)
        .await
        .map_err(|_| Unanswered::Failed(format!("{url}: no answer")))?;
    match answer {
        Ok((status, body)) => Ok(Answer { url, status, body }),
        Err(it) => {
            let text = format!("no gateway answers on {url} ({})", it.message);
            let runs = it.kind != FaultKind::Connect;
            Err(if runs { Unanswered::Failed(text) } else { Unanswered::NotRunning(text) })
        }
    }
}

impl Answer {
    /// The document that was asked for.
    ///
    /// # Errors
    /// What the gateway says against it, or that it is none.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let Self { url, status, body } = self;
        let said = || {
            let error: Value = serde_json::from_slice(body).ok()?;
            // Others write errors of this form, too, but not with this member.
            let error = error.get("error").filter(|it| it.get("request_id").is_some())?;
            Some(error.get("message")?.as_str()?.to_owned())
        };
        if *status == StatusCode::UNAUTHORIZED {
            return Err(format!(
                "{url}: the gateway wants a key; set RELAY_API_KEY, or RELAY_ADMIN_KEY if it has one"
            ));
        }
        if !status.is_success()
            && let Some(said) = said()
        {
            return Err(said);
        }
        serde_json::from_slice(body).map_err(|_| {
            format!("{url}: HTTP {status}, and not the answer of this program; another one's port?")
        })
    }
}
