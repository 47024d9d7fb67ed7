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
use crate::trace::Record;

/// Models that a record names of those that could not answer.
const MOST_RULED_OUT: usize = 64;

/// What the model's name means, who could answer, and what the answer has to be. Writes into `record` who
/// could not, and why.
pub(super) async fn destination(
    pool: &Pool,
    (request, requires): (&ChatRequest, Requirements),
    record: Option<&mut Record>,
) -> Result<(Asked, Eligible, Option<Arc<Wanted>>), ApiError> {
    let catalog = &pool.selector.catalog;
    let asked = select::resolve(catalog, request.model.as_deref()).map_err(|it| {
        let name = shown(request.model.as_deref().unwrap_or_default());
        let closest = match it.closest.as_slice() {
            [] => String::new(),
            names => format!(" Closest names: {}.", names.join(", ")),
        };
        let message = format!("There is no model \"{name}\".{closest} GET /v1/models lists all.");
        ApiError::new(404, "invalid_request_error", message)
            .with_code("model_not_found")
            .with_param("model")
            .logged_as("There is no such model.")
    })?;
    if requires.strict {
        strict::check(&asked)?;
    }
    let needs = Needs::of(request).without_training(requires.no_training);
    let eligible = select::eligible(catalog, &asked, &needs);
    if let Some(record) = record {
        let known = catalog.providers().iter().map(|it| it.models.len()).sum();
        let count = eligible.as_ref().map_or(0, Vec::len);
        record.eligible = (count, known);
        if !needs.is_empty() {
            let bounds = (count, MOST_RULED_OUT);
            record.ruled_out = select::ruled_out(catalog, (&asked, &needs), bounds);
        }
    }
    let eligible = eligible?;
    let wanted = if requires.strict { None } else { Wanted::of(request).await? };
    Ok((asked, eligible, wanted))
}

/// A model's name as errors and headers show it to whoever has written it: anything may stand there.
pub(super) fn shown(name: &str) -> Arc<str> {
    if name.len() <= 100 && name.bytes().all(|it| (b' '..=b'~').contains(&it)) {
        return name.into();
    }
    name.chars().filter(|it| !it.is_control()).take(100).collect::<String>().into()
}
