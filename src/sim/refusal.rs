//! What each flavour refuses although it is proper OpenAI.

use super::cloudflare;
use super::request::{Ask, Message};
use super::spec::Flavour;
use super::wire::problem::Problem;

/// The top-level fields every flavour takes.
const COMMON: &[&str] = &[
    "max_tokens",
    "messages",
    "model",
    "parallel_tool_calls",
    "response_format",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

const GROQ: &[&str] = &[
    "citation_options",
    "compound_custom",
    "disable_tool_validation",
    "documents",
    "exclude_domains",
    "frequency_penalty",
    "function_call",
    "functions",
    "include_domains",
    "include_reasoning",
    "max_completion_tokens",
    "metadata",
    "n",
    "presence_penalty",
    "reasoning_effort",
    "reasoning_format",
    "search_settings",
    "seed",
    "service_tier",
    "stream_options",
    "user",
];

/// `stream_options` was refused in 2025 and is tolerated since.
const MISTRAL: &[&str] = &[
    "frequency_penalty",
    "guardrails",
    "metadata",
    "n",
    "prediction",
    "presence_penalty",
    "prompt_mode",
    "random_seed",
    "safe_prompt",
    "stream_options",
];

const CEREBRAS: &[&str] = &[
    "clear_thinking",
    "logprobs",
    "max_completion_tokens",
    "prediction",
    "reasoning_effort",
    "reasoning_format",
    "seed",
    "stream_options",
    "top_logprobs",
    "user",
];

/// The first thing about `ask` that a provider of this flavour refuses.
pub(super) fn refusal(flavour: Flavour, ask: &Ask, tolerates: &[String]) -> Option<Problem> {
    let own = match flavour {
        // Requests of wires that are not OpenAI's have been looked through when they were read.
        Flavour::OpenAi
        | Flavour::Gemini
        | Flavour::Anthropic
        | Flavour::Ollama
        | Flavour::Cloudflare => None,
        Flavour::Groq => Some(GROQ),
        Flavour::Mistral => Some(MISTRAL),
        Flavour::Cerebras => Some(CEREBRAS),
    };
    if let Some(own) = own {
        let takes = |field: &str| {
            COMMON.contains(&field)
                || own.contains(&field)
                || tolerates.iter().any(|it| it == field)
        };
        if let Some(field) = ask.fields.iter().find(|field| !takes(field)) {
            return Some(Problem::Field {
                field: field.clone(),
                near: nearest(field, COMMON.iter().chain(own)),
            });
        }
    }
    match flavour {
        Flavour::OpenAi if ask.n > 16 => Some(Problem::Invalid("n must be at most 16".to_owned())),
        Flavour::Groq if ask.n > 1 => {
            Some(Problem::Invalid("'n' : number must be at most 1".to_owned()))
        }
        Flavour::Cerebras if ask.n > 1 => {
            Some(Problem::Invalid("body.n: Input should be 1".to_owned()))
        }
        Flavour::Groq => ask.messages.iter().enumerate().find_map(unsupported_property),
        Flavour::Mistral => mistral_rules(ask),
        Flavour::Cloudflare => cloudflare::refusal(ask),
        Flavour::OpenAi
        | Flavour::Cerebras
        | Flavour::Gemini
        | Flavour::Anthropic
        | Flavour::Ollama => None,
    }
}

fn unsupported_property((index, message): (usize, &Message)) -> Option<Problem> {
    let property = if message.name.is_some() {
        "name"
    } else if message.reasoning_content.is_some() {
        "reasoning_content"
    } else {
        return None;
    };
    let role = &message.role;
    Some(Problem::Invalid(format!(
        "'messages.{index}' : for 'role:{role}' the following must be satisfied\
         [('messages.{index}' : property '{property}' is unsupported)]"
    )))
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
    }

    #[test]
    fn a_near_field_is_suggested() {
        let known = || COMMON.iter().chain(GROQ);
        assert_eq!(nearest("store", known()), Some("stop"));
        assert_eq!(nearest("whatever", known()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
