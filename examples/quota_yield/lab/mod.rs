//! A day of a pool's life in virtual time: the gateway's real dispatcher, selector and ledger in
//! front of providers in memory that count for themselves.

mod calendar;
mod clients;
mod flow;
mod limiter;
mod naive;
mod optimum;
mod pool;
mod provider;
mod scenario;
mod stage;

pub(crate) use clients::Demand;
pub(crate) use pool::Pool;
pub(crate) use scenario::{Figures, Gateway, Scenario};
