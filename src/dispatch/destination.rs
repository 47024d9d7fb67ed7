//! Where a request may go and what has to come of it: its model's name, who could answer, and the
//! JSON it asks for.

use std::sync::Arc;

use crate::dispatch::Pool;
use crate::dispatch::outcome::Requirements;
use crate::dispatch::strict;
use crate::dispatch::structured::Wanted;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::select;
use crate::select::Asked;
use crate::select::Eligible;
use crate::select::Needs;

/// What the model's name means, who could answer, and what the answer has to be.
pub(super) async fn destination(
    pool: &Pool,
    request: &ChatRequest,
    requires: Requirements,
) -> Result<(Asked, Eligible, Option<Arc<Wanted>>), ApiError> {
    let catalog = &pool.selector.catalog;
    let asked = select::resolve(catalog, request.model.as_deref()).map_err(|it| {
        let name = shown(request.model.as_deref().unwrap_or_default());
        let message = format!(
            "There is no model \"{name}\". Closest names: {}. GET /v1/models lists all.",
            it.closest.join(", ")
        );
        ApiError::new(404, "invalid_request_error", message)
            .with_code("model_not_found")
            .with_param("model")
    })?;
    if requires.strict {
        strict::check(&asked)?;
    }
    let needs = Needs::of(request).without_training(requires.no_training);
    let eligible = select::eligible(catalog, &asked, &needs)?;
    let wanted = if requires.strict { None } else { Wanted::of(request).await? };
    Ok((asked, eligible, wanted))
}

/// A model's name as logs and headers show it: a caller may write anything there.
pub(super) fn shown(name: &str) -> Arc<str> {
    if name.len() <= 200 && name.bytes().all(|it| (b' '..=b'~').contains(&it)) {
        return name.into();
    }
    name.chars().filter(|it| !it.is_control()).take(200).collect::<String>().into()
}
