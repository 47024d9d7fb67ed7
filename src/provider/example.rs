//! What the tests of the dialects share.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::openai::ChatRequest;
use crate::openai::Chunk;
use crate::openai::Heads;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::SentMark;
use crate::provider::thoughts::Shelf;
use crate::provider::thoughts::Thoughts;

/// A call of `model` with the members of `body`, which need not have messages.
pub(super) fn call(model: &str, body: &Value) -> Call {
    let mut body = body.clone();
    let hi = json!([{"role": "user", "content": "hi"}]);
    body.as_object_mut().expect("an object").entry("messages").or_insert(hi);
    let request = ChatRequest::parse(&Bytes::from(body.to_string())).expect("a proper request");
    Call {
        model: model.into(),
        secret: Some("k1".to_owned().into()),
        request: Arc::new(request),
        edits: RequestEdits::default(),
        verbatim: false,
        sent: SentMark::default(),
    }
}

/// A chunk as it goes out, under the id `i` and the model `m`.
pub(super) fn shown(chunk: &Chunk) -> Value {
    let heads = Heads { id: "\"i\"", model: "\"m\"", created: "7" };
    serde_json::from_slice(&chunk.render(&heads, &[], None)).expect("JSON")
}

/// An empty shelf for that model.
pub(super) fn shelf(model: &str) -> Shelf {
    Thoughts::new().shelf(None, model)
}
