//! From OpenAI's request to `generateContent`'s.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::provider::Call;
use crate::provider::asked::Asked;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::contents::{self, not_here};
use super::model::{Model, Thinking, bare};
use super::schema;
use super::wire::{Body, Declaration, Instruction, Tools};

/// Members with the same value under another name, in `generationConfig`.
const NUMBERS: &[(&str, &str)] =
    &[("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")];

/// The same, for models that take penalties.
const PENALTIES: &[(&str, &str)] =
    &[("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")];

/// Members whose meaning is sent.
const TAKEN: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "seed",
    "parallel_tool_calls",
    "reasoning_effort",
];

/// The most stop sequences, tokens and candidates the API takes.
const MOST_STOPS: usize = 5;
const MOST_TOKENS: u64 = 65_536;
const MOST_CANDIDATES: u64 = 8;

/// The body for a call, and the members left out of it.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call) -> Result<(Bytes, Vec<&'static str>), Fault> {
    let asked = Asked::of(call);
    let model = Model::of(bare(&call.model));
    let mut dropped = asked.dropped(TAKEN);
    let conversation = contents::translate(asked.get("messages").unwrap_or("[]"), &model)?;
    let tools = tools(&asked)?;
    let mut config = Map::new();
    numbers(&asked, &model, &mut config, &mut dropped);
    stops(&asked, &mut config, &mut dropped);
    candidates(&asked, &mut config)?;
    format(&asked, tools.is_some() && !model.json_with_tools, &mut config, &mut dropped)?;
    // A model that was found to refuse it is asked without.
    let refused = call.edits.leave_out.iter().any(|it| it == "reasoning_effort");
    let effort = asked.text("reasoning_effort");
    let thinking = if refused { Thinking::Fixed } else { model.thinking };
    if let Some(thinking) = thinking_config(thinking, effort.as_deref(), &mut dropped) {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    if tools.is_some() && asked.get("parallel_tool_calls") == Some("false") {
        dropped.push("parallel_tool_calls");
    }
    let system = Some(conversation.system).filter(|it| !it.is_empty());
    let body = Body {
        system_instruction: system.map(|parts| Instruction { parts }),
        contents: conversation.contents,
        tool_config: if tools.is_some() { tool_config(&asked)? } else { None },
        tools: tools.map(|it| [Tools { function_declarations: it }]),
        generation_config: config,
    };
    let body = serde_json::to_vec(&body).map_err(|it| not_here(it.to_string()))?;
    Ok((body.into(), dropped))
}

fn numbers(
    asked: &Asked<'_>,
    model: &Model,
    config: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) {
    let (penalties, refused) =
        if model.takes_penalties { (PENALTIES, &[][..]) } else { (&[][..], PENALTIES) };
    for (ours, theirs) in NUMBERS.iter().chain(penalties) {
        if let Some(value) = asked.value(ours) {
            config.insert((*theirs).to_owned(), value);
        }
    }
    dropped.extend(refused.iter().map(|(it, _)| *it).filter(|it| asked.get(it).is_some()));
    if let Some(most) = asked.max_tokens() {
        config.insert("maxOutputTokens".to_owned(), most.min(MOST_TOKENS).into());
    }
    match asked.get("seed").map(str::parse::<i32>) {
        Some(Ok(seed)) => {
            config.insert("seed".to_owned(), seed.into());
        }
        // The API's seeds have 32 bits.
        Some(Err(_)) => dropped.push("seed"),
        None => {}
    }
}

fn stops(asked: &Asked<'_>, config: &mut Map<String, Value>, dropped: &mut Vec<&'static str>) {
    let mut stops = asked.texts("stop");
    stops.retain(|it| !it.is_empty());
    if stops.len() > MOST_STOPS {
        stops.truncate(MOST_STOPS);
        dropped.push("stop");
    }
    if !stops.is_empty() {
        config.insert("stopSequences".to_owned(), stops.into());
    }
}

fn candidates(asked: &Asked<'_>, config: &mut Map<String, Value>) -> Result<(), Fault> {
    match asked.get("n").and_then(|it| it.parse::<u64>().ok()) {
        None | Some(0 | 1) => {}
        Some(n) if n <= MOST_CANDIDATES => {
            config.insert("candidateCount".to_owned(), n.into());
        }
        Some(_) => {
            return Err(not_here(format!("Gemini gives {MOST_CANDIDATES} answers at most")));
        }
    }
    Ok(())
}

fn format(
    asked: &Asked<'_>,
    ruled_out: bool,
    config: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        json_schema: Option<Named<'a>>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    let Some(text) = asked.get("response_format") else { return Ok(()) };
    let format: Format<'_> =
        serde_json::from_str(text).map_err(|it| unreadable("response_format", &it))?;
    if !matches!(&*format.kind, "json_object" | "json_schema") {
        return Ok(());
    }
    if ruled_out {
        dropped.push("response_format");
        return Ok(());
    }
    config.insert("responseMimeType".to_owned(), "application/json".into());
    if let Some(schema) = format.json_schema.and_then(|it| it.schema) {
        config.insert("responseSchema".to_owned(), schema::of_answer(schema));
    }
    Ok(())
}

/// How much the model may think. Thoughts count against the answer's tokens, so unless the caller
/// asks for them they are kept short.
fn thinking_config(
    thinking: Thinking,
    effort: Option<&str>,
    dropped: &mut Vec<&'static str>,
) -> Option<Value> {
    let mut config = match thinking {
        Thinking::Fixed => {
            if effort.is_some_and(|it| it != "none") {
                dropped.push("reasoning_effort");
            }
            return None;
        }
        Thinking::Budget { least } => json!({"thinkingBudget": budget(effort).max(least)}),
        Thinking::Level { lowest, medium } => {
            let level = match effort {
                Some("none" | "minimal") => lowest,
                Some("medium") if medium => "medium",
                Some("medium" | "high" | "xhigh" | "max") => "high",
                _ => "low",
            };
            json!({ "thinkingLevel": level })
        }
    };
    // Who asks for thought is shown it, and a stream does not fall silent over it.
    if let Some(config) = config.as_object_mut().filter(|_| effort.is_some_and(|it| it != "none")) {
        config.insert("includeThoughts".to_owned(), true.into());
    }
    Some(config)
}

/// In tokens, as Google's own OpenAI-compatible endpoint has them.
fn budget(effort: Option<&str>) -> u32 {
    match effort {
        Some("minimal" | "low") => 1_024,
        Some("medium") => 8_192,
        Some("high" | "xhigh" | "max") => 24_576,
        _ => 0,
    }
}

/// The functions; `None` when there are none.
fn tools<'a>(asked: &Asked<'a>) -> Result<Option<Vec<Declaration<'a>>>, Fault> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow)]
        function: Option<Function<'a>>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        description: Option<String>,
        #[serde(borrow)]
        parameters: Option<&'a RawValue>,
    }
    if asked.get("functions").is_some_and(|it| it != "[]") {
        return Err(not_here("Gemini is not asked in the older form: use tools, not functions"));
    }
    let Some(text) = asked.get("tools") else { return Ok(None) };
    let tools: Vec<Tool<'a>> = serde_json::from_str(text).map_err(|it| unreadable("tools", &it))?;
    let declared = tools.into_iter().map(|tool| {
        let Some(function) = tool.function else {
            return Err(not_here("of tools Gemini is given functions alone"));
        };
        Ok(Declaration {
            name: function.name,
            description: function.description.filter(|it| !it.is_empty()).map(Cow::Owned),
            parameters: function.parameters.and_then(schema::of_parameters),
        })
    });
    let declared: Vec<_> = declared.collect::<Result<_, _>>()?;
    Ok((!declared.is_empty()).then_some(declared))
}

fn tool_config(asked: &Asked<'_>) -> Result<Option<Value>, Fault> {
    let Some(choice) = asked.value("tool_choice") else { return Ok(None) };
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    let calling = match (choice.as_str(), named) {
        (Some("none"), _) => json!({"mode": "NONE"}),
        (Some("auto"), _) => json!({"mode": "AUTO"}),
        (Some("required" | "any"), _) => json!({"mode": "ANY"}),
        (None, Some(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        _ => return Err(not_here("Gemini has no such tool_choice")),
    };
    Ok(Some(json!({ "functionCallingConfig": calling })))
}

fn unreadable(member: &str, fault: &serde_json::Error) -> Fault {
    let mut fault = Fault::new(FaultKind::BadRequest, format!("{member} can't be read: {fault}"));
    fault.param = Some(member.into());
    fault
}
