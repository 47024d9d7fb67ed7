//! One OpenAI-compatible endpoint in front of every free LLM tier you can get.
//!
//! The rooms in the order a request walks through them, then those it draws on. Each module's own
//! documentation begins with what it decides.

// A request's way.
pub mod breaker; // who may be asked after it failed
pub mod context; // makes the conversation fit the model; counts tokens
pub mod dispatch; // the journey: candidates in order, one attempt after another, until one answers
pub mod normalize; // cleans answers, whole and streamed
pub mod provider; // the providers' wires
pub mod quota; // what may still be spent: reserved before a call, settled after it
pub mod select; // who can answer, and in what order
pub mod server; // HTTP in and out: who may call, one body in, JSON or events out
pub mod session; // where a conversation lives
pub mod usage;
pub mod window; // the sliding and calendar windows quota is counted in // what was spent

// What it draws on.
pub mod catalog; // the immutable facts: providers, models, keys, limits
pub mod clock; // the only reader of clocks
pub mod openai; // the inner vocabulary
pub mod status; // read-only views for people and scripts
pub mod store; // what survives a restart

// What puts it together.
pub mod app; // the composition root
pub mod cli; // the commands
pub mod config; // files, environment and flags, checked
pub mod sim; // simulated providers: the demo's, the tests' and the benchmarks'
pub mod telemetry; // the log
