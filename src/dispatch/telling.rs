//! What a stream's caller is told: one id, one role, one end and one count of tokens, whatever the
//! provider sends.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::dispatch::beside;
use crate::dispatch::beside::Beside;
use crate::dispatch::keeping::Kept;
use crate::dispatch::keeping::Share;
use crate::dispatch::outcome::Event;
use crate::dispatch::relay::Terms;
use crate::dispatch::settlement::Delivered;
use crate::dispatch::structured::Draft;
use crate::normalize::Mode;
use crate::normalize::Normalizer;
use crate::normalize::seam::Joint;
use crate::normalize::seam::Seam;
use crate::openai::ChoiceEdit;
use crate::openai::Chunk;
use crate::openai::ChunkChoice;
use crate::openai::ChunkWriter;
use crate::openai::Heads;
use crate::openai::TokenUsage;
use crate::openai::json_string;

/// Choices followed in one stream; `n` beyond it is passed on as it comes.
const CHOICES: usize = 128;

/// The caller's side of a stream.
pub(super) struct Telling {
    id: String,
    model: String,
    created: String,
    mode: Mode,
    include_usage: bool,
    choices: Vec<ChoiceState>,
    writer: ChunkWriter,
    ready: VecDeque<Event>,
    /// Bytes taken in so far: what is held back, where the answer is.
    pub(super) held: usize,
    /// Bytes of text that went into the normalisers and came out.
    normalized: (usize, usize),
    /// Is there anything in what is ready, or has gone out, that a caller could use?
    pub(super) said: bool,
    /// Has a choice ended for a reason that asking elsewhere would not change?
    pub(super) ended_on_purpose: bool,
    /// The provider's own figures, where they came with a choice.
    usage_json: Option<String>,
    /// The provider's usage chunk, kept back until the end.
    usage_chunk: Option<Chunk>,
    /// The text that has gone out, while another may have to go on with it.
    sent: Option<Kept>,
    /// Room for what is held back.
    pub(super) room_held: Share,
    /// The seam, while white space at it may come twice.
    seam: Option<Box<Seam>>,
    /// Once it has gone on with another one's chunks: what those before have used.
    joined: Option<TokenUsage>,
    pub(super) room: Room,
}

/// What the caller's bound leaves where another one goes on: that one was given more, for what it
/// has to say again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Unbounded,
    /// So many bytes of text may go out yet.
    Left(usize),
    /// The answer has ended because there was no more.
    Full,
}

/// What has gone out of one choice.
struct ChoiceState {
    index: u64,
    normalizer: Normalizer,
    role_sent: bool,
    finished: bool,
    text_came: bool,
    /// What points into its text.
    beside: Beside,
    /// Its whole text, where it is held.
    draft: Option<Draft>,
    /// It refuses or calls tools: its text is not the answer.
    excused: bool,
}

/// An id in OpenAI's form.
pub(super) fn answer_id() -> String {
    let random = fastrand::u128(..);
    let digits = (8..32).map(|it| {
        let digit = u32::try_from(random >> (4 * it) & 0xf).unwrap_or_default();
        char::from_digit(digit, 16).unwrap_or('0')
    });
    let mut id = String::with_capacity(33);
    id.push_str("chatcmpl-");
    id.extend(digits);
    id
}

impl Telling {
    pub(super) fn new(terms: &mut Terms) -> Self {
        Self {
            id: json_string(&answer_id()),
            model: json_string(&terms.model),
            created: terms.created.to_string(),
            mode: terms.mode,
            include_usage: terms.include_usage,
            choices: Vec::new(),
            writer: ChunkWriter::default(),
            ready: VecDeque::new(),
            held: 0,
            normalized: (0, 0),
            said: false,
            ended_on_purpose: false,
            usage_json: None,
            usage_chunk: None,
            sent: terms.sent.take(),
            room_held: terms.texts.share(),
            seam: None,
            joined: None,
            room: Room::Unbounded,
        }
    }

    /// The next event that may go out.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Did the normalisers take anything away or add to it?
    pub(super) fn is_changed(&self) -> bool {
        self.normalized.0 != self.normalized.1
    }

    /// What has not gone out yet never will.
    pub(super) fn take_back(&mut self) {
        self.ready.clear();
    }

    /// Has anything come that a caller could use, whether it has gone out or not?
    pub(super) fn has_begun(&self) -> bool {
        self.said || self.choices.iter().any(|it| it.text_came)
    }

    /// What has to be checked of an answer that was held.
    pub(super) fn drafts(&self) -> Vec<Draft> {
        let mine = self.choices.iter().filter(|it| !it.excused);
        mine.filter_map(|it| it.draft.clone()).collect()
    }

    /// Takes in one chunk and makes ready what may go out. What costs tokens is added to
    /// `delivered`.
    pub(super) fn take(&mut self, chunk: Chunk, delivered: &mut Delivered) {
        if chunk.is_usage_only() {
            self.usage_chunk = Some(chunk);
            return;
        }
        if let (Room::Left(room), [only]) = (self.room, chunk.choices.as_slice())
            && only.text.len() > room
        {
            let text = after_seam(&mut self.seam, &only.text);
            delivered.push(&text);
            self.say(&text, only.finish.as_deref());
            return;
        }
        let mut edits: SmallVec<[ChoiceEdit; 1]> = SmallVec::new();
        let mut goes_out = chunk.choices.is_empty();
        for choice in &chunk.choices {
            let had_text = !choice.text.is_empty();
            let edit = self.pass(&chunk, choice, delivered);
            let says_text = edit.text.as_ref().map_or(had_text, |it| !it.is_empty());
            goes_out |= says_text || edit.role_due || !had_text || choice.adds_else;
            self.said |= says_text || choice.adds_else;
            self.ended_on_purpose |=
                matches!(choice.finish.as_deref(), Some("length" | "content_filter"));
            edits.push(edit);
        }
        if goes_out {
            let heads = Heads { id: &self.id, model: &self.model, created: &self.created };
            // The figures are told once, at the end: a client that adds up what it sees must not
            // count them twice. To one who did not ask they come as the provider tells them, but
            // of the whole answer.
            let told_later = self.include_usage && chunk.usage_json().is_some();
            let usage = if told_later {
                self.usage_json = chunk.usage_json().map(str::to_owned);
                Some("null".to_owned())
            } else {
                let sum = self.joined.zip(chunk.usage);
                sum.map(|(before, its)| its.plus(before).to_json())
            };
            let event = self.writer.write(&chunk, &heads, &edits, usage.as_deref());
            self.held += event.len();
            self.ready.push_back(Event::Chunk(event));
        }
    }

    /// What is to be sent in place of a choice's own.
    fn pass(
        &mut self,
        chunk: &Chunk,
        choice: &ChunkChoice,
        delivered: &mut Delivered,
    ) -> ChoiceEdit {
        let mode = self.mode;
        let known = self.choices.iter().position(|it| it.index == choice.index);
        if known.is_none() && self.choices.len() < CHOICES {
            self.choices.push(ChoiceState {
                index: choice.index,
                normalizer: Normalizer::new(mode),
                role_sent: false,
                finished: false,
                text_came: false,
                beside: Beside::default(),
                draft: None,
                excused: false,
            });
        }
        let at = known.unwrap_or(self.choices.len().saturating_sub(1));
        let Some(state) = self.choices.get_mut(at).filter(|it| it.index == choice.index) else {
            return ChoiceEdit::default();
        };
        let due = !std::mem::replace(&mut state.role_sent, true);
        let holds = matches!(self.mode, Mode::JsonAtOnce(_));
        state.text_came |= !choice.text.is_empty();
        state.excused |= choice.calls_or_refuses;
        let came = after_seam(&mut self.seam, &choice.text);
        self.normalized.0 += came.len();
        let out = state.normalizer.push(&came);
        let text = match (&choice.finish, out) {
            (Some(finish), out) if !state.finished => {
                state.finished = true;
                let rest = state.normalizer.finish(finish == "stop");
                state.excused |= finish == "content_filter";
                if holds {
                    state.draft = Some(Draft { text: rest.clone(), cut: finish == "length" });
                }
                if rest.is_empty() { out } else { Cow::Owned(out.into_owned() + &rest) }
            }
            (_, out) => out,
        };
        self.held += choice.text.len();
        self.normalized.1 += text.len();
        // What is cut off around the JSON has cost tokens too.
        delivered.push(if holds { &choice.text } else { &text });
        delivered.push(&choice.uncounted);
        if let Room::Left(room) = &mut self.room {
            *room = room.saturating_sub(came.len());
        }
        keep(&mut self.sent, &text);
        let changed = *text != *choice.text;
        let logprobs = chunk.logprobs(choice);
        let logprobs = state.beside.take((&came, changed), logprobs, &state.normalizer);
        let annotations = chunk.annotations(choice);
        let annotations = annotations
            .and_then(|it| beside::annotations(it, state.normalizer.kept(), self.joined.is_some()));
        let text = changed.then(|| text.into_owned());
        ChoiceEdit { text, logprobs, annotations, role_due: due }
    }

    /// What is held back of choices that did not say why they ended goes out.
    pub(super) fn flush(&mut self, delivered: &mut Delivered) {
        let holds = matches!(self.mode, Mode::JsonAtOnce(_));
        for state in &mut self.choices {
            if std::mem::replace(&mut state.finished, true) {
                continue;
            }
            // A provider that marks the end but not the reason has simply stopped.
            let rest = state.normalizer.finish(true);
            self.normalized.1 += rest.len();
            if holds {
                state.draft = Some(Draft { text: rest.clone(), cut: false });
            } else {
                delivered.push(&rest);
            }
            let delta = if rest.is_empty() {
                "{}".to_owned()
            } else {
                format!(r#"{{"content":{}}}"#, json_string(&rest))
            };
            let index = state.index;
            let logprobs = state.beside.rest(&state.normalizer);
            let logprobs = logprobs.map_or_else(String::new, |it| format!(r#""logprobs":{it},"#));
            let choices = format!(
                r#"[{{"index":{index},"delta":{delta},{logprobs}"finish_reason":"stop"}}]"#
            );
            let (id, model, created) = (&self.id, &self.model, &self.created);
            self.ready.push_back(Event::Chunk(made(id, model, created, &choices, "")));
        }
    }

    /// Has every choice said why it ends?
    pub(super) fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|it| it.finished)
    }

    /// What has gone out, where another may go on with it: it is one text, and neither JSON nor a
    /// tool call.
    pub(super) fn sent(&self) -> Option<&str> {
        match self.choices.as_slice() {
            [only] if !only.excused => self.sent.as_ref().map(Kept::text),
            _ => None,
        }
    }

    /// From here on the chunks are another one's. `seam`: where they set in; `None` when no text but
    /// white space has gone out. `spent`: what those before have used.
    pub(super) fn join(&mut self, seam: Option<Box<Seam>>, spent: TokenUsage) {
        self.joined = Some(spent);
        self.usage_json = None;
        self.usage_chunk = None;
        if let (None, Some(choice)) = (&seam, self.choices.first_mut()) {
            choice.normalizer = Normalizer::new(self.mode);
        }
        let seam = seam.or_else(|| self.sent.as_ref().map(|it| Box::new(Seam::after(it.text()))));
        self.seam = seam.filter(|it| !it.is_passed());
    }

    /// The part of `text` that there is room for, and why the answer ends if it ends with it.
    fn fitting<'a>(
        &mut self,
        text: &'a str,
        finish: Option<&'a str>,
    ) -> (&'a str, Option<&'a str>) {
        let Room::Left(room) = self.room else { return (text, finish) };
        let fits =
            (0..=room.min(text.len())).rev().find_map(|it| text.get(..it)).unwrap_or_default();
        if fits.len() == text.len() {
            self.room = Room::Left(room - fits.len());
            return (text, finish);
        }
        self.room = Room::Full;
        (fits, Some("length"))
    }

    /// The first text after the seam, or the last there is room for, and why the answer ends if it
    /// ends with it.
    pub(super) fn say(&mut self, rest: &str, finish: Option<&str>) {
        let (rest, finish) = self.fitting(rest, finish);
        let Some(choice) = self.choices.first_mut() else { return };
        let mut text = choice.normalizer.push(rest).into_owned();
        if let Some(finish) = finish {
            choice.finished = true;
            text.push_str(&choice.normalizer.finish(finish == "stop"));
        }
        self.normalized.0 += rest.len();
        self.normalized.1 += text.len();
        keep(&mut self.sent, &text);
        if text.is_empty() && finish.is_none() {
            return;
        }
        let finish = finish.map_or_else(|| "null".to_owned(), json_string);
        let choices = format!(
            r#"[{{"index":{},"delta":{{"content":{}}},"finish_reason":{finish}}}]"#,
            choice.index,
            json_string(&text)
        );
        let event = made(&self.id, &self.model, &self.created, &choices, "");
        self.ready.push_back(Event::Chunk(event));
    }

    /// A word to people who read the stream.
    pub(super) fn comment(&mut self, text: String) {
        self.ready.push_back(Event::Comment(text));
    }

    /// The usage chunk goes out, if the caller asked for one.
    pub(super) fn tell_usage(&mut self, usage: TokenUsage) {
        if self.include_usage {
            let event = self.usage_event(usage);
            self.ready.push_back(Event::Chunk(event));
        }
    }

    fn usage_event(&self, usage: TokenUsage) -> Bytes {
        let heads = Heads { id: &self.id, model: &self.model, created: &self.created };
        match &self.usage_chunk {
            // The provider's own, with every detail it has.
            Some(chunk) if chunk.usage.is_some() && self.joined.is_none() => {
                chunk.render(&heads, &[], None)
            }
            _ => {
                let own = self.usage_json.clone().filter(|_| self.joined.is_none());
                let own = own.unwrap_or_else(|| usage.to_json());
                let usage = format!(r#","usage":{own}"#);
                made(&self.id, &self.model, &self.created, "[]", &usage)
            }
        }
    }
}

/// Adds to what was sent, unless it grows beyond what is gone on with.
fn keep(sent: &mut Option<Kept>, text: &str) {
    if sent.as_mut().is_some_and(|it| !it.push(text)) {
        *sent = None;
    }
}

/// The text without white space that has gone out before a cut.
fn after_seam<'a>(seam: &mut Option<Box<Seam>>, text: &'a str) -> Cow<'a, str> {
    let Some(owed) = seam else { return Cow::Borrowed(text) };
    let Joint::Joined(rest) = owed.push(text) else { return Cow::Borrowed(text) };
    if owed.is_passed() {
        *seam = None;
    }
    Cow::Owned(rest)
}

/// A chunk of our own making.
fn made(id: &str, model: &str, created: &str, choices: &str, rest: &str) -> Bytes {
    format!(
        r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model},"choices":{choices}{rest}}}"#
    )
    .into()
}
