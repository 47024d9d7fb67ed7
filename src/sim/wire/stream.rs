//! Streamed answers: the server-sent events of each flavour, and what each of them tells.

use bytes::Bytes;

use crate::sim::answer::Call;
use crate::sim::answer::Draft;
use crate::sim::spec::Flavour;

use super::blocks;
use super::candidates;
use super::completion::Page;
use super::completion::Telling;
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
    let writer = Writer { page, head: head(page) };
    let mut deltas: Vec<Delta> = pieces.iter().map(|piece| writer.text(piece)).collect();
    for (at, call) in draft.calls.iter().enumerate() {
        writer.call(&mut deltas, at, call);
    }
    let last = if fused && page.flavour == Flavour::Mistral { deltas.pop() } else { None };
    let mut events = writer.opening();
    if let Some(thought) = &draft.reasoning
        && matches!(page.flavour, Flavour::Groq | Flavour::Cerebras | Flavour::Cloudflare)
    {
        let member =
            if page.flavour == Flavour::Cloudflare { "reasoning_content" } else { "reasoning" };
        let delta = Delta::new(format!(r#"{{"{member}":{}}}"#, quote(thought)));
        events.extend(writer.tell(Role::Thought, &delta));
    }
    for delta in &deltas {
        events.extend(writer.tell(Role::Content, delta));
    }
    writer.end(&mut events, draft, last);
    events.push(Event::new(Role::Ending, "[DONE]"));
    events
}

/// The chunk that starts like every other one, up to its choices.
fn head(page: &Page) -> String {
    let more = match page.flavour {
        Flavour::OpenAi => r#","service_tier":"default","system_fingerprint":null"#,
        _ => "",
    };
    format!(
        r#"{{"id":"{}","object":"chat.completion.chunk","created":{},"model":{}{more}"#,
        page.id(),
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
}

impl Writer<'_> {
    /// One choice's delta. `tail` stands after the choices.
    fn chunk(&self, index: u64, delta: &Delta, finish: Option<&str>, tail: &str) -> String {
        let finish = finish.map_or_else(|| "null".to_owned(), quote);
        let head = &self.head;
        let openai = self.page.flavour == Flavour::OpenAi;
        let logprobs =
            if openai { format!(r#""logprobs":{},"#, delta.logprobs) } else { String::new() };
        let asked = openai && self.page.usage == Telling::OnRequest;
        let usage = if asked { r#","usage":null"# } else { "" };
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

    /// OpenAI tells the name first and the arguments in fragments, the others all at once.
    fn call(&self, deltas: &mut Vec<Delta>, at: usize, call: &Call) {
        let whole = |call: &Call, extra: &str| {
            let fields = self.page.call(at, call);
            Delta::new(format!(r#"{{{extra}"tool_calls":[{{"index":{at},{fields}}}]}}"#))
        };
        match self.page.flavour {
            Flavour::Mistral => deltas.push(whole(call, r#""content":"","#)),
            Flavour::OpenAi => {
                let named = Call { name: call.name.clone(), arguments: String::new() };
                deltas.push(whole(&named, ""));
                deltas.extend(split_chars(&call.arguments, 8).into_iter().map(|fragment| {
                    let arguments = quote(fragment);
                    Delta::new(format!(
                        r#"{{"tool_calls":[{{"index":{at},"function":{{"arguments":{arguments}}}}}]}}"#
                    ))
                }));
            }
            _ => deltas.push(whole(call, "")),
        }
    }

    /// Finish reason and usage, where the flavour puts them.
    fn end(&self, events: &mut Vec<Event>, draft: &Draft, last: Option<Delta>) {
        let usage = self.page.usage_of(draft.usage);
        let tell = self.page.tells_usage();
        let tail = match self.page.flavour {
            Flavour::Groq if tell => {
                format!(r#","x_groq":{{"id":"{}","usage":{usage}}}"#, self.page.groq_id())
            }
            Flavour::Groq => format!(r#","x_groq":{{"id":"{}"}}"#, self.page.groq_id()),
            Flavour::Mistral | Flavour::Cloudflare if tell => format!(r#","usage":{usage}"#),
            Flavour::Cerebras if tell => {
                format!(r#","usage":{usage},"time_info":{}"#, self.page.time_info())
            }
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
            event.usage = last && tell && self.page.flavour != Flavour::OpenAi;
            if index == 0 {
                delta.text.clone_into(&mut event.text);
            }
            events.push(event);
        }
        let extra = matches!(self.page.flavour, Flavour::OpenAi | Flavour::Groq);
        if extra && self.page.usage == Telling::OnRequest {
            events.push(self.usage_chunk(&usage));
        }
    }

    /// The chunk without choices that `stream_options.include_usage` asks for.
    fn usage_chunk(&self, usage: &str) -> Event {
        let head = &self.head;
        let x_groq = match self.page.flavour {
            Flavour::Groq => format!(r#","x_groq":{{"id":"{}"}}"#, self.page.groq_id()),
            _ => String::new(),
        };
        let chunk = format!(r#"{head},"choices":[],"usage":{usage}{x_groq}}}"#);
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
    }

    #[test]
    fn streamed_arguments_join_to_the_whole() {
        let arguments = r#"{"city":"Zürich","days":3}"#.to_owned();
        let called = draft(vec![Call { name: "f".to_owned(), arguments: arguments.clone() }]);
        for flavour in [Flavour::OpenAi, Flavour::Groq, Flavour::Mistral, Flavour::Cerebras] {
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
