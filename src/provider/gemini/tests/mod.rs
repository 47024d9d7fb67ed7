//! The dialect by its samples and by tables. Over sockets it is tested in `tests/it`, against the
//! simulated twin.

mod answers;
mod requests;
mod schemas;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::openai::ChatRequest;
use crate::openai::RequestEdits;
use crate::provider::Call;
use crate::provider::SentMark;

fn call(model: &str, body: &Value) -> Call {
    let request = ChatRequest::parse(&Bytes::from(body.to_string())).expect("a proper request");
    Call {
        model: model.into(),
        secret: Some("k1".to_owned().into()),
        request: Arc::new(request),
        edits: RequestEdits::default(),
        sent: SentMark::default(),
    }
}
