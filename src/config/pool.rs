//! Makes the catalog's providers of what the limits file and the environment say.

use std::collections::HashSet;
use std::sync::Arc;

use super::address::AccountId;
use super::address::BaseUrl;
use super::address::host_of;
use super::address::is_own_network;
use super::environment;
use super::environment::Environment;
use super::faults::Faults;
use super::keys;
use super::limits::KeyVariable;
use super::limits::ModelEntry;
use super::limits::ProviderEntry;
use super::limits::Terms;
use super::reader::nearest;
use super::rules::Amount;
use super::rules::Rule;

use crate::catalog::IdBook;
use crate::catalog::Key;
use crate::catalog::Kind;
use crate::catalog::Model;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::provider::quirks;
use crate::provider::registry;
use crate::provider::registry::BuiltIn;

/// What a provider is made with, and where is said what became of it.
pub(super) struct Workshop<'a> {
    pub(super) environment: &'a Environment<'a>,
    /// The limits file, for faults.
    pub(super) place: &'a str,
    pub(super) faults: &'a Faults,
    pub(super) notes: &'a mut Vec<String>,
    /// Providers that are left out because the variable behind them is not set.
    pub(super) unset: Vec<String>,
    pub(super) ids: &'a mut IdBook,
}

/// The providers that can be used. The others are left out, with a note or among those unset.
pub(super) fn providers(entries: &[ProviderEntry], shop: &mut Workshop<'_>) -> Vec<Provider> {
    let built: Vec<_> = entries.iter().filter_map(|it| provider(it, shop)).collect();
    note_unread(entries, shop);
    built
}

/// A provider, and the variable that has to be set before it can be used.
pub(super) fn with_variable(entry: &ProviderEntry) -> String {
    let key = key_variables(entry).into_iter().next();
    let variable = key.unwrap_or_else(|| format!("{}_BASE_URL", variable_prefix(&entry.name)));
    format!("{} ({variable})", entry.name)
}

/// The variables an entry's keys may stand in, the preferred one first; none for a provider on the
/// user's own machine.
pub(super) fn key_variables(entry: &ProviderEntry) -> Vec<String> {
    let prefix = variable_prefix(&entry.name);
    if registry::find(&entry.name).is_some_and(BuiltIn::is_local) {
        return Vec::new();
    }
    let named = match &entry.key_variable {
        KeyVariable::Named(name) => Some(name.clone()),
        KeyVariable::Usual | KeyVariable::NotNeeded => None,
    };
    let usual = [format!("{prefix}_APIKEY"), format!("{prefix}_API_KEY")];
    let known = registry::find(&entry.name).map_or(&[][..], |it| it.key_variables);
    let mut seen = HashSet::new();
    named
        .into_iter()
        .chain(usual)
        .chain(known.iter().map(|it| (*it).to_owned()))
        .filter(|it| seen.insert(it.clone()))
        .collect()
}

fn provider(entry: &ProviderEntry, shop: &mut Workshop<'_>) -> Option<Provider> {
    let built_in = registry::find(&entry.name);
    let kind_name = entry.kind.or(built_in.map(|it| it.kind)).unwrap_or("openai");
    let kind = wire(kind_name)?;
    let local = built_in.is_some_and(BuiltIn::is_local);
    let base_url = base_url(entry, built_in, kind_name, shop);
    let keys = provider_keys(entry, local, shop);
    if local && base_url.is_none() || keys.is_empty() {
        shop.unset.push(with_variable(entry));
        return None;
    }
    if entry.models.is_empty() && !local {
        shop.notes.push(format!("{}: no models, left out", entry.name));
        return None;
    }
    let base_url = with_account(base_url?, &entry.name, shop)?;
    // Ollama's own paths begin at its root; clients of other kinds are told `/v1`.
    let root = base_url.strip_suffix("/v1").or(base_url.strip_suffix("/api"));
    let base_url = root.filter(|_| kind == Kind::Ollama).unwrap_or(&base_url).to_owned();
    let vouched = is_vouched_for(entry, built_in, &base_url);
    if !vouched {
        note_unknown_posture(entry, shop);
    }
    let make = |it| model((entry, kind, vouched), it, &keys, shop.ids);
    let models = entry.models.iter().map(make).collect();
    let usual = if local && is_own_network(host_of(&base_url)) {
        Privacy::Local
    } else {
        Privacy::default()
    };
    Some(Provider {
        id: shop.ids.provider(&entry.name),
        name: entry.name.as_str().into(),
        kind,
        base_url: base_url.into(),
        synonyms: built_in.map_or(&[], |it| it.synonyms),
        privacy: entry.terms.privacy.filter(|_| vouched).unwrap_or(usual),
        keys,
        models,
    })
}

/// Does what the limits file says of privacy hold where this provider's requests go? It speaks of the
/// address that stands beside it, or else of the provider's own; somebody else's server, which a
/// variable names, may do with prompts what it likes. A server of the user's own network is the user's.
fn is_vouched_for(entry: &ProviderEntry, built_in: Option<&BuiltIn>, base_url: &str) -> bool {
    let host = host_of(base_url);
    let own = entry.url.as_deref().or(built_in.map(|it| it.base_url));
    own.is_none_or(|it| host_of(it).eq_ignore_ascii_case(host))
        || built_in.is_some_and(BuiltIn::is_local) && is_own_network(host)
}

fn note_unknown_posture(entry: &ProviderEntry, shop: &mut Workshop<'_>) {
    let postures = entry.models.iter().map(|it| &it.terms).chain([&entry.terms]);
    if postures.filter_map(|it| it.privacy).any(Privacy::keeps_out_of_training) {
        shop.notes.push(format!(
            "{}: it is asked at another address than its own, so what becomes of prompts there is \
             unknown; if you know, write that address into {} as its url, beside its privacy",
            entry.name, shop.place
        ));
    }
}

fn wire(name: &str) -> Option<Kind> {
    registry::KINDS.iter().find(|(it, _)| *it == name).map(|(_, kind)| *kind)
}

/// A URL that names the account it is billed to gets it from `<PROVIDER>_ACCOUNT_ID`.
fn with_account(url: String, provider: &str, shop: &mut Workshop<'_>) -> Option<String> {
    const PLACE: &str = "{account_id}";
    if !url.contains(PLACE) {
        return Some(url);
    }
    let name = account_variable(provider);
    let Some(variable) = shop.environment.get(&name) else {
        shop.notes.push(format!("{provider}: {name} is not set, left out"));
        return None;
    };
    let account = variable.read(&AccountId, shop.faults)?;
    Some(url.replace(PLACE, &account))
}

/// `<PROVIDER>_BASE_URL`, else the limits file's `url`, else the built-in one of the same wire.
fn base_url(
    entry: &ProviderEntry,
    built_in: Option<&BuiltIn>,
    kind: &str,
    shop: &Workshop<'_>,
) -> Option<String> {
    if let Some(variable) = shop.environment.first(&url_variables(entry, built_in)) {
        return variable.read(&BaseUrl, shop.faults);
    }
    let usual = built_in.filter(|it| it.kind == kind && !it.is_local());
    let url = entry.url.clone().or(usual.map(|it| it.base_url.to_owned()));
    let local = built_in.is_some_and(BuiltIn::is_local);
    if url.is_none() && !entry.url_is_faulty && !local {
        let key = format!("{}.url", entry.path);
        let got = format!("nothing for {}, which has no built-in URL for this kind", entry.name);
        shop.faults.add(shop.place, &key, got, BaseUrl.wanted());
    }
    url
}

fn url_variables(entry: &ProviderEntry, built_in: Option<&BuiltIn>) -> Vec<String> {
    let names = std::iter::once(entry.name.as_str()).chain(built_in.map(|it| it.name));
    names.map(|it| format!("{}_BASE_URL", variable_prefix(it))).collect()
}

fn account_variable(provider: &str) -> String {
    format!("{}_ACCOUNT_ID", variable_prefix(provider))
}

fn provider_keys(entry: &ProviderEntry, local: bool, shop: &mut Workshop<'_>) -> Vec<Key> {
    let variables = key_variables(entry);
    let Some(variable) = shop.environment.first(&variables) else {
        let keyless = local || entry.key_variable == KeyVariable::NotNeeded;
        return keyless.then(|| keys::no_key(&entry.name, shop.ids)).into_iter().collect();
    };
    for other in variables.iter().filter_map(|it| shop.environment.get(it)) {
        if other.value != variable.value {
            let (name, chosen) = (&other.name, &variable.name);
            shop.notes.push(format!("{name} is not used, for {chosen} is set too"));
        }
    }
    keys::keys(&entry.name, &variable, shop.faults, shop.notes, shop.ids)
}

fn model(
    (provider, kind, vouched): (&ProviderEntry, Kind, bool),
    entry: &ModelEntry,
    keys: &[Key],
    ids: &mut IdBook,
) -> Model {
    let quirks = quirks::of_kind(kind, &provider.name);
    // What the limits file says of a model counts, and what is known of it where that says nothing.
    let policy = quirks.policy(&entry.name);
    let id = ids.model(&provider.name, &entry.name);
    let (own, shared) = (&entry.terms, &provider.terms);
    let max_concurrent = either(own, shared, |it| it.max_concurrent).and_then(Amount::bound);
    Model {
        id,
        name: entry.name.as_str().into(),
        routable: format!("{}/{}", provider.name, entry.name).into(),
        kind: entry.kind.as_str().into(),
        scale: entry.scale,
        vision: entry.vision,
        limits: entry.limits.clone(),
        scope: either(own, shared, |it| it.scope).unwrap_or_default(),
        reset: either(own, shared, |it| it.reset).unwrap_or_default(),
        max_context: entry.max_context,
        images: policy.images,
        capabilities: policy.capabilities(&entry.capabilities),
        weight: entry.weight,
        max_concurrent: max_concurrent.map(|it| u32::try_from(it).unwrap_or(u32::MAX)),
        failed_requests_count: either(own, shared, |it| it.failed_requests_count)
            .unwrap_or_default(),
        reserves_max_tokens: either(own, shared, |it| it.reserves_max_tokens).unwrap_or_default(),
        privacy: either(own, shared, |it| it.privacy).filter(|_| vouched).unwrap_or_default(),
        // A source speaks of the posture that stands beside it.
        privacy_source: if own.privacy.is_some() { own } else { shared }
            .privacy_source
            .as_deref()
            .filter(|_| vouched)
            .map(Arc::from),
        last_verified: either(own, shared, |it| it.last_verified.clone())
            .filter(|_| vouched)
            .map(Arc::from),
        first_token_timeout: either(own, shared, |it| it.first_token_timeout),
        found: false,
        successor: entry.successor.as_deref().map(Arc::from),
        targets: keys.iter().map(|it| ids.target(it.id, id)).collect(),
    }
}

/// The model's own term, else the provider's.
fn either<T>(own: &Terms, shared: &Terms, term: impl Fn(&Terms) -> Option<T>) -> Option<T> {
    term(own).or_else(|| term(shared))
}

/// Upper case, and `_` for all that a variable's name cannot have.
fn variable_prefix(name: &str) -> String {
    let plain = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_uppercase() } else { '_' };
    name.chars().map(plain).collect()
}

/// Every variable that is read where the limits file has these entries.
pub(super) fn variables(entries: &[ProviderEntry]) -> HashSet<String> {
    let of_provider = |it: &ProviderEntry| {
        let urls = url_variables(it, registry::find(&it.name));
        key_variables(it).into_iter().chain(urls).chain([account_variable(&it.name)])
    };
    let own = environment::own_names().map(str::to_owned);
    entries.iter().flat_map(of_provider).chain(own).collect()
}

/// What the `.env` file sets and nothing reads is probably misspelt.
fn note_unread(entries: &[ProviderEntry], shop: &mut Workshop<'_>) {
    let read = variables(entries);
    let known: Vec<&str> = read.iter().map(String::as_str).collect();
    let (place, names) = shop.environment.file_names();
    for name in names.filter(|it| !read.contains(*it)) {
        let meant = nearest(name, &known);
        let meant = meant.map_or_else(String::new, |it| format!(" (did you mean {it}?)"));
        shop.notes.push(format!("{place}: {name} is set, but nothing reads it{meant}"));
    }
}
