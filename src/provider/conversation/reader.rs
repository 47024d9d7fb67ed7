//! From messages to turns.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::provider::fault::Fault;

use super::arguments::arguments;
use super::written::{self, Message, parts, said, signed, string_of};
use super::{Call, Conversation, Instructions, Part, Speaker, Turn, not_here};

/// Said by the person where a conversation begins with the model, or where nothing is said at all.
pub(in crate::provider) const BEFORE_MODEL: &str = "(The conversation goes on.)";

/// Reads the `messages` member.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for what only OpenAI's own dialect can
/// say.
pub(in crate::provider) fn read(
    messages: &str,
    instructions: Instructions,
) -> Result<Conversation<'_>, Fault> {
    let messages: Vec<Message<'_>> = serde_json::from_str(messages)
        .map_err(|it| not_here(format!("a message has an unknown form: {it}")))?;
    let mut reader = Reader { instructions, done: Conversation::default(), open: HashMap::new() };
    for (at, message) in messages.into_iter().enumerate() {
        reader.message(at, message)?;
    }
    Ok(reader.finish())
}

struct Reader<'a> {
    instructions: Instructions,
    done: Conversation<'a>,
    /// Where the calls stand that nobody has answered yet, by id: the turn, and the place in it.
    open: HashMap<String, Vec<(usize, usize)>>,
}

impl<'a> Reader<'a> {
    fn message(&mut self, at: usize, message: Message<'a>) -> Result<(), Fault> {
        match &*message.role {
            "system" | "developer" => {
                let texts = parts(message.content)?.into_iter().filter_map(|it| match it {
                    Part::Text(text) => Some(text),
                    Part::Media(_) => None,
                });
                match self.instructions {
                    Instructions::Beside => self.done.system.extend(texts),
                    Instructions::InPlace => {
                        self.say(Speaker::System, texts.map(Part::Text).collect());
                    }
                }
            }
            "assistant" => self.assistant(at, message)?,
            "tool" | "function" => self.result(message)?,
            _ => {
                let parts = parts(message.content)?;
                self.say(Speaker::Person, parts);
            }
        }
        Ok(())
    }

    fn assistant(&mut self, at: usize, message: Message<'a>) -> Result<(), Fault> {
        let mut parts = parts(message.content)?;
        parts.extend(message.refusal.and_then(string_of).and_then(said));
        let calls = calls(at, message.tool_calls, message.function_call);
        if parts.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let (place, turn) = self.turn(Speaker::Model);
        turn.parts.extend(parts);
        turn.signed = signed(message.extra_content).or(turn.signed.take());
        turn.reasoning += &message.reasoning_content.and_then(string_of).unwrap_or_default();
        let before = turn.calls.len();
        let ids: Vec<String> = calls.iter().map(|it| it.id.clone()).collect();
        turn.calls.extend(calls);
        for (nth, id) in ids.into_iter().enumerate() {
            self.open.entry(id).or_default().push((place, before + nth));
        }
        Ok(())
    }

    /// Gives a result to its call; one whose call is gone is still worth knowing, so the person
    /// says it.
    fn result(&mut self, message: Message<'a>) -> Result<(), Fault> {
        let parts = parts(message.content)?;
        let call = match message.tool_call_id.filter(|it| !it.is_empty()) {
            Some(id) => self.call_of(&id),
            None => self.unnamed(message.name.as_deref()),
        };
        match call {
            Some(call) => call.result = Some(parts),
            None => self.say(Speaker::Person, parts),
        }
        Ok(())
    }

    /// The call of that id which waits for a result. Where ids repeat, that is the first one of the
    /// model's last turn, or else the last one of all.
    fn call_of(&mut self, id: &str) -> Option<&mut Call<'a>> {
        let last = self.done.turns.iter().rposition(|it| it.speaker == Speaker::Model)?;
        let open = self.open.get_mut(id)?;
        let nth = open.iter().position(|(turn, _)| *turn == last);
        let nth = nth.unwrap_or(open.len().checked_sub(1)?);
        let (turn, place) = open.remove(nth);
        self.done.turns.get_mut(turn)?.calls.get_mut(place)
    }

    /// The first call of the model's last turn that waits for a result, of that name if there is
    /// one.
    fn unnamed(&mut self, name: Option<&str>) -> Option<&mut Call<'a>> {
        let last = self.done.turns.iter().rposition(|it| it.speaker == Speaker::Model)?;
        let calls = &mut self.done.turns.get_mut(last)?.calls;
        let waits = |it: &Call<'_>| it.result.is_none() && name.is_none_or(|name| it.name == name);
        let place = calls.iter().position(waits)?;
        let call = calls.get_mut(place)?;
        if let Some(open) = self.open.get_mut(&call.id) {
            open.retain(|it| *it != (last, place));
        }
        Some(call)
    }

    fn say(&mut self, speaker: Speaker, parts: Vec<Part<'a>>) {
        if !parts.is_empty() {
            self.turn(speaker).1.parts.extend(parts);
        }
    }

    /// The speaker's turn, and its place: the last one, if it is theirs and called nothing, or else
    /// a new one.
    fn turn(&mut self, speaker: Speaker) -> (usize, &mut Turn<'a>) {
        let turns = &mut self.done.turns;
        if turns.last().is_none_or(|it| it.speaker != speaker || !it.calls.is_empty()) {
            turns.push(Turn::of(speaker));
        }
        let at = turns.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "there is one, made just above if need be")]
        (at, &mut turns[at])
    }

    fn finish(mut self) -> Conversation<'a> {
        let Conversation { system, turns } = &mut self.done;
        let begun = turns.first().is_some_and(|it| match self.instructions {
            Instructions::Beside => it.speaker == Speaker::Person,
            Instructions::InPlace => true,
        });
        if !begun {
            let mut first = Turn::of(Speaker::Person);
            if turns.is_empty() && !system.is_empty() {
                // Instructions alone are a request like any other.
                first.parts.extend(system.drain(..).map(Part::Text));
            } else {
                first.parts.push(Part::Text(Cow::Borrowed(BEFORE_MODEL)));
            }
            turns.insert(0, first);
        }
        self.done
    }
}

impl Turn<'_> {
    fn of(speaker: Speaker) -> Self {
        Self {
            speaker,
            parts: Vec::new(),
            calls: Vec::new(),
            reasoning: String::new(),
            signed: None,
        }
    }
}

/// The calls of the message at that place.
fn calls<'a>(
    at: usize,
    calls: Option<Vec<written::ToolCall<'a>>>,
    older: Option<written::Function<'a>>,
) -> Vec<Call<'a>> {
    let older =
        older.map(|it| written::ToolCall { id: None, function: Some(it), extra_content: None });
    let written = calls.into_iter().flatten().chain(older);
    let call = |(nth, call): (usize, written::ToolCall<'a>)| {
        let function = call.function?;
        let id = call.id.filter(|it| !it.is_empty());
        Some(Call {
            id: id.unwrap_or_else(|| format!("call_{at}_{nth}")),
            name: function.name,
            arguments: arguments(function.arguments),
            result: None,
            signed: signed(call.extra_content),
        })
    };
    written.enumerate().filter_map(call).collect()
}
