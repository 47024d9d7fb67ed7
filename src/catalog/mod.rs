//! The immutable facts: which providers, models and keys there are, what they can do and what they
//! allow. A catalog is built whole, shared behind an `Arc` and swapped whole.

mod ids;
mod limits;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use secrecy::SecretString;

pub use ids::{AccountId, IdBook, KeyId, ModelId, ProviderId, TargetId};
pub use limits::{Limit, Period, QuotaScope, Reset, Unit};

/// What a provider does with prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Privacy {
    /// Says it does not train on them.
    NoTraining,
    /// Trains on them.
    Trains,
    /// Depends on a switch in the account.
    Configurable,
    /// Nothing leaves the user's machines.
    Local,
    /// Not established.
    #[default]
    Unknown,
}

impl Privacy {
    /// Is it known that nobody trains on prompts?
    pub fn keeps_out_of_training(self) -> bool {
        matches!(self, Self::NoTraining | Self::Local)
    }

    /// As written in the limits file.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoTraining => "no-training",
            Self::Trains => "trains",
            Self::Configurable => "configurable",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

/// How big a model is, for the `model_scale` filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scale {
    /// Quick and cheap.
    Small,
    /// In between.
    Medium,
    /// The most able.
    Large,
}

impl Scale {
    /// As written in the limits file and in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    /// Reads `small`, `medium` or `large`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Small, Self::Medium, Self::Large].into_iter().find(|it| it.name() == text)
    }
}

/// The wire a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OpenAI's chat completions.
    OpenAi,
    /// Google's own `generateContent`.
    Gemini,
    /// Ollama's own `/api/chat`.
    Ollama,
    /// OpenAI's chat completions under an account of Cloudflare's.
    Cloudflare,
    /// Anthropic's Messages.
    Anthropic,
}

/// A key as the caller of a provider needs it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Who it is.
    pub id: KeyId,
    /// Whose quota it draws on.
    pub account: AccountId,
    /// The group it was written with, whose keys share one account; `None` for one that stands alone.
    pub group: Option<Arc<str>>,
    /// The secret itself; `None` for a provider that asks for none.
    pub secret: Option<SecretString>,
    /// For people: at most the last four characters of the secret.
    pub label: Arc<str>,
}

/// Bounds on the images of one request; `None` = no bound is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ImageLimits {
    /// How many there may be.
    pub count: Option<u32>,
    /// Bytes of the largest `data:` URL.
    pub each_bytes: Option<u64>,
    /// Bytes of all `data:` URLs together.
    pub total_bytes: Option<u64>,
}

/// One model of one provider.
#[derive(Clone, Debug)]
pub struct Model {
    /// Who it is.
    pub id: ModelId,
    /// The provider's own name for it; may contain slashes.
    pub name: Arc<str>,
    /// `<provider>/<model>`: what a caller may ask for and what answers name.
    pub routable: Arc<str>,
    /// What it is for: `text`, `coding`, `ocr` and so on.
    pub kind: Arc<str>,
    /// How big it is.
    pub scale: Scale,
    /// Does it see images?
    pub vision: bool,
    /// What it allows, per account or per account and model as `scope` says.
    pub limits: Vec<Limit>,
    /// Whose bucket `limits` speak of.
    pub scope: QuotaScope,
    /// When its day and month windows begin.
    pub reset: Reset,
    /// Tokens it can hold, prompt and answer together; `None` when unknown.
    pub max_context: Option<u64>,
    /// The images it takes with one request, where it sees images.
    pub images: ImageLimits,
    /// Capabilities it is known or said to have or not; one that is absent counts as allowed.
    pub capabilities: HashMap<String, bool>,
    /// Weight for weighted strategies where given.
    pub weight: Option<f64>,
    /// Calls that may be under way at once with one key; `None` = no bound.
    pub max_concurrent: Option<u32>,
    /// Does a failed request count against its quota at the provider?
    pub failed_requests_count: bool,
    /// Does the provider take `max_tokens` off the token window before it answers?
    pub reserves_max_tokens: bool,
    /// What is done with prompts.
    pub privacy: Privacy,
    /// Where that is known from, in a few words; `None` when nobody has written it down.
    pub privacy_source: Option<Arc<str>>,
    /// The day, as `2026-09-02`, on which somebody last saw that its entry is true.
    pub last_verified: Option<Arc<str>>,
    /// How long the first token may take, where that is longer or shorter than the default.
    pub first_token_timeout: Option<Duration>,
    /// Was it found by asking its server? Then no file names it.
    pub found: bool,
    /// A retired name: requests for it go to this model of the same provider.
    pub successor: Option<Arc<str>>,
    /// One target for each of the provider's keys, in the keys' order.
    pub targets: Vec<TargetId>,
}

impl Model {
    /// May a request that needs `capability` go here? Absent means yes.
    pub fn allows(&self, capability: &str) -> bool {
        self.capabilities.get(capability).copied().unwrap_or(true)
    }

    /// Is it known to have `capability`? Absent means no: for what few models have.
    pub fn surely(&self, capability: &str) -> bool {
        self.capabilities.get(capability).copied().unwrap_or(false)
    }
}

/// One provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Who it is.
    pub id: ProviderId,
    /// Its name as the limits file writes it.
    pub name: Arc<str>,
    /// The wire it speaks.
    pub kind: Kind,
    /// What stands before `/chat/completions`.
    pub base_url: Arc<str>,
    /// Other names people know it by: `nim/…` is `Nvidia/…`.
    pub synonyms: &'static [&'static str],
    /// What it does with the prompts of models that it is found to have, where nothing else is known
    /// of one.
    pub privacy: Privacy,
    /// Its keys; never empty (a provider without key needs has one with no secret).
    pub keys: Vec<Key>,
    /// Its models.
    pub models: Vec<Model>,
}

impl Provider {
    /// Is it a server of the user's own whose models are found by asking it? One that wants a key
    /// is hosted by others, and its list is too long to be of use.
    pub fn is_local(&self) -> bool {
        self.kind == Kind::Ollama && self.keys.iter().all(|it| it.secret.is_none())
    }

    /// One of its models with each of its keys.
    pub fn targets<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = TargetView<'a>> {
        let keys = model.targets.iter().zip(&self.keys);
        keys.map(move |(id, key)| TargetView { id: *id, provider: self, model, key })
    }

    /// Is `name`, in any case, a name of this provider?
    pub fn is_called(&self, name: &str) -> bool {
        let mut names = std::iter::once(&*self.name).chain(self.synonyms.iter().copied());
        names.any(|it| it.eq_ignore_ascii_case(name))
    }
}

/// Where a target is found in its catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Catalog::providers`].
    pub provider: usize,
    /// Index into that provider's models.
    pub model: usize,
    /// Index into that provider's keys.
    pub key: usize,
}

/// A target with everything that is known of it.
#[derive(Clone, Copy, Debug)]
pub struct TargetView<'a> {
    /// Who it is.
    pub id: TargetId,
    /// Its provider.
    pub provider: &'a Provider,
    /// Its model.
    pub model: &'a Model,
    /// Its key.
    pub key: &'a Key,
}

/// All providers, as one immutable whole.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    providers: Vec<Provider>,
    places: FxHashMap<TargetId, Place>,
    routed: Vec<(usize, usize)>,
}

impl Catalog {
    /// Indexes `providers`.
    pub fn new(providers: Vec<Provider>) -> Self {
        let mut places = FxHashMap::default();
        let mut routed = Vec::new();
        for (p, provider) in providers.iter().enumerate() {
            for (m, model) in provider.models.iter().enumerate() {
                if model.successor.is_none() {
                    routed.push((p, m));
                }
                for (k, target) in model.targets.iter().enumerate() {
                    places.insert(*target, Place { provider: p, model: m, key: k });
                }
            }
        }
        Self { providers, places, routed }
    }

    /// The providers in the limits file's order.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The models that a request may be routed to, as (provider, model) indices: all but retired
    /// names.
    pub fn routed(&self) -> &[(usize, usize)] {
        &self.routed
    }

    /// Every model with its provider.
    pub fn models(&self) -> impl Iterator<Item = (&Provider, &Model)> {
        self.providers.iter().flat_map(|it| it.models.iter().map(move |model| (it, model)))
    }

    /// Everything known of `target`; `None` when a reload has taken it away.
    pub fn target(&self, target: TargetId) -> Option<TargetView<'_>> {
        let place = self.places.get(&target)?;
        let provider = self.providers.get(place.provider)?;
        Some(TargetView {
            id: target,
            provider,
            model: provider.models.get(place.model)?,
            key: provider.keys.get(place.key)?,
        })
    }

    /// All targets.
    pub fn targets(&self) -> impl Iterator<Item = TargetView<'_>> {
        self.models().flat_map(|(provider, model)| provider.targets(model))
    }
}
