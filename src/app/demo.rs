//! The demo's providers, and the catalog of them.

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Period;
use crate::catalog::Scale;
use crate::catalog::Unit;
use crate::clock::SharedClock;
use crate::config;
use crate::sim;
use crate::sim::Chaos;
use crate::sim::SimServer;

/// Starts the demo's providers beside the gateway: on the next port, so that the README can name
/// it, or on any when that one is taken.
pub(super) fn start_sim(
    gateway_port: u16,
    chaos: Option<Chaos>,
    clock: &SharedClock,
) -> std::io::Result<SimServer> {
    let mut cast = sim::demo();
    cast.providers.iter_mut().for_each(|it| it.chaos = chaos);
    let start =
        |port| SimServer::start(cast.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)), clock);
    start(gateway_port.wrapping_add(1)).or_else(|_| start(0))
}

pub(super) fn demo_catalog(server: &SimServer, ids: &mut IdBook) -> Catalog {
    let units = [(Unit::Requests, "requests"), (Unit::Tokens, "tokens")];
    let periods = [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month];
    let limit = |it: &sim::DemoLimit| {
        let all = units.iter().flat_map(|unit| periods.iter().map(move |period| (unit, *period)));
        all.into_iter()
            .find(|((_, unit), period)| it.key == format!("{unit}_per_{}", period.name()))
            .map(|((unit, _), period)| (*unit, period, it.max))
    };
    let model = |it: &sim::DemoModel| config::DemoModel {
        name: it.name.to_owned(),
        kind: it.kind.to_owned(),
        scale: Scale::parse(it.scale).unwrap_or(Scale::Medium),
        vision: false,
        max_context: Some(it.max_context),
        limits: it.limits.iter().filter_map(limit).collect(),
    };
    let entries: Vec<config::DemoEntry> = sim::demo_providers()
        .iter()
        .map(|it| config::DemoEntry {
            name: it.name.to_owned(),
            base_url: server.base_url(it.name),
            key: it.key.to_owned(),
            models: it.models.iter().map(model).collect(),
        })
        .collect();
    config::demo_catalog(&entries, ids)
}
