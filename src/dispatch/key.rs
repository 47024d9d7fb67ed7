//! What the virtual key that was shown allows: whether a request may come in on it, before anybody
//! is asked for anything.

use std::sync::Arc;

use crate::callers::Tab;
use crate::callers::VirtualKey;
use crate::catalog::Unit;
use crate::clock::Now;
use crate::context::tokens;
use crate::dispatch::Core;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::quota::Bound;
use crate::quota::Denial;
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
    let reserve = core.params.context.answer_reserve;
    let answer = request.max_tokens.map_or(reserve, |it| it.min(reserve));
    let whole = prompt.saturating_add(answer.saturating_mul(request.n));
    let now = core.clock.now();
    Tab::open(key, (prompt, whole), now).map_err(|it| refused(key, prompt, &it, now))
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

fn refused(key: &VirtualKey, prompt: u64, denial: &Denial, now: Now) -> ApiError {
    let terms = &key.terms;
    let (unit, cap) = match denial.bound {
        Bound::Window { unit: Unit::Tokens, .. } => ("tokens", terms.daily_tokens),
        _ => ("requests", terms.daily_requests),
    };
    let cap = cap.unwrap_or_default();
    let Some(time) = denial.free.time() else {
        let message = format!(
            "The prompt has about {prompt} tokens, and the API key \"{}\" allows {cap} a day.",
            terms.label
        );
        return ApiError::invalid(message, Some("messages")).with_code("virtual_key_cap_exceeded");
    };
    let message = format!(
        "The API key \"{}\" has too few of its {cap} {unit} a day left. They come back at midnight UTC.",
        terms.label
    );
    ApiError::new(429, "rate_limit_error", message)
        .with_code("virtual_key_cap_reached")
        .with_retry_after(time.saturating_sub(now.monotonic))
}
