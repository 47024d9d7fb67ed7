//! Conversations as no client should write them, against twins that refuse what the providers do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};

use relayfreellm::clock::SharedClock;
use relayfreellm::clock::SystemClock;
use relayfreellm::openai::ChatRequest;
use relayfreellm::openai::RequestEdits;
use relayfreellm::provider::Call;
use relayfreellm::provider::ChatProvider;
use relayfreellm::provider::SentMark;
use relayfreellm::provider::anthropic::AnthropicClient;
use relayfreellm::provider::gemini::GeminiClient;
use relayfreellm::provider::ollama::OllamaClient;
use relayfreellm::provider::transport::Transport;
use relayfreellm::sim::Flavour;
use relayfreellm::sim::ModelSpec;
use relayfreellm::sim::ProviderSpec;
use relayfreellm::sim::SimConfig;
use relayfreellm::sim::SimServer;

/// Conversations tried; the seed is their number.
const CONVERSATIONS: u64 = 150;
const SOON: Duration = Duration::from_secs(5);

struct Writer(fastrand::Rng);

impl Writer {
    fn one_of(&mut self, values: &[Value]) -> Value {
        values.get(self.0.usize(..values.len())).cloned().unwrap_or_default()
    }

    fn content(&mut self) -> Value {
        let text = json!({"type": "text", "text": "so"});
        let image =
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}});
        let blank = json!({"type": "text", "text": " \n"});
        self.one_of(&[
            json!("well"),
            json!(" word \n"),
            json!(""),
            json!("\n"),
            json!([]),
            Value::Null,
            json!([text, image]),
            json!([blank]),
            json!([blank, text]),
        ])
    }

    fn id(&mut self) -> Value {
        self.one_of(&[
            json!("a"),
            json!("functions.f:0"),
            json!("functions_f_0"),
            json!(""),
            Value::Null,
        ])
    }

    fn calls(&mut self) -> Value {
        if self.0.bool() {
            return self.one_of(&[Value::Null, json!([])]);
        }
        let call = |it: &mut Self| {
            let arguments = it.one_of(&[
                json!("{\"city\":\"Paris\"}"),
                json!("\"{}\""),
                json!(""),
                json!("[1]"),
                json!("{\"a\":"),
                json!({"city": "Rome"}),
                Value::Null,
            ]);
            json!({"id": it.id(), "type": "function",
                "function": {"name": "weather", "arguments": arguments}})
        };
        (0..self.0.usize(1..4)).map(|_| call(self)).collect()
    }

    fn message(&mut self) -> Value {
        let content = self.content();
        match self.0.u8(..7) {
            0 => json!({"role": "system", "content": content}),
            1 => json!({"role": "developer", "content": content}),
            2 => json!({"role": "user", "content": content}),
            3 | 4 => json!({"role": "tool", "tool_call_id": self.id(), "content": content}),
            _ => json!({"role": "assistant", "content": content, "tool_calls": self.calls()}),
        }
    }
}

#[tokio::test]
async fn whatever_a_client_makes_of_a_conversation_is_accepted() {
    let clock: SharedClock = Arc::new(SystemClock::start());
    let model = |flavour| match flavour {
        Flavour::Gemini => "gemini-3.6-flash",
        _ => "m",
    };
    let flavours = [Flavour::Gemini, Flavour::Anthropic, Flavour::Ollama];
    let specs = flavours
        .map(|it| ProviderSpec::new(it.name(), it).key("k1").model(ModelSpec::new(model(it))));
    let config = SimConfig::new(specs.to_vec());
    let server = SimServer::start(config, "127.0.0.1:0".parse().expect("an address"), &clock);
    let server = server.expect("a free port");
    for flavour in flavours {
        let (base, transport) = (server.base_url(flavour.name()), Transport::default());
        let clock = Arc::clone(&clock);
        let client: Box<dyn ChatProvider> = match flavour {
            Flavour::Gemini => Box::new(GeminiClient::new(&base, transport, clock).expect("a URL")),
            Flavour::Anthropic => {
                Box::new(AnthropicClient::new(&base, transport, clock).expect("a URL"))
            }
            _ => Box::new(OllamaClient::new(&base, transport, clock).expect("a URL")),
        };
        for seed in 0..CONVERSATIONS {
            let mut writer = Writer(fastrand::Rng::with_seed(seed));
            let messages: Value = (0..writer.0.usize(1..9)).map(|_| writer.message()).collect();
            let mut body = json!({ "messages": messages });
            // The twin of Ollama has a model that can't think.
            if seed % 2 == 0 && flavour != Flavour::Ollama {
                body["reasoning_effort"] = json!("low");
            }
            let request = ChatRequest::parse(&Bytes::from(body.to_string())).expect("a request");
            let call = Call {
                model: model(flavour).into(),
                secret: Some(SecretString::from("k1")),
                request: Arc::new(request),
                edits: RequestEdits::default(),
                verbatim: false,
                sent: SentMark::default(),
            };
            let answer = tokio::time::timeout(SOON, client.send(call)).await.expect("in time");
            assert!(answer.is_ok(), "{flavour:?} {messages}: {:?}", answer.err());
        }
    }
}
