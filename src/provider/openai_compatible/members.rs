//! The body's members, made to fit a model's policy.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::ChatRequest;
use crate::openai::JsonMode;
use crate::openai::JsonText;
use crate::openai::Payload;
use crate::openai::RequestEdits;
use crate::openai::ToolChoice;
use crate::openai::Traits;
use crate::openai::is_default;
use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::openai_compatible::messages::Rewriting;
use crate::provider::openai_compatible::messages::rewrite;
use crate::provider::openai_compatible::messages::signatures::Signatures;
use crate::provider::openai_compatible::tool_words::without_words;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Policy;
use crate::provider::quirks::Schema;

/// Members that every provider takes.
const COMMON: &[&str] = &[
    "max_tokens",
    "messages",
    "model",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

/// Members of OpenAI's that reports name, if they are left out because a provider takes only what
/// it knows.
const NAMED: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "metadata",
    "min_p",
    "modalities",
    "moderation",
    "n",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "repetition_penalty",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "top_k",
    "top_logprobs",
    "user",
    "verbosity",
    "web_search_options",
];

/// Stands in reports for members nobody here has heard of.
const UNHEARD_OF: &str = "unknown_fields";

/// Members that speak to the gateway alone.
const OURS: &[&str] = &["model_type", "model_scale", "model_name", "stream_options", "functions"];

/// The bound of an answer by its two names, the newer first.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// A request on its way to one model.
pub(super) struct Members<'a> {
    asked: &'a ChatRequest,
    policy: &'a Policy,
    /// What this model has refused before, in the caller's words or its own.
    refused: &'a [String],
    signatures: Option<&'a Signatures>,
    edits: RequestEdits,
    unmet: Unmet,
}

impl<'a> Members<'a> {
    pub(super) fn of(
        call: &'a Call,
        policy: &'a Policy,
        signatures: Option<&'a Signatures>,
    ) -> Self {
        Self {
            asked: &call.request,
            policy,
            refused: &call.edits.leave_out,
            signatures,
            edits: call.edits.clone(),
            unmet: Unmet::default(),
        }
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<JsonText>) {
        self.edits.set.retain(|(it, _)| *it != key);
        self.edits.set.push((key, value.into()));
    }

    fn leave_out(&mut self, key: &str) {
        self.edits.set.retain(|(it, _)| *it != key);
        self.edits.leave_out.push(key.to_owned());
    }

    /// A member as it goes out at this point; `None` where it does not.
    fn get(&self, key: &str) -> Option<&str> {
        if let Some((_, value)) = self.edits.set.iter().find(|(it, _)| *it == key) {
            return Some(value);
        }
        self.asked.member(key).filter(|_| !self.edits.leave_out.iter().any(|it| it == key))
    }

    fn is_refused(&self, key: &str) -> bool {
        self.refused.iter().any(|it| it == key)
    }

    /// Leaves out what the model is known to refuse.
    pub(super) fn drop_refused(&mut self) {
        let (asked, policy) = (self.asked, self.policy);
        for key in asked.member_names() {
            let dropped = policy.drops.iter().find(|it| **it == key);
            // It means nothing without the other, and OpenAI refuses it then.
            let orphaned = key == "top_logprobs"
                && (policy.drops.contains(&"logprobs") || self.is_refused("logprobs"));
            let taken = || {
                let Some(takes) = policy.takes else { return true };
                COMMON.contains(&key)
                    || takes.contains(&key)
                    || policy.renames.iter().any(|(ours, _)| *ours == key)
            };
            if dropped.is_none() && !orphaned && taken() {
                continue;
            }
            self.leave_out(key);
            if asked.member(key).is_some_and(|it| says_more_than_nothing(key, it)) {
                let known = || NAMED.iter().find(|it| **it == key).copied();
                let name = dropped.copied().or_else(known).unwrap_or(UNHEARD_OF);
                if !self.unmet.dropped.contains(&name) {
                    self.unmet.dropped.push(name);
                }
            }
        }
    }

    /// Gives members the names the provider knows them by.
    pub(super) fn rename(&mut self) {
        for (ours, theirs) in self.policy.renames {
            let Some(value) = self.get(ours).map(str::to_owned) else { continue };
            self.leave_out(ours);
            // Of two bounds the newer counts.
            if self.get(theirs).is_none() || *ours == BOUNDS[0] {
                self.set(theirs, value);
            }
        }
    }

    /// Tools: none at all rather than an empty list, and only what the provider can be told.
    pub(super) fn fit_tools(&mut self) {
        let (asked, policy) = (self.asked, self.policy);
        // Without tools there is nothing to choose, and OpenAI itself refuses who does.
        let none_wanted = asked.tool_choice == ToolChoice::None && policy.lacks("tool_choice");
        if !asked.has_tools || none_wanted {
            for key in ["tools", "tool_choice", "parallel_tool_calls"] {
                if asked.member_names().any(|it| it == key) {
                    self.leave_out(key);
                }
            }
            return;
        }
        if policy.lacks("parallel_tools") && self.get("tools").is_some() {
            if self.get("parallel_tool_calls") == Some("true") {
                self.unmet.dropped.push("parallel_tool_calls");
            }
            self.set("parallel_tool_calls", "false".to_owned());
        }
        let tools = self.get("tools").filter(|_| !policy.tool_words.is_empty());
        if let Some(tools) = tools.and_then(|it| without_words(it, policy.tool_words)) {
            self.set("tools", tools);
        }
    }

    /// Puts values into the provider's own words, and within its bounds.
    pub(super) fn fit_values(&mut self) {
        for (member, ours, theirs) in self.policy.values {
            if self.get(member) == Some(ours) {
                match *theirs {
                    "" => self.leave_out(member),
                    theirs => self.set(member, theirs.to_owned()),
                }
            }
        }
        let warmer =
            |it: &f64| self.get("temperature").and_then(|it| it.parse::<f64>().ok()) > Some(*it);
        if let Some(warmest) = self.policy.warmest.filter(warmer) {
            self.set("temperature", warmest.to_string());
            self.unmet.lowered.push("temperature");
        }
        self.fit_stops();
        self.fit_effort();
        self.fit_format();
    }

    fn fit_stops(&mut self) {
        if self.policy.lists_stops
            && let Some(one) = self.get("stop").filter(|it| it.starts_with('"'))
        {
            self.set("stop", format!("[{one}]"));
        }
        let Some(most) = self.policy.stops else { return };
        let Some(list) = self.get("stop").filter(|it| it.starts_with('[')) else { return };
        let Ok(stops) = serde_json::from_str::<Vec<&RawValue>>(list) else { return };
        if most > 1 && stops.len() <= most {
            return;
        }
        let too_many = stops.len() > most;
        let kept: Vec<&str> = stops.iter().take(most).map(|it| it.get()).collect();
        let kept = match kept.as_slice() {
            [] => None,
            [one] if most == 1 => Some((*one).to_owned()),
            some => Some(format!("[{}]", some.join(","))),
        };
        match kept {
            Some(kept) => self.set("stop", kept),
            None => self.leave_out("stop"),
        }
        if too_many {
            self.unmet.dropped.push("stop");
        }
    }

    fn fit_effort(&mut self) {
        if let Some(unless_set) = self.policy.effort_unless_set
            && self.get("reasoning_effort").is_none()
            // Thinking may be bounded in there, and nobody takes both.
            && self.get("extra_body").is_none()
        {
            self.set("reasoning_effort", unless_set.to_owned());
        }
        let Some(asked) = self.get("reasoning_effort") else { return };
        let off = asked == "\"none\"";
        let switch =
            |on: &str, off_word: &str| if off { off_word.to_owned() } else { on.to_owned() };
        let own = match self.policy.effort {
            Effort::Plain => return,
            Effort::PlainOrOff if !off => return,
            Effort::Words(words) => {
                let said = asked.trim_matches('"');
                let Some((_, own)) = words.iter().find(|(ours, _)| *ours == said) else { return };
                return self.set("reasoning_effort", format!("\"{own}\""));
            }
            Effort::Nested => ("reasoning", format!(r#"{{"effort":{asked}}}"#)),
            Effort::OnOrOff | Effort::PlainOrOff => {
                ("thinking", switch(r#"{"type":"enabled"}"#, r#"{"type":"disabled"}"#))
            }
            Effort::Template(member) => {
                ("chat_template_kwargs", format!(r#"{{"{member}":{}}}"#, switch("true", "false")))
            }
        };
        self.leave_out("reasoning_effort");
        // Who writes the provider's own member knows best.
        if self.get(own.0).is_none() {
            self.set(own.0, own.1);
        }
    }

    fn fit_format(&mut self) {
        if self.asked.json_mode == JsonMode::Off {
            // What is left is `text`, the default, which not everyone knows by this name.
            if self.asked.member("response_format").is_some() {
                self.leave_out("response_format");
            }
        } else if self.policy.schema == Schema::GuidedJson
            && let Some(schema) = self.get("response_format").and_then(schema_of)
        {
            let schema = schema.get().to_owned();
            self.leave_out("response_format");
            self.set("guided_json", schema);
        }
    }

    /// Keeps the bound of the answer within the model's, and sets one where none does harm.
    pub(super) fn bound_answer(&mut self) {
        let bound = self.policy.bound;
        if !self.refused.is_empty()
            && self.policy.renames.iter().all(|(_, theirs)| !BOUNDS.contains(theirs))
        {
            // A model that refuses the one name of it wants the other.
            for (refused, other) in [(BOUNDS[0], BOUNDS[1]), (BOUNDS[1], BOUNDS[0])] {
                let set = self.edits.set.iter().find(|(key, _)| *key == refused);
                let value = set.map(|(_, it)| &**it).or_else(|| self.asked.member(refused));
                if let Some(value) = value.map(str::to_owned)
                    && self.is_refused(refused)
                    && (self.get(other).is_none() || refused == BOUNDS[0])
                    && !self.is_refused(other)
                {
                    self.set(other, value);
                }
            }
        }
        let mut is_set = false;
        for key in BOUNDS {
            let asked = self.get(key).and_then(|it| it.parse::<u64>().ok());
            is_set |= asked.is_some();
            if let Some(most) = bound.most.filter(|it| asked > Some(u64::from(*it))) {
                self.set(key, most.to_string());
                self.unmet.lowered.push(key);
            }
            let few = |it: &u32| asked.is_some_and(|asked| asked < u64::from(*it));
            if let Some(least) = bound.least.filter(few) {
                self.set(key, least.to_string());
                // The answer may be longer than it was to be.
                self.unmet.dropped.push(key);
            }
        }
        if let Some(most) = bound.unless_set.filter(|_| !is_set) {
            self.set("max_tokens", most.to_string());
        }
    }

    /// Usage is always asked for: quota is settled with it, wanted by the caller or not.
    pub(super) fn fit_stream_options(&mut self) {
        if self.asked.stream && !self.policy.no_stream_options {
            self.set("stream_options", self.asked.stream_options_with_usage());
        } else if self.asked.member_names().any(|it| it == "stream_options") {
            // OpenAI refuses them beside a whole answer.
            self.leave_out("stream_options");
        }
    }

    /// Rewrites the messages where the model would not take them as they are.
    pub(super) fn fit_messages(&mut self) {
        // Whoever looks at the messages has them joined.
        let cut = if self.edits.cut { self.get("messages") } else { None };
        let rewriting = Rewriting {
            rules: &self.policy.messages,
            traits: cut.map_or(self.asked.traits, Traits::in_list),
            refused: self.refused,
            thinks: self.get("thinking") != Some(r#"{"type":"disabled"}"#),
            renews: self.get("functions").is_none_or(|it| it == "[]"),
            signatures: self.signatures,
        };
        if !rewriting.may_change() {
            return;
        }
        if let Some(it) = self.get("messages").and_then(|it| rewrite(it, &rewriting)) {
            if it.names_lost {
                self.unmet.dropped.push("messages.name");
            }
            self.set("messages", it.messages);
        }
    }

    pub(super) fn render(mut self) -> (Payload, Unmet) {
        let refused = self.refused;
        self.edits.set.retain(|(key, _)| !refused.iter().any(|it| it == key));
        (self.asked.render(&self.edits), self.unmet)
    }
}

/// Would a caller miss this member? One that asks for what it gets anyway says nothing.
fn says_more_than_nothing(key: &str, value: &str) -> bool {
    !is_default(key, value) && !OURS.contains(&key)
}

/// The schema in a `response_format` that holds one.
fn schema_of(format: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow)]
        json_schema: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
    }
    serde_json::from_str::<Format<'_>>(format).ok().map(|it| it.json_schema.schema)
}
