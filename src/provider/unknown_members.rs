//! Which members of a request a refusal calls unknown, unsupported or extra.
//!
//! Only words that say so count: a member whose value is wrong is the caller's to mend and is never
//! left out. Sources of the wordings: error reports of OpenAI, vLLM, TGI, pydantic (1 and 2), serde,
//! Go's JSON decoder, JSON Schema checkers and several relays, gathered 2026-11.

use crate::provider::error_body::Said;

/// Codes and types that say it alone.
const CODES: &[&str] =
    &["unknown_parameter", "unsupported_parameter", "extra_forbidden", "value_error.extra"];

/// What a member that nobody knows is called. Only in front of one of [`NOUNS`].
const ADJECTIVES: &[&str] = &[
    "unknown",
    "unrecognized",
    "unrecognised",
    "unsupported",
    "unexpected",
    "extra",
    "extraneous",
];

/// What a member is called, by how the word begins.
const NOUNS: &[&str] =
    &["argument", "attribute", "field", "key", "name", "option", "param", "propert"];

/// Words that may stand between the two, or between them and the name.
const BETWEEN: &[&str] =
    &["request", "body", "input", "json", "keyword", "supplied", "in", "object", "the", "found"];

/// What is said after the name, in lower case, and whether it may also be said of a value, a
/// model or a feature: then only a name that can't be one of these counts.
const AFTER: &[(&[&str], bool)] = &[
    (&["is", "unsupported"], false),
    (&["are", "unsupported"], false),
    (&["was", "unexpected"], false),
    (&["were", "unexpected"], false),
    (&["extra", "inputs", "are", "not", "permitted"], false),
    (&["extra", "fields", "not", "permitted"], false),
    (&["is", "not", "supported"], true),
    (&["are", "not", "supported"], true),
    (&["isn't", "supported"], true),
];

/// What is said before it, of which the same holds.
const BEFORE: &[&[&str]] = &[&["not", "support"], &["doesn't", "support"]];

/// Members of OpenAI's whose names are words of their own: these count without quotes where others
/// must have an underscore.
const PLAIN_NAMES: &[&str] =
    &["logprobs", "metadata", "prediction", "seed", "stop", "store", "temperature", "verbosity"];

/// The names of members that `said` calls unknown, as far as they can be told; `None` when it speaks
/// of something else. What stands within messages can be left out of them; what stands within a
/// tool can't, and is not named.
pub(super) fn unknown_members(said: &Said) -> Option<Vec<String>> {
    let codes = [said.code.as_deref(), said.kind.as_deref()];
    if codes.contains(&Some("unsupported_value")) {
        return None;
    }
    let told = codes.iter().flatten().any(|it| CODES.contains(it)) || !said.extra.is_empty();
    let mut all = Found { sure: told, places: said.extra.clone() };
    if said.extra.is_empty() && !all.read_list(&said.message) {
        all.read_words(&said.message);
    }
    if all.sure {
        // The words name the member more reliably than `param`, which may hold something else.
        all.places.extend(said.param.clone().filter(|_| said.extra.is_empty()));
    } else if all.places.is_empty() {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for name in all.places.iter().filter_map(|it| member_at(it)) {
        if !names.iter().any(|it| it == name) {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

/// The member at a place such as `body.seed`, `messages[1].name` or `stream_options.include_usage`.
fn member_at(place: &str) -> Option<&str> {
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let mut steps =
        place.split(['.', '[', ']']).filter(|it| !it.is_empty() && *it != "body" && !is_number(it));
    let (first, last) = (steps.next()?, steps.next_back());
    let name = match (first, last) {
        ("messages", Some(last)) => last,
        ("tools" | "tool_choice" | "functions" | "function_call", Some(_)) => return None,
        _ => first,
    };
    is_plain(name).then_some(name)
}

fn is_plain(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

struct Found {
    /// Is it beyond doubt that members are meant?
    sure: bool,
    places: Vec<String>,
}

/// One word of a message.
struct Word<'a> {
    text: &'a str,
    lower: String,
    is_quoted: bool,
    /// Does another of the same list follow?
    goes_on: bool,
    /// Does a colon follow?
    leads: bool,
    /// Is a sentence over with it, or a bracket?
    ends: bool,
}

impl<'a> Word<'a> {
    fn of(raw: &'a str) -> Self {
        const QUOTES: [char; 3] = ['\'', '"', '`'];
        let is_mark = |it: char| QUOTES.contains(&it) || "()[]{},.:;!".contains(it);
        let text = raw.trim_start_matches(is_mark).trim_end_matches(is_mark);
        Self {
            text,
            lower: text.to_ascii_lowercase(),
            is_quoted: raw.trim_start_matches(['(', '[', '{']).starts_with(QUOTES),
            goes_on: raw.ends_with(','),
            leads: raw.ends_with(':'),
            ends: raw.ends_with(['.', ':', ';', '!', ')', ']']),
        }
    }

    /// The words of a message, an "and" being as good as a comma.
    fn all_of(message: &'a str) -> Vec<Self> {
        let mut words: Vec<Self> = Vec::new();
        for raw in message.split_whitespace() {
            match (raw, words.last_mut()) {
                ("and" | "or", Some(last)) => last.goes_on = true,
                _ => words.push(Self::of(raw)),
            }
        }
        words
    }

    fn is_noun(&self) -> bool {
        let begins = NOUNS.iter().any(|it| self.lower.starts_with(it));
        begins && !self.is_quoted && !self.text.contains('_')
    }

    /// Is `next` the next name of a list this one is in?
    fn leads_to(&self, next: &Self) -> bool {
        self.goes_on && self.is_quoted == next.is_quoted
    }

    /// Can it be nothing but a member's name?
    fn is_surely_a_name(&self) -> bool {
        self.is_quoted || self.text.contains('_') || PLAIN_NAMES.contains(&self.text)
    }
}

impl Found {
    /// pydantic's list as Python prints it: `[{'type': 'extra_forbidden', 'loc': ('body', 'seed'),
    /// …}]`. Is it one?
    fn read_list(&mut self, message: &str) -> bool {
        const PATH: &str = "loc': (";
        let entries: Vec<&str> = message.split("{'").filter(|it| it.contains(PATH)).collect();
        // What is wrong with a value stays wrong when the rest is left out.
        let is_extra = |it: &&str| CODES.iter().any(|code| it.contains(code));
        if entries.iter().all(is_extra) {
            for entry in &entries {
                let path = entry.split(PATH).nth(1).and_then(|it| it.split(')').next());
                let steps = path.unwrap_or_default().split(',');
                let steps = steps.map(|it| it.trim().trim_matches('\''));
                self.places.push(steps.collect::<Vec<_>>().join("."));
            }
            self.sure |= !entries.is_empty();
        }
        !entries.is_empty()
    }

    fn read_words(&mut self, message: &str) {
        let words = Word::all_of(message);
        for at in 0..words.len() {
            let (before, rest) = words.split_at(at);
            self.read_adjective(rest);
            for (phrase, unsure) in AFTER {
                if let Some(on) = after(rest, phrase)
                    && (!unsure || rest.get(phrase.len() - 1).is_some_and(|it| is_all(it, on)))
                {
                    self.take(list_before(before), *unsure);
                }
            }
            for on in BEFORE.iter().filter_map(|it| after(rest, it)) {
                let filling = on.iter().take_while(|it| it.is_noun() || it.lower == "the").count();
                let (filling, on) = on.split_at(filling);
                let (names, on) = list(on);
                if names.last().is_some_and(|it| is_all(it, on)) {
                    self.take(names, !filling.iter().any(Word::is_noun));
                }
            }
        }
    }

    /// "Unrecognized request arguments supplied: seed, user".
    fn read_adjective(&mut self, words: &[Word<'_>]) {
        let Some((first, rest)) = words.split_first() else { return };
        if !ADJECTIVES.contains(&&*first.lower) {
            return;
        }
        let is_between = |it: &Word<'_>| it.is_noun() || BETWEEN.contains(&&*it.lower);
        let mut filling = rest.iter().take_while(|it| is_between(it)).count();
        let leads = rest.iter().take(filling).position(|it| it.leads);
        filling = leads.map_or(filling, |it| it + 1);
        let (filling, names) = rest.split_at(filling);
        let speaks_of_value = names.first().is_some_and(|it| it.lower.starts_with("value"));
        // "Extra fields not permitted" names them before.
        let says_more = names.first().is_some_and(|it| ["are", "is", "not"].contains(&&*it.lower));
        if filling.iter().any(Word::is_noun) && !speaks_of_value && !says_more {
            self.take(list(names).0, false);
        }
    }

    fn take(&mut self, names: &[Word<'_>], unsure: bool) {
        if unsure && !names.iter().all(Word::is_surely_a_name) {
            return;
        }
        self.sure |= !unsure;
        self.places.extend(names.iter().map(|it| it.text.to_owned()));
    }
}

/// Is no more said of `last` than that? "`temperature` is not supported above 1" speaks of a value.
fn is_all(last: &Word<'_>, on: &[Word<'_>]) -> bool {
    const HARMLESS: &[&str] = &["at", "by", "for", "in", "on", "when", "while", "with", "yet"];
    let harmless = |it: &Word<'_>| it.is_noun() || HARMLESS.contains(&&*it.lower);
    last.ends || last.goes_on || on.first().is_none_or(harmless)
}

/// The list of names that ends before what is said of it ("the `seed`, `user` parameters").
fn list_before<'w, 'a>(words: &'w [Word<'a>]) -> &'w [Word<'a>] {
    let nouns = words.iter().rev().take_while(|it| it.is_noun()).count();
    let words = words.get(..words.len() - nouns).unwrap_or_default();
    let pairs = words.iter().rev().skip(1).zip(words.iter().rev());
    let more = pairs.take_while(|(one, next)| one.leads_to(next)).count();
    words.get(words.len().saturating_sub(more + 1)..).unwrap_or_default()
}

/// The list of names at the beginning of `words`, and what follows it.
fn list<'w, 'a>(words: &'w [Word<'a>]) -> (&'w [Word<'a>], &'w [Word<'a>]) {
    let pairs = words.iter().zip(words.iter().skip(1));
    let more = pairs.take_while(|(one, next)| one.leads_to(next)).count();
    words.split_at((more + 1).min(words.len()))
}

/// What follows a phrase at the beginning of `words`.
fn after<'w, 'a>(words: &'w [Word<'a>], phrase: &[&str]) -> Option<&'w [Word<'a>]> {
    let (begin, on) = words.split_at_checked(phrase.len())?;
    begin.iter().zip(phrase).all(|(word, it)| word.lower == *it).then_some(on)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::provider::error_body;

    use super::*;

    fn read(body: &serde_json::Value) -> Option<Vec<String>> {
        unknown_members(&error_body::read(body.to_string().as_bytes()))
    }

    fn check(message: &str, expected: &[&str]) {
        for body in [json!({"error": {"message": message}}), json!({ "detail": message })] {
            let found = read(&body);
            assert_eq!(found.as_deref().unwrap_or_default(), expected, "{message}");
            assert!(found.is_some(), "{message}");
        }
    }

    #[test]
    fn every_wording_names_its_members() {
        for (message, expected) in [
            ("Unrecognized request argument supplied: seed", &["seed"][..]),
            ("Unrecognized request arguments supplied: seed, user", &["seed", "user"]),
            ("Unrecognized key(s) in object: 'seed', 'user'", &["seed", "user"]),
            ("Unknown argument: seed", &["seed"]),
            ("Unknown field: name", &["name"]),
            ("Unsupported field: seed", &["seed"]),
            ("unsupported parameters: seed and user.", &["seed", "user"]),
            ("json: unknown field \"seed\"", &["seed"]),
            ("unknown field `seed`, expected one of `model`, `messages`", &["seed"]),
            ("create() got an unexpected keyword argument 'seed'", &["seed"]),
            ("Additional properties are not allowed ('seed' was unexpected)", &["seed"]),
            (
                "Additional properties are not allowed ('seed', 'user' were unexpected)",
                &["seed", "user"],
            ),
            ("property 'store' is unsupported, did you mean 'stop'?", &["store"]),
            ("body.logit_bias: property 'body.logit_bias' is unsupported", &["logit_bias"]),
            (
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' is unsupported)]",
                &["reasoning_content"],
            ),
            ("'logprobs' is not supported with this model", &["logprobs"]),
            ("`logprobs` is not supported with this model", &["logprobs"]),
            ("The `seed` and `user` parameters are not supported.", &["seed", "user"]),
            ("logprobs is not supported", &["logprobs"]),
            ("this host does not support parameters: ['seed', 'user']", &["seed", "user"]),
            ("this model doesn't support top_logprobs.", &["top_logprobs"]),
            ("This model does not support the parameter seed", &["seed"]),
            ("extra field 'seed' is not allowed", &["seed"]),
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                &["max_tokens"],
            ),
            (
                "1 validation error for Request\nseed\n  Extra inputs are not permitted [type=extra_forbidden]",
                &["seed"],
            ),
            ("seed: Extra inputs are not permitted", &["seed"]),
            ("body -> seed: extra fields not permitted", &["seed"]),
            (
                "[{'type': 'extra_forbidden', 'loc': ('body', 'prompt_cache_key'), 'msg': 'Extra inputs are not permitted', 'input': 'x'}, {'type': 'extra_forbidden', 'loc': ('body', 'messages', 0, 'name'), 'msg': 'x'}]",
                &["prompt_cache_key", "name"],
            ),
            (
                "[{'loc': ('body', 'seed'), 'msg': 'extra fields not permitted', 'type': 'value_error.extra'}]",
                &["seed"],
            ),
            ("Unknown parameter: 'messages[1].extra_content'.", &["extra_content"]),
            ("Unknown parameter: 'stream_options.include_usage'.", &["stream_options"]),
            ("Unknown parameter: 'tools[0].function.strict'.", &[]),
        ] {
            check(message, expected);
        }
    }

    #[test]
    fn a_code_says_it_too() {
        for (code, message) in [
            ("unknown_parameter", "No such parameter."),
            ("unsupported_parameter", "Not with this model."),
            ("", "Unknown field."),
        ] {
            let body = json!({"error": {"message": message, "code": code, "param": "seed"}});
            assert_eq!(read(&body).unwrap(), ["seed"], "{code}");
        }
        // Words and `param` may differ: the request's members decide.
        let body = json!({"message": "body.user: property 'body.user' is unsupported", "param": "validation_error"});
        assert_eq!(read(&body).unwrap(), ["user", "validation_error"]);
        let list = json!({"detail": [
            {"loc": ["body", "seed"], "msg": "extra fields not permitted", "type": "value_error.extra"},
            {"loc": ["body", "user"], "msg": "extra fields not permitted", "type": "value_error.extra"},
        ]});
        assert_eq!(read(&list).unwrap(), ["seed", "user"]);
    }

    #[test]
    fn a_wrong_value_is_no_unknown_member() {
        for (message, code) in [
            ("temperature must be at most 2", ""),
            ("Invalid value: 'xhigh'. Supported values are: 'low' and 'high'.", "invalid_value"),
            (
                "Unsupported value: 'temperature' does not support 0.5 with this model.",
                "unsupported_value",
            ),
            ("Unsupported parameter value: 'x'", ""),
            ("This model does not support the temperature 2", ""),
            ("`temperature` is not supported above 1", ""),
            ("This model does not support `temperature` above 1.", ""),
            ("temperature 2 is not supported", ""),
            ("This model does not support tools", ""),
            ("image input is not supported", ""),
            ("Unknown model m", ""),
            ("unknown error", ""),
            (
                "[{'type': 'extra_forbidden', 'loc': ('body', 'seed')}, {'type': 'less_than', 'loc': ('body', 'top_p')}]",
                "",
            ),
            ("", ""),
        ] {
            let body = json!({"error": {"message": message, "code": code, "param": "temperature"}});
            assert_eq!(read(&body), None, "{message}");
        }
    }
}
