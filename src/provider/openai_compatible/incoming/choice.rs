//! One choice of a stream, delta by delta.

use fastrand::Rng;

use crate::openai::Chunk;
use crate::openai::ChunkChoice;
use crate::openai::JsonObject;
use crate::openai::json_list_of;
use crate::openai::json_string;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::incoming::Asked;
use crate::provider::openai_compatible::incoming::calls::Calls;
use crate::provider::openai_compatible::incoming::finish::Finish;
use crate::provider::openai_compatible::incoming::message::Halves;
use crate::provider::openai_compatible::incoming::message::gather;
use crate::provider::openai_compatible::incoming::think_block::ThinkBlock;
use crate::provider::openai_compatible::incoming::written::Written;
use crate::provider::openai_compatible::incoming::written::WrittenCall;
use crate::provider::openai_compatible::incoming::written::as_json;

/// Longest reasoning kept because it may turn out to be the answer, in bytes.
const SPARE_BYTES: usize = 256 * 1024;
/// What a blocked answer says in the provider's stead.
pub(super) const REFUSAL: &str = "The provider's content filter blocked this answer.";

/// What must be remembered of a choice between two chunks.
#[derive(Debug, Default)]
pub(super) struct ChoiceState {
    pub(super) finished: bool,
    block: ThinkBlock,
    halves: Halves,
    written: Written,
    calls: Calls,
    /// Has any text gone out, or a refusal?
    answered: bool,
    /// The reasoning so far, where a provider is known to put whole answers there.
    spare: Option<String>,
}

impl ChoiceState {
    /// The beginning of a choice.
    pub(super) fn new(asked: &Asked) -> Self {
        let spare = asked.thinks_aloud().then(String::new);
        let mut block = ThinkBlock::default();
        if asked.verbatim {
            block.skip();
        }
        Self { block, written: Written::new(asked.tools.clone()), spare, ..Self::default() }
    }

    /// Has it said more than thoughts?
    pub(super) fn has_answered(&self) -> bool {
        self.answered || self.calls.have_opened()
    }

    /// Takes note of a delta that is in OpenAI's form already. `false`, with nothing noted, when it
    /// isn't.
    pub(super) fn note(&mut self, chunk: &Chunk, choice: &ChunkChoice) -> bool {
        let passes = self.block.pass(&choice.text) && self.written.pass(&choice.text);
        let calls = chunk.tool_calls(choice);
        let gives_up = calls.is_some() && self.written.hold();
        if choice.is_odd || !self.halves.is_empty() || !passes || gives_up {
            return false;
        }
        let before = (calls.is_some() && choice.finish.is_some()).then(|| self.calls.clone());
        if calls.is_some_and(|it| !self.calls.note(it)) {
            return false;
        }
        let answers = !choice.text.is_empty() || (choice.adds_else && !choice.thinks);
        if choice.finish.as_deref().is_some_and(|it| !self.ends_well(it, answers)) {
            if let Some(before) = before {
                self.calls = before;
            }
            return false;
        }
        self.answered |= answers;
        self.block.passed(&choice.text);
        self.written.passed(&choice.text);
        if choice.thinks {
            self.thought(&choice.uncounted);
        }
        true
    }

    /// Has a choice that ends for this reason nothing left to tell, and is it OpenAI's word?
    fn ends_well(&self, reason: &str, answers: bool) -> bool {
        let answers = answers || self.answered;
        let fits = match reason {
            "stop" => !self.calls.have_opened() && (answers || self.spare.is_none()),
            "content_filter" => answers,
            _ => Finish::read(reason) == Finish::Known,
        };
        fits && self.calls.are_complete() && !self.block.hold() && !self.written.hold()
    }

    fn thought(&mut self, reasoning: &str) {
        self.block.skip();
        if let Some(spare) = &mut self.spare {
            spare.push_str(reasoning);
        }
        self.spare.take_if(|it| it.len() > SPARE_BYTES);
    }

    /// Puts a choice of a chunk into OpenAI's form. `rng` makes ids where there are none.
    ///
    /// # Errors
    /// When it says that the provider failed, or makes more calls than any model.
    pub(super) fn mend(&mut self, choice: &mut JsonObject, rng: &mut Rng) -> Result<(), Fault> {
        if choice.said("message").is_some_and(|it| it.starts_with('{'))
            && choice.said("delta").is_none()
        {
            let _empty = choice.remove("delta");
            choice.rename("message", "delta");
        }
        if choice.get("delta").is_none_or(|it| it == "null") {
            choice.set("delta", "{}".to_owned());
        }
        let delta = choice.said("delta").unwrap_or("{}");
        let mut delta = JsonObject::parse(delta).unwrap_or_default();
        let reason = choice.text("finish_reason");
        let mut finish = reason.as_deref().map_or(Finish::NotYet, Finish::read);
        if let Finish::Failed(fault) = finish {
            return Err(fault);
        }
        let ends = finish != Finish::NotYet;
        let stops = reason.as_deref() == Some("stop") || finish == Finish::Means("stop");
        gather(&mut delta, &mut self.halves);
        let written = self.part(&mut delta, ends);
        self.call(&mut delta, &written, ends, rng)?;
        if stops && self.calls.have_opened() {
            finish = Finish::Means("tool_calls");
        }
        self.close(&mut delta, choice, &finish);
        if delta.is_changed() {
            choice.set("delta", delta.to_string());
        }
        Ok(())
    }

    /// Tells thoughts from the answer, and the answer from the calls written at its end, which come
    /// back once it is there.
    fn part(&mut self, delta: &mut JsonObject, ends: bool) -> Vec<WrittenCall> {
        let own = delta.text("reasoning_content").unwrap_or_default();
        if !own.is_empty() {
            self.thought(&own);
        }
        let text = delta.text("content").unwrap_or_default();
        let mut parted = self.block.push(&text);
        if ends {
            let rest = self.block.finish();
            parted.reasoning.push_str(&rest.reasoning);
            parted.text.push_str(&rest.text);
            let lost = |half: &mut Option<u16>| half.take().map(|_| char::REPLACEMENT_CHARACTER);
            parted.reasoning.extend(lost(&mut self.halves.reasoning));
            parted.text.extend(lost(&mut self.halves.content));
        }
        let mut answer = self.written.push(&parted.text);
        if delta.said("tool_calls").is_some() {
            answer.push_str(&self.written.give_up());
        }
        let written = if ends { self.written.finish() } else { Ok(Vec::new()) };
        let written = written.unwrap_or_else(|text| {
            answer.push_str(&text);
            Vec::new()
        });
        if answer != text {
            delta.set_text("content", &answer);
        }
        if !parted.reasoning.is_empty() {
            delta.set_text("reasoning_content", &(own + &parted.reasoning));
        }
        self.answered |= !answer.is_empty() || delta.said("refusal").is_some();
        written
    }

    fn call(
        &mut self,
        delta: &mut JsonObject,
        written: &[WrittenCall],
        ends: bool,
        rng: &mut Rng,
    ) -> Result<(), Fault> {
        let json = delta.said("tool_calls").map(str::to_owned);
        let mut calls = match &json {
            Some(json) => self.calls.mend(json, rng)?,
            None => Vec::new(),
        };
        if !written.is_empty() {
            calls.extend(self.calls.mend(&as_json(written), rng)?);
        }
        if ends {
            calls.extend(self.calls.finish());
        }
        if !calls.is_empty() {
            delta.set("tool_calls", json_list_of(&calls));
        } else if json.is_some() {
            let _nothing = delta.remove("tool_calls");
        }
        Ok(())
    }

    /// Writes why a choice ends, and what has to be said by then.
    fn close(&mut self, delta: &mut JsonObject, choice: &mut JsonObject, finish: &Finish) {
        let meaning = match finish {
            Finish::Means(meaning) => {
                tell_reason(choice, meaning);
                meaning
            }
            Finish::NotYet | Finish::Failed(_) => {
                if choice.get("finish_reason").is_some_and(|it| it != "null") {
                    choice.set("finish_reason", "null".to_owned());
                }
                return;
            }
            Finish::Known => choice.get("finish_reason").unwrap_or_default().trim_matches('"'),
        };
        if self.has_answered() {
            return;
        }
        match meaning {
            "content_filter" => delta.set_text("refusal", REFUSAL),
            "stop" => {
                if let Some(spare) = self.spare.take().filter(|it| !it.is_empty()) {
                    delta.set_text("content", &spare);
                }
            }
            _ => {}
        }
    }
}

/// Writes the reason in OpenAI's word; the provider's own stays beside it.
pub(super) fn tell_reason(choice: &mut JsonObject, meaning: &str) {
    let own = choice.get("finish_reason").unwrap_or("null").to_owned();
    if choice.said("native_finish_reason").is_none() && own != "null" {
        choice.set("native_finish_reason", own);
    }
    choice.set("finish_reason", json_string(meaning));
}
