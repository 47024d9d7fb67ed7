//! What a simulated provider says: the same question always gets the same answer.

use serde_json::Value;

use super::agent::{Next, next};
use super::recital::{Begun, recital};
use super::request::{Ask, Format, Function, Thoughts, ToolChoice, quarter};
use super::spec::{Answer, Voice};
use super::weave::{greets, topics, weave};

/// An answer before any wire format.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) text: String,
    pub(super) reasoning: Option<String>,
    pub(super) calls: Vec<Call>,
    /// `stop`, `length` or `tool_calls`.
    pub(super) finish: &'static str,
    pub(super) usage: Usage,
}

/// A call to one of the request's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// A JSON object as text.
    pub(super) arguments: String,
}

/// What an answer costs, by this room's counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    /// Reasoning included.
    pub(super) completion: u64,
    pub(super) reasoning: u64,
}

/// A cap below this leaves no room for thinking aloud.
const REASONING_NEEDS: u64 = 64;

/// Answers `ask`. `signature` says who speaks, at the end of a woven text.
pub(super) fn draft(ask: &Ask, answer: &Answer, reasons: bool, signature: &str) -> Draft {
    let (text, calls) = match answer {
        Answer::Fixed(text) => (text.clone(), Vec::new()),
        Answer::Recited(way) => {
            let begun = Begun::of(ask);
            let goes_on = begun.and_then(|it| it.continued(&recital(&it.question), *way));
            (goes_on.unwrap_or_else(|| recital(&ask.question())), Vec::new())
        }
        Answer::Woven(voice) => match Begun::of(ask).and_then(|it| it.woven(signature)) {
            Some(rest) => (rest, Vec::new()),
            None => woven(ask, *voice, signature),
        },
    };
    let (text, finish) = if calls.is_empty() { cut(text, ask) } else { (text, "tool_calls") };
    let room = ask.cap.is_none_or(|cap| cap >= REASONING_NEEDS);
    let thinks = reasons && ask.thoughts != Thoughts::Off;
    let reasoning = (thinks && room && matches!(answer, Answer::Woven(_)))
        .then(|| format!("The user asks about {}. Answer briefly.", topics(&ask.question()).0));
    let thought = reasoning.as_ref().map_or(0, |text| quarter(text.len()));
    let said: usize = calls.iter().map(|it| it.name.len() + it.arguments.len()).sum();
    let usage = Usage {
        prompt: ask.prompt_tokens,
        completion: (quarter(text.len()) + quarter(said) + thought) * ask.n.max(1),
        reasoning: thought,
    };
    let reasoning = reasoning.filter(|_| ask.thoughts == Thoughts::Shown);
    Draft { text, reasoning, calls, finish, usage }
}

fn woven(ask: &Ask, voice: Voice, signature: &str) -> (String, Vec<Call>) {
    let question = ask.question();
    let done = match next(ask) {
        Some(Next::Calls(calls)) if ask.tool_choice != ToolChoice::None => {
            return (String::new(), calls);
        }
        Some(Next::Done(result)) => Some(result),
        _ => None,
    };
    let asked_by_user = ask.messages.last().is_some_and(|message| message.role == "user");
    if done.is_none()
        && asked_by_user
        && let Some(function) = wanted_tool(ask)
    {
        return (String::new(), calls(ask, function, &question));
    }
    let topic = done.as_deref().map_or_else(|| topics(&question).0, str::to_owned);
    if let Some(text) = told_as_json(ask, &topic) {
        return (text, Vec::new());
    }
    let text = if let Some(result) = done {
        format!("Done: {result}.")
    } else if let Some(result) = ask.tool_results() {
        format!("The tool says: {result} ({signature})")
    } else if let Some(seen) = seen(&ask.images()) {
        format!("{seen} {}", weave(&question, voice, signature))
    } else if greets(&question) {
        format!("Hello! What would you like to know? ({signature})")
    } else {
        weave(&question, voice, signature)
    };
    (text, Vec::new())
}

/// JSON, where the request has a mode for it or a message insists on it. A model that is merely
/// told wraps it as models do.
fn told_as_json(ask: &Ask, topic: &str) -> Option<String> {
    if let Format::Schema(schema) = &ask.format {
        return Some(filled(schema, topic).to_string());
    }
    let told = ask.instructions().find(|text| insists_on_json(text));
    let schema = told.as_deref().and_then(schema_in);
    let json = schema.map_or_else(|| object(topic), |it| filled(&it, topic).to_string());
    match (&ask.format, told) {
        (Format::Object, _) => Some(json),
        (_, None) => None,
        _ => Some(format!("Here is the JSON you asked for:\n```json\n{json}\n```\nAnything else?")),
    }
}

fn insists_on_json(text: &str) -> bool {
    let lower = text.to_lowercase();
    let strict = ["only", "nothing else", "nothing but", "no other text", "must", "matches"];
    lower.contains("json") && strict.iter().any(|it| lower.contains(it))
}

/// The first JSON schema that stands in a text.
fn schema_in(text: &str) -> Option<Value> {
    let begins = text.char_indices().filter(|(_, c)| *c == '{').map(|(at, _)| at);
    let object = |at: usize| {
        let mut read = serde_json::Deserializer::from_str(text.get(at..)?).into_iter::<Value>();
        read.next()?.ok()
    };
    let is_schema = |it: &Value| {
        ["type", "properties", "enum", "anyOf", "$ref"].iter().any(|key| it.get(key).is_some())
    };
    begins.filter_map(object).find(is_schema)
}

/// What is in the pictures, as far as this room can see.
fn seen(images: &[&str]) -> Option<String> {
    let one = |url: &&str| match url.split_once(";base64,") {
        Some((_, data)) => {
            let padding = data.bytes().rev().take_while(|it| *it == b'=').count();
            format!("an image of {} bytes", (data.len() / 4 * 3).saturating_sub(padding))
        }
        None => format!("the image at {url}"),
    };
    let seen: Vec<String> = images.iter().map(one).collect();
    (!seen.is_empty()).then(|| format!("I see {}.", seen.join(" and ")))
}

/// The tool to call, if the request wants one called: the named one, else the first.
fn wanted_tool(ask: &Ask) -> Option<&Function> {
    let tools = ask.tools.as_ref()?;
    match &ask.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Auto => tools.first().map(|tool| &tool.function),
        ToolChoice::Named(name) => {
            tools.iter().map(|tool| &tool.function).find(|function| function.name == *name)
        }
    }
}

/// One call, or two when the question asks for "both" or "parallel" and the request allows it.
fn calls(ask: &Ask, function: &Function, question: &str) -> Vec<Call> {
    let lower = question.to_lowercase();
    let (first, second) = topics(question);
    let call = |topic: &str| Call {
        name: function.name.clone(),
        arguments: filled(&function.parameters, topic).to_string(),
    };
    if ask.parallel_calls && (lower.contains("both") || lower.contains("parallel")) {
        vec![call(&first), call(&second)]
    } else {
        vec![call(&first)]
    }
}

fn object(topic: &str) -> String {
    serde_json::json!({"topic": topic, "answer": format!("About {topic}.")}).to_string()
}

/// A value that a simple JSON schema takes.
pub(super) fn filled(schema: &Value, text: &str) -> Value {
    fill(schema, text, DEEPEST)
}

/// How deep [`fill`] follows a schema.
const DEEPEST: u32 = 16;

/// A value that a simple JSON schema takes: required properties, first enum value, `text` for
/// strings.
fn fill(schema: &Value, text: &str, depth: u32) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => Value::from(text),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(Value::from(3)),
        Some("boolean") => Value::from(true),
        Some("null") => Value::Null,
        Some("array") if depth > 0 => {
            let item = schema.get("items").map(|items| fill(items, text, depth - 1));
            Value::Array(item.into_iter().collect())
        }
        Some("array") => Value::Array(Vec::new()),
        _ => fill_object(schema, text, depth),
    }
}

fn fill_object(schema: &Value, text: &str, depth: u32) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties");
    let filled = required.into_iter().flatten().filter_map(Value::as_str).map(|name| {
        let property = properties.and_then(|it| it.get(name)).filter(|_| depth > 0);
        let value = property.map_or_else(|| Value::from(text), |it| fill(it, text, depth - 1));
        (name.to_owned(), value)
    });
    Value::Object(filled.collect())
}

/// Ends the text where a stop string or the token cap says.
fn cut(mut text: String, ask: &Ask) -> (String, &'static str) {
    let stops = ask.stop.iter().filter(|stop| !stop.is_empty());
    if let Some(at) = stops.filter_map(|stop| text.find(stop.as_str())).min() {
        text.truncate(at);
    }
    let most = ask.cap.and_then(|cap| usize::try_from(cap.saturating_mul(4)).ok());
    match most {
        Some(most) if most < text.len() => {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            (text, "length")
        }
        _ => (text, "stop"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(rest: &str) -> Ask {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"Compare Paris and Rome, both"}}]{rest}}}"#
        );
        Ask::parse(body.as_bytes()).unwrap()
    }

    fn answer(rest: &str) -> Draft {
        draft(&ask(rest), &Answer::Woven(Voice::Plain), false, "x")
    }

    #[test]
    fn a_tool_call_satisfies_the_schema() {
        let made = answer(
            r#","tools":[{"type":"function","function":{"name":"weather","parameters":{
                "type":"object","required":["city","unit","days","exact"],"properties":{
                "city":{"type":"string"},"unit":{"enum":["c","f"]},"days":{"type":"integer"},
                "exact":{"type":"boolean"},"unused":{"type":"string"}}}}}]"#,
        );
        assert_eq!((made.finish, made.calls.len()), ("tool_calls", 2));
        let arguments: Value = serde_json::from_str(&made.calls[0].arguments).unwrap();
        let want = serde_json::json!({"city": "Paris", "unit": "c", "days": 3, "exact": true});
        assert_eq!(arguments, want);
        assert!(made.calls[1].arguments.contains("Rome"), "{}", made.calls[1].arguments);
    }

    #[test]
    fn tool_choice_none_gets_text() {
        let tools = r#","tools":[{"function":{"name":"weather"}}],"tool_choice":"none""#;
        assert_eq!(answer(tools).finish, "stop");
    }

    #[test]
    fn the_cap_is_kept_on_a_character_boundary() {
        let fixed = Answer::Fixed("ééééééé".to_owned());
        let made = draft(&ask(r#","max_tokens":1"#), &fixed, true, "x");
        assert_eq!((made.text.as_str(), made.finish), ("éé", "length"));
        assert_eq!(made.usage.completion, 1);
    }

    #[test]
    fn a_stop_string_is_not_said() {
        let fixed = Answer::Fixed("one two three".to_owned());
        let made = draft(&ask(r#","stop":["three"," two"]"#), &fixed, false, "x");
        assert_eq!((made.text.as_str(), made.finish), ("one", "stop"));
    }

    #[test]
    fn a_model_that_is_told_wraps_its_json() {
        let asked = |text: &str, role: &str, format: Value| {
            let messages = serde_json::json!([{"role": role, "content": text},
                {"role": "user", "content": "Paris and Rome"}]);
            let body =
                serde_json::json!({"model": "m", "messages": messages, "response_format": format});
            let ask = Ask::parse(body.to_string().as_bytes()).unwrap();
            draft(&ask, &Answer::Woven(Voice::Plain), false, "x").text
        };
        let told = |text: &str, role: &str| asked(text, role, Value::Null);
        let schema = "Answer with JSON only. Schema: {\"type\":\"object\",\"required\":[\"city\"]}";
        let text = told(schema, "system");
        assert!(text.contains("```json\n{\"city\":\"Paris\"}\n```"), "{text}");
        assert!(told("Nothing but a JSON object.", "system").contains("\"topic\":\"Paris\""));
        assert!(!told("JSON is a format.", "system").contains("```"));
        assert!(!told(schema, "assistant").contains("```"));
        let mode = serde_json::json!({"type": "json_object"});
        assert_eq!(asked(schema, "system", mode), "{\"city\":\"Paris\"}");
    }

    #[test]
    fn images_are_looked_at() {
        assert_eq!(
            seen(&["data:image/png;base64,AAAAAA=="]).unwrap(),
            "I see an image of 4 bytes."
        );
        let two = ["https://a.example/b.png", "data:image/png;base64,AAAA"];
        let said = "I see the image at https://a.example/b.png and an image of 3 bytes.";
        assert_eq!(seen(&two).unwrap(), said);
        assert_eq!(seen(&[]), None);
    }

    #[test]
    fn json_mode_answers_json() {
        let made = answer(r#","response_format":{"type":"json_object"}"#);
        assert!(serde_json::from_str::<Value>(&made.text).unwrap().is_object());
        let made = answer(
            r#","response_format":{"type":"json_schema","json_schema":{"name":"t","schema":{
                "type":"object","required":["score"],"properties":{"score":{"type":"number"}}}}}"#,
        );
        assert_eq!(made.text, r#"{"score":3}"#);
    }
}
