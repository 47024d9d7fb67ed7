//! Asking the gateway that runs.

use std::net::IpAddr;
use std::net::Ipv6Addr;
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
    let url = format!("http://{}:{}{path}", reachable(&reach.host), reach.port);
    let mut request = Request::builder().method(method).uri(&url);
    if let Some(key) = reach.key() {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
    }
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request =
        request.body(body.into()).map_err(|it| Unanswered::Failed(format!("{url}: {it}")))?;
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

/// `host` as a URL has it. One that is listened on at all addresses is reached by this machine's own.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(it) if it == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => "[::1]".to_owned(),
        Ok(it) if it.to_canonical().is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(it)) => format!("[{it}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_listens_everywhere_is_asked_on_this_machine() {
        let check = |host: &str, expected: &str| assert_eq!(reachable(host), expected);
        check("0.0.0.0", "127.0.0.1");
        check("::", "[::1]");
        check("::ffff:0.0.0.0", "127.0.0.1");
        check("::1", "[::1]");
        check("192.168.0.7", "192.168.0.7");
        check("gateway.local", "gateway.local");
    }
}
