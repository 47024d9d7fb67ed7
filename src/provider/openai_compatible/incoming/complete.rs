//! A whole answer, made into what OpenAI would send, and one that came where a stream was asked for.

use std::collections::HashSet;

use bytes::Bytes;
use fastrand::Rng;

use crate::clock::Now;
use crate::openai::Completion;
use crate::openai::JsonObject;
use crate::openai::json_list;
use crate::openai::json_list_of;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::incoming::Asked;
use crate::provider::openai_compatible::incoming::arguments::once;
use crate::provider::openai_compatible::incoming::arguments::take_function;
use crate::provider::openai_compatible::incoming::arguments::text_of;
use crate::provider::openai_compatible::incoming::calls::call_id;
use crate::provider::openai_compatible::incoming::choice::REFUSAL;
use crate::provider::openai_compatible::incoming::choice::tell_reason;
use crate::provider::openai_compatible::incoming::finish::Finish;
use crate::provider::openai_compatible::incoming::mender::read;
use crate::provider::openai_compatible::incoming::mender::unreadable;
use crate::provider::openai_compatible::incoming::message::Halves;
use crate::provider::openai_compatible::incoming::message::gather;
use crate::provider::openai_compatible::incoming::signed::is_signed;
use crate::provider::openai_compatible::incoming::signed::keep;
use crate::provider::openai_compatible::incoming::stray::stray_error;
use crate::provider::openai_compatible::incoming::think_block::part;
use crate::provider::openai_compatible::incoming::written::as_json;

/// Reads a whole answer. One in OpenAI's form stays the bytes it came as; `rng` makes
/// ids for calls without one.
///
/// # Errors
/// The error it holds in place of an answer, or [`crate::provider::fault::FaultKind::Unreadable`].
pub(in crate::provider::openai_compatible) fn complete(
    asked: &Asked,
    body: &Bytes,
    now: Now,
    rng: &mut Rng,
) -> Result<Completion, Fault> {
    let stray = || Some(classify_inside_answer(asked.provider, &stray_error(body)?, now));
    let completion =
        Completion::parse(body).map_err(|it| stray().unwrap_or_else(|| unreadable(&it)))?;
    if let Some(error) = &completion.error {
        return Err(classify_inside_answer(asked.provider, error, now));
    }
    if completion.has_no_choices() {
        return stray().map_or(Ok(completion), Err);
    }
    let usage = completion.usage_in_openai_form();
    // Calls may stand in the text.
    let may_call = !asked.tools.are_none() && completion.counted().any(|it| it.contains('<'));
    let shelf = asked.shelf.as_ref().filter(|_| is_signed(body));
    if completion.is_plain() && usage.is_none() && !may_call && shelf.is_none() {
        return Ok(completion);
    }
    let mut top = read(completion.body())?;
    if let Some(usage) = usage {
        top.set("usage", usage);
    }
    let list = top.get("choices").and_then(json_list).unwrap_or_default();
    let mut choices = Vec::with_capacity(list.len());
    let mut numbers = Numbers::default();
    for choice in list {
        let mut choice = JsonObject::parse(choice).map_err(|it| unreadable(&it))?;
        numbers.give(&mut choice);
        mend(asked, &mut choice, rng)?;
        if let Some(shelf) = shelf {
            keep(&mut choice, "message", shelf, now);
        }
        choices.push(choice);
    }
    if choices.iter().any(JsonObject::is_changed) {
        let choices: Vec<_> = choices.iter().map(ToString::to_string).collect();
        top.set("choices", json_list_of(&choices));
    }
    if !top.is_changed() {
        return Ok(completion);
    }
    Completion::parse(&top.to_string().into()).map_err(|it| unreadable(&it))
}

/// The data of an event that says the whole of `completion`.
///
/// # Errors
/// None that a provider could give cause for.
pub(super) fn as_event(completion: &Completion) -> Result<Bytes, Fault> {
    let mut top = read(completion.body())?;
    let mut choices = Vec::new();
    for choice in top.get("choices").and_then(json_list).unwrap_or_default() {
        let mut choice = JsonObject::parse(choice).map_err(|it| unreadable(&it))?;
        let message = choice.get("message").and_then(|it| JsonObject::parse(it).ok());
        if let Some(mut message) = message {
            number_calls(&mut message);
            choice.set("message", message.to_string());
            choice.rename("message", "delta");
        }
        choices.push(choice.to_string());
    }
    top.set_text("object", "chat.completion.chunk");
    top.set("choices", json_list_of(&choices));
    Ok(top.to_string().into())
}

fn number_calls(message: &mut JsonObject) {
    let Some(calls) = message.said("tool_calls").and_then(json_list) else { return };
    let numbered = calls.into_iter().enumerate().map(|(index, call)| {
        let Ok(mut call) = JsonObject::parse(call) else { return call.to_owned() };
        call.set("index", index.to_string());
        call.to_string()
    });
    let numbered: Vec<_> = numbered.collect();
    message.set("tool_calls", json_list_of(&numbered));
}

/// The numbers that choices have.
#[derive(Default)]
struct Numbers(HashSet<u64>);

impl Numbers {
    /// Gives a choice a number of its own, if it has none: the first that is free.
    fn give(&mut self, choice: &mut JsonObject) {
        let own = choice.get("index").and_then(|it| it.parse().ok());
        if !own.is_some_and(|it| self.0.insert(it)) {
            let taken = self.0.len() as u64;
            let free = (0..=taken).find(|it| self.0.insert(*it)).unwrap_or(taken);
            choice.set("index", free.to_string());
        }
    }
}

fn mend(asked: &Asked, choice: &mut JsonObject, rng: &mut Rng) -> Result<(), Fault> {
    let message = choice.said("message").unwrap_or("{}");
    let mut message = JsonObject::parse(message).unwrap_or_default();
    let mut halves = Halves::default();
    gather(&mut message, &mut halves);
    for (half, member) in [(halves.content, "content"), (halves.reasoning, "reasoning_content")] {
        if half.is_some() {
            let text = message.text(member).unwrap_or_default();
            message.set_text(member, &(text + "\u{fffd}"));
        }
    }
    if !asked.verbatim {
        part_thoughts(&mut message);
    }
    take_written_calls(asked, &mut message);
    let calls = mend_calls(&mut message, rng);
    let reason = choice.text("finish_reason").unwrap_or_default();
    let meaning = match Finish::read(&reason) {
        Finish::Failed(fault) => return Err(fault),
        Finish::Known => reason.as_str(),
        Finish::Means(meaning) => meaning,
        Finish::NotYet => "stop",
    };
    let meaning = if calls && meaning == "stop" { "tool_calls" } else { meaning };
    if meaning != reason {
        tell_reason(choice, meaning);
    }
    let answers = ["content", "refusal"].iter().any(|it| message.said(it).is_some());
    if !answers && !calls && meaning == "content_filter" {
        message.set_text("refusal", REFUSAL);
    }
    if !answers
        && !calls
        && meaning == "stop"
        && asked.thinks_aloud()
        && let Some(thought) = message.text("reasoning_content")
    {
        message.set_text("content", &thought);
    }
    if message.is_empty() {
        message.set_text("role", "assistant");
        message.set("content", "null".to_owned());
    }
    if message.is_changed() {
        choice.set("message", message.to_string());
    }
    Ok(())
}

fn part_thoughts(message: &mut JsonObject) {
    if message.said("reasoning_content").is_some() {
        return;
    }
    let Some(parted) = message.text("content").and_then(|it| part(&it)) else { return };
    message.set_text("content", &parted.text);
    if !parted.reasoning.is_empty() {
        message.set_text("reasoning_content", &parted.reasoning);
    }
}

/// Puts calls that stand in the text where they belong.
fn take_written_calls(asked: &Asked, message: &mut JsonObject) {
    if message.said("tool_calls").is_some() {
        return;
    }
    let text = message.text("content").unwrap_or_default();
    let Some((before, calls)) = asked.tools.read(&text) else { return };
    message.set_text("content", before);
    message.set("tool_calls", as_json(&calls));
}

/// Puts the calls of a message into OpenAI's form. Are there any?
fn mend_calls(message: &mut JsonObject, rng: &mut Rng) -> bool {
    let Some(list) = message.said("tool_calls").map(str::to_owned) else { return false };
    let (mut calls, mut left_out) = (Vec::<JsonObject>::new(), false);
    let mut ids = HashSet::new();
    for call in json_list(&list).unwrap_or_else(|| vec![&list]) {
        let Ok(mut call) = JsonObject::parse(call) else { continue };
        let id = call.text("id").filter(|it| !it.is_empty() && !ids.contains(it));
        let id = id.unwrap_or_else(|| call_id(rng));
        call.set_text("id", &id);
        let _new = ids.insert(id);
        if mend_function(&mut call) {
            calls.push(call);
        } else {
            left_out = true;
        }
    }
    if calls.is_empty() {
        let _nothing = message.remove("tool_calls");
    } else if left_out || calls.iter().any(JsonObject::is_changed) || !list.starts_with('[') {
        let calls: Vec<_> = calls.iter().map(ToString::to_string).collect();
        message.set("tool_calls", json_list_of(&calls));
    }
    !calls.is_empty()
}

/// Puts the function of a call into OpenAI's form. `false` for a call that names none: it calls nothing.
fn mend_function(call: &mut JsonObject) -> bool {
    let kind = call.text("type").filter(|it| !it.is_empty());
    if kind.is_some_and(|it| it != "function") && call.get("function").is_none() {
        return true;
    }
    let own = call.get("function").and_then(|it| JsonObject::parse(it).ok());
    let mut function = own.unwrap_or_else(|| {
        let function = take_function(call);
        call.set("function", "{}".to_owned());
        function
    });
    call.set_text("type", "function");
    let mut half = None;
    let arguments = text_of(function.get("arguments"), &mut half);
    let lost = half.map(|_| char::REPLACEMENT_CHARACTER);
    let arguments = once(arguments.chars().chain(lost).collect());
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.as_str() };
    function.set_text("arguments", arguments);
    if function.is_changed() {
        call.set("function", function.to_string());
    }
    function.text("name").is_some_and(|it| !it.is_empty())
}
