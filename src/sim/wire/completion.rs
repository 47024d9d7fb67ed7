//! Whole answers, key for key in the order the real providers write them.

use crate::sim::answer::Call;
use crate::sim::answer::Draft;
use crate::sim::answer::Usage;
use crate::sim::spec::Flavour;

use super::blocks;
use super::candidates;
use super::lines;
use super::quote;

/// What every part of one answer says about itself.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Page {
    pub(in crate::sim) flavour: Flavour,
    /// A number no other answer of this server has.
    pub(in crate::sim) serial: u64,
    /// Seconds since 1970.
    pub(in crate::sim) created: u64,
    pub(in crate::sim) model: String,
    /// Choices; at least 1.
    pub(in crate::sim) choices: u64,
    pub(in crate::sim) logprobs: bool,
    pub(in crate::sim) usage: Telling,
}

/// Where usage figures are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Telling {
    /// Nowhere.
    Never,
    /// Where the flavour always tells them.
    AsEver,
    /// There, and in the chunk that `stream_options.include_usage` asks for.
    OnRequest,
}

impl Page {
    /// Are usage figures told at all by a whole answer?
    pub(in crate::sim) fn tells_usage(&self) -> bool {
        self.usage != Telling::Never
    }

    /// The answer as one `chat.completion`, or in the flavour's own form.
    pub(in crate::sim) fn whole(&self, draft: &Draft) -> String {
        match self.flavour {
            Flavour::Gemini => return candidates::whole(self, draft),
            Flavour::Anthropic => return blocks::whole(self, draft),
            Flavour::Ollama => return lines::whole(self, draft),
            _ => {}
        }
        let choices: Vec<String> =
            (0..self.choices).map(|index| self.choice(index, draft)).collect();
        let usage = if self.tells_usage() {
            format!(r#","usage":{}"#, self.usage_of(draft.usage))
        } else {
            String::new()
        };
        format!(
            r#"{{"id":"{}","object":"chat.completion","created":{},"model":{},"choices":[{}]{usage}{}}}"#,
            self.id(),
            self.created,
            quote(&self.model),
            choices.join(","),
            self.tail(),
        )
    }

    fn choice(&self, index: u64, draft: &Draft) -> String {
        let logprobs = match self.flavour {
            Flavour::OpenAi => format!(r#","logprobs":{}"#, self.logprobs_of(&draft.text)),
            _ => String::new(),
        };
        format!(
            r#"{{"index":{index},"message":{}{logprobs},"finish_reason":"{}"}}"#,
            self.message(draft),
            draft.finish
        )
    }

    fn message(&self, draft: &Draft) -> String {
        let content = match self.flavour {
            _ if draft.calls.is_empty() => quote(&draft.text),
            Flavour::Mistral => quote(""),
            _ => "null".to_owned(),
        };
        let reasoning = match (&draft.reasoning, self.flavour) {
            (Some(thought), Flavour::Groq | Flavour::Cerebras) => {
                format!(r#","reasoning":{}"#, quote(thought))
            }
            (Some(thought), Flavour::Cloudflare) => {
                format!(r#","reasoning_content":{}"#, quote(thought))
            }
            _ => String::new(),
        };
        let calls = match self.flavour {
            _ if !draft.calls.is_empty() => {
                let calls: Vec<String> = draft
                    .calls
                    .iter()
                    .enumerate()
                    .map(|(at, call)| format!("{{{}}}", self.call(at, call)))
                    .collect();
                format!(r#","tool_calls":[{}]"#, calls.join(","))
            }
            Flavour::Mistral => r#","tool_calls":null"#.to_owned(),
            _ => String::new(),
        };
        let rest = match self.flavour {
            Flavour::OpenAi => r#","refusal":null,"annotations":[]"#,
            _ => "",
        };
        format!(r#"{{"role":"assistant","content":{content}{reasoning}{calls}{rest}}}"#)
    }

    /// The fields of a tool call that is told in one piece.
    pub(super) fn call(&self, at: usize, call: &Call) -> String {
        format!(
            r#""id":"{}","type":"function","function":{{"name":{},"arguments":{}}}"#,
            self.call_id(at),
            quote(&call.name),
            quote(&call.arguments)
        )
    }

    /// In the form the provider makes them: Mistral's have exactly nine letters and digits.
    pub(super) fn call_id(&self, at: usize) -> String {
        let number = self.serial * 64 + at as u64;
        match self.flavour {
            Flavour::Cloudflare => format!("chatcmpl-tool-{number:016x}"),
            Flavour::Groq => format!("call_{number:08x}"),
            Flavour::Mistral | Flavour::Cerebras => format!("{:09x}", number & 0xf_ffff_ffff),
            _ => format!("call_{number:024x}"),
        }
    }

    /// The answer's id.
    pub(super) fn id(&self) -> String {
        match self.flavour {
            Flavour::Mistral => format!("cmpl-{:032x}", self.serial),
            _ => format!("chatcmpl-{:012x}", self.serial),
        }
    }

    /// What stands after the usage.
    fn tail(&self) -> String {
        match self.flavour {
            Flavour::OpenAi => r#","service_tier":"default","system_fingerprint":null"#.to_owned(),
            Flavour::Groq => format!(
                r#","usage_breakdown":null,"system_fingerprint":"fp_groq0001","x_groq":{{"id":"{}"}},"service_tier":"on_demand""#,
                self.groq_id()
            ),
            Flavour::Cerebras => {
                format!(r#","system_fingerprint":"fp_cer0001","time_info":{}"#, self.time_info())
            }
            _ => String::new(),
        }
    }

    pub(super) fn groq_id(&self) -> String {
        format!("req_{:026x}", self.serial)
    }

    pub(super) fn time_info(&self) -> String {
        format!(
            r#"{{"queue_time":0.0003,"prompt_time":0.002,"completion_time":0.011,"total_time":0.015,"created":{}}}"#,
            self.created
        )
    }

    /// The usage object.
    pub(super) fn usage_of(&self, usage: Usage) -> String {
        let Usage { prompt, completion, reasoning } = usage;
        let total = prompt + completion;
        match self.flavour {
            Flavour::OpenAi => format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
            ),
            Flavour::Groq => {
                // Half a millisecond of work for a token in, two for a token out.
                let (took, in_all) = (completion * 2, prompt / 2 + completion * 2);
                format!(
                    r#"{{"queue_time":0.021,"prompt_tokens":{prompt},"prompt_time":{},"completion_tokens":{completion},"completion_time":{},"total_tokens":{total},"total_time":{},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#,
                    seconds(prompt / 2),
                    seconds(took),
                    seconds(in_all)
                )
            }
            Flavour::Cerebras => {
                plain_usage(prompt, completion, r#","prompt_tokens_details":{"cached_tokens":0}"#)
            }
            _ => plain_usage(prompt, completion, ""),
        }
    }

    /// Log probabilities for a text if they were asked for, else `null`: words as tokens, each
    /// less likely the longer it is.
    pub(super) fn logprobs_of(&self, text: &str) -> String {
        if !self.logprobs {
            return "null".to_owned();
        }
        let tokens: Vec<String> = text
            .split_inclusive(' ')
            .map(|word| {
                let bytes: Vec<String> = word.bytes().map(|byte| byte.to_string()).collect();
                format!(
                    r#"{{"token":{},"logprob":-0.{:02},"bytes":[{}],"top_logprobs":[]}}"#,
                    quote(word),
                    word.len().min(99),
                    bytes.join(",")
                )
            })
            .collect();
        format!(r#"{{"content":[{}],"refusal":null}}"#, tokens.join(","))
    }
}

fn plain_usage(prompt: u64, completion: u64, details: &str) -> String {
    let total = prompt + completion;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}{details}}}"#
    )
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn page(flavour: Flavour) -> Page {
        Page {
            flavour,
            serial: 1,
            created: 1_785_600_000,
            model: "m\"x".to_owned(),
            choices: 1,
            logprobs: false,
            usage: Telling::AsEver,
        }
    }

    fn draft(calls: Vec<Call>) -> Draft {
        let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
        let usage = Usage { prompt: 75, completion: 22, reasoning: 12 };
        let text = "Hello \"there\".".to_owned();
        Draft { text, reasoning: Some("Greet.".to_owned()), calls, finish, usage }
    }

    fn read(flavour: Flavour, draft: &Draft) -> Value {
        serde_json::from_str(&page(flavour).whole(draft)).unwrap()
    }

    #[test]
    fn each_flavour_writes_its_own_fields() {
        let said = draft(Vec::new());
        for flavour in [Flavour::OpenAi, Flavour::Groq, Flavour::Mistral, Flavour::Cerebras] {
            let body = read(flavour, &said);
            assert_eq!(body["choices"][0]["message"]["content"], "Hello \"there\".");
            assert_eq!(body["usage"]["total_tokens"], 97);
            assert_eq!(body["model"], "m\"x");
        }
        let groq = read(Flavour::Groq, &said);
        assert_eq!(groq["choices"][0]["message"]["reasoning"], "Greet.");
        assert_eq!(groq["usage"]["completion_time"], 0.044);
        assert!(groq["x_groq"]["id"].is_string());
        let mistral = read(Flavour::Mistral, &said);
        let tool_calls = mistral["choices"][0]["message"].get("tool_calls");
        assert_eq!(tool_calls, Some(&Value::Null));
        assert!(read(Flavour::Cerebras, &said)["time_info"].is_object());
    }

    #[test]
    fn a_tool_call_has_the_id_form_its_provider_takes_back() {
        let called = draft(vec![Call { name: "f".to_owned(), arguments: "{}".to_owned() }]);
        let body = read(Flavour::Mistral, &called);
        let call = &body["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["id"].as_str().unwrap().len(), 9);
        assert_eq!(call["function"]["arguments"], "{}");
        assert_eq!(read(Flavour::Groq, &called)["choices"][0]["message"]["content"], Value::Null);
    }

    #[test]
    fn logprobs_cover_the_text() {
        let asked = Page { logprobs: true, choices: 2, ..page(Flavour::OpenAi) };
        let body: Value = serde_json::from_str(&asked.whole(&draft(Vec::new()))).unwrap();
        let tokens = body["choices"][1]["logprobs"]["content"].as_array().unwrap();
        let text: String = tokens.iter().map(|it| it["token"].as_str().unwrap()).collect();
        assert_eq!(text, "Hello \"there\".");
    }
}
