//! What each flavour refuses although it is proper OpenAI.

use super::cloudflare;
use super::dialect::{COMMON, Dialect, Images, Schema};
use super::gemini;
use super::request::{Ask, Format, Message};
use super::spec::{Flavour, ModelSpec};
use super::wire::problem::Problem;

/// The first thing about `ask` that a provider of this flavour refuses.
pub(super) fn refusal(flavour: Flavour, ask: &Ask, tolerates: &[String]) -> Option<Problem> {
    let dialect = flavour.dialect();
    unknown_field(dialect, ask, tolerates)
        .or_else(|| format(flavour, ask))
        .or_else(|| ask.messages.iter().enumerate().find_map(|it| message(flavour, it)))
        .or_else(|| own_rules(flavour, ask))
}

fn unknown_field(dialect: &Dialect, ask: &Ask, tolerates: &[String]) -> Option<Problem> {
    let tolerated = |field: &str| tolerates.iter().any(|it| it == field);
    if let Some(field) = ask.fields.iter().find(|it| dialect.refuses.contains(&it.as_str())) {
        return (!tolerated(field)).then(|| Problem::Field { field: field.clone(), near: None });
    }
    let own = dialect.takes?;
    let takes = |it: &str| COMMON.contains(&it) || own.contains(&it) || tolerated(it);
    let field = ask.fields.iter().find(|field| !takes(field))?;
    let near = nearest(field, COMMON.iter().chain(own));
    Some(Problem::Field { field: field.clone(), near })
}

fn format(flavour: Flavour, ask: &Ask) -> Option<Problem> {
    let refused = flavour.dialect().schema == Schema::Refused;
    let invalid = |it: &str| Some(Problem::Invalid(it.to_owned()));
    match ask.format {
        Format::Schema(_) if refused => invalid("This response_format type is unavailable now"),
        Format::Object if flavour == Flavour::DeepSeek && !ask.mentions("json") => invalid(
            "Prompt must contain the word 'json' in some form to use 'response_format' of type \
             'json_object'.",
        ),
        _ => None,
    }
}

/// What is wrong with one message wherever it stands.
fn message(flavour: Flavour, (index, message): (usize, &Message)) -> Option<Problem> {
    let dialect = flavour.dialect();
    if let Some(member) = dialect.refuses_in_messages.iter().find(|it| message.has(it)) {
        return Some(unsupported(flavour, index, &message.role, member));
    }
    let words = message.images().find_map(|url| match dialect.images {
        Images::Any => None,
        Images::Data if url.starts_with("data:") => None,
        Images::Data => Some("Only base64 encoded images (data URLs) are supported".to_owned()),
        Images::No => Some(format!(
            "Failed to deserialize the JSON body into the target type: messages[{index}]: unknown \
             variant `image_url`, expected `text`"
        )),
    });
    words.map(Problem::Invalid)
}

fn unsupported(flavour: Flavour, index: usize, role: &str, member: &str) -> Problem {
    if flavour == Flavour::Mistral {
        return Problem::Field { field: member.to_owned(), near: None };
    }
    Problem::Invalid(format!(
        "'messages.{index}' : for 'role:{role}' the following must be satisfied\
         [('messages.{index}' : property '{member}' is unsupported)]"
    ))
}

fn own_rules(flavour: Flavour, ask: &Ask) -> Option<Problem> {
    let invalid = |it: &str| Some(Problem::Invalid(it.to_owned()));
    match flavour {
        Flavour::OpenAi if ask.n > 16 => invalid("n must be at most 16"),
        Flavour::Groq if ask.n > 1 => invalid("'n' : number must be at most 1"),
        Flavour::Cerebras if ask.n > 1 => invalid("body.n: Input should be 1"),
        Flavour::DeepSeek if ask.n > 1 => invalid("Invalid n value (currently only n = 1)"),
        Flavour::Mistral => mistral_rules(ask),
        Flavour::GeminiCompat => {
            let calls = ask.messages.iter().map(|it| (it.role.as_str(), it.first_call()));
            gemini::unsigned(calls, &ask.model).map(Problem::Invalid)
        }
        Flavour::Cloudflare => cloudflare::refusal(ask),
        Flavour::Cohere => {
            let listed = ask.messages.iter().any(Message::is_list_of_text);
            listed.then(|| Problem::Invalid("content must be a string".to_owned()))
        }
        _ => None,
    }
}

/// What the model, not the flavour, makes a request wrong.
pub(super) fn of_model(flavour: Flavour, ask: &Ask, model: &ModelSpec) -> Option<Problem> {
    if let Some(field) = ask.fields.iter().find(|field| model.refuses.contains(field)) {
        return Some(Problem::Field { field: field.clone(), near: None });
    }
    let invalid = |it: &str| Some(Problem::Invalid(it.to_owned()));
    let has_tools = ask.tools.as_ref().is_some_and(|it| !it.is_empty());
    if model.older && has_tools && ask.parallel_calls {
        return invalid("This model only supports single tool-calls at once!");
    }
    if model.older && matches!(ask.format, Format::Schema(_)) && ask.asks_for("response_format") {
        return invalid("response_format of type json_schema is not supported: use guided_json");
    }
    if flavour == Flavour::Groq && !model.reasoning {
        let thought = ask.messages.iter().enumerate().find(|(_, it)| it.has("reasoning"));
        return thought.map(|(at, it)| unsupported(flavour, at, &it.role, "reasoning"));
    }
    if flavour != Flavour::DeepSeek || !model.reasoning {
        return None;
    }
    if ask.logprobs {
        return invalid("logprobs is not supported with thinking");
    }
    let since = ask.messages.iter().rev().take_while(|it| it.role != "user");
    let mut calls = since.filter(|it| it.makes_calls());
    let silent = |it: &Message| !it.has("reasoning_content");
    if calls.any(silent) {
        return invalid(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
        );
    }
    None
}

fn mistral_rules(ask: &Ask) -> Option<Problem> {
    if ask.tools.as_ref().is_some_and(Vec::is_empty) {
        return Some(Problem::Field { field: "tools".to_owned(), near: None });
    }
    let last = ask.messages.last()?;
    let may_end = matches!(last.role.as_str(), "user" | "tool") || last.prefix;
    if !may_end {
        return Some(Problem::MessageOrder(last.role.clone()));
    }
    let mut before = "";
    for message in &ask.messages {
        let words = match (before, message.role.as_str()) {
            ("tool", "user") => "Unexpected role 'user' after role 'tool'",
            (_, "developer") => "Input tag 'developer' does not match any of the expected tags",
            (_, "assistant") if message.is_empty() => {
                "Assistant message must have either content or tool_calls, but not none."
            }
            (_, role) => {
                before = role;
                continue;
            }
        };
        return Some(Problem::Invalid(words.to_owned()));
    }
    let ids = |message| Message::call_ids(message).chain(message.tool_call_id.as_deref());
    let proper = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let wrong = ask.messages.iter().flat_map(ids).find(|id| !proper(id))?;
    Some(Problem::CallId(wrong.to_owned()))
}

/// The known field at most two edits away, for "did you mean".
fn nearest<'a>(field: &str, known: impl Iterator<Item = &'a &'static str>) -> Option<&'static str> {
    known
        .map(|name| (edits(field, name), *name))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance, row by row.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.bytes().zip(row.iter_mut().skip(1)) {
            let up = *cell;
            left = (diagonal + usize::from(x != y)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
    }
    // The row's first cell is not kept: an empty `b` does not occur among field names.
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flavour: Flavour, extra: &str, refused: Option<&str>) {
        let body =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{extra}}}"#);
        let found = refusal(flavour, &Ask::parse(body.as_bytes()).unwrap(), &[]);
        let named = found.as_ref().map(|problem| match problem {
            Problem::Field { field, .. } => field.as_str(),
            _ => "other",
        });
        assert_eq!(named, refused, "{flavour:?} {extra}");
    }

    #[test]
    fn each_flavour_refuses_what_the_real_one_does() {
        check(Flavour::OpenAi, r#","logit_bias":{},"whatever":1"#, None);
        check(Flavour::Groq, r#","seed":1,"user":"u","max_completion_tokens":5"#, None);
        check(Flavour::Groq, r#","logprobs":true"#, Some("logprobs"));
        check(Flavour::Groq, r#","logit_bias":{}"#, Some("logit_bias"));
        check(Flavour::Groq, r#","logit_bias":null"#, None);
        check(Flavour::Groq, r#","n":2"#, Some("other"));
        check(Flavour::Mistral, r#","user":"u""#, Some("user"));
        check(Flavour::Mistral, r#","max_completion_tokens":5"#, Some("max_completion_tokens"));
        check(Flavour::Mistral, r#","tools":[]"#, Some("tools"));
        check(Flavour::Mistral, r#","stream_options":{}"#, None);
        check(Flavour::Cerebras, r#","frequency_penalty":0.1"#, Some("frequency_penalty"));
        check(Flavour::Cerebras, r#","user":"u","seed":1"#, None);
        let schema = r#","response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#;
        check(Flavour::DeepSeek, schema, Some("other"));
        check(Flavour::DeepSeek, r#","response_format":{"type":"json_object"}"#, Some("other"));
        check(Flavour::DeepSeek, r#","store":true,"logprobs":true"#, None);
        check(Flavour::Nvidia, r#","guided_json":{}"#, None);
        check(Flavour::Nvidia, r#","store":true"#, Some("store"));
        check(Flavour::GeminiCompat, r#","store":true"#, Some("store"));
        check(Flavour::Cohere, r#","parallel_tool_calls":true"#, Some("parallel_tool_calls"));
        check(Flavour::Zai, schema, None);
    }

    #[test]
    fn a_call_of_geminis_wants_its_signature_on_openais_wire_too() {
        let check = |model: &str, extra: &str, refused: Option<&str>| {
            let body = format!(
                r#"{{"model":"{model}","messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{{{extra}"id":"c","function":{{"name":"f","arguments":"{{}}"}}}}]}}]}}"#
            );
            let found = refusal(Flavour::GeminiCompat, &Ask::parse(body.as_bytes()).unwrap(), &[]);
            let words = found.map(|it| format!("{it:?}"));
            assert_eq!(words.is_some(), refused.is_some(), "{extra}: {words:?}");
            assert!(words.unwrap_or_default().contains(refused.unwrap_or_default()), "{extra}");
        };
        let extra = |google: &str| format!(r#""extra_content":{{"google":{{{google}}}}},"#);
        check("gemini-3-pro", "", Some("missing a `thought_signature`"));
        check("gemini-2.5-pro", "", None);
        check("gemini-3-pro", &extra(r#""thought_signature":"c2ltdWxhdGVkAA""#), None);
        check("gemini-2.5-pro", &extra(r#""thought_signature":"other""#), Some("not valid"));
        let named = extra(r#""thought_signature":"c2ltdWxhdGVkAA","model":"m""#);
        check("gemini-3-pro", &named, Some("Unknown name"));
    }

    fn check_messages(flavour: Flavour, messages: &str, refused: Option<&str>) {
        let body = format!(r#"{{"model":"m","messages":[{messages}]}}"#);
        let found = refusal(flavour, &Ask::parse(body.as_bytes()).unwrap(), &[]);
        let words = found.map(|it| format!("{it:?}"));
        match (&words, refused) {
            (Some(words), Some(part)) if words.contains(part) => {}
            (None, None) => {}
            _ => panic!("{flavour:?} {messages}: {words:?} instead of {refused:?}"),
        }
    }

    #[test]
    fn messages_are_looked_through() {
        let hi = r#"{"role":"user","content":"hi"}"#;
        let named = r#"{"role":"user","content":"hi","name":"Ada"}"#;
        check_messages(Flavour::Groq, named, Some("'name' is unsupported"));
        check_messages(Flavour::OpenAi, named, None);
        let member = "reasoning_content";
        let thought = format!(r#"{hi},{{"role":"assistant","content":"x","{member}":"y"}},{hi}"#);
        check_messages(Flavour::Groq, &thought, Some("'reasoning_content' is unsupported"));
        check_messages(Flavour::Mistral, &thought, Some("reasoning"));
        check_messages(Flavour::OpenRouter, &thought, None);
        let image = |url: &str| {
            format!(
                r#"{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}"#
            )
        };
        let (data, far) = (image("data:image/png;base64,AAAA"), image("https://a.example/b.png"));
        check_messages(Flavour::Groq, &far, None);
        check_messages(Flavour::Cerebras, &far, Some("base64"));
        check_messages(Flavour::Cerebras, &data, None);
        check_messages(Flavour::DeepSeek, &data, Some("unknown variant `image_url`"));
        let listed = r#"{"role":"user","content":[{"type":"text","text":"x"}]}"#;
        check_messages(Flavour::Cohere, listed, Some("string"));
        check_messages(Flavour::Cohere, &data, None);
        let called = r#"{"role":"assistant","tool_calls":[{"id":"abcdefghi"}]}"#;
        let result = r#"{"role":"tool","tool_call_id":"abcdefghi","content":"1"}"#;
        check_messages(Flavour::Mistral, &format!("{hi},{called},{result}"), None);
        let spoke = format!("{hi},{called},{result},{hi}");
        check_messages(Flavour::Mistral, &spoke, Some("after role 'tool'"));
        let nothing = format!(r#"{hi},{{"role":"assistant","content":""}},{hi}"#);
        check_messages(Flavour::Mistral, &nothing, Some("either content or tool_calls"));
        let developer = format!(r#"{{"role":"developer","content":"x"}},{hi}"#);
        check_messages(Flavour::Mistral, &developer, Some("developer"));
    }

    #[test]
    fn a_model_has_rules_of_its_own() {
        let older = ModelSpec { older: true, ..ModelSpec::new("m") };
        let thinks = ModelSpec { reasoning: true, ..ModelSpec::new("m") };
        let of = |flavour, model: &ModelSpec, rest: &str| {
            let body = format!(r#"{{"model":"m",{rest}}}"#);
            of_model(flavour, &Ask::parse(body.as_bytes()).unwrap(), model).is_some()
        };
        let hi = r#"{"role":"user","content":"hi"}"#;
        let tools = format!(r#""messages":[{hi}],"tools":[{{"function":{{"name":"f"}}}}]"#);
        let one = format!(r#"{tools},"parallel_tool_calls":false"#);
        assert!(of(Flavour::Nvidia, &older, &tools) && !of(Flavour::Nvidia, &older, &one));
        let schema = format!(
            r#""messages":[{hi}],"response_format":{{"type":"json_schema","json_schema":{{"schema":{{}}}}}}"#
        );
        assert!(of(Flavour::Nvidia, &older, &schema) && !of(Flavour::Nvidia, &thinks, &schema));
        let thought = format!(
            r#""messages":[{hi},{{"role":"assistant","content":"x","reasoning":"y"}},{hi}]"#
        );
        assert!(of(Flavour::Groq, &ModelSpec::new("m"), &thought));
        assert!(!of(Flavour::Groq, &thinks, &thought));
        let turn = |more: &str| {
            format!(
                r#""messages":[{hi},{{"role":"assistant","tool_calls":[{{"id":"a"}}]{more}}},
                   {{"role":"tool","tool_call_id":"a","content":"1"}}]"#
            )
        };
        assert!(of(Flavour::DeepSeek, &thinks, &turn("")));
        assert!(!of(Flavour::DeepSeek, &thinks, &turn(r#","reasoning_content":"so""#)));
        assert!(!of(Flavour::DeepSeek, &ModelSpec::new("m"), &turn("")));
    }

    #[test]
    fn a_near_field_is_suggested() {
        let known = || COMMON.iter().chain(Flavour::Groq.dialect().takes.unwrap());
        assert_eq!(nearest("store", known()), Some("stop"));
        assert_eq!(nearest("whatever", known()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
