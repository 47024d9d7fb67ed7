//! `provider_model_limits.json`: providers, their models and what these allow, as written.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use super::address::BaseUrl;
use super::json::Json;
use super::reader::Document;
use super::reader::Object;
use super::rules::Amount;
use super::rules::Bound;
use super::rules::Choice;
use super::rules::Decimal;
use super::rules::Flag;
use super::rules::Rule;
use super::rules::Span;
use super::rules::Text;
use super::rules::is_label;

use crate::catalog::Limit;
use crate::catalog::Period;
use crate::catalog::Privacy;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::catalog::Unit;
use crate::provider::registry;

/// One entry of `providers`.
#[derive(Debug)]
pub(super) struct ProviderEntry {
    /// `providers[3]`, for faults that show later.
    pub(super) path: String,
    pub(super) name: String,
    /// Replaces the provider's own base URL.
    pub(super) url: Option<String>,
    /// A URL is written that cannot be used; that is a fault already.
    pub(super) url_is_faulty: bool,
    /// A wire's name; the built-in provider's when absent.
    pub(super) kind: Option<&'static str>,
    pub(super) key_variable: KeyVariable,
    pub(super) terms: Terms,
    pub(super) models: Vec<ModelEntry>,
}

/// What `api_key_env` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyVariable {
    /// Nothing: the usual variables.
    Usual,
    /// This one before the usual ones.
    Named(String),
    /// It is empty: no key is needed.
    NotNeeded,
}

/// One entry of a provider's `models`.
#[derive(Debug)]
pub(super) struct ModelEntry {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) scale: Scale,
    pub(super) vision: bool,
    pub(super) limits: Vec<Limit>,
    pub(super) max_context: Option<u64>,
    pub(super) capabilities: HashMap<String, bool>,
    pub(super) weight: Option<f64>,
    pub(super) successor: Option<String>,
    pub(super) terms: Terms,
}

/// What a provider may say for all its models and a model for itself.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) scope: Option<QuotaScope>,
    pub(super) reset: Option<Reset>,
    pub(super) max_concurrent: Option<Amount>,
    pub(super) failed_requests_count: Option<bool>,
    pub(super) reserves_max_tokens: Option<bool>,
    pub(super) privacy: Option<Privacy>,
    pub(super) privacy_source: Option<String>,
    pub(super) last_verified: Option<String>,
    pub(super) first_token_timeout: Option<Duration>,
}

/// Reads the limits file; entries that cannot be made out are left out, their faults noted.
pub(super) fn read(document: &Document<'_>, json: &Json) -> Vec<ProviderEntry> {
    let mut root = document.root(json);
    let listed = root.list("providers");
    if !root.has("providers") && matches!(json, Json::Object(_)) {
        root.fault("providers", "nothing", "a list of providers");
    }
    root.finish();
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for (path, json) in listed {
        let object = Object::open(document, path, json);
        entries.extend(provider(object, document, &mut seen));
    }
    entries
}

fn provider(
    mut it: Object<'_>,
    document: &Document<'_>,
    seen: &mut HashSet<String>,
) -> Option<ProviderEntry> {
    let name = it.required("name", &PROVIDER_NAME);
    if let Some(name) = &name {
        // A provider and its synonym would share keys and quota under two names.
        let usual = registry::find(name).map_or(name.as_str(), |it| it.name);
        if !seen.insert(usual.to_ascii_lowercase()) {
            it.fault("name", format!("\"{name}\" a second time"), "each provider once");
        }
    }
    let url = it.optional("url", &OrEmpty(BaseUrl));
    let url_is_faulty = it.has("url") && url.is_none();
    let kind = it.optional("kind", &KindName);
    let key_variable = match it.optional("api_key_env", &OrEmpty(VariableName)) {
        None => KeyVariable::Usual,
        Some(Some(name)) => KeyVariable::Named(name),
        Some(None) => KeyVariable::NotNeeded,
    };
    let terms = terms(&mut it);
    let models = models(&mut it, document);
    let path = it.path().to_owned();
    it.finish();
    Some(ProviderEntry {
        path,
        name: name?,
        url: url.flatten(),
        url_is_faulty,
        kind,
        key_variable,
        terms,
        models,
    })
}

fn models(provider: &mut Object<'_>, document: &Document<'_>) -> Vec<ModelEntry> {
    let mut models: Vec<ModelEntry> = Vec::new();
    let mut successors = Vec::new();
    let mut seen = HashSet::new();
    for (path, json) in provider.list("models") {
        let mut object = Object::open(document, path.clone(), json);
        let name = object.required("name", &MODEL_NAME);
        if let Some(name) = name.clone().filter(|it| !seen.insert(it.clone())) {
            object.fault("name", format!("\"{name}\" a second time"), "each model once");
        }
        let model = model(object, name);
        let successor = model.as_ref().and_then(|it| it.successor.clone());
        successors.extend(successor.map(|it| (path, it)));
        models.extend(model);
    }
    for (path, successor) in successors {
        let found = models.iter().find(|it| it.name == successor);
        let got = match found {
            Some(it) if it.successor.is_none() => continue,
            Some(_) => format!("\"{successor}\", which has a successor itself"),
            None => format!("\"{successor}\", which is no sound model here"),
        };
        let wanted = "the name of a model of the same provider that has no successor";
        document.faults.add(document.place, &format!("{path}.successor"), got, wanted);
    }
    models
}

fn model(mut it: Object<'_>, name: Option<String>) -> Option<ModelEntry> {
    let kind = it.required("type", &MODEL_TYPE);
    let scale = it.required("scale", &SCALES);
    let vision = it.or("modality", &Choice(&[("text", false), ("vision", true)]), false);
    let limits = limits(it.section("limits"));
    let max_context = it.optional("max_context_length", &Bound).and_then(Amount::bound);
    let synonym = it.optional("Max_Context_Length", &Bound).and_then(Amount::bound);
    if it.has("max_context_length") && it.has("Max_Context_Length") {
        it.fault("Max_Context_Length", "a synonym of max_context_length beside it", "one of them");
    }
    let capabilities = it.section("capabilities").every(&Flag).into_iter().collect();
    let weight = it.optional("weight", &Decimal(0.000_001..=1_000_000.0));
    let successor = it.optional("successor", &MODEL_NAME);
    let terms = terms(&mut it);
    it.finish();
    Some(ModelEntry {
        name: name?,
        kind: kind?,
        scale: scale?,
        vision,
        limits,
        max_context: max_context.or(synonym),
        capabilities,
        weight,
        successor,
        terms,
    })
}

fn limits(mut it: Object<'_>) -> Vec<Limit> {
    let limits = LIMITS
        .iter()
        .filter_map(|(key, unit, period)| {
            let max = it.optional(key, &Bound)?.bound()?;
            Some(Limit { unit: *unit, period: *period, max })
        })
        .collect();
    it.finish();
    limits
}

fn terms(it: &mut Object<'_>) -> Terms {
    Terms {
        scope: it.optional("quota_scope", &SCOPES),
        reset: it.optional("reset", &RESETS),
        max_concurrent: it.optional("max_concurrent", &Bound),
        failed_requests_count: it.optional("failed_requests_count", &Flag),
        reserves_max_tokens: it.optional("reserves_max_tokens", &Flag),
        privacy: it.optional("privacy", &PRIVACIES),
        privacy_source: it.optional("privacy_source", &SOURCE),
        last_verified: it.optional("last_verified", &DATE),
        first_token_timeout: it
            .optional("first_token_timeout_seconds", &Span::seconds(0.01..=86_400.0)),
    }
}

/// What a limit may count, over how long.
const LIMITS: &[(&str, Unit, Period)] = &[
    ("requests_per_second", Unit::Requests, Period::Second),
    ("requests_per_minute", Unit::Requests, Period::Minute),
    ("requests_per_hour", Unit::Requests, Period::Hour),
    ("requests_per_day", Unit::Requests, Period::Day),
    ("requests_per_month", Unit::Requests, Period::Month),
    ("tokens_per_minute", Unit::Tokens, Period::Minute),
    ("tokens_per_hour", Unit::Tokens, Period::Hour),
    ("tokens_per_day", Unit::Tokens, Period::Day),
    ("tokens_per_month", Unit::Tokens, Period::Month),
];

const SCALES: Choice<Scale> =
    Choice(&[("large", Scale::Large), ("medium", Scale::Medium), ("small", Scale::Small)]);

const SCOPES: Choice<QuotaScope> =
    Choice(&[("model", QuotaScope::Model), ("account", QuotaScope::Account)]);

const RESETS: Choice<Reset> = Choice(&[
    ("rolling", Reset::Rolling),
    ("utc_day", Reset::UtcDay),
    ("pacific_day", Reset::PacificDay),
    ("month", Reset::Month),
]);

const PRIVACIES: Choice<Privacy> = Choice(&[
    ("no-training", Privacy::NoTraining),
    ("trains", Privacy::Trains),
    ("configurable", Privacy::Configurable),
    ("local", Privacy::Local),
    ("unknown", Privacy::Unknown),
]);

const PROVIDER_NAME: Text = Text {
    wanted: "a provider's name: 1 to 64 printable ASCII characters with a letter among them, \
             no slash, no blanks at the ends",
    fits: |it| is_label(it, 64) && !it.contains('/') && it.contains(|c: char| c.is_alphabetic()),
};

const MODEL_NAME: Text = Text {
    wanted: "a model's name: 1 to 256 printable ASCII characters without blanks at the ends",
    fits: |it| is_label(it, 256),
};

const MODEL_TYPE: Text = Text {
    wanted: "what the model is for, in one word, such as \"text\", \"coding\" or \"ocr\"",
    fits: |it| is_label(it, 64) && !it.contains(' '),
};

const SOURCE: Text = Text {
    wanted: "where it is known from: 1 to 300 printable ASCII characters without blanks at the ends",
    fits: |it| is_label(it, 300),
};

const DATE: Text = Text {
    wanted: "a date such as \"2026-09-02\"",
    fits: |it| it.len() == 10 && jiff::civil::Date::strptime("%Y-%m-%d", it).is_ok(),
};

/// What `0` fits, or the empty text for none.
struct OrEmpty<R>(R);

impl<R: Rule> Rule for OrEmpty<R> {
    type Value = Option<R::Value>;

    fn wanted(&self) -> String {
        format!("{}, or \"\"", self.0.wanted())
    }

    fn read(&self, json: &Json) -> Option<Self::Value> {
        match json {
            Json::Text(text) if text.is_empty() => Some(None),
            json => self.0.read(json).map(Some),
        }
    }

    fn shown(&self, json: &Json) -> String {
        self.0.shown(json)
    }
}

/// The name of a wire.
struct KindName;

impl Rule for KindName {
    type Value = &'static str;

    fn wanted(&self) -> String {
        let names: Vec<_> = registry::KINDS.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }

    fn read(&self, json: &Json) -> Option<&'static str> {
        let Json::Text(text) = json else { return None };
        registry::KINDS.iter().map(|(name, _)| *name).find(|it| it == text)
    }
}

/// The name of an environment variable. Upper case alone, so that a key pasted here is found out.
struct VariableName;

impl Rule for VariableName {
    type Value = String;

    fn wanted(&self) -> String {
        "the name of an environment variable, such as \"MY_SERVER_APIKEY\"".to_owned()
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(text) = json else { return None };
        let allowed = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_';
        let sound = text.bytes().all(allowed) && !text.starts_with(|it: char| it.is_ascii_digit());
        (sound && (1..=100).contains(&text.len())).then(|| text.clone())
    }

    fn shown(&self, json: &Json) -> String {
        match json {
            Json::Text(_) => "something else (not shown, it may be a key)".to_owned(),
            json => json.brief(),
        }
    }
}
