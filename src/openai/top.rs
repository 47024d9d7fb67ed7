//! The members that answers and chunks have in common.

use super::reader::{Broken, Reader};

/// What stands at the top of an answer or a chunk and is looked at here, as JSON text.
#[derive(Default)]
pub(super) struct Top<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    pub(super) created: Option<&'a str>,
    pub(super) object: Option<&'a str>,
    pub(super) usage: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

impl<'a> Top<'a> {
    /// Reads the value of a member, and keeps it if it is one of these.
    pub(super) fn take(&mut self, key: &str, value: &mut Reader<'a>) -> Result<(), Broken> {
        let value = value.raw()?;
        let place = match key {
            "id" => &mut self.id,
            "model" => &mut self.model,
            "created" => &mut self.created,
            "object" => &mut self.object,
            "usage" => &mut self.usage,
            "error" => &mut self.error,
            _ => return Ok(()),
        };
        *place = Some(value);
        Ok(())
    }
}
