//! The tools a request brings, and which of them may be called.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::provider::conversation::not_here;
use crate::provider::fault::Fault;

use super::{Asked, unreadable};

/// A function the model may call.
#[derive(Debug, Deserialize)]
pub(in crate::provider) struct Function<'a> {
    #[serde(borrow)]
    pub(in crate::provider) name: Cow<'a, str>,
    /// Never empty.
    #[serde(default)]
    pub(in crate::provider) description: Option<String>,
    /// A JSON Schema, as it is written.
    #[serde(borrow)]
    pub(in crate::provider) parameters: Option<&'a RawValue>,
}

/// Which tools it may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Choice {
    /// As it likes.
    Auto,
    None,
    /// At least one.
    Any,
    /// This one.
    Named(String),
}

impl<'a> Asked<'a> {
    /// The functions; empty when there are none.
    ///
    /// # Errors
    /// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for tools that are no functions, and
    /// for OpenAI's older form; `BadRequest` for what can't be read.
    pub(in crate::provider) fn functions(&self) -> Result<Vec<Function<'a>>, Fault> {
        #[derive(Deserialize)]
        struct Tool<'a> {
            #[serde(borrow)]
            function: Option<Function<'a>>,
        }
        if self.value("functions").is_some_and(|it| it.as_array().is_none_or(|it| !it.is_empty())) {
            return Err(not_here("it is not asked in the older form: use tools, not functions"));
        }
        let Some(text) = self.get("tools") else { return Ok(Vec::new()) };
        let tools: Vec<Tool<'a>> =
            serde_json::from_str(text).map_err(|it| unreadable("tools", &it))?;
        let function = |tool: Tool<'a>| {
            let mut function =
                tool.function.ok_or_else(|| not_here("of tools it is given functions alone"))?;
            function.description = function.description.filter(|it| !it.is_empty());
            Ok(function)
        };
        tools.into_iter().map(function).collect()
    }

    /// Which of them may be called; `None` when the caller leaves it open.
    ///
    /// # Errors
    /// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for a choice of another form.
    pub(in crate::provider) fn choice(&self) -> Result<Option<Choice>, Fault> {
        let Some(choice) = self.value("tool_choice") else { return Ok(None) };
        let named = choice.pointer("/function/name").and_then(Value::as_str);
        Ok(Some(match (choice.as_str(), named) {
            (Some("auto"), _) => Choice::Auto,
            (Some("none"), _) => Choice::None,
            (Some("required" | "any"), _) => Choice::Any,
            (None, Some(name)) => Choice::Named(name.to_owned()),
            _ => return Err(not_here("it has no such tool_choice")),
        }))
    }

    /// Must calls come one by one?
    pub(in crate::provider) fn one_call_at_a_time(&self) -> bool {
        self.get("parallel_tool_calls") == Some("false")
    }
}
