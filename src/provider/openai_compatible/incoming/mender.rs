//! A stream of events from whoever speaks nearly OpenAI's dialect, made into what OpenAI would send.
//!
//! A chunk that is in OpenAI's form passes as the bytes it came as. The rest is changed member by
//! member. Whatever comes: the chunk with the `finish_reason` is the last of its choice. It is kept
//! back for that until the next event: some providers give a reason with every chunk, or tell the
//! usage with another choice behind it.

use bytes::Bytes;
use fastrand::Rng;

use crate::clock::SharedClock;
use crate::openai::Chunk;
use crate::openai::ChunkChoice;
use crate::openai::ChunkReader;
use crate::openai::JsonObject;
use crate::openai::json_list;
use crate::openai::json_list_of;
use crate::provider::classify::classify_inside_answer;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::provider::openai_compatible::incoming::Asked;
use crate::provider::openai_compatible::incoming::choice::ChoiceState;
use crate::provider::openai_compatible::incoming::signed::is_signed;
use crate::provider::openai_compatible::incoming::signed::keep;
use crate::provider::openai_compatible::incoming::stray::stray_error;

/// Choices followed in one stream: OpenAI's own bound for `n`. Others beyond it pass as they come.
const CHOICES: usize = 128;

/// Mends one stream, event by event.
pub(in crate::provider::openai_compatible) struct Mender {
    asked: Asked,
    reader: ChunkReader,
    choices: Vec<(u64, ChoiceState)>,
    /// A chunk that ends a choice, unless more of it comes next.
    held: Option<Chunk>,
    /// Has a choice gone on after it had said why it ends? Then such a word is no end.
    went_on: bool,
    ready: Vec<Chunk>,
    rng: Rng,
    /// Read only where the time matters.
    clock: SharedClock,
}

impl Mender {
    pub(in crate::provider::openai_compatible) fn new(
        asked: Asked,
        rng: Rng,
        clock: SharedClock,
    ) -> Self {
        Self {
            asked,
            reader: ChunkReader::default(),
            choices: Vec::new(),
            held: None,
            went_on: false,
            ready: Vec::new(),
            rng,
            clock,
        }
    }

    /// What may go out now.
    pub(super) fn ready(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    /// Has a choice said why it ends? Some providers close after it without an end mark.
    pub(super) fn is_finished(&self) -> bool {
        self.choices.iter().any(|(_, it)| it.finished)
    }

    /// Has every choice there was said so?
    pub(super) fn has_all_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|(_, it)| it.finished)
    }

    /// Has every choice that was asked for been told to its end? What fails after that takes
    /// nothing of it away.
    pub(super) fn has_told_all(&self) -> bool {
        let told = self.choices.iter().filter(|(_, it)| it.finished && it.has_answered()).count();
        !self.went_on && self.has_all_finished() && told >= self.asked.choices
    }

    /// Takes in the data of one event.
    ///
    /// # Errors
    /// The error it tells of, or [`FaultKind::Unreadable`].
    pub(super) fn take(&mut self, data: &Bytes) -> Result<(), Fault> {
        let chunk = match self.reader.read(data) {
            Ok(chunk) => chunk,
            Err(fault) => {
                return Err(self.failure(data).unwrap_or_else(|| unreadable(&fault)));
            }
        };
        if let Some(error) = &chunk.error {
            return Err(classify_inside_answer(self.asked.provider, error, self.clock.now()));
        }
        if chunk.choices.is_empty() && !chunk.is_usage_only() && chunk.usage.is_none() {
            return self.failure(data).map_or(Ok(()), Err);
        }
        if chunk.choices.len() > CHOICES {
            return Err(Fault::new(FaultKind::Unreadable, "more choices than can be asked for"));
        }
        if self.is_finished() {
            return self.follow(chunk);
        }
        self.pass(chunk)
    }

    /// The provider is done: what is kept back goes out, and a choice that has not said why it ends
    /// has simply stopped.
    ///
    /// # Errors
    /// None that a provider could give cause for.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.release();
        let unfinished =
            self.choices.iter().filter(|(_, it)| !it.finished).map(|(index, _)| *index);
        for index in unfinished.collect::<Vec<_>>() {
            let last = format!(
                r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}"#
            );
            self.pass(parse(last)?)?;
            self.release();
        }
        Ok(())
    }

    /// Is a chunk kept back?
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Sends on what was kept back: nothing more comes.
    pub(super) fn release(&mut self) {
        self.ready.extend(self.held.take());
    }

    fn failure(&self, data: &[u8]) -> Option<Fault> {
        let error = stray_error(data)?;
        Some(classify_inside_answer(self.asked.provider, &error, self.clock.now()))
    }

    /// Takes a chunk that comes after a choice has ended. If that one goes on after all, the reason
    /// it gave is forgotten; once that has gone out, what follows it is left out.
    fn follow(&mut self, chunk: Chunk) -> Result<(), Fault> {
        let says = chunk.choices.iter().filter(|it| it.may_say_something());
        let goes_on: Vec<u64> = says.map(|it| it.index).collect();
        let held = self.held.take();
        let is_taken_back = |it: &ChunkChoice| it.finish.is_some() && goes_on.contains(&it.index);
        if let Some(held) = held.as_ref().filter(|it| it.choices.iter().any(is_taken_back)) {
            self.went_on = true;
            for (index, state) in &mut self.choices {
                state.finished &=
                    !held.choices.iter().any(|it| it.index == *index && is_taken_back(it));
            }
            let open = edited(held, |at, mut choice| {
                if held.choices.get(at).is_some_and(is_taken_back) {
                    choice.set("finish_reason", "null".to_owned());
                }
                Some(choice)
            })?;
            self.ready.push(open);
        } else {
            self.ready.extend(held);
        }
        let is_over = |it: &ChunkChoice| {
            self.choices.iter().any(|(index, state)| *index == it.index && state.finished)
        };
        if !chunk.choices.iter().any(is_over) {
            return self.pass(chunk);
        }
        let rest = edited(&chunk, |at, choice| {
            chunk.choices.get(at).is_some_and(|it| !is_over(it)).then_some(choice)
        })?;
        if rest.choices.is_empty() && rest.usage.is_none() {
            return Ok(());
        }
        self.pass(rest)
    }

    /// Sends a chunk on, mended if it has to be.
    fn pass(&mut self, chunk: Chunk) -> Result<(), Fault> {
        let usage = chunk.usage_in_openai_form();
        let is_signed = self.asked.shelf.is_some() && is_signed(chunk.body());
        let is_clean = usage.is_none()
            && !is_signed
            && match chunk.choices.as_slice() {
                [] => true,
                [one] => self.state(one.index).is_none_or(|it| it.note(&chunk, one)),
                _ => false,
            };
        let chunk = if is_clean { chunk } else { self.mended(&chunk, usage)? };
        for choice in chunk.choices.iter().filter(|it| it.finish.is_some()) {
            if let Some(state) = self.state(choice.index) {
                state.finished = true;
            }
        }
        self.release();
        if chunk.choices.iter().any(|it| it.finish.is_some()) {
            self.held = Some(chunk);
        } else {
            self.ready.push(chunk);
        }
        Ok(())
    }

    fn mended(&mut self, chunk: &Chunk, usage: Option<String>) -> Result<Chunk, Fault> {
        let mut fault = None;
        let mut rng = self.rng.fork();
        let shelf = self.asked.shelf.clone().filter(|_| is_signed(chunk.body()));
        let now = self.clock.now();
        let mended = edited(chunk, |at, mut choice| {
            let known = chunk.choices.get(at)?;
            if choice.get("index").is_none_or(|it| it == "null") {
                choice.set("index", known.index.to_string());
            }
            if let Some(state) = self.state(known.index) {
                fault = fault.take().or(state.mend(&mut choice, &mut rng).err());
            }
            if let Some(shelf) = &shelf {
                keep(&mut choice, "delta", shelf, now);
            }
            Some(choice)
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let Some(usage) = usage else { return Ok(mended) };
        let mut top = read(mended.body())?;
        top.set("usage", usage);
        parse(top.to_string())
    }

    /// What is known of the choice with this index; `None` for more than can be followed.
    fn state(&mut self, index: u64) -> Option<&mut ChoiceState> {
        let known = self.choices.iter().position(|(it, _)| *it == index);
        if known.is_none() && self.choices.len() < CHOICES {
            self.choices.push((index, ChoiceState::new(&self.asked)));
        }
        let at = known.unwrap_or(self.choices.len().saturating_sub(1));
        self.choices.get_mut(at).filter(|(it, _)| *it == index).map(|(_, state)| state)
    }
}

/// The chunk with each choice as `edit` gives it back, told its place among them; `None` leaves it
/// out.
fn edited(
    chunk: &Chunk,
    mut edit: impl FnMut(usize, JsonObject) -> Option<JsonObject>,
) -> Result<Chunk, Fault> {
    let mut top = read(chunk.body())?;
    let mut choices = Vec::new();
    let mut is_changed = false;
    for (at, choice) in
        json_list(top.get("choices").unwrap_or("[]")).unwrap_or_default().into_iter().enumerate()
    {
        let read = JsonObject::parse(choice).map_err(|it| unreadable(&it))?;
        match edit(at, read) {
            Some(edited) if edited.is_changed() => {
                choices.push(edited.to_string());
                is_changed = true;
            }
            Some(_) => choices.push(choice.to_owned()),
            None => is_changed = true,
        }
    }
    if !is_changed {
        return Ok(chunk.clone());
    }
    top.set("choices", json_list_of(&choices));
    parse(top.to_string())
}

/// The members of a body.
pub(super) fn read(body: &[u8]) -> Result<JsonObject, Fault> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    JsonObject::parse(text).map_err(|it| unreadable(&it))
}

fn parse(json: String) -> Result<Chunk, Fault> {
    Chunk::parse(&json.into()).map_err(|it| unreadable(&it))
}

pub(super) fn unreadable(fault: &crate::openai::Unreadable) -> Fault {
    Fault::new(FaultKind::Unreadable, fault.to_string())
}
