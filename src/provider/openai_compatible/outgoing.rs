//! What goes out: the caller's body in the provider's own words.

use http::Request;
use http::header::AUTHORIZATION;

use crate::openai::Payload;
use crate::openai::json_string;
use crate::provider::Call;
use crate::provider::Unmet;
use crate::provider::exchange::EVENTS;
use crate::provider::exchange::JSON;
use crate::provider::exchange::post;
use crate::provider::exchange::sign;
use crate::provider::fault::Fault;
use crate::provider::gemini::model;
use crate::provider::openai_compatible::OpenAiCompatible;
use crate::provider::openai_compatible::members::Members;
use crate::provider::openai_compatible::messages::signatures::Signatures;
use crate::provider::thoughts::Shelf;

impl OpenAiCompatible {
    /// The HTTP request for `call`, and the members left out of it.
    pub(super) fn outgoing(&self, call: &Call) -> Result<(Request<Payload>, Unmet), Fault> {
        let (body, unmet) = self.body(call);
        let mut request = post(&self.chat, body, if call.request.stream { EVENTS } else { JSON });
        if let Some(secret) = &call.secret {
            sign(&mut request, AUTHORIZATION, "Bearer ", secret)?;
        }
        Ok((request, unmet))
    }

    /// Where the signatures of the call's model are kept, if it makes any.
    pub(super) fn shelf(&self, call: &Call) -> Option<Shelf> {
        let signs = self.quirks.policy(&call.model).messages.echoes.contains(&"extra_content");
        signs.then(|| self.thoughts.shelf(call.secret.as_ref(), model::bare(&call.model)))
    }

    pub(super) fn body(&self, call: &Call) -> (Payload, Unmet) {
        let policy = self.quirks.policy(&call.model);
        let signatures = self.shelf(call).map(|shelf| Signatures { shelf, now: self.clock.now() });
        let mut members = Members::of(call, policy, signatures.as_ref());
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
