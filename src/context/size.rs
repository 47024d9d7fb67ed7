//! What a message costs a model, in tokens.

use crate::context::memory::Memory;
use crate::context::tokens;
use crate::openai::ImageCount;
use crate::openai::Message;

/// What every message takes around its text, and every conversation at its end (OpenAI's own rule
/// for its chat models; no provider here is known to take more).
pub const AROUND_MESSAGE: u64 = 4;
/// See [`AROUND_MESSAGE`].
pub const AROUND_CONVERSATION: u64 = 3;

/// Bytes of a message that are the names of its members and the like: they are not counted.
const FRAME: usize = 64;

/// The size of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Tokens of all that is text.
    pub text: u64,
    /// Its images.
    pub images: ImageCount,
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
    /// OpenAI: 85 tokens, and in full detail 170 for each of at most 2 by 4 tiles of 512 pixels.
    pub const OPENAI: Self = Self { image: 1_445, low_image: 85, tools: 12 };
    /// Gemini: 258 for each tile; six of them for a picture of usual proportions. It knows no detail.
    pub const GEMINI: Self = Self { image: 1_548, low_image: 1_548, tools: 0 };
    /// Anthropic: width by height by 1/750, after scaling to about 1.15 megapixels; tools take 346
    /// tokens of instructions.
    pub const ANTHROPIC: Self = Self { image: 1_600, low_image: 1_600, tools: 346 };
    /// All others: the most that a hosted model is known to take (Groq's, 2,048).
    pub const OTHERS: Self = Self { image: 2_048, low_image: 2_048, tools: 12 };
}

impl Size {
    /// The size of `message`, where it is seen for the first time.
    pub fn of(message: &Message<'_>) -> Self {
        let calls = message.calls_json().map_or(0, tokens::count);
        let other = message.other_bytes().saturating_sub(FRAME);
        let text = tokens::count(&message.text()) + calls + tokens::estimate(other);
        Self { text: text + AROUND_MESSAGE, images: message.image_count() }
    }

    /// What it costs by a provider's rules.
    pub fn by(self, rules: Rules) -> u64 {
        self.text + self.images.full * rules.image + self.images.low * rules.low_image
    }
}

/// The sizes of `messages`. What `memory` knows is not counted anew.
pub fn sizes(messages: &[Message<'_>], memory: &Memory) -> Vec<Size> {
    messages.iter().map(|it| memory.size(it)).collect()
}
