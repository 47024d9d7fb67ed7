//! What goes out: the caller's body in the provider's own words.

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;

use crate::openai::json_string;
use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::openai_compatible::members::Members;

impl OpenAiCompatible {
    /// The HTTP request for `call`, and the members left out of it.
    pub(super) fn outgoing(&self, call: &Call) -> Result<(Request<Bytes>, Unmet), Fault> {
        let (body, unmet) = self.body(call);
        let mut request = post(&self.chat, body, if call.request.stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, AUTHORIZATION, "Bearer ", secret)?;
        }
        Ok((request, unmet))
    }

    pub(super) fn body(&self, call: &Call) -> (Bytes, Unmet) {
        let policy = self.quirks.policy(&call.model);
        let mut members = Members::of(call, policy);
        members.set("model", json_string(&call.model));
        members.drop_refused();
        members.rename();
        members.fit_tools();
        members.fit_values();
        members.bound_answer();
        members.fit_messages();
        members.fit_stream_options();
        members.render()
    }
}
