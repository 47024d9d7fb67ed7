//! How a request came in.

use std::net::IpAddr;

use super::ending::Ending;

/// The connection a request came by. Cheap to clone.
#[derive(Clone)]
pub(super) struct Arrival {
    /// The other end's address; of an IPv4 caller on an IPv6 socket the IPv4 one.
    pub(super) peer: IpAddr,
    /// Tells a stream that its time is up.
    pub(super) ending: Ending,
}
