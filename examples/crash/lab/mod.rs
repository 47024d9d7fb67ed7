//! A gateway that is killed, a provider that counts what it got, and callers that do not stop.

mod http;
mod program;
mod trial;
mod upstream;

pub(crate) use trial::Trial;
