//! From OpenAI's request to `generateContent`'s.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::clock::Now;
use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::asked::Asked;
use crate::provider::asked::Choice;
use crate::provider::asked::Effort;
use crate::provider::asked::Format;
use crate::provider::asked::Function;
use crate::provider::asked::no_json_mode;
use crate::provider::conversation::Instructions;
use crate::provider::conversation::not_here;
use crate::provider::conversation::read;
use crate::provider::fault::Fault;
use crate::provider::thoughts::Shelf;

use super::contents::{Signatures, write};
use super::model::{Json, Model, Thinking};
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
/// The largest request, in bytes; what is larger has to be uploaded first.
const MOST_BYTES: usize = 20 * 1024 * 1024;

/// The body for a call, and the members left out of it. The `shelf` is that of the call's model.
///
/// # Errors
/// What this API can't take and an answer can't do without, before anything is sent.
pub(super) fn translate(call: &Call, shelf: &Shelf, now: Now) -> Result<(Bytes, Unmet), Fault> {
    let asked = Asked::of(call);
    let model = Model::of(shelf.model());
    let mut unmet = Unmet { dropped: asked.dropped(TAKEN), ..Unmet::default() };
    let conversation = read(asked.messages(), Instructions::Beside)?;
    let contents = write(conversation, &Signatures { model: &model, shelf, now })?;
    let tools = asked.functions()?;
    let mut config = Map::new();
    numbers(&asked, &model, &mut config, &mut unmet);
    stops(&asked, &mut config, &mut unmet);
    candidates(&asked, &mut config)?;
    format(asked.format()?, &model, !tools.is_empty(), &mut config)?;
    // A model that was found to refuse it is asked without.
    let refused = call.edits.leave_out.iter().any(|it| it == "reasoning_effort");
    let thinking = if refused { Thinking::Fixed } else { model.thinking };
    if let Some(thinking) = thinking_config(thinking, asked.effort()?, &mut unmet) {
        config.insert("thinkingConfig".to_owned(), thinking);
    }
    if !tools.is_empty() && asked.one_call_at_a_time() {
        unmet.dropped.push("parallel_tool_calls");
    }
    let system = Some(contents.system).filter(|it| !it.is_empty());
    let body = Body {
        system_instruction: system.map(|parts| Instruction { parts }),
        contents: contents.turns,
        tool_config: if tools.is_empty() { None } else { asked.choice()?.map(calling) },
        tools: declared(tools),
        generation_config: config,
    };
    let body = serde_json::to_vec(&body).map_err(|it| not_here(it.to_string()))?;
    if body.len() > MOST_BYTES {
        return Err(not_here("Gemini takes no request above 20 MiB"));
    }
    Ok((body.into(), unmet))
}

fn numbers(asked: &Asked<'_>, model: &Model, config: &mut Map<String, Value>, unmet: &mut Unmet) {
    let (penalties, refused) =
        if model.takes_penalties { (PENALTIES, &[][..]) } else { (&[][..], PENALTIES) };
    for (ours, theirs) in NUMBERS.iter().chain(penalties) {
        if let Some(value) = asked.value(ours) {
            config.insert((*theirs).to_owned(), value);
        }
    }
    unmet.dropped.extend(refused.iter().map(|(it, _)| *it).filter(|it| asked.get(it).is_some()));
    if let Some(most) = asked.max_tokens() {
        config.insert("maxOutputTokens".to_owned(), most.min(MOST_TOKENS).into());
    }
    match asked.get("seed").map(str::parse::<i32>) {
        Some(Ok(seed)) => {
            config.insert("seed".to_owned(), seed.into());
        }
        // The API's seeds have 32 bits.
        Some(Err(_)) => unmet.dropped.push("seed"),
        None => {}
    }
}

fn stops(asked: &Asked<'_>, config: &mut Map<String, Value>, unmet: &mut Unmet) {
    let mut stops = asked.texts("stop");
    stops.retain(|it| !it.is_empty());
    if stops.len() > MOST_STOPS {
        stops.truncate(MOST_STOPS);
        unmet.dropped.push("stop");
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
    format: Format<'_>,
    model: &Model,
    has_tools: bool,
    config: &mut Map<String, Value>,
) -> Result<(), Fault> {
    let schema = match format {
        Format::Text => return Ok(()),
        Format::Json => None,
        Format::Schema(schema) => Some(schema::of_answer(schema)),
    };
    match model.json {
        Json::Never => return Err(no_json_mode("this model has no JSON mode")),
        Json::WithoutTools if has_tools => {
            return Err(no_json_mode("this model has no JSON mode beside tools"));
        }
        Json::WithoutTools | Json::Always => {}
    }
    config.insert("responseMimeType".to_owned(), "application/json".into());
    config.extend(schema.map(|it| ("responseSchema".to_owned(), it)));
    Ok(())
}

/// How much the model may think. Thoughts count against the answer's tokens, so unless the caller
/// asks for them they are kept short.
fn thinking_config(thinking: Thinking, effort: Option<Effort>, unmet: &mut Unmet) -> Option<Value> {
    let wanted = effort.is_some_and(|it| it > Effort::None);
    let mut config = match thinking {
        Thinking::Fixed => {
            if wanted {
                unmet.dropped.push("reasoning_effort");
            }
            return None;
        }
        Thinking::Budget { least, most } => {
            json!({"thinkingBudget": budget(effort, most).max(least)})
        }
        Thinking::Level { lowest, medium } => {
            let level = match effort {
                Some(Effort::None | Effort::Minimal) => lowest,
                Some(Effort::Low) | None => "low",
                Some(Effort::Medium) if medium => "medium",
                Some(_) => "high",
            };
            json!({ "thinkingLevel": level })
        }
    };
    // Who asks for thought is shown it, and a stream does not fall silent over it.
    if let Some(config) = config.as_object_mut().filter(|_| wanted) {
        config.insert("includeThoughts".to_owned(), true.into());
    }
    Some(config)
}

/// In tokens, as Google's own OpenAI-compatible endpoint has them.
fn budget(effort: Option<Effort>, most: u32) -> u32 {
    match effort {
        None | Some(Effort::None) => 0,
        Some(Effort::Minimal | Effort::Low) => 1_024,
        Some(Effort::Medium) => 8_192,
        Some(Effort::High | Effort::ExtraHigh) => 24_576,
        Some(Effort::Most) => most,
    }
}

fn declared(functions: Vec<Function<'_>>) -> Option<[Tools<'_>; 1]> {
    let declared = functions.into_iter().map(|it| Declaration {
        name: it.name,
        description: it.description,
        parameters: it.parameters.and_then(schema::of_parameters),
    });
    let declared: Vec<_> = declared.collect();
    (!declared.is_empty()).then_some([Tools { function_declarations: declared }])
}

fn calling(choice: Choice) -> Value {
    let calling = match choice {
        Choice::None => json!({"mode": "NONE"}),
        Choice::Auto => json!({"mode": "AUTO"}),
        Choice::Any => json!({"mode": "ANY"}),
        Choice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    json!({ "functionCallingConfig": calling })
}
