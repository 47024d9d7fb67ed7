//! A day of a pool's life in virtual time: the gateway's real dispatcher, selector and ledger in
//! front of providers in memory that count for themselves.

pub(crate) mod calendar;
mod clients;
mod flow;
mod limiter;
mod naive;
mod optimum;
pub(crate) mod pool;
mod provider;
mod scenario;
pub(crate) mod stage;
mod yardstick;

pub(crate) use clients::Demand;
pub(crate) use pool::Pool;
pub(crate) use scenario::{Figures, Gateway, Scenario};
