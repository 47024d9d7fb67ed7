//! The hard filters: which models could answer a request at all, whatever their quota says now.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::catalog::Unit;
use crate::openai::ApiError;
use crate::openai::Filters;
use crate::openai::JsonMode;
use crate::select::names::Asked;
use crate::select::needs::Need;
use crate::select::needs::Needs;

/// When to ask again where no model is known yet.
const SOON: Duration = Duration::from_secs(5);

/// Models that could answer, as (provider, model) places in the catalog.
pub type Eligible = Vec<(usize, usize)>;

/// How a model is brought to answer in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonWay {
    /// As it is asked: it has that mode.
    Native,
    /// Its mode for any JSON object, and an instruction that holds the schema.
    AnyObject,
    /// An instruction alone.
    Instructed,
}

impl JsonWay {
    /// The way for an answer of the kind `mode`, of a request with `tools` or without.
    pub fn of(model: &Model, mode: JsonMode, tools: bool) -> Self {
        let native = !tools || model.allows("json_with_tools");
        match mode {
            JsonMode::Off => Self::Native,
            JsonMode::Schema if native && model.allows("json_schema") => Self::Native,
            JsonMode::Schema if native && model.allows("json_object") => Self::AnyObject,
            JsonMode::Object if native && model.allows("json_object") => Self::Native,
            JsonMode::Schema | JsonMode::Object => Self::Instructed,
        }
    }
}

/// Tokens a conversation may have to fit a model that [`holds`] so many: all but what is set aside for
/// the answer (`max_tokens`, or `reserve` but at most a quarter of the model).
pub fn prompt_budget(holds: u64, max_tokens: Option<u64>, reserve: u64) -> u64 {
    // A caller's `max_tokens` beyond half the model is a wish, not a plan: it leaves half.
    let answer = max_tokens.map_or(reserve.min(holds / 4), |it| it.min(holds / 2));
    holds - answer
}

/// Tokens a request to `model` may have, answer included: its context, as it is configured or its provider
/// has `told` it, or the size of its smallest token window, whichever is least. `None` = no bound is
/// known.
pub fn holds(model: &Model, told: Option<u64>) -> Option<u64> {
    let windows = model.limits.iter().filter(|it| it.unit == Unit::Tokens).map(|it| it.max);
    windows.chain(model.max_context).chain(told).min()
}

/// The models that could answer.
///
/// # Errors
/// A 400 that names what leaves none: the filter, or what the request needs.
pub fn eligible(catalog: &Catalog, asked: &Asked, needs: &Needs) -> Result<Eligible, ApiError> {
    let mut left = asked_for(catalog, asked);
    if left.is_empty() {
        return Err(nobody_yet());
    }
    let direct = matches!(asked, Asked::Direct { .. });
    let mut keep = |fits: &dyn Fn(&Model) -> bool| {
        left.retain(|place| model_at(catalog, *place).is_some_and(fits));
        left.is_empty()
    };
    let Filters { model_type, model_scale, model_name } = &needs.filters;
    // A request that names its model exactly is not routed, so filters have nothing to choose.
    if let Some(wanted) = model_type.as_deref().filter(|_| !direct)
        && keep(&|it| it.kind.eq_ignore_ascii_case(wanted))
    {
        return Err(nothing_fits("model_type", wanted));
    }
    if let Some(wanted) = model_scale.as_deref().filter(|_| !direct)
        && keep(&|it| it.scale.name().eq_ignore_ascii_case(wanted))
    {
        return Err(nothing_fits("model_scale", wanted));
    }
    if let Some(wanted) = model_name.as_deref().filter(|_| !direct) {
        let part = wanted.to_lowercase();
        if keep(&|it| it.name.to_lowercase().contains(&part)) {
            return Err(nothing_fits("model_name", wanted));
        }
    }
    if !left.is_empty() && needs.is_none() {
        return Ok(left);
    }
    let models = left.iter().filter_map(|it| Some((*it, model_at(catalog, *it)?)));
    let (places, models): (Eligible, Vec<&Model>) = models.unzip();
    let fitting = places.into_iter().zip(&models).filter(|(_, it)| needs.fit(it));
    let fitting: Eligible = fitting.map(|(place, _)| place).collect();
    if fitting.is_empty() {
        return Err(cannot(&needs.unmet(&models)));
    }
    Ok(fitting)
}

/// The models that were asked for and are not among the `eligible` many that can answer, each with what
/// it lacks: at most `most`, and how many there are in all.
pub fn ruled_out(
    catalog: &Catalog,
    (asked, needs): (&Asked, &Needs),
    (eligible, most): (usize, usize),
) -> (Vec<(Arc<str>, String)>, usize) {
    let asked_for = asked_for(catalog, asked);
    let count = asked_for.len().saturating_sub(eligible);
    if count == 0 {
        return (Vec::new(), 0);
    }
    let routed = !matches!(asked, Asked::Direct { .. });
    let models = asked_for.into_iter().filter_map(|it| model_at(catalog, it));
    let lacks = |it: &Model| Some((Arc::clone(&it.routable), needs.missing_in(it, routed)?));
    (models.filter_map(lacks).take(most).collect(), count)
}

fn model_at(catalog: &Catalog, (provider, model): (usize, usize)) -> Option<&Model> {
    catalog.providers().get(provider)?.models.get(model)
}

/// The models that `asked` means.
fn asked_for(catalog: &Catalog, asked: &Asked) -> Eligible {
    let providers = catalog.providers().iter().enumerate();
    let places = |(p, provider): (usize, &Provider), is_meant: &dyn Fn(&Model) -> bool| {
        let models = provider.models.iter().enumerate().filter(|(_, it)| is_meant(it));
        models.map(|(m, _)| (p, m)).collect::<Eligible>()
    };
    match asked {
        Asked::Any | Asked::Fast | Asked::Smart => catalog.routed().to_vec(),
        Asked::Direct { provider, model, .. } => {
            let providers = providers.filter(|(_, it)| it.name == *provider);
            providers.flat_map(|it| places(it, &|it| it.name == *model)).collect()
        }
        Asked::Named(name) => {
            let bears = |it: &Model| it.successor.is_none() && it.name == *name;
            providers.flat_map(|it| places(it, &bears)).collect()
        }
    }
}

/// Only local servers are configured without models.
fn nobody_yet() -> ApiError {
    let message = "There is no model yet: the local server can't be reached, or has none. It is asked \
                   again every few seconds; the log says how that went.";
    ApiError::new(503, "server_error", message)
        .with_code("all_providers_failed")
        .with_retry_after(SOON)
}

fn nothing_fits(filter: &str, wanted: &str) -> ApiError {
    let wanted: String = wanted.chars().take(100).collect();
    let message = format!(
        "No model fits {filter} \"{wanted}\" (with the request's other filters). \
         GET /v1/models lists what there is."
    );
    ApiError::invalid(message, Some(filter))
        .with_code("no_matching_model")
        .logged_as(format!("No model fits {filter}."))
}

fn cannot(unmet: &[Need]) -> ApiError {
    let said: Vec<String> = unmet.iter().map(|it| it.said()).collect();
    let message = format!("No model that this request may go to takes {}.", said.join(" and "));
    let param = unmet.first().map(|it| it.param());
    ApiError::invalid(message, param).with_code("model_not_supported")
}
