//! Simulated providers on loopback, in the same process: the cast of `--demo`, the tests' scripted
//! upstream and the benchmarks' fast one.
//!
//! One [`SimServer`] hosts many providers, each under its own path: `/<name>/v1/chat/completions`
//! and `/<name>/v1/models`, or what its own API has in their place. Each speaks a real provider's
//! wire ([`Flavour`]), enforces limits of its own per key and model, can be made to fail in every
//! way that was seen in the wild ([`Fault`]), and remembers what arrived ([`Record`]). Over HTTP,
//! `GET /` lists them, `POST /<name>/fault?kind=hang` breaks one and `POST /<name>/mend` mends it;
//! requests with an `Origin` are refused there.
//!
//! It shares no code with the gateway but the clock: what reads and what writes a wire must not
//! make the same mistake.

mod agent;
mod answer;
mod anthropic;
mod body;
mod chaos;
mod chat;
mod cloudflare;
mod connection;
mod control;
mod demo;
mod dialect;
mod fault;
mod gemini;
mod meter;
mod ollama;
mod plan;
mod provider;
mod recital;
mod record;
mod refusal;
mod request;
mod server;
mod spec;
mod weave;
mod wire;

#[cfg(test)]
mod tests;

pub use chaos::Chaos;
pub use demo::{DemoLimit, DemoModel, DemoProvider, demo, demo_providers};
pub use fault::Fault;
pub use provider::SimProvider;
pub use recital::{Continuing, recital};
pub use record::Record;
pub use server::SimServer;
pub use spec::{Answer, Flavour, LimitSpec, ModelSpec, Pace, ProviderSpec, SimConfig, Voice, What};
