//! How much a caller wants a model to think.

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::Asked;

/// The values of `reasoning_effort`, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::provider) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    ExtraHigh,
    Most,
}

/// Source: openai-openapi, 2026-08.
const NAMES: &[(&str, Effort)] = &[
    ("none", Effort::None),
    ("minimal", Effort::Minimal),
    ("low", Effort::Low),
    ("medium", Effort::Medium),
    ("high", Effort::High),
    ("xhigh", Effort::ExtraHigh),
    ("max", Effort::Most),
];

impl Asked<'_> {
    /// How much thought is asked for; `None` when the caller leaves it open.
    ///
    /// # Errors
    /// [`FaultKind::BadRequest`] for what is no such word: these dialects have none of their own for
    /// it, so there is nobody to pass it on to.
    pub(in crate::provider) fn effort(&self) -> Result<Option<Effort>, Fault> {
        let Some(written) = self.get("reasoning_effort") else { return Ok(None) };
        let name = serde_json::from_str::<String>(written).unwrap_or_default();
        let known = NAMES.iter().find(|(it, _)| *it == name);
        known.map(|(_, effort)| Some(*effort)).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(it, _)| *it).collect();
            let words = format!("reasoning_effort must be one of {}.", names.join(", "));
            let mut fault = Fault::new(FaultKind::BadRequest, words);
            fault.param = Some("reasoning_effort".into());
            fault
        })
    }
}
