//! What a delta or a whole message says.

use std::borrow::Cow;

use crate::openai::raw::{says_something, text_of};
use crate::openai::reader::{Broken, Reader};

/// What a delta or a whole message holds, as far as it matters here.
#[derive(Default)]
pub(in crate::openai) struct Said<'a> {
    pub(in crate::openai) role: Option<&'a str>,
    pub(in crate::openai) content: Option<&'a str>,
    /// The string that `content` is.
    pub(in crate::openai) text: Option<Cow<'a, str>>,
    pub(in crate::openai) tool_calls: Option<&'a str>,
    pub(in crate::openai) calls_tools: bool,
    pub(in crate::openai) refuses: bool,
    /// Does any other member say something: reasoning, a refusal, audio, whatever comes next?
    pub(in crate::openai) says_else: bool,
    /// Does something stand in another form than OpenAI's?
    pub(in crate::openai) is_odd: bool,
    pub(in crate::openai) reasoning: Option<&'a str>,
    pub(in crate::openai) annotations: Option<&'a str>,
    /// What of it costs tokens beside the text: reasoning, refusals, calls.
    pub(in crate::openai) uncounted: String,
}

impl<'a> Said<'a> {
    pub(in crate::openai) fn read(reader: &mut Reader<'a>) -> Result<Self, Broken> {
        let mut said = Self::default();
        reader.object(|it, key| {
            said.take(&key, it.raw()?);
            Ok::<_, Broken>(())
        })?;
        Ok(said)
    }

    fn take(&mut self, key: &str, value: &'a str) {
        match key {
            "role" => self.role = Some(value),
            "content" => self.take_content(value),
            _ if !says_something(Some(value)) => {}
            "tool_calls" | "function_call" => {
                self.calls_tools = true;
                self.uncounted.push_str(value);
                if key == "tool_calls" {
                    self.tool_calls = Some(value);
                }
            }
            other => {
                self.says_else = true;
                let text = text_of(value);
                self.refuses |= other == "refusal";
                match other {
                    "reasoning_content" => self.reasoning = Some(value),
                    "annotations" => self.annotations = Some(value),
                    _ => {}
                }
                self.is_odd |= match other {
                    "reasoning" | "reasoning_details" | "thinking" => true,
                    "reasoning_content" | "refusal" => text.is_none(),
                    _ => false,
                };
                self.uncounted.push_str(&text.unwrap_or_default());
            }
        }
    }

    fn take_content(&mut self, value: &'a str) {
        self.content = Some(value);
        self.text = text_of(value);
        let other_form = self.text.is_none() && says_something(Some(value));
        self.is_odd |= other_form;
        self.says_else |= other_form && !value.starts_with('"');
    }
}
