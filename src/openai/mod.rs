//! The inner vocabulary: OpenAI's chat requests, answers, chunks and errors.
//!
//! A body stays the bytes it came as, plus an index of where its members stand. Nothing is rebuilt
//! that nobody changed, so what this program has never heard of passes through untouched.

mod beside;
mod chunk;
mod completion;
mod content;
mod defaults;
mod error;
mod instruction;
mod json;
mod media;
mod message;
mod payload;
mod raw;
mod reader;
mod request;
mod shape;
mod stops;
mod top;
mod traits;
mod usage;

pub use beside::{TokenSaid, annotations_moved, logprobs_with, tokens_said};
pub use chunk::{ChoiceEdit, Chunk, ChunkChoice, ChunkReader, ChunkWriter, Heads};
pub use completion::{Completion, Edited, Spoken, Written};
pub use content::NewText;
pub use defaults::is_default;
pub use error::{ApiError, Exhaustion, More, ProviderState, Suggestion, Verbatim};
pub use instruction::with_instruction;
pub use json::{JsonObject, is_plain_string, json_list, json_list_of, string_in, whole_string};
pub use media::{Images, Media};
pub use message::{ECHOED, Message, Role};
pub use payload::{JsonText, Payload};
pub use raw::{Patch, RawObject, Unreadable, json_string, says_something, string_of};
pub use request::{ChatRequest, Filters, JsonMode, RequestEdits, ToolChoice};
pub use stops::stop_or;
pub use traits::{Trait, Traits};
pub use usage::TokenUsage;
