//! What is about to be sent, step by step, and how a fault bends it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::answer::Draft;
use super::fault::Fault;
use super::spec::{Flavour, Pace};
use super::wire::completion::{Page, Telling};
use super::wire::problem::Problem;
use super::wire::stream::{Event, Role, events, pieces};

/// A response with status 200 to be carried out.
#[derive(Debug)]
pub(super) struct Plan {
    /// Waited before the status line.
    pub(super) head_wait: Duration,
    pub(super) content_type: &'static str,
    /// Announced body size; `None` = chunked.
    pub(super) length: Option<u64>,
    pub(super) steps: VecDeque<Step>,
    /// Prompt and completion tokens, for the step that tells them.
    pub(super) usage: (u64, u64),
}

/// One step of a body.
#[derive(Debug)]
pub(super) struct Step {
    /// Waited before it.
    pub(super) wait: Duration,
    pub(super) act: Act,
    /// The answer's text in it.
    pub(super) text: String,
    /// Does it tell the usage?
    pub(super) usage: bool,
}

#[derive(Debug)]
pub(super) enum Act {
    Send(Bytes),
    /// So many bytes of `x`, made as they are read.
    Fill(u64),
    /// Silence, the connection open.
    Stall,
    /// The connection ends here.
    Cut,
}

impl Step {
    /// The act alone, at once.
    pub(super) fn act(act: Act) -> Self {
        Self { wait: Duration::ZERO, act, text: String::new(), usage: false }
    }

    fn send(bytes: impl Into<Bytes>) -> Self {
        Self::act(Act::Send(bytes.into()))
    }
}

/// What a plan is made of.
pub(super) struct Script<'a> {
    pub(super) page: Page,
    pub(super) draft: Draft,
    pub(super) pace: Pace,
    pub(super) chunk_chars: Option<usize>,
    pub(super) fault: Option<&'a Fault>,
    pub(super) stream: bool,
}

/// Plans the answer.
pub(super) fn plan(mut script: Script<'_>) -> Plan {
    match script.fault {
        Some(Fault::NoUsage) => script.page.usage = Telling::Never,
        Some(Fault::SlowFirstToken(wait)) => script.pace.first_token += *wait,
        Some(Fault::EmptyAnswer) => {
            script.draft.text.clear();
            script.draft.calls.clear();
            script.draft.reasoning = None;
            script.draft.finish = "stop";
            (script.draft.usage.completion, script.draft.usage.reasoning) = (0, 0);
        }
        _ => {}
    }
    let mut plan = if script.stream { streamed(&script) } else { whole(&script) };
    match script.fault {
        Some(Fault::CutAfterBytes(bytes)) => break_off(&mut plan.steps, *bytes, Act::Cut),
        Some(Fault::StallAfterBytes(bytes)) => break_off(&mut plan.steps, *bytes, Act::Stall),
        _ => {}
    }
    plan
}

/// Leaves `bytes` of the body, and never all of it, and ends with `act`.
fn break_off(steps: &mut VecDeque<Step>, bytes: usize, act: Act) {
    let length = |it: &Step| if let Act::Send(bytes) = &it.act { bytes.len() } else { 0 };
    let whole: usize = steps.iter().map(length).sum();
    let mut left = bytes.min(whole.saturating_sub(1));
    let mut kept = VecDeque::new();
    for mut step in steps.drain(..) {
        let Act::Send(sent) = &mut step.act else { continue };
        if sent.len() > left {
            sent.truncate(left);
            step.text.clear();
            step.usage = false;
            kept.push_back(step);
            break;
        }
        left -= sent.len();
        kept.push_back(step);
    }
    kept.push_back(Step::act(act));
    *steps = kept;
}

fn told(draft: &Draft) -> (u64, u64) {
    (draft.usage.prompt, draft.usage.completion)
}

/// Stands in an answer's text for where a huge filling goes.
const HUGE_MARK: &str = "@huge@";

fn whole(script: &Script<'_>) -> Plan {
    let Script { page, draft, pace, .. } = script;
    let chunks = pieces(&draft.text, script.chunk_chars).len().max(1) - 1;
    let talking = pace.per_chunk.saturating_mul(u32::try_from(chunks).unwrap_or(u32::MAX));
    let body = match script.fault {
        Some(Fault::ErrorIn200Stream | Fault::ErrorAfterChunks(_)) => {
            Problem::Status(503).refusal(page.flavour).1
        }
        Some(Fault::Garbage) => GARBAGE.to_owned(),
        Some(Fault::Html) => HTML.to_owned(),
        _ => page.whole(draft),
    };
    let length = u64::try_from(body.len()).ok();
    let half = || {
        let bytes = body.as_bytes().get(..body.len() / 2).unwrap_or_default();
        Step::send(Bytes::copy_from_slice(bytes))
    };
    let (length, steps) = match script.fault {
        Some(Fault::CutAfterChunks(_)) => (length, vec![half(), Step::act(Act::Cut)]),
        Some(Fault::StallAfterChunks(_)) => (length, vec![half(), Step::act(Act::Stall)]),
        Some(Fault::NoDone) => (None, vec![half()]),
        Some(Fault::HugeBody(size)) => (None, huge(page, draft, *size)),
        Some(fault) if !(fault.is_harmless() || *fault == Fault::EmptyAnswer) => {
            (length, vec![Step::send(body)])
        }
        _ => {
            let (text, usage) = (draft.text.clone(), page.tells_usage());
            (length, vec![Step { text, usage, ..Step::send(body) }])
        }
    };
    Plan {
        head_wait: pace.first_token + talking,
        content_type: if script.fault == Some(&Fault::Html) { "text/html" } else { JSON },
        length,
        steps: steps.into(),
        usage: told(draft),
    }
}

const JSON: &str = "application/json";
const GARBAGE: &str = "upstream connect error or disconnect/reset before headers {\"unfinished";
const HTML: &str = "<!DOCTYPE html><html><head><title>Just a moment...</title></head>\
                    <body><h1>Checking your browser</h1></body></html>";

fn huge(page: &Page, draft: &Draft, size: u64) -> Vec<Step> {
    let marked = Draft { text: HUGE_MARK.to_owned(), calls: Vec::new(), ..draft.clone() };
    let body = page.whole(&marked);
    let (before, after) = body.split_once(HUGE_MARK).unwrap_or((&body, ""));
    vec![
        Step::send(before.to_owned()),
        Step::act(Act::Fill(size)),
        Step { usage: page.tells_usage(), ..Step::send(after.to_owned()) },
    ]
}

fn streamed(script: &Script<'_>) -> Plan {
    let Script { page, draft, pace, .. } = script;
    let fused = script.fault.is_none_or(Fault::is_harmless);
    let events = match script.fault {
        Some(Fault::HugeBody(_)) => events(page, draft, &[HUGE_MARK], false),
        _ => events(page, draft, &pieces(&draft.text, script.chunk_chars), fused),
    };
    let mut steps: VecDeque<Step> = match script.fault {
        Some(Fault::Garbage) => garbage(page.flavour, events, pace),
        Some(Fault::Html) => VecDeque::from([Step::send(HTML)]),
        Some(Fault::HugeBody(size)) => fill(events, *size, pace),
        Some(Fault::CutAfterChunks(count)) => upto(events, pace, *count, Some(Step::act(Act::Cut))),
        Some(Fault::StallAfterChunks(count)) => {
            upto(events, pace, *count, Some(Step::act(Act::Stall)))
        }
        Some(Fault::ErrorAfterChunks(count)) => upto(events, pace, *count, Some(error(page))),
        Some(Fault::ErrorIn200Stream) => VecDeque::from([error(page)]),
        Some(Fault::NoDone) => upto(events, pace, usize::MAX, None),
        _ => events.into_iter().map(|event| step(event, pace)).collect(),
    };
    if let Some(first) = steps.front_mut() {
        first.wait = pace.first_token;
    }
    let html = script.fault == Some(&Fault::Html);
    Plan {
        head_wait: Duration::ZERO,
        content_type: match page.flavour {
            _ if html => "text/html",
            Flavour::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        },
        length: None,
        steps,
        usage: told(draft),
    }
}

fn step(event: Event, pace: &Pace) -> Step {
    let wait = if event.role == Role::Content { pace.per_chunk } else { Duration::ZERO };
    Step { wait, text: event.text, usage: event.usage, ..Step::send(event.bytes) }
}

/// The events before the ending, with at most `count` of content, then `end`. With a count of
/// zero there is not even reasoning: nothing a caller could take for a beginning.
fn upto(events: Vec<Event>, pace: &Pace, count: usize, end: Option<Step>) -> VecDeque<Step> {
    let mut content = 0;
    let kept = events.into_iter().filter(|event| match event.role {
        Role::Opening => true,
        Role::Thought => count > 0,
        Role::Content => {
            content += 1;
            content <= count
        }
        Role::Ending => false,
    });
    kept.map(|event| step(event, pace)).chain(end).collect()
}

fn garbage(flavour: Flavour, events: Vec<Event>, pace: &Pace) -> VecDeque<Step> {
    let opening = events.into_iter().take_while(|event| event.role == Role::Opening);
    let nonsense = Step::send(match flavour {
        Flavour::Ollama => format!("{GARBAGE}\n\u{7}?!\n"),
        _ => format!("data: {GARBAGE}\n\ndata: \u{7}?!\n\n"),
    });
    opening.map(|event| step(event, pace)).chain([nonsense]).collect()
}

/// The flavour's error as an event, as it comes when a server fails after its status line.
fn error(page: &Page) -> Step {
    let body = Problem::Status(503).refusal(page.flavour).1;
    let flat: String = body.lines().map(str::trim).collect();
    match page.flavour {
        Flavour::Anthropic => return Step::send(format!("event: error\ndata: {flat}\n\n")),
        Flavour::Ollama => return Step::send(format!("{flat}\n")),
        _ => {}
    }
    let data =
        if flat.starts_with(r#"{"error""#) { flat } else { format!(r#"{{"error":{flat}}}"#) };
    Step::send(format!("data: {data}\n\n"))
}

/// The events with `size` bytes in place of the mark.
fn fill(events: Vec<Event>, size: u64, pace: &Pace) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    for event in events {
        let text = String::from_utf8_lossy(&event.bytes).into_owned();
        match text.split_once(HUGE_MARK) {
            Some((before, after)) => {
                steps.push_back(Step::send(before.to_owned()));
                steps.push_back(Step::act(Act::Fill(size)));
                steps.push_back(Step::send(after.to_owned()));
            }
            None => steps.push_back(step(event, pace)),
        }
    }
    steps
}
