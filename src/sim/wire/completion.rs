//! Whole answers, key for key in the order the real providers write them.

use crate::sim::answer::Call;
use crate::sim::answer::Draft;
use crate::sim::answer::Usage;
use crate::sim::dialect::{Calls, Dialect, Thought};
use crate::sim::gemini::SIGNED;
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
    pub(super) fn dialect(&self) -> &'static Dialect {
        self.flavour.dialect()
    }

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
            r#"{}{{"id":"{}",{}"object":"chat.completion","created":{},"model":{},"choices":[{}]{usage}{}}}"#,
            self.dialect().before_whole,
            self.id(),
            self.host(),
            self.created,
            quote(&self.model),
            choices.join(","),
            self.tail(),
        )
    }

    /// Who answers behind a router.
    pub(super) fn host(&self) -> &'static str {
        if self.flavour == Flavour::OpenRouter { r#""provider":"OpenInference","# } else { "" }
    }

    fn choice(&self, index: u64, draft: &Draft) -> String {
        let logprobs = if self.dialect().logprobs {
            format!(r#","logprobs":{}"#, self.logprobs_of(&draft.text))
        } else {
            String::new()
        };
        let native = match self.flavour {
            Flavour::OpenRouter => format!(r#","native_finish_reason":"{}""#, draft.finish),
            _ => String::new(),
        };
        format!(
            r#"{{"index":{index},"message":{}{logprobs},"finish_reason":"{}"{native}}}"#,
            self.message(draft),
            draft.finish
        )
    }

    fn message(&self, draft: &Draft) -> String {
        let (content, reasoning) = self.told(draft);
        let calls = match self.flavour {
            _ if !draft.calls.is_empty() => {
                let calls: Vec<String> = draft
                    .calls
                    .iter()
                    .enumerate()
                    .map(|(at, call)| {
                        let extra = self.signature(at);
                        format!("{{{extra}{}}}", self.call(at, call))
                    })
                    .collect();
                format!(r#","tool_calls":[{}]"#, calls.join(","))
            }
            Flavour::Mistral => r#","tool_calls":null"#.to_owned(),
            Flavour::Nvidia => r#","tool_calls":[]"#.to_owned(),
            _ => String::new(),
        };
        let rest = match self.flavour {
            Flavour::OpenAi => r#","refusal":null,"annotations":[]"#,
            _ => "",
        };
        format!(r#"{{"role":"assistant","content":{content}{reasoning}{calls}{rest}}}"#)
    }

    /// Content, and the members that tell thoughts.
    fn told(&self, draft: &Draft) -> (String, String) {
        let content = match self.dialect().calls {
            _ if draft.calls.is_empty() => quote(&draft.text),
            Calls::WithContent => quote(""),
            _ => "null".to_owned(),
        };
        let Some(thought) = &draft.reasoning else { return (content, String::new()) };
        match self.dialect().thought {
            Thought::Hidden => (content, String::new()),
            Thought::Member(name) => (content, format!(r#","{name}":{}"#, quote(thought))),
            Thought::Detailed => (content, detailed(thought)),
            Thought::Tags => (quote(&format!("{}{}", tagged(thought), draft.text)), String::new()),
            Thought::Part => {
                let part = thinking_part(thought);
                let text = quote(&draft.text);
                (format!(r#"[{part},{{"type":"text","text":{text}}}]"#), String::new())
            }
        }
    }

    /// What stands beside a call that Gemini made: only the first of a step is signed.
    pub(super) fn signature(&self, at: usize) -> String {
        if self.flavour != Flavour::GeminiCompat || at > 0 {
            return String::new();
        }
        format!(
            r#""extra_content":{{"google":{{"thought_signature":"{SIGNED}{:08x}"}}}},"#,
            self.serial
        )
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
            Flavour::Cloudflare | Flavour::Nvidia => format!("chatcmpl-tool-{number:016x}"),
            Flavour::Groq => format!("call_{number:08x}"),
            Flavour::Mistral | Flavour::Cerebras => format!("{:09x}", number & 0xf_ffff_ffff),
            _ => format!("call_{number:024x}"),
        }
    }

    /// The answer's id.
    pub(super) fn id(&self) -> String {
        match self.flavour {
            Flavour::Mistral => format!("cmpl-{:032x}", self.serial),
            Flavour::OpenRouter => format!("gen-{}-{:010x}", self.created, self.serial),
            Flavour::DeepSeek => format!("930c60df-bf64-41c9-a88e-{:012x}", self.serial),
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
            Flavour::DeepSeek => {
                // It caches by 64 tokens.
                let hit = prompt / 64 * 64;
                let missed = prompt - hit;
                let details = format!(
                    r#","prompt_tokens_details":{{"cached_tokens":{hit}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}},"prompt_cache_hit_tokens":{hit},"prompt_cache_miss_tokens":{missed}"#
                );
                plain_usage(prompt, completion, &details)
            }
            Flavour::OpenRouter => {
                let details = format!(
                    r#","cost":0,"is_byok":false,"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}"#
                );
                plain_usage(prompt, completion, &details)
            }
            Flavour::SambaNova => plain_usage(
                prompt,
                completion,
                r#","is_last_response":true,"time_to_first_token":0.11,"completion_tokens_per_sec":200.5"#,
            ),
            // Its total holds thoughts that the rest does not.
            Flavour::GeminiCompat => format!(
                r#"{{"completion_tokens":{},"prompt_tokens":{prompt},"total_tokens":{total}}}"#,
                completion - reasoning
            ),
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

/// A thought as some models write it into their text.
pub(super) fn tagged(thought: &str) -> String {
    format!("<think>\n{thought}\n</think>\n\n")
}

/// A thought as a part of a list of content.
pub(super) fn thinking_part(thought: &str) -> String {
    format!(r#"{{"type":"thinking","thinking":[{{"type":"text","text":{}}}]}}"#, quote(thought))
}

/// A thought in both of OpenRouter's members.
pub(super) fn detailed(thought: &str) -> String {
    let text = quote(thought);
    format!(
        r#","reasoning":{text},"reasoning_details":[{{"type":"reasoning.text","text":{text},"format":"unknown","index":0}}]"#
    )
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
        for flavour in [Flavour::OpenAi, Flavour::Groq, Flavour::Nvidia, Flavour::Cerebras] {
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
    fn thoughts_stand_where_each_flavour_tells_them() {
        let said = draft(Vec::new());
        let message = |flavour| read(flavour, &said)["choices"][0]["message"].clone();
        for (flavour, place) in [
            (Flavour::Cerebras, "/reasoning"),
            (Flavour::DeepSeek, "/reasoning_content"),
            (Flavour::OpenRouter, "/reasoning_details/0/text"),
            (Flavour::Mistral, "/content/0/thinking/0/text"),
        ] {
            let message = message(flavour);
            assert_eq!(message.pointer(place), Some(&Value::from("Greet.")), "{message}");
        }
        let text = "<think>\nGreet.\n</think>\n\nHello \"there\".";
        assert_eq!(message(Flavour::Together)["content"], text);
        assert!(!message(Flavour::OpenAi).to_string().contains("Greet"));
    }

    #[test]
    fn figures_have_each_flavours_own_beside_them() {
        let usage = |flavour| read(flavour, &draft(Vec::new()))["usage"].clone();
        let deepseek = usage(Flavour::DeepSeek);
        let cache = (&deepseek["prompt_cache_hit_tokens"], &deepseek["prompt_cache_miss_tokens"]);
        assert_eq!(cache, (&Value::from(64), &Value::from(11)));
        assert_eq!(usage(Flavour::SambaNova)["completion_tokens_per_sec"], 200.5);
        let gemini = usage(Flavour::GeminiCompat);
        assert_eq!(
            (&gemini["completion_tokens"], &gemini["total_tokens"]),
            (&Value::from(10), &Value::from(97))
        );
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
