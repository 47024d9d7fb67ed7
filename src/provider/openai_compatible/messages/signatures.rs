//! Gemini's thought signatures, where its endpoint in OpenAI's form puts them: beside a call, or the
//! message, in `extra_content`. Each goes back to the model it came from and to no other.

use crate::clock::Now;
use crate::openai::JsonObject;
use crate::openai::json_string;
use crate::provider::gemini::contents::SKIP_SIGNATURE;
use crate::provider::gemini::model::Model;
use crate::provider::thoughts::Shelf;

/// What the signatures of one model are found by.
pub(in crate::provider::openai_compatible) struct Signatures {
    pub(in crate::provider::openai_compatible) shelf: Shelf,
    pub(in crate::provider::openai_compatible) now: Now,
}

impl Signatures {
    /// The `extra_content` of a call: the caller's if it is this model's, else what was kept of it.
    /// A model that insists on one gets the word for "made elsewhere" for the `first` call of a turn.
    pub(super) fn of_call(&self, extra: Option<&str>, id: &str, first: bool) -> Option<String> {
        let kept = || self.shelf.find(id, self.now).map(|it| it.as_ref().to_owned());
        let due = || first && Model::of(self.shelf.model()).wants_signatures;
        let signed =
            |it: String| format!(r#"{{"google":{{"thought_signature":{}}}}}"#, json_string(&it));
        let made = || kept().or_else(|| due().then(|| SKIP_SIGNATURE.to_owned())).map(signed);
        extra.and_then(|it| self.own(it)).or_else(made)
    }

    /// An `extra_content` as it came from this model; `None` if it came from another.
    pub(super) fn own(&self, extra: &str) -> Option<String> {
        let mut extra = JsonObject::parse(extra).ok()?;
        let mut google = JsonObject::parse(extra.get("google")?).ok()?;
        // The name was put there for this, and is nothing that Google knows of.
        let model = google.text("model")?;
        let _name = google.remove("model");
        if model != self.shelf.model() {
            return None;
        }
        extra.set("google", google.to_string());
        Some(extra.to_string())
    }
}
