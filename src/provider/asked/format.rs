//! The form a request wants its answer in.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::{Asked, unreadable};

/// What `response_format` asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) enum Format<'a> {
    Text,
    /// Some JSON.
    Json,
    /// JSON that fits this schema.
    Schema(&'a RawValue),
}

impl<'a> Asked<'a> {
    /// The form of the answer.
    ///
    /// # Errors
    /// `BadRequest` for what can't be read.
    pub(in crate::provider) fn format(&self) -> Result<Format<'a>, Fault> {
        #[derive(Deserialize)]
        struct Written<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
            #[serde(borrow)]
            json_schema: Option<Named<'a>>,
        }
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            schema: Option<&'a RawValue>,
        }
        let Some(text) = self.get("response_format") else { return Ok(Format::Text) };
        let format: Written<'a> =
            serde_json::from_str(text).map_err(|it| unreadable("response_format", &it))?;
        let schema = format.json_schema.and_then(|it| it.schema);
        Ok(match (&*format.kind, schema.filter(|it| it.get().starts_with('{'))) {
            ("json_schema", Some(schema)) => Format::Schema(schema),
            ("json_schema" | "json_object", _) => Format::Json,
            _ => Format::Text,
        })
    }
}

/// A model without a JSON mode is treated as one that doesn't know the member: it may be instructed
/// instead.
pub(in crate::provider) fn no_json_mode(message: &str) -> Fault {
    let mut fault =
        Fault::new(FaultKind::FieldUnknown(vec!["response_format".to_owned()]), message);
    fault.param = Some("response_format".into());
    fault
}
