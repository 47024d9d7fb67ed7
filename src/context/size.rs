//! What a message costs a model, in tokens.

use crate::context::memory::Memory;
use crate::context::tokens;
use crate::openai::ChatRequest;
use crate::openai::Media;
use crate::openai::Message;

/// What every message takes around its text, and every conversation at its end (OpenAI's own rule
/// for its chat models; no provider here is known to take more).
pub const AROUND_MESSAGE: u64 = 4;
/// See [`AROUND_MESSAGE`].
pub const AROUND_CONVERSATION: u64 = 3;

/// Bytes of a message that are the names of its members and the like: of one that has no more of
/// them they are not counted.
const FRAME: usize = 64;

/// Bytes of JSON text for which a sound or a file is taken to have one token. A guess: speech at 32
/// kbit/s has about one for 170 of them (Gemini's 32 a second), a PDF file with little but text one for some tens.
const ATTACHED_BYTES: u64 = 64;

/// The size of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Tokens of all that is text.
    pub text: u64,
    /// What is no text.
    pub media: Media,
}

/// How a provider counts what is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rules {
    /// Most tokens of an image.
    pub image: u64,
    /// Tokens of an image in low detail.
    pub low_image: u64,
    /// Tokens that tools take beside their definitions.
    pub tools: u64,
}

impl Rules {
    /// Gemini: 258 for each tile; six of them for a picture of usual proportions. It knows no detail.
    pub const GEMINI: Self = Self { image: 1_548, low_image: 1_548, tools: 0 };
    /// Anthropic: width by height by 1/750, after scaling to about 1.15 megapixels; tools take 346
    /// tokens of instructions.
    pub const ANTHROPIC: Self = Self { image: 1_600, low_image: 1_600, tools: 346 };
    /// All others: the most that a hosted model is known to take (Groq's, 2,048).
    pub const OTHERS: Self = Self { image: 2_048, low_image: 2_048, tools: 12 };
}

impl Rules {
    /// Tokens of what is no text: the most there can be of images, a guess for the rest.
    pub fn media(self, media: Media) -> u64 {
        let images = media.full.saturating_mul(self.image);
        let low = media.low.saturating_mul(self.low_image);
        images.saturating_add(low).saturating_add(media.attached / ATTACHED_BYTES)
    }

    /// Tokens that a prompt is likely to have, `added` bytes with it that the caller did not write.
    pub fn estimate(self, request: &ChatRequest, added: usize) -> u64 {
        tokens::estimate(request.prompt_bytes() + added).saturating_add(self.media(request.media))
    }

    /// The tokens of a prompt, counted: see [`tokens::count`].
    pub fn count(self, request: &ChatRequest) -> u64 {
        let message = |it: &Message<'_>| Size::of(it).by(self);
        let tools = request.member("tools").map_or(0, tokens::count);
        request.messages().iter().map(message).sum::<u64>() + tools + AROUND_CONVERSATION
    }
}

impl Size {
    /// The size of `message`, where it is seen for the first time.
    pub fn of(message: &Message<'_>) -> Self {
        let calls = message.calls_json().map_or(0, tokens::count);
        let text = tokens::count(&message.text()) + calls + other(message);
        Self { text: text + AROUND_MESSAGE, media: message.media() }
    }

    /// What it costs by a provider's rules.
    pub fn by(self, rules: Rules) -> u64 {
        self.text + rules.media(self.media)
    }
}

/// Of what is neither text, nor calls, nor media: names, reasoning, what nobody here knows.
fn other(message: &Message<'_>) -> u64 {
    let beside = message.beside_content();
    let bytes: usize = beside.iter().map(|it| it.len()).sum();
    let named = if bytes > FRAME { beside.iter().map(|it| tokens::count(it)).sum() } else { 0 };
    named + tokens::estimate(message.unknown_part_bytes())
}

/// The sizes of `messages`. What `memory` knows is not counted anew.
pub fn sizes(messages: &[Message<'_>], memory: &Memory) -> Vec<Size> {
    messages.iter().map(|it| memory.size(it)).collect()
}
