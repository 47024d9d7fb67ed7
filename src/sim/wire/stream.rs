//! Streamed answers: the server-sent events of each flavour, and what each of them tells.

use bytes::Bytes;

use crate::sim::answer::Call;
use crate::sim::answer::Draft;
use crate::sim::dialect::{Calls, Figures, Thought};
use crate::sim::spec::Flavour;

use super::blocks;
use super::candidates;
use super::completion::{Page, Telling, detailed, tagged, thinking_part};
use super::lines;
use super::quote;

/// What an event is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Role {
    /// The role, before anything is said.
    Opening,
    /// A delta of reasoning.
    Thought,
    /// A delta of text or of a tool call.
    Content,
    /// Finish reason, usage, `[DONE]`.
    Ending,
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Event {
    pub(in crate::sim) role: Role,
    pub(in crate::sim) bytes: Bytes,
    /// The text of the first choice in it.
    pub(in crate::sim) text: String,
    /// Does it tell the usage?
    pub(in crate::sim) usage: bool,
}

impl Event {
    fn new(role: Role, data: &str) -> Self {
        let bytes = Bytes::from(format!("data: {data}\n\n"));
        Self { role, bytes, text: String::new(), usage: false }
    }

    /// These bytes before anything is said.
    fn raw(bytes: &'static str) -> Self {
        let bytes = Bytes::from_static(bytes.as_bytes());
        Self { role: Role::Opening, bytes, text: String::new(), usage: false }
    }
}

/// The whole stream of an answer whose text goes out in `pieces`. With `fused`, a flavour that
/// ends on its last delta does so; without, every delta has an event of its own.
pub(in crate::sim) fn events(
    page: &Page,
    draft: &Draft,
    pieces: &[&str],
    fused: bool,
) -> Vec<Event> {
    match page.flavour {
        Flavour::Gemini => return candidates::events(page, draft, pieces, fused),
        Flavour::Anthropic => return blocks::events(page, draft, pieces),
        Flavour::Ollama => return lines::events(page, draft, pieces),
        _ => {}
    }
    let dialect = page.dialect();
    let writer = Writer { page, head: head(page), usage: page.usage_of(draft.usage) };
    let mut deltas: Vec<Delta> = pieces.iter().map(|piece| writer.text(piece)).collect();
    for (at, call) in draft.calls.iter().enumerate() {
        writer.call(&mut deltas, at, call);
    }
    let last = if fused && dialect.fused { deltas.pop() } else { None };
    let mut events = writer.opening();
    if let Some(delta) = draft.reasoning.as_ref().and_then(|it| writer.thought(it)) {
        events.extend(writer.tell(Role::Thought, &delta));
    }
    for delta in &deltas {
        events.extend(writer.tell(Role::Content, delta));
    }
    writer.end(&mut events, draft, last);
    events.push(Event::new(Role::Ending, "[DONE]"));
    if !dialect.before_stream.is_empty() {
        events.insert(0, Event::raw(dialect.before_stream));
    }
    events
}

/// The chunk that starts like every other one, up to its choices.
fn head(page: &Page) -> String {
    let more = match page.flavour {
        Flavour::OpenAi => r#","service_tier":"default","system_fingerprint":null"#,
        _ => "",
    };
    format!(
        r#"{{"id":"{}",{}"object":"chat.completion.chunk","created":{},"model":{}{more}"#,
        page.id(),
        page.host(),
        page.created,
        quote(&page.model)
    )
}

/// What one chunk adds to a choice.
struct Delta {
    json: String,
    text: String,
    logprobs: String,
}

impl Delta {
    fn new(json: String) -> Self {
        Self { json, text: String::new(), logprobs: "null".to_owned() }
    }
}

struct Writer<'a> {
    page: &'a Page,
    head: String,
    usage: String,
}

impl Writer<'_> {
    /// One choice's delta. `tail` stands after the choices.
    fn chunk(&self, index: u64, delta: &Delta, finish: Option<&str>, tail: &str) -> String {
        let finish = finish.map_or_else(|| "null".to_owned(), quote);
        let head = &self.head;
        let dialect = self.page.dialect();
        let logprobs = if dialect.logprobs {
            format!(r#""logprobs":{},"#, delta.logprobs)
        } else {
            String::new()
        };
        let asked = self.page.usage == Telling::OnRequest;
        let usage = match dialect.figures {
            Figures::Asked if asked && self.page.flavour == Flavour::OpenAi => {
                r#","usage":null"#.to_owned()
            }
            Figures::Running if asked => format!(r#","usage":{}"#, self.usage),
            _ => String::new(),
        };
        let delta = &delta.json;
        let unnumbered = self.page.flavour == Flavour::Cloudflare && finish == "null";
        let index = if unnumbered { String::new() } else { format!(r#""index":{index},"#) };
        format!(
            r#"{head},"choices":[{{{index}"delta":{delta},{logprobs}"finish_reason":{finish}}}]{usage}{tail}}}"#
        )
    }

    /// The delta in every choice.
    fn tell(&self, role: Role, delta: &Delta) -> impl Iterator<Item = Event> {
        (0..self.page.choices).map(move |index| {
            let mut event = Event::new(role, &self.chunk(index, delta, None, ""));
            if index == 0 {
                delta.text.clone_into(&mut event.text);
            }
            event
        })
    }

    fn opening(&self) -> Vec<Event> {
        let delta = match self.page.flavour {
            Flavour::OpenAi => r#"{"role":"assistant","content":"","refusal":null}"#,
            Flavour::Cerebras => r#"{"role":"assistant"}"#,
            _ => r#"{"role":"assistant","content":""}"#,
        };
        let tail = match self.page.flavour {
            Flavour::Groq => format!(r#","x_groq":{{"id":"{}"}}"#, self.page.groq_id()),
            Flavour::Cerebras => r#","system_fingerprint":"fp_cer0001""#.to_owned(),
            _ => String::new(),
        };
        let delta = Delta::new(delta.to_owned());
        (0..self.page.choices)
            .map(|index| Event::new(Role::Opening, &self.chunk(index, &delta, None, &tail)))
            .collect()
    }

    fn text(&self, piece: &str) -> Delta {
        Delta {
            json: format!(r#"{{"content":{}}}"#, quote(piece)),
            text: piece.to_owned(),
            logprobs: self.page.logprobs_of(piece),
        }
    }

    /// The thought where the flavour tells it, if it does.
    fn thought(&self, thought: &str) -> Option<Delta> {
        let json = match self.page.dialect().thought {
            Thought::Hidden => return None,
            Thought::Member(name) => format!(r#"{{"{name}":{}}}"#, quote(thought)),
            Thought::Detailed => {
                format!(r#"{{"role":"assistant","content":""{}}}"#, detailed(thought))
            }
            Thought::Tags => format!(r#"{{"content":{}}}"#, quote(&tagged(thought))),
            Thought::Part => format!(r#"{{"content":[{}]}}"#, thinking_part(thought)),
        };
        Some(Delta::new(json))
    }

    /// A call as the flavour tells it.
    fn call(&self, deltas: &mut Vec<Delta>, at: usize, call: &Call) {
        let dialect = self.page.dialect();
        let index = match dialect.calls {
            Calls::Unnumbered => String::new(),
            Calls::Zeros => r#""index":0,"#.to_owned(),
            _ => format!(r#""index":{at},"#),
        };
        let extra = self.page.signature(at);
        let whole = |call: &Call, before: &str| {
            let fields = self.page.call(at, call);
            Delta::new(format!(r#"{{{before}"tool_calls":[{{{index}{extra}{fields}}}]}}"#))
        };
        let named =
            |arguments: &str| Call { name: call.name.clone(), arguments: arguments.to_owned() };
        let fragments = split_chars(&call.arguments, 8);
        match dialect.calls {
            Calls::WithContent => deltas.push(whole(call, r#""content":"","#)),
            Calls::Whole | Calls::Unnumbered | Calls::Zeros => deltas.push(whole(call, "")),
            Calls::Repeated => deltas.extend(fragments.into_iter().map(|it| whole(&named(it), ""))),
            Calls::Fragments => {
                deltas.push(whole(&named(""), ""));
                deltas.extend(fragments.into_iter().map(|fragment| {
                    let arguments = quote(fragment);
                    Delta::new(format!(
                        r#"{{"tool_calls":[{{"index":{at},"function":{{"arguments":{arguments}}}}}]}}"#
                    ))
                }));
            }
        }
    }

    /// Finish reason and usage, where the flavour puts them.
    fn end(&self, events: &mut Vec<Event>, draft: &Draft, last: Option<Delta>) {
        let usage = &self.usage;
        let tell = self.page.tells_usage();
        let figures = self.page.dialect().figures;
        let tail = match figures {
            Figures::Groq if tell => {
                format!(r#","x_groq":{{"id":"{}","usage":{usage}}}"#, self.page.groq_id())
            }
            Figures::Groq => format!(r#","x_groq":{{"id":"{}"}}"#, self.page.groq_id()),
            Figures::Finish if tell && self.page.flavour == Flavour::Cerebras => {
                format!(r#","usage":{usage},"time_info":{}"#, self.page.time_info())
            }
            Figures::Finish if tell => format!(r#","usage":{usage}"#),
            _ => String::new(),
        };
        let bare = match self.page.flavour {
            Flavour::Mistral => r#"{"content":""}"#,
            _ => "{}",
        };
        let delta = last.unwrap_or_else(|| Delta::new(bare.to_owned()));
        for index in 0..self.page.choices {
            // Figures concern the whole answer, so they come once, at its very end.
            let last = index + 1 == self.page.choices;
            let tail = if last { tail.as_str() } else { "" };
            let chunk = self.chunk(index, &delta, Some(draft.finish), tail);
            let mut event = Event::new(Role::Ending, &chunk);
            event.usage = last && tell && matches!(figures, Figures::Finish | Figures::Groq);
            if index == 0 {
                delta.text.clone_into(&mut event.text);
            }
            events.push(event);
        }
        let asked = self.page.usage == Telling::OnRequest;
        let extra = match figures {
            Figures::Asked | Figures::Groq | Figures::Running => asked,
            Figures::Extra => tell,
            Figures::Finish => false,
        };
        if extra {
            events.push(self.usage_chunk());
        }
    }

    /// The chunk without choices that `stream_options.include_usage` asks for.
    fn usage_chunk(&self) -> Event {
        let (head, usage) = (&self.head, &self.usage);
        let x_groq = match self.page.flavour {
            Flavour::Groq => format!(r#","x_groq":{{"id":"{}"}}"#, self.page.groq_id()),
            _ => String::new(),
        };
        // OpenRouter's has a choice that says nothing.
        let choices = match self.page.flavour {
            Flavour::OpenRouter => {
                r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#
            }
            _ => "",
        };
        let chunk = format!(r#"{head},"choices":[{choices}],"usage":{usage}{x_groq}}}"#);
        Event { usage: true, ..Event::new(Role::Ending, &chunk) }
    }
}

/// The text in pieces of `most` characters, or of one word with the space after it.
pub(in crate::sim) fn pieces(text: &str, most: Option<usize>) -> Vec<&str> {
    match most {
        Some(most) => split_chars(text, most),
        None => text.split_inclusive(' ').collect(),
    }
}

pub(super) fn split_chars(text: &str, most: usize) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let end = rest.char_indices().nth(most.max(1)).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::answer::Usage;
    use serde_json::Value;

    fn page(flavour: Flavour, usage: Telling) -> Page {
        Page {
            flavour,
            serial: 7,
            created: 1_785_600_000,
            model: "m".to_owned(),
            choices: 1,
            logprobs: false,
            usage,
        }
    }

    fn draft(calls: Vec<Call>) -> Draft {
        let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
        let usage = Usage { prompt: 14, completion: 4, reasoning: 0 };
        Draft { text: "Hello there.".to_owned(), reasoning: None, calls, finish, usage }
    }

    fn chunks(page: &Page, draft: &Draft, pieces: &[&str]) -> Vec<Value> {
        let mut events = events(page, draft, pieces, true);
        assert_eq!(events.pop().unwrap().bytes, "data: [DONE]\n\n");
        events.retain(|it| !it.bytes.starts_with(b":"));
        let data = |event: &Event| {
            let text = std::str::from_utf8(&event.bytes).unwrap();
            let chunk: Value = serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
            let told = chunk.pointer("/usage/prompt_tokens").is_some()
                || chunk.pointer("/x_groq/usage").is_some();
            assert_eq!(told, event.usage, "{chunk}");
            chunk
        };
        events.iter().map(data).collect()
    }

    fn check_usage_chunks(flavour: Flavour, usage: Telling, want: &[usize]) {
        let said = chunks(&page(flavour, usage), &draft(Vec::new()), &["Hello ", "there."]);
        let told = |chunk: &Value| {
            let usage = chunk.pointer("/usage/total_tokens");
            usage.or(chunk.pointer("/x_groq/usage/total_tokens")).is_some()
        };
        let places: Vec<usize> =
            said.iter().enumerate().filter(|(_, it)| told(it)).map(|(at, _)| at).collect();
        assert_eq!(places, want, "{flavour:?}");
        let finish = said.iter().filter_map(|it| it["choices"][0]["finish_reason"].as_str());
        assert_eq!(finish.collect::<Vec<_>>(), ["stop"]);
    }

    #[test]
    fn usage_stands_where_each_flavour_puts_it() {
        // 0 is the opening, 1 and 2 the text, 3 the finish, 4 a chunk without choices.
        check_usage_chunks(Flavour::OpenAi, Telling::AsEver, &[]);
        check_usage_chunks(Flavour::OpenAi, Telling::OnRequest, &[4]);
        check_usage_chunks(Flavour::Groq, Telling::AsEver, &[3]);
        check_usage_chunks(Flavour::Groq, Telling::OnRequest, &[3, 4]);
        check_usage_chunks(Flavour::Mistral, Telling::OnRequest, &[2]);
        check_usage_chunks(Flavour::Cerebras, Telling::OnRequest, &[3]);
        check_usage_chunks(Flavour::DeepSeek, Telling::AsEver, &[3]);
        check_usage_chunks(Flavour::SambaNova, Telling::AsEver, &[4]);
        check_usage_chunks(Flavour::Nvidia, Telling::AsEver, &[]);
    }

    #[test]
    fn streamed_arguments_join_to_the_whole() {
        let arguments = r#"{"city":"Zürich","days":3}"#.to_owned();
        let called = draft(vec![Call { name: "f".to_owned(), arguments: arguments.clone() }]);
        for flavour in [
            Flavour::OpenAi,
            Flavour::Groq,
            Flavour::Mistral,
            Flavour::DeepSeek,
            Flavour::HuggingFace,
            Flavour::Zai,
        ] {
            let told = chunks(&page(flavour, Telling::AsEver), &called, &[]);
            let calls = told.iter().filter_map(|it| it.pointer("/choices/0/delta/tool_calls/0"));
            let calls: Vec<&Value> = calls.collect();
            assert!(calls[0]["id"].is_string() && calls[0]["function"]["name"] == "f");
            let joined: String =
                calls.iter().map(|it| it["function"]["arguments"].as_str().unwrap()).collect();
            assert_eq!(joined, arguments, "{flavour:?}");
        }
    }

    #[test]
    fn calls_come_in_the_shape_each_flavour_gives_them() {
        let call =
            |name: &str| Call { name: name.to_owned(), arguments: "{\"a\":12345}".to_owned() };
        let called = draft(vec![call("f"), call("g")]);
        let told = |flavour| {
            let chunks = chunks(&page(flavour, Telling::AsEver), &called, &[]);
            let calls = chunks.iter().filter_map(|it| it.pointer("/choices/0/delta/tool_calls/0"));
            calls.cloned().collect::<Vec<Value>>()
        };
        let indexes =
            |flavour| told(flavour).iter().map(|it| it["index"].as_u64()).collect::<Vec<_>>();
        assert_eq!(indexes(Flavour::GeminiCompat), [None, None]);
        assert_eq!(indexes(Flavour::OllamaCompat), [Some(0), Some(0)]);
        assert_eq!(indexes(Flavour::Together), [Some(0), Some(1)]);
        let signed = |it: &Value| it.pointer("/extra_content/google/thought_signature").is_some();
        let signed: Vec<bool> = told(Flavour::GeminiCompat).iter().map(signed).collect();
        assert_eq!(signed, [true, false]);
        let repeated = told(Flavour::HuggingFace);
        assert!(repeated.len() > 2 && repeated.iter().all(|it| it["function"]["name"].is_string()));
    }

    #[test]
    fn a_wait_is_told_before_the_first_data() {
        let page = page(Flavour::OpenRouter, Telling::AsEver);
        let events = events(&page, &draft(Vec::new()), &["Hello"], true);
        assert!(events[0].bytes.starts_with(b": OPENROUTER PROCESSING\n\n"));
    }

    #[test]
    fn logprobs_replace_the_null_of_their_own_chunk() {
        let asked = Page { logprobs: true, ..page(Flavour::OpenAi, Telling::AsEver) };
        let text = r#""logprobs":null, "#;
        let told = chunks(&asked, &draft(Vec::new()), &[text]);
        assert_eq!(told[1]["choices"][0]["delta"]["content"], text);
        assert_eq!(told[1]["choices"][0]["logprobs"]["content"][0]["token"], text);
    }

    #[test]
    fn text_splits_on_characters_anywhere() {
        assert_eq!(pieces("naïve 日本", Some(1)).concat(), "naïve 日本");
        assert_eq!(pieces("naïve 日本", Some(3)), ["naï", "ve ", "日本"]);
        assert_eq!(pieces("a b", None), ["a ", "b"]);
        assert_eq!(pieces("", Some(3)), [""; 0]);
    }
}
