//! Answers as Gemini writes them: candidates made of parts, whole or one event after another, each
//! event a response of its own.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::sim::answer::Call;
use crate::sim::answer::Draft;
use crate::sim::gemini::SIGNED;

use super::completion::Page;
use super::stream::{Event, Role};

/// The answer as one response.
pub(super) fn whole(page: &Page, draft: &Draft) -> String {
    let mut parts = Vec::new();
    if let Some(thought) = &draft.reasoning {
        parts.push(json!({"text": thought, "thought": true}));
    }
    if !draft.text.is_empty() {
        parts.push(json!({"text": draft.text}));
    }
    parts.extend(draft.calls.iter().enumerate().map(|(at, it)| call(page, at, it)));
    let candidate = |index| candidate(index, &parts, Some(finish(draft)));
    let candidates: Vec<Value> = (0..page.choices).map(candidate).collect();
    format!("{:#}\n", response(page, &candidates, draft, draft.usage.completion))
}

/// The answer event by event; with `fused` the last text brings the reason for the end.
pub(super) fn events(page: &Page, draft: &Draft, pieces: &[&str], fused: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let mut said = 0;
    if let Some(thought) = &draft.reasoning {
        tell(
            page,
            draft,
            (Role::Thought, 0),
            (json!({"text": thought, "thought": true}), None),
            &mut events,
        );
    }
    let mut texts = pieces;
    let mut last = "";
    if let (true, Some((end, before)), true) = (fused, pieces.split_last(), draft.calls.is_empty())
    {
        (last, texts) = (end, before);
    }
    for text in texts {
        said += text.len() as u64 / 4;
        tell(page, draft, (Role::Content, said), (json!({"text": text}), None), &mut events);
    }
    for (at, it) in draft.calls.iter().enumerate() {
        said += it.arguments.len() as u64 / 4;
        tell(page, draft, (Role::Content, said), (call(page, at, it), None), &mut events);
    }
    let finish = Some(finish(draft));
    let used = draft.usage.completion;
    tell(page, draft, (Role::Ending, used), (json!({"text": last}), finish), &mut events);
    if let Some(end) = events.last_mut() {
        end.usage = page.tells_usage();
    }
    events
}

/// One part in every candidate, an event each; `said` is the tokens so far.
fn tell(
    page: &Page,
    draft: &Draft,
    (role, said): (Role, u64),
    (part, finish): (Value, Option<&str>),
    events: &mut Vec<Event>,
) {
    let shown = part.get("text").and_then(Value::as_str).filter(|_| role != Role::Thought);
    let shown = shown.unwrap_or_default().to_owned();
    let parts = [part];
    for index in 0..page.choices {
        let candidate = candidate(index, &parts, finish);
        let body = response(page, &[candidate], draft, said.min(draft.usage.completion));
        events.push(Event {
            role,
            // As Google's front ends end lines.
            bytes: format!("data: {body}\r\n\r\n").into(),
            text: if index == 0 { shown.clone() } else { String::new() },
            usage: false,
        });
    }
}

fn candidate(index: u64, parts: &[Value], finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"role": "model"}, "index": index});
    if let (false, Some(content)) = (parts.is_empty(), candidate.pointer_mut("/content")) {
        *content = json!({"parts": parts, "role": "model"});
    }
    if let (Some(finish), Some(members)) = (finish, candidate.as_object_mut()) {
        members.insert("finishReason".to_owned(), finish.into());
    }
    candidate
}

/// Only the first call of a step is signed.
fn call(page: &Page, at: usize, call: &Call) -> Value {
    let args: Option<Box<RawValue>> = serde_json::from_str(&call.arguments).ok();
    let mut part = json!({"functionCall": {"name": call.name, "args": args}});
    if let (0, Some(members)) = (at, part.as_object_mut()) {
        members
            .insert("thoughtSignature".to_owned(), format!("{SIGNED}{:08x}", page.serial).into());
    }
    part
}

fn finish(draft: &Draft) -> &'static str {
    if draft.finish == "length" { "MAX_TOKENS" } else { "STOP" }
}

fn response(page: &Page, candidates: &[Value], draft: &Draft, said: u64) -> Value {
    let mut body = json!({
        "candidates": candidates,
        "modelVersion": page.model,
        "responseId": format!("sim{:013x}", page.serial),
    });
    if let (true, Some(members)) = (page.tells_usage(), body.as_object_mut()) {
        let usage = draft.usage;
        // Thoughts come first and are not among the candidates' tokens.
        let spoken = said.saturating_sub(usage.reasoning);
        let mut figures = json!({
            "promptTokenCount": usage.prompt,
            "candidatesTokenCount": spoken,
            "totalTokenCount": usage.prompt + usage.reasoning + spoken,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
        });
        if let (true, Some(figures)) = (usage.reasoning > 0, figures.as_object_mut()) {
            figures.insert("thoughtsTokenCount".to_owned(), usage.reasoning.into());
        }
        members.insert("usageMetadata".to_owned(), figures);
    }
    body
}
