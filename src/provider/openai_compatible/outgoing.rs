//! What goes out: the caller's body in the provider's own words.

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::ChatRequest;
use crate::openai::JsonMode;
use crate::openai::RequestEdits;
use crate::openai::json_string;
use crate::provider::Call;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::plain_content::plain_content;
use crate::provider::quirks::Effort;
use crate::provider::quirks::Schema;

impl OpenAiCompatible {
    /// The HTTP request for `call`, and the members left out of it.
    pub(super) fn outgoing(
        &self,
        call: &Call,
    ) -> Result<(Request<Bytes>, Vec<&'static str>), Fault> {
        let (body, dropped) = self.body(call);
        let mut request = post(&self.chat, body, if call.request.stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, AUTHORIZATION, "Bearer ", secret)?;
        }
        Ok((request, dropped))
    }

    pub(super) fn body(&self, call: &Call) -> (Bytes, Vec<&'static str>) {
        let asked = &call.request;
        let has = |key| asked.member(key).is_some();
        // What this provider has refused before, under either name.
        let refused = |key: &str| call.edits.leave_out.iter().any(|it| it == key);
        let mut edits = call.edits.clone();
        edits.set.push(("model", json_string(&call.model)));
        let dropped: Vec<_> = self.quirks.drops.iter().copied().filter(|it| has(it)).collect();
        let omitted = self.quirks.omits.iter().copied().filter(|it| has(it));
        edits.leave_out.extend(dropped.iter().copied().chain(omitted).map(str::to_owned));
        for (ours, theirs) in self.quirks.renames {
            let Some(value) = asked.member(ours) else { continue };
            edits.leave_out.push((*ours).to_owned());
            if !has(theirs) && !refused(ours) {
                edits.set.push((theirs, value.to_owned()));
            }
        }
        self.translate(asked, &mut edits);
        // Usage is always asked for: quota is settled with it, wanted by the caller or not.
        if asked.stream && !self.quirks.no_stream_options {
            edits.set.push(("stream_options", asked.stream_options_with_usage()));
        }
        edits.set.retain(|(key, _)| !refused(key));
        (asked.render(&edits), dropped)
    }

    /// Puts members into the provider's own words.
    fn translate(&self, asked: &ChatRequest, edits: &mut RequestEdits) {
        for (member, ours, theirs) in self.quirks.values {
            if asked.member(member) == Some(ours) {
                edits.set.push((member, (*theirs).to_owned()));
            }
        }
        let sent = |key: &str| !edits.leave_out.iter().any(|it| it == key);
        let effort = asked.member("reasoning_effort").filter(|_| sent("reasoning_effort"));
        let effort = effort.and_then(|it| match self.quirks.effort {
            Effort::Plain => None,
            Effort::Nested => Some(("reasoning", format!(r#"{{"effort":{it}}}"#))),
            Effort::OnOrOff if it == "\"none\"" => {
                Some(("thinking", r#"{"type":"disabled"}"#.to_owned()))
            }
            Effort::OnOrOff => Some(("thinking", r#"{"type":"enabled"}"#.to_owned())),
        });
        if let Some((member, value)) = effort {
            edits.leave_out.push("reasoning_effort".to_owned());
            // Who writes the provider's own member knows best.
            if asked.member(member).is_none() {
                edits.set.push((member, value));
            }
        }
        if asked.json_mode == JsonMode::Off {
            // What is left is `text`, the default, which not everyone knows by this name.
            edits.leave_out.push("response_format".to_owned());
        }
        let edited = edits.set.iter().find(|(key, _)| *key == "response_format");
        let format = match edited {
            Some((_, format)) => Some(format.as_str()),
            None if edits.leave_out.iter().any(|it| it == "response_format") => None,
            None => asked.member("response_format"),
        };
        let schema = format.filter(|_| self.quirks.schema == Schema::GuidedJson);
        if let Some(schema) = schema.and_then(schema_of) {
            edits.leave_out.push("response_format".to_owned());
            edits.set.push(("guided_json", schema.get().to_owned()));
        }
        if self.quirks.plain_content {
            let edited = edits.set.iter().position(|(key, _)| *key == "messages");
            let messages = match edited.and_then(|at| edits.set.get(at)) {
                Some((_, messages)) => Some(messages.as_str()),
                None => asked.member("messages"),
            };
            if let Some(plain) = messages.and_then(plain_content) {
                edits.set.retain(|(key, _)| *key != "messages");
                edits.set.push(("messages", plain));
            }
        }
        if let Some(most) = self.quirks.max_tokens.filter(|_| asked.max_tokens.is_none()) {
            edits.set.push(("max_tokens", most.to_string()));
        }
    }
}

/// The schema in a `response_format` that holds one.
fn schema_of(format: &str) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow)]
        json_schema: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        schema: &'a RawValue,
    }
    serde_json::from_str::<Format<'_>>(format).ok().map(|it| it.json_schema.schema)
}
