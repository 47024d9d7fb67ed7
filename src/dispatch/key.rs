//! What the virtual key that was shown allows: whether a request may come in on it, before anybody
//! is asked for anything.

use std::sync::Arc;
use std::time::Duration;

use crate::callers::Tab;
use crate::callers::VirtualKey;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::context::Rules;
use crate::context::tokens;
use crate::dispatch::Core;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::quota::Bound;
use crate::quota::Denial;
use crate::quota::FreeAt;
use crate::select;
use crate::select::Asked;

/// Takes a request on `key`: it may ask for this model, and its day has room.
///
/// # Errors
/// A 403 for the model, a 429 with the time until midnight for a spent cap, a 400 for what will never fit.
pub(super) fn admit(
    core: &Core,
    key: &Arc<VirtualKey>,
    request: &ChatRequest,
    asked: &Asked,
) -> Result<Arc<Tab>, ApiError> {
    if let Some(models) = &key.terms.models
        && !select::permits(models, asked)
    {
        return Err(not_allowed(key, models));
    }
    let prompt = tokens::estimate(request.prompt_bytes());
    let answers = |each: u64| each.saturating_mul(request.n);
    // What the caller says that answers may have is what they may have. Where it says nothing, the last
    // tokens of a day go to an answer that may be longer.
    let told = request.max_tokens.map_or(0, answers);
    let likely = request.max_tokens.unwrap_or(core.params.context.answer_reserve);
    let whole =
        prompt.saturating_add(answers(likely)).saturating_add(Rules::OTHERS.media(request.media));
    let now = core.clock.now();
    let least = prompt.saturating_add(told);
    Tab::open(key, (least, whole), now).map_err(|it| refused(key, (prompt, told), &it, now))
}

fn not_allowed(key: &VirtualKey, models: &[Arc<str>]) -> ApiError {
    let message = format!(
        "The API key \"{}\" does not allow this model. It allows {}.",
        key.terms.label,
        models.join(", ")
    );
    ApiError::new(403, "permission_error", message)
        .with_code("model_not_allowed")
        .with_param("model")
}

/// How soon to ask again when requests under way have what is left: the next may end at any moment.
const SOON: Duration = Duration::from_secs(1);

fn refused(key: &VirtualKey, (prompt, told): (u64, u64), denial: &Denial, now: Now) -> ApiError {
    let terms = &key.terms;
    let (unit, cap) = match denial.bound {
        Bound::Window { unit: Unit::Tokens, .. } => ("tokens", terms.daily_tokens),
        _ => ("requests", terms.daily_requests),
    };
    let (label, cap) = (&terms.label, cap.unwrap_or_default());
    let (message, wait) = match denial.free {
        FreeAt::Never => return never(key, (prompt, told), cap),
        FreeAt::At(time) => (
            format!(
                "The API key \"{label}\" has too few of its {cap} {unit} a day left. They come back at \
                 midnight UTC."
            ),
            time.saturating_sub(now.monotonic),
        ),
        FreeAt::Unknown => (
            format!(
                "Requests under way may need what the API key \"{label}\" has left of its {cap} {unit} a \
                 day. What they do not use comes back when they end."
            ),
            SOON,
        ),
    };
    ApiError::new(429, "rate_limit_error", message)
        .with_code("virtual_key_cap_reached")
        .with_retry_after(wait)
}

/// No day has as many tokens.
fn never(key: &VirtualKey, (prompt, told): (u64, u64), cap: u64) -> ApiError {
    let label = &key.terms.label;
    let (answer, param) = if prompt > cap || told == 0 {
        (String::new(), "messages")
    } else {
        (format!(", and max_tokens allows {told} more"), "max_tokens")
    };
    let message = format!(
        "The prompt has about {prompt} tokens{answer}; the API key \"{label}\" allows {cap} a day."
    );
    ApiError::invalid(message, Some(param)).with_code("virtual_key_cap_exceeded")
}
