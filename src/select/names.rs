//! What a model's name in a request stands for.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::catalog::Model;
use crate::catalog::Provider;

/// The meta-models.
const ANY_NAME: &str = "meta-model";
const FAST: &str = "free-fast";
const SMART: &str = "free-smart";

/// Names that mean "any available model".
const ANY: &[&str] = &[ANY_NAME, "auto", "free", "relay", "freerelay-auto"];

/// The meta-models with what each stands for, as `/v1/models` lists them.
pub const META_MODELS: &[&str] = &[ANY_NAME, FAST, SMART];

/// How many close names an error suggests.
const SUGGESTIONS: usize = 5;

/// What a request asks for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Any model, in the strategies' order.
    Any,
    /// Any model, the lowest measured latency first.
    Fast,
    /// Any model, the most capable first.
    Smart,
    /// Exactly this one.
    Direct {
        /// The provider's name.
        provider: Arc<str>,
        /// The model's name.
        model: Arc<str>,
        /// The retired name that was asked for in its place.
        instead_of: Option<Arc<str>>,
    },
    /// Any provider that has a model of exactly this name.
    Named(Arc<str>),
}

/// No model has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchModel {
    /// The closest names there are, closest first.
    pub closest: Vec<String>,
}

/// Finds what `name` stands for; `None` is a request that names no model.
///
/// # Errors
/// [`NoSuchModel`] with the closest names.
pub fn resolve(catalog: &Catalog, name: Option<&str>) -> Result<Asked, NoSuchModel> {
    let Some(name) = name else { return Ok(Asked::Any) };
    match name {
        FAST => return Ok(Asked::Fast),
        SMART => return Ok(Asked::Smart),
        _ if ANY.contains(&name) => return Ok(Asked::Any),
        _ => {}
    }
    if let Some((provider, model)) = direct(catalog, name) {
        return Ok(asked_for(provider, model));
    }
    let bearers = || catalog.models().filter(|(_, it)| *it.name == *name);
    if let Some((_, model)) = bearers().find(|(_, it)| it.successor.is_none()) {
        return Ok(Asked::Named(Arc::clone(&model.name)));
    }
    match bearers().next() {
        Some((provider, model)) => Ok(asked_for(provider, model)),
        None => Err(NoSuchModel { closest: closest(catalog, name) }),
    }
}

/// The one form of a name, for lists of what may be asked for. A model that a server of the user's own
/// may turn out to have is taken at its word.
///
/// # Errors
/// [`NoSuchModel`] with the closest names.
pub fn canonical(catalog: &Catalog, name: &str) -> Result<String, NoSuchModel> {
    let local = || {
        let (provider, model) = name.split_once('/').filter(|(_, it)| !it.is_empty())?;
        let mut providers = catalog.providers().iter().filter(|it| it.is_local());
        let provider = providers.find(|it| it.is_called(provider))?;
        Some(format!("{}/{model}", provider.name))
    };
    match resolve(catalog, Some(name)) {
        Ok(Asked::Any) => Ok(ANY_NAME.to_owned()),
        Ok(Asked::Fast) => Ok(FAST.to_owned()),
        Ok(Asked::Smart) => Ok(SMART.to_owned()),
        Ok(Asked::Direct { provider, model, .. }) => Ok(format!("{provider}/{model}")),
        Ok(Asked::Named(model)) => Ok(model.to_string()),
        Err(none) => local().ok_or(none),
    }
}

/// May somebody ask for this who may ask for `allowed`, names in their [`canonical`] form? The name of
/// a model alone allows it at every provider; a meta-model allows what it stands for under that name
/// alone.
pub fn permits(allowed: &[Arc<str>], asked: &Asked) -> bool {
    let meant = |name: &str| match asked {
        Asked::Any => name == ANY_NAME,
        Asked::Fast => name == FAST,
        Asked::Smart => name == SMART,
        Asked::Named(model) => name == &**model,
        Asked::Direct { provider, model, .. } => {
            let own = || name.strip_prefix(&**provider).and_then(|it| it.strip_prefix('/'));
            name == &**model || own().is_some_and(|it| it == &**model)
        }
    };
    allowed.iter().any(|it| meant(it))
}

/// Does `name` stand for any available model, in some order?
pub fn is_meta(name: &str) -> bool {
    META_MODELS.contains(&name) || ANY.contains(&name)
}

/// `<provider>/<model>`: the provider in any case and under any of its names, the model exactly; it may hold slashes itself.
fn direct<'a>(catalog: &'a Catalog, name: &str) -> Option<(&'a Provider, &'a Model)> {
    let (provider, model) = name.split_once('/')?;
    let provider = catalog.providers().iter().find(|it| it.is_called(provider))?;
    let model = provider.models.iter().find(|it| *it.name == *model)?;
    Some((provider, model))
}

fn asked_for(provider: &Provider, model: &Model) -> Asked {
    let (model, instead_of) = match &model.successor {
        Some(successor) => (successor, Some(Arc::clone(&model.routable))),
        None => (&model.name, None),
    };
    Asked::Direct { provider: Arc::clone(&provider.name), model: Arc::clone(model), instead_of }
}

fn closest(catalog: &Catalog, name: &str) -> Vec<String> {
    // Names are compared in their first 128 characters: enough to be close, and bounded work.
    let name: String = name.chars().take(128).flat_map(char::to_lowercase).collect();
    let metas = META_MODELS.iter().map(|it| (*it, *it));
    let models = catalog.models().filter(|(_, it)| it.successor.is_none());
    let mut scored: Vec<(f64, &str)> = models
        .flat_map(|(_, it)| [(&*it.name, &*it.routable), (&*it.routable, &*it.routable)])
        .chain(metas)
        .map(|(compared, said)| (strsim::jaro_winkler(&name, &compared.to_lowercase()), said))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let mut out: Vec<String> = Vec::new();
    for (_, said) in scored {
        if out.len() < SUGGESTIONS && !out.iter().any(|it| it == said) {
            out.push(said.to_owned());
        }
    }
    out
}
