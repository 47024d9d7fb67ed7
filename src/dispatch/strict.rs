//! Requests that are to go to one provider as they are, and whose answer or error is to come back as
//! it is.

use crate::catalog::ProviderId;
use crate::catalog::TargetId;
use crate::catalog::TargetView;
use crate::dispatch::exhausted;
use crate::dispatch::journey::Travel;
use crate::openai::ApiError;
use crate::openai::More;
use crate::openai::Verbatim;
use crate::provider::SentMark;
use crate::provider::fault::Fault;
use crate::provider::masking::struck;
use crate::select::Asked;

/// What a provider has said in place of an answer.
pub(super) struct Refusal {
    fault: Fault,
    verbatim: Verbatim,
}

/// A strict request has to name the very model it wants.
///
/// # Errors
/// A 400 for the names that leave the choice to this gateway, and for retired ones.
pub(super) fn check(asked: &Asked) -> Result<(), ApiError> {
    let message = match asked {
        Asked::Any | Asked::Fast | Asked::Smart => {
            "X-Relay-Strict leaves nothing to choose: name a model of one provider, as \
             <provider>/<model>."
        }
        Asked::Direct { instead_of: Some(_), .. } => {
            "This model is retired, and with X-Relay-Strict no other takes its place."
        }
        Asked::Direct { .. } | Asked::Named(_) => return Ok(()),
    };
    Err(ApiError::invalid(message, Some("model")).with_code("strict_mode"))
}

impl Travel {
    /// From its first attempt on a strict request knows one provider alone.
    pub(super) fn commit_to(&mut self, provider: ProviderId) {
        if !self.requires.strict || self.attempts > 1 {
            return;
        }
        let providers = self.pool.selector.catalog.providers();
        let is_mine = |place: usize| providers.get(place).is_some_and(|it| it.id == provider);
        let others: Vec<TargetId> = self
            .eligible
            .iter()
            .filter(|(p, _)| !is_mine(*p))
            .filter_map(|(p, m)| providers.get(*p)?.models.get(*m))
            .flat_map(|it| it.targets.iter().copied())
            .collect();
        self.eligible.retain(|(p, _)| is_mine(*p));
        self.out.extend(others);
    }

    /// Keeps what the provider of a strict request has said in place of an answer.
    pub(super) fn hear_out(&mut self, target: &TargetView<'_>, sent: &SentMark, fault: &Fault) {
        let Some(said) = sent.refusal().filter(|_| self.requires.strict) else { return };
        let secret = target.key.secret.as_ref();
        let strike = |text: &str| struck(text, secret, []).unwrap_or_else(|| text.to_owned());
        let content_type = said.content_type.as_ref().and_then(|it| it.to_str().ok());
        let verbatim = Verbatim {
            content_type: strike(content_type.unwrap_or_default()),
            body: strike(&String::from_utf8_lossy(&said.body)),
        };
        self.refusal = Some(Refusal { fault: fault.clone(), verbatim });
    }

    /// The provider's own error, in its own status and words; ours where it gave none, and where its
    /// would say that the caller's key is wrong.
    pub(super) fn as_it_came(&self) -> ApiError {
        let said = self.refusal.as_ref();
        let told = said.and_then(|it| Some((it, it.fault.status.filter(|it| passes(*it))?)));
        let Some((Refusal { fault, verbatim }, status)) = told else {
            return exhausted::error(self);
        };
        let kind = match status {
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let mut error = ApiError::new(status, kind, fault.message.clone());
        error.param = fault.param.as_deref().map(str::to_owned);
        error.code = fault.code.as_deref().map(str::to_owned);
        error.retry_after = fault.retry_after;
        ApiError { more: Some(Box::new(More::Verbatim(verbatim.clone()))), ..error }
    }
}

/// May a provider's status be the caller's? 401 and 403 speak of a key that is not the caller's.
fn passes(status: u16) -> bool {
    (400..=599).contains(&status) && !matches!(status, 401 | 403)
}
