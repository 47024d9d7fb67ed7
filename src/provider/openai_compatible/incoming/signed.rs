//! Thought signatures in an answer: kept for clients that lose them, and marked with the model that
//! alone is to see them again.

use bytes::Bytes;

use crate::clock::Now;
use crate::openai::JsonObject;
use crate::openai::json_list;
use crate::openai::json_list_of;
use crate::provider::thoughts::Shelf;

/// Does an answer, or an event of one, hold a signature?
pub(super) fn is_signed(data: &Bytes) -> bool {
    memchr::memmem::find(data, b"\"thought_signature\"").is_some()
}

/// Keeps the signatures of the calls in a choice's `message` or `delta`, which have their ids by now,
/// and marks them and its own.
pub(super) fn keep(choice: &mut JsonObject, member: &str, shelf: &Shelf, now: Now) {
    let Some(mut said) = choice.said(member).and_then(|it| JsonObject::parse(it).ok()) else {
        return;
    };
    mark(&mut said, shelf);
    keep_calls(&mut said, shelf, now);
    if said.is_changed() {
        choice.set(member, said.to_string());
    }
}

fn keep_calls(message: &mut JsonObject, shelf: &Shelf, now: Now) {
    let Some(list) = message.said("tool_calls").and_then(json_list) else { return };
    let calls = list.into_iter().map(|call| {
        let Ok(mut call) = JsonObject::parse(call) else { return call.to_owned() };
        if let (Some(signature), Some(id)) = (mark(&mut call, shelf), call.text("id")) {
            shelf.keep(&id, &signature, now);
        }
        call.to_string()
    });
    let calls: Vec<_> = calls.collect();
    message.set("tool_calls", json_list_of(&calls));
}

/// Puts the model beside the signature in an object's `extra_content`, and gives the signature.
fn mark(object: &mut JsonObject, shelf: &Shelf) -> Option<String> {
    let mut extra = JsonObject::parse(object.said("extra_content")?).ok()?;
    let mut google = JsonObject::parse(extra.get("google")?).ok()?;
    let signature = google.text("thought_signature").filter(|it| !it.is_empty())?;
    google.set_text("model", shelf.model());
    extra.set("google", google.to_string());
    object.set("extra_content", extra.to_string());
    Some(signature)
}
