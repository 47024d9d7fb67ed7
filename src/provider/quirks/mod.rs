//! How providers differ from OpenAI's own API, as data: one row a provider ([`table`]), and below it
//! one for each family of its models that differs from the rest.
//!
//! Sources: the providers' documentation and error reports, gathered 2026-11. Where a cell is wrong
//! the provider answers 400 or 422 and names the member, and the call is repeated without it.

mod pattern;
mod table;

use std::collections::HashMap;

use crate::catalog::ImageLimits;
use crate::catalog::Kind;
#[cfg(doc)]
use crate::openai::ECHOED;
use crate::provider::error_rules::plain;
use crate::provider::registry;

/// One provider's ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quirks {
    /// Whose quirks they are, in small letters and digits alone: its errors are read by what is known
    /// of it.
    pub name: &'static str,
    /// What holds for its models, but for those below.
    pub usual: Policy,
    /// Models with ways of their own: the first pattern that fits counts. `*` stands for anything.
    pub models: &'static [(&'static str, Policy)],
}

/// What one model wants differently from OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The members it takes beside the common ones, where it is known to refuse every other.
    pub takes: Option<&'static [&'static str]>,
    /// Members it refuses or ignores that an answer can do without: left out, with a warning.
    pub drops: &'static [&'static str],
    /// Members it knows under another name.
    pub renames: &'static [(&'static str, &'static str)],
    /// Values it knows under another name: the member, OpenAI's value and its own, as JSON text.
    /// Its own is empty where the value is its default and has no name.
    pub values: &'static [(&'static str, &'static str, &'static str)],
    /// Capabilities it does not have. Requests that need one go elsewhere (or, for `json_object`
    /// and `json_schema`, are put into words); what each name means stands at [`LACKABLE`].
    pub lacks: &'static [&'static str],
    /// Capabilities it has that others are not taken to have: [`RARE`].
    pub gives: &'static [&'static str],
    /// Does it refuse `stream_options`? It then sends usage without being asked.
    pub no_stream_options: bool,
    /// How many tokens the answer may have.
    pub bound: Bound,
    /// The highest `temperature` it takes; a higher one is lowered to it.
    pub warmest: Option<f64>,
    /// The most `stop` sequences it takes; the rest are left out, with a warning. Where that is one it
    /// is sent as a string.
    pub stops: Option<usize>,
    /// Must `stop` be a list?
    pub lists_stops: bool,
    /// How it takes `reasoning_effort`.
    pub effort: Effort,
    /// The `reasoning_effort` it is sent where the caller sets none: its own would leave too little of
    /// `max_tokens` for the answer.
    pub effort_unless_set: Option<&'static str>,
    /// How it takes a JSON schema.
    pub schema: Schema,
    /// Keywords it refuses in the schemas of tools' parameters.
    pub tool_words: &'static [&'static str],
    /// How it takes messages.
    pub messages: MessageRules,
    /// Images it takes with one request.
    pub images: ImageLimits,
}

/// The names `lacks` may hold, as the limits file's `capabilities` has them too.
pub const LACKABLE: &[(&str, &str)] = &[
    ("tools", "tools of any kind"),
    ("functions", "tools in OpenAI's older form"),
    ("parallel_tools", "several tool calls in one turn"),
    ("tool_choice", "a tool_choice other than auto and none"),
    ("tool_choice_function", "a tool_choice that names a function"),
    ("n", "several answers to one request"),
    ("json_object", "a JSON mode of its own"),
    ("json_schema", "a JSON schema mode of its own"),
    ("json_with_tools", "its JSON mode in a request that brings tools"),
    ("https_images", "images by an https URL, which it fetches itself"),
];

/// The names `gives` may hold; models not known to have them are not asked for them.
pub const RARE: &[(&str, &str)] =
    &[("audio", "sounds in messages, `input_audio`"), ("files", "files in messages")];

/// Bounds of an answer, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bound {
    /// Sent with requests that set none, where the provider's own default does harm.
    pub unless_set: Option<u32>,
    /// The most the model gives; a request for more is lowered to it.
    pub most: Option<u32>,
    /// The least the model takes for a bound; a lower one is raised to it.
    pub least: Option<u32>,
}

/// How a provider is told how long to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effort {
    /// `reasoning_effort`, as OpenAI has it.
    #[default]
    Plain,
    /// `reasoning_effort` with values of its own: OpenAI's value, its own. What is not listed stays.
    Words(&'static [(&'static str, &'static str)]),
    /// `reasoning: {"effort": …}`.
    Nested,
    /// `thinking: {"type": "enabled" | "disabled"}`.
    OnOrOff,
    /// `reasoning_effort`, but for `none`, which is `thinking: {"type": "disabled"}`.
    PlainOrOff,
    /// `chat_template_kwargs` with this member, true or false.
    Template(&'static str),
}

/// How a provider is told the answer's JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Schema {
    /// `response_format`, as OpenAI has it.
    #[default]
    ResponseFormat,
    /// The schema itself as `guided_json`.
    GuidedJson,
}

/// How a model takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRules {
    /// The members of a message it takes beside its role, content and tool calls, where it is known
    /// to refuse every other.
    pub takes: Option<&'static [&'static str]>,
    /// Which of [`ECHOED`] it reads: its own. With `extra_content`, what it signed goes back to the model
    /// that signed it.
    pub echoes: &'static [&'static str],
    /// Does it know the role `developer`? Otherwise it is told `system`.
    pub knows_developer: bool,
    /// Must content be a string where it is text alone?
    pub plain_content: bool,
    /// Does it refuse an assistant's turn with neither content nor calls? Such turns are left out.
    pub refuses_empty: bool,
    /// Must an assistant's turn at the end be marked as the answer's `prefix`?
    pub marks_prefill: bool,
    /// Which turns it wants as one.
    pub merges: Merge,
    /// Who may speak right after the result of a call.
    pub after_result: AfterResult,
    /// What becomes of the reasoning of earlier turns.
    pub reasoning: Reasoning,
    /// The form tool call ids must have.
    pub ids: Ids,
}

/// Which messages are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Merge {
    /// None.
    #[default]
    Nothing,
    /// Instructions, into one message that comes first.
    Systems,
    /// Those, and neighbours that have the same role.
    SameRole,
}

/// Who may speak right after the result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AfterResult {
    /// Anyone.
    #[default]
    Anyone,
    /// The assistant alone: where the user goes on, a short turn of the assistant is put between.
    Assistant,
}

/// What becomes of an earlier turn's `reasoning_content` (or `reasoning`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reasoning {
    /// It is sent as it stands.
    #[default]
    AsItIs,
    /// It is left out.
    LeftOut,
    /// It is sent as `reasoning`.
    Renamed,
    /// While tools are in play it is sent as `reasoning_content` with every turn that made calls,
    /// empty where there is none; otherwise it is left out.
    WithTools,
}

/// The form of tool call ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ids {
    /// Any.
    #[default]
    Free,
    /// Exactly nine letters and digits.
    Nine,
    /// No more than this many bytes.
    AtMost(usize),
}

/// A provider's quirks by its name or a synonym, in any case, if it speaks OpenAI's API. Unknown
/// ones are taken to speak it as OpenAI does.
pub fn of(provider: &str) -> Quirks {
    of_kind(Kind::OpenAi, provider)
}

/// The same for a provider that speaks the wire `kind`. For a wire that is not OpenAI's only
/// `lacks` and `images` count: the rest is its own client's affair.
pub fn of_kind(kind: Kind, provider: &str) -> Quirks {
    let name = match kind {
        Kind::OpenAi => registry::find(provider).map_or(provider, |it| it.name),
        Kind::Cloudflare => "cloudflare",
        Kind::Gemini => return table::native::GEMINI_NATIVE,
        Kind::Ollama => return table::native::OLLAMA_NATIVE,
        Kind::Anthropic => return table::native::ANTHROPIC_NATIVE,
    };
    let name = plain(name);
    let own = table::ALL.iter().find(|it| *it.name == *name);
    own.copied().unwrap_or(table::STRANGER)
}

impl Quirks {
    /// What holds for the model of that name.
    pub fn policy(&self, model: &str) -> &Policy {
        let own = self.models.iter().find(|(pattern, _)| pattern::fits(pattern, model));
        own.map_or(&self.usual, |(_, policy)| policy)
    }
}

impl Policy {
    /// Is this known to be missing?
    pub fn lacks(&self, capability: &str) -> bool {
        self.lacks.contains(&capability)
    }

    /// What it is known to have or not to have, and over that what is said of it.
    pub fn capabilities(&self, said: &HashMap<String, bool>) -> HashMap<String, bool> {
        let known = self.lacks.iter().map(|it| ((*it).to_owned(), false));
        let rare = self.gives.iter().map(|it| ((*it).to_owned(), true));
        known.chain(rare).chain(said.iter().map(|(name, it)| (name.clone(), *it))).collect()
    }
}

/// The member of OpenAI's that a provider's own word for it was made of: a refusal names the word
/// that was sent.
pub fn member_behind(word: &str) -> Option<&'static str> {
    match word {
        "thinking" | "reasoning" | "chat_template_kwargs" => return Some("reasoning_effort"),
        "guided_json" => return Some("response_format"),
        _ => {}
    }
    let policies = table::ALL.iter().map(|it| &it.usual);
    let mut renames = policies.flat_map(|it| it.renames);
    renames.find(|(_, theirs)| *theirs == word).map(|(ours, _)| *ours)
}

/// Members that some models are sent though the request has none of them: usage is asked for, an
/// answer is bounded where the provider's own default does harm, thought is kept short, and calls
/// come one at a time where a model makes no more.
pub const ADDED: &[&str] =
    &["stream_options", "max_tokens", "reasoning_effort", "parallel_tool_calls"];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = (&'static str, &'static str, Policy)> {
        let native = [
            table::native::GEMINI_NATIVE,
            table::native::OLLAMA_NATIVE,
            table::native::ANTHROPIC_NATIVE,
        ];
        table::ALL.iter().copied().chain(native).flat_map(|it| {
            let models = it.models.iter().map(move |(pattern, own)| (it.name, *pattern, *own));
            std::iter::once((it.name, "", it.usual)).chain(models)
        })
    }

    #[test]
    fn a_row_is_found_by_any_of_the_providers_names() {
        for (name, expected) in [
            ("GROQ", "groq"),
            ("nim", "nvidia"),
            ("Z.ai", "zai"),
            ("gemini", "gemini"),
            ("OpenCode Zen", "opencodezen"),
            ("acme", ""),
        ] {
            assert_eq!(of(name).name, expected, "{name}");
        }
        assert_eq!(of_kind(Kind::Cloudflare, "acme").name, "cloudflare");
        assert!(of_kind(Kind::Ollama, "acme").usual.lacks("https_images"));
    }

    #[test]
    fn no_row_contradicts_itself() {
        let mut names: Vec<_> = table::ALL.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table::ALL.len());
        for (name, pattern, policy) in all() {
            for lacked in policy.lacks {
                let known = LACKABLE.iter().any(|(it, _)| it == lacked);
                assert!(known, "{name} {pattern} lacks {lacked}, which nobody asks about");
            }
            for given in policy.gives {
                let known = RARE.iter().any(|(it, _)| it == given);
                assert!(known, "{name} {pattern} gives {given}, which nobody asks about");
            }
            let mut renamed = policy.renames.iter();
            let both = renamed.find(|(ours, _)| policy.drops.contains(ours));
            assert_eq!(both, None, "{name} {pattern} drops what it renames");
        }
    }

    #[test]
    fn a_providers_own_word_leads_to_the_callers() {
        assert_eq!(member_behind("random_seed"), Some("seed"));
        assert_eq!(member_behind("user_id"), Some("user"));
        assert_eq!(member_behind("thinking"), Some("reasoning_effort"));
        assert_eq!(member_behind("guided_json"), Some("response_format"));
        assert_eq!(member_behind("seed"), None);
    }
}
