//! What every topic uses: a gateway in front of simulated providers, and a client.

mod client;
mod gateway;
mod log;
mod program;
mod raw;
mod upstream;

pub(crate) use client::{Answer, StreamAnswer};
pub(crate) use gateway::{Gateway, SOON, Setup, simulate};
pub(crate) use log::Log;
pub(crate) use program::{Program, call, call_with, run};
pub(crate) use raw::stranger;
pub(crate) use upstream::Upstream;

use serde_json::{Value, json};

/// A chat body for `model`: one short question.
pub(crate) fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
}

/// `body` with the members of `more` added or replaced.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

/// The same as a stream.
pub(crate) fn streamed(body: Value) -> Value {
    with(body, json!({"stream": true}))
}
