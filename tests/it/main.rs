//! The whole gateway over real sockets, in front of simulated providers.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and the JSON of an answer is read by index"
)]

mod abandoned;
mod answers;
mod bad_input;
mod bad_upstream;
mod callers;
mod chaos;
mod chat;
mod commands;
mod configuration;
mod connections;
mod context;
mod continuation;
mod control;
mod crash;
mod distribution;
mod edges;
mod exhaustion;
mod failover;
mod gemini_compat;
mod gemini_wire;
mod golden;
mod graceful;
mod hangup;
mod http_surface;
mod identifiers;
mod key_caps;
mod key_safety;
mod keys_command;
mod last_resort;
mod layering;
mod learning;
mod ledger_model;
mod logs;
mod metrics;
mod native_clients;
mod native_conversations;
mod normalizer;
mod overload;
mod patience;
mod policy;
mod privacy;
mod quota;
mod quota_yield;
mod refusals;
mod registry;
mod restart;
mod routing;
mod secrets;
mod strict;
mod structured;
mod style;
mod support;
mod traces;
mod usage;
mod virtual_keys;
mod waiting;
