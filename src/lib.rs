//! One OpenAI-compatible endpoint in front of every free LLM tier you can get.
//!
//! The rooms in the order a request walks through them, then those it draws on. Each module's own
//! documentation begins with what it decides.

// A request's way:
// server     HTTP in and out: who may call, one body in, JSON or events out
// dispatch   the journey: candidates in order, one attempt after another, until one answers
// select     who can answer, and in what order
// context    makes the conversation fit the model; counts tokens
// quota      what may still be spent: reserved before a call, settled after it
// window     the sliding and calendar windows quota is counted in
// breaker    who may be asked after it failed
// session    where a conversation lives
// provider   the providers' wires
// normalize  cleans answers, whole and streamed
// structured JSON that was asked for: how it is asked for, and whether it came
// refusals   which members models have refused
// usage      what was spent
// callers    virtual keys, limits for each user, and who has shown a wrong key
pub mod breaker;
pub mod callers;
pub mod context;
pub mod dispatch;
pub mod normalize;
pub mod provider;
pub mod quota;
pub mod refusals;
pub mod select;
pub mod server;
pub mod session;
pub mod structured;
pub mod usage;
pub mod window;

// What it draws on:
// openai     the inner vocabulary
// catalog    the immutable facts: providers, models, keys, limits
// clock      the only reader of clocks
// status     read-only views for people and scripts
// store      what survives a restart
// telemetry  the log and the counters
// trace      what happened to the last requests
pub mod catalog;
pub mod clock;
pub mod openai;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod trace;

// What puts it together:
// app        the composition root
// cli        the commands
// config     files, environment and flags, checked
// sim        simulated providers: the demo's, the tests' and the benchmarks'
pub mod app;
pub mod cli;
pub mod config;
pub mod sim;
