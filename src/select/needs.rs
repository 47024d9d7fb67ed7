//! What a request needs of a model, and which models have it.

use crate::catalog::Model;
use crate::openai::ChatRequest;
use crate::openai::Filters;
use crate::openai::Images;
use crate::openai::JsonMode;
use crate::openai::ToolChoice;
use crate::openai::Trait;
use crate::select::eligible::JsonWay;

/// What a request needs of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    needs: Vec<Need>,
    pub(super) filters: Filters,
}

/// One thing a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Images are to be seen.
    Vision,
    /// Images are to be fetched by the provider.
    RemoteImages,
    /// There are so many images, and so many bytes of them.
    Images(Images),
    /// The answer is to be JSON; beside it, are there tools?
    Json(JsonMode, bool),
    /// A capability that only those have that are known to, by its name; how an error names it.
    Rare(&'static str, &'static str),
    /// Nobody is to train on the prompt.
    NoTraining,
    /// A capability by its name; how an error names it, which begins with the request's member.
    Capability(&'static str, &'static str),
}

impl Needs {
    /// Reads off a request what it needs.
    pub fn of(request: &ChatRequest) -> Self {
        let mut needs = Vec::new();
        let images = request.images;
        if images.count > 0 {
            needs.extend([Need::Vision, Need::Images(images)]);
        }
        if images.remote {
            needs.push(Need::RemoteImages);
        }
        if request.media.sounds > 0 {
            needs.push(Need::Rare("audio", "messages with input_audio"));
        }
        if request.media.files > 0 {
            needs.push(Need::Rare("files", "messages with files"));
        }
        if request.json_mode != JsonMode::Off {
            needs.push(Need::Json(request.json_mode, request.has_tools));
        }
        let mut capability = |is_needed: bool, name, said| {
            if is_needed {
                needs.push(Need::Capability(name, said));
            }
        };
        let parallel = request.traits.has(Trait::ParallelCalls);
        let functions = request.member("functions").is_some_and(|it| it != "[]");
        let chooses = |it: &[ToolChoice]| request.has_tools && it.contains(&request.tool_choice);
        let any = chooses(&[ToolChoice::Required, ToolChoice::Function]);
        capability(request.has_tools, "tools", "tools");
        capability(functions, "functions", "functions");
        capability(any, "tool_choice", "tool_choice other than auto and none");
        capability(
            chooses(&[ToolChoice::Function]),
            "tool_choice_function",
            "tool_choice of one function",
        );
        capability(parallel, "parallel_tools", "messages with parallel tool calls");
        capability(request.n > 1, "n", "n above 1");
        Self { needs, filters: request.filters.clone() }
    }

    /// The same, and where `needed` that nobody trains on the prompt. What is not known is no promise.
    #[must_use]
    pub fn without_training(mut self, needed: bool) -> Self {
        self.needs.extend(needed.then_some(Need::NoTraining));
        self
    }

    /// Does every model have all of it?
    pub(super) fn is_none(&self) -> bool {
        self.needs.is_empty()
    }

    /// Does every model have all of it, and every name pass the filters?
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty() && self.filters == Filters::default()
    }

    /// The first thing that `model` has not, in a word for a trace; `None` when it has all. Filters hold
    /// for what is `routed`.
    pub(super) fn missing_in(&self, model: &Model, routed: bool) -> Option<String> {
        let none = Filters::default();
        let filters = if routed { &self.filters } else { &none };
        let Filters { model_type, model_scale, model_name } = filters;
        let differs = |wanted: &Option<String>, own: &str| {
            wanted.as_ref().is_some_and(|it| !it.eq_ignore_ascii_case(own))
        };
        let is_called = |part: &String| model.name.to_lowercase().contains(&part.to_lowercase());
        if differs(model_type, &model.kind) {
            Some("model_type".to_owned())
        } else if differs(model_scale, model.scale.name()) {
            Some("model_scale".to_owned())
        } else if model_name.as_ref().is_some_and(|it| !is_called(it)) {
            Some("model_name".to_owned())
        } else {
            self.needs.iter().find(|it| !it.fits(model)).map(|it| it.word())
        }
    }

    /// Has `model` all of it?
    pub(super) fn fit(&self, model: &Model) -> bool {
        self.needs.iter().all(|it| it.fits(model))
    }

    /// What none of `models` has; all that is needed when each is to be had, but not in one model.
    pub(super) fn unmet(&self, models: &[&Model]) -> Vec<Need> {
        let unmet = |it: &&Need| !models.iter().any(|model| it.fits(model));
        let alone: Vec<Need> = self.needs.iter().filter(unmet).copied().collect();
        // An image nobody sees is fetched and measured by nobody either.
        match alone.as_slice() {
            [] => self.needs.clone(),
            [Need::Vision, ..] => {
                let of_images = |it: &Need| matches!(it, Need::Images(_) | Need::RemoteImages);
                alone.into_iter().filter(|it| !of_images(it)).collect()
            }
            _ => alone,
        }
    }
}

impl Need {
    fn fits(self, model: &Model) -> bool {
        match self {
            Self::Vision => model.vision,
            Self::RemoteImages => model.vision && model.allows("https_images"),
            Self::Images(images) => model.vision && takes(model, images),
            Self::Json(mode, tools) => {
                model.allows("instructed_json")
                    || JsonWay::of(model, mode, tools) == JsonWay::Native
            }
            Self::Rare(name, _) => model.surely(name),
            Self::NoTraining => model.privacy.keeps_out_of_training(),
            Self::Capability(name, _) => model.allows(name),
        }
    }

    /// The member of the request it comes from.
    pub(super) fn param(self) -> &'static str {
        match self {
            Self::Vision | Self::RemoteImages | Self::Images(_) => "messages",
            Self::Json(..) => "response_format",
            Self::NoTraining => "X-Relay-Privacy",
            Self::Rare(_, said) | Self::Capability(_, said) => {
                said.split(' ').next().unwrap_or(said)
            }
        }
    }

    /// How a trace names it.
    fn word(self) -> String {
        match self {
            Self::NoTraining => "privacy".to_owned(),
            other => other.said(),
        }
    }

    /// How an error names it.
    pub(super) fn said(self) -> String {
        match self {
            Self::Vision => "images".to_owned(),
            Self::RemoteImages => "images by https URL".to_owned(),
            Self::Images(Images { count, inline, .. }) => {
                format!("{count} images of {inline} bytes in all")
            }
            Self::Json(JsonMode::Schema, _) => "response_format json_schema".to_owned(),
            Self::Json(..) => "response_format json_object".to_owned(),
            Self::NoTraining => "prompts and is known not to train on them".to_owned(),
            Self::Rare(_, said) | Self::Capability(_, said) => said.to_owned(),
        }
    }
}

fn takes(model: &Model, images: Images) -> bool {
    let within = |found: u64, most: Option<u64>| most.is_none_or(|it| found <= it);
    let limits = model.images;
    within(u64::from(images.count), limits.count.map(u64::from))
        && within(images.largest, limits.each_bytes)
        && within(images.inline, limits.total_bytes)
}
