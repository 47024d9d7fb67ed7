//! JSON that was asked for: who is instructed to give it, and whether what came is it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::catalog::Model;
use crate::catalog::TargetId;
use crate::dispatch::journey::Travel;
use crate::dispatch::outcome::Failure;
use crate::dispatch::whole::Begun;
use crate::dispatch::whole::Left;
use crate::dispatch::whole::Spare;
use crate::dispatch::whole::Unanswered;
use crate::normalize::Mode;
use crate::normalize::Root;
use crate::normalize::json_only;
use crate::openai::ApiError;
use crate::openai::ChatRequest;
use crate::openai::JsonMode;
use crate::openai::RequestEdits;
use crate::openai::Spoken;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;
use crate::select::JsonWay;
use crate::structured::Schema;
use crate::structured::instruct;

/// The member that asks for JSON.
pub(super) const RESPONSE_FORMAT: &str = "response_format";

/// The warning for JSON that a token limit cut.
pub(super) const TRUNCATED: &str = "json-possibly-truncated";
/// The warning for an answer without the JSON that was asked for.
pub(super) const MISSING: &str = "json-missing";

/// Stack that a thread for blocking work surely has left, in bytes; tokio gives each 2 MiB.
const POOLED_STACK: usize = 1536 * 1024;

/// What the text of an answer has to be.
#[derive(Debug)]
pub(super) enum Wanted {
    /// Some JSON object; a list alone will do.
    Json,
    /// JSON that fits a schema. Boxed: it is large.
    Schema(Box<Schema>, Root),
}

/// The text of one choice, to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) text: String,
    /// Was it cut by its token limit?
    pub(super) cut: bool,
}

impl Draft {
    /// What there is to check in a choice, as its caller will see it: nothing where it refuses or
    /// calls tools instead.
    pub(super) fn of(choice: Spoken<'_>, mode: Mode) -> Option<Self> {
        let excused = choice.calls_or_refuses || choice.finish == Some("content_filter");
        let cut = choice.finish == Some("length");
        let complete = choice.finish == Some("stop");
        (!excused).then(|| Self { text: mode.apply(choice.text, complete).into_owned(), cut })
    }
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Came {
    Wanted,
    /// JSON that was cut by its token limit: more of it elsewhere would be cut as well.
    Cut,
    Other,
}

impl Wanted {
    /// What `request` wants of its answers; `None` when anything will do.
    ///
    /// # Errors
    /// A 400 that says what is wrong with the schema.
    pub(super) async fn of(request: &ChatRequest) -> Result<Option<Arc<Self>>, ApiError> {
        let wanted = match request.json_mode {
            JsonMode::Off => return Ok(None),
            JsonMode::Object => Self::Json,
            JsonMode::Schema => {
                let text = request.schema_json().unwrap_or("true").to_owned();
                let stack = Schema::stack_to_read(&text);
                let reading = apart(move || on_stack(stack, || Schema::read(&text)));
                let broken = || ApiError::new(500, "server_error", "The schema can't be read now.");
                Self::Schema(
                    Box::new(reading.await.flatten().ok_or_else(broken)??),
                    json_root(request),
                )
            }
        };
        Ok(Some(Arc::new(wanted)))
    }

    /// Is each of these texts what is wanted?
    pub(super) async fn check(self: &Arc<Self>, drafts: Vec<Draft>) -> Came {
        let wanted = Arc::clone(self);
        let judging = move || drafts.iter().map(|it| wanted.judge(it)).max();
        let came = match &**self {
            Self::Json => Some(judging()),
            Self::Schema(..) => apart(judging).await,
        };
        came.map_or(Came::Other, |it| it.unwrap_or(Came::Wanted))
    }

    /// What becomes of a call that gave something else: text without JSON may still be of use,
    /// JSON that is off its schema would break whoever reads it.
    pub(super) fn unanswered(&self, other: Spare) -> Unanswered {
        match self {
            Self::Json => {
                let fault = Fault::new(FaultKind::NoJson, "no JSON in the answer");
                Unanswered { fault, left: Left::Spare(other) }
            }
            Self::Schema(..) => {
                let message = "the answer did not fit the request's schema";
                let fault = Fault::new(FaultKind::OffSchema, message);
                Unanswered::call(other.into_attempt(), fault)
            }
        }
    }

    fn judge(&self, draft: &Draft) -> Came {
        let good = match self {
            Self::Json => json_only(&draft.text, Root::Object).is_some(),
            // A schema may want a string or a number, which stand in no prose.
            Self::Schema(schema, root) => {
                fits(schema, json_only(&draft.text, *root).unwrap_or(&draft.text))
            }
        };
        match (good, draft.cut) {
            (true, _) => Came::Wanted,
            (false, true) => Came::Cut,
            (false, false) => Came::Other,
        }
    }
}

/// What kind of JSON `request` asks for: an object, unless its schema may want something else.
pub(super) fn json_root(request: &ChatRequest) -> Root {
    let object = |schema: &str| {
        let type_of: Option<TypeOf<'_>> = serde_json::from_str(schema).ok();
        type_of.is_some_and(|it| it.kind.is_some_and(|it| it.get() == r#""object""#))
    };
    match request.json_mode {
        JsonMode::Schema if !request.schema_json().is_some_and(object) => Root::Any,
        _ => Root::Object,
    }
}

/// The type a schema wants.
#[derive(Deserialize)]
struct TypeOf<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
}

fn fits(schema: &Schema, json: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    let stack = schema.stack_for(&value);
    stack.and_then(|it| on_stack(it, || schema.fits(&value))).unwrap_or(false)
}

/// Runs `job` away from the threads that serve. `None` when it panicked, or the program stops.
async fn apart<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(job).await.ok()
}

/// Runs `job` with so many bytes of stack. `None` when there is no such thread to be had.
fn on_stack<T: Send>(bytes: usize, job: impl FnOnce() -> T + Send) -> Option<T> {
    if bytes <= POOLED_STACK {
        return Some(job());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, job);
        thread.ok()?.join().ok()
    })
}

impl Travel {
    /// Has this target's model given an answer that is not what was asked for?
    pub(super) fn gave_something_else(&self, target: TargetId) -> bool {
        let other = |it: &Fault| matches!(it.kind, FaultKind::OffSchema | FaultKind::NoJson);
        self.out.contains(&target) && self.faults.iter().any(|(_, it)| other(it))
    }

    /// Keeps an answer for when there is no better one; of several the last.
    pub(super) fn keep_spare(&mut self, spare: Spare, fault: Fault) {
        if let Some((older, fault)) = self.spare.replace((spare, fault)) {
            older.fail(&fault);
        }
    }

    /// The ending with the spare answer in place of a failure.
    pub(super) async fn with_spare(
        &mut self,
        ending: Result<Begun, Failure>,
    ) -> Result<Begun, Failure> {
        match (ending, self.spare.take()) {
            (Err(_), Some((spare, _))) => Ok(spare.give(self.attempts).await),
            (ending, Some((spare, fault))) => {
                spare.fail(&fault);
                ending
            }
            (ending, None) => ending,
        }
    }

    /// How `model` is brought to answer this request. It may turn out only when it is asked that
    /// it doesn't know the mode; the member is then among those left out.
    pub(super) fn json_way(&self, model: &Model, edits: &RequestEdits) -> JsonWay {
        if self.requires.strict {
            return JsonWay::Native;
        }
        if self.wants_json() && edits.leave_out.iter().any(|it| it == RESPONSE_FORMAT) {
            return JsonWay::Instructed;
        }
        JsonWay::of(model, self.request.json_mode, self.request.has_tools)
    }

    /// Can this target's model do without the member `field`, by an instruction in its place if
    /// need be?
    pub(super) fn can_spare(&self, field: &str, target: TargetId) -> bool {
        let found = self.pool.selector.catalog.target(target);
        field != RESPONSE_FORMAT || found.is_some_and(|it| it.model.allows("instructed_json"))
    }

    /// The edits for a model that is brought to answer in this way.
    pub(super) fn edits_for(
        &self,
        way: JsonWay,
        model: &Model,
        edits: &RequestEdits,
    ) -> RequestEdits {
        let mut edits = edits.clone();
        if self.requires.strict {
            return edits;
        }
        self.bound_answer(model, &mut edits);
        match way {
            JsonWay::Native => return edits,
            JsonWay::AnyObject => {
                edits.set.push((RESPONSE_FORMAT, r#"{"type":"json_object"}"#.into()));
            }
            JsonWay::Instructed => edits.leave_out.push(RESPONSE_FORMAT.to_owned()),
        }
        let trimmed = edits.set.iter().position(|(key, _)| *key == "messages");
        let trimmed = trimmed.map(|at| edits.set.swap_remove(at).1);
        edits.set.push(("messages", instruct(&self.request, trimmed.as_deref()).into()));
        edits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str, cut: bool) -> Draft {
        Draft { text: text.to_owned(), cut }
    }

    async fn check(wanted: Wanted, drafts: &[Draft], expected: Came) {
        assert_eq!(Arc::new(wanted).check(drafts.to_vec()).await, expected, "{drafts:?}");
    }

    #[tokio::test]
    async fn any_json_is_found_in_prose() {
        for (text, cut, expected) in [
            ("Here:\n```json\n{\"a\":1}\n```", false, Came::Wanted),
            ("[1]", false, Came::Wanted),
            ("No.", false, Came::Other),
            ("", false, Came::Other),
            ("42", false, Came::Other),
            ("Here: {\"a\": [1,", true, Came::Cut),
            ("{\"a\":1} and", true, Came::Wanted),
            ("As [1] says: {\"a\":1}", false, Came::Wanted),
            ("As [1] says, no.", false, Came::Other),
        ] {
            check(Wanted::Json, &[draft(text, cut)], expected).await;
        }
    }

    #[tokio::test]
    async fn every_choice_has_to_fit() {
        let wanted = || {
            let schema = r#"{"type":"object","required":["a"]}"#;
            Wanted::Schema(Box::new(Schema::read(schema).unwrap()), Root::Object)
        };
        let (good, bad, cut) = (draft("{\"a\":1}", false), draft("{}", false), draft("{", true));
        check(wanted(), &[], Came::Wanted).await;
        check(wanted(), &[good.clone(), good.clone()], Came::Wanted).await;
        check(wanted(), &[good.clone(), cut.clone()], Came::Cut).await;
        check(wanted(), &[bad, cut], Came::Other).await;
        check(wanted(), &[draft("no JSON", false)], Came::Other).await;
        let scalar =
            Wanted::Schema(Box::new(Schema::read(r#"{"type":"string"}"#).unwrap()), Root::Any);
        check(scalar, &[draft(" \"x\"\n", false)], Came::Wanted).await;
    }

    #[tokio::test]
    async fn a_deep_check_gets_the_stack_it_needs() {
        let schema = r##"{"allOf":[{"properties":{"a":{"$ref":"#"}}}],"anyOf":[{},{},{},{},{}]}"##;
        let deep = "{\"a\":".repeat(120) + "1" + &"}".repeat(120);
        let wanted = Wanted::Schema(Box::new(Schema::read(schema).unwrap()), Root::Object);
        check(wanted, &[draft(&deep, false)], Came::Wanted).await;
    }
}
