//! How a request came in.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dispatch::outcome::Progress;

use super::ending::Ending;

/// The connection a request came by. Cheap to clone.
#[derive(Clone)]
pub(super) struct Arrival {
    /// Has its socket given up on a caller who does not read?
    pub(super) unread: Arc<AtomicBool>,
    /// The other end's address; of an IPv4 caller on an IPv6 socket the IPv4 one.
    pub(super) peer: IpAddr,
    /// Tells a stream that its time is up.
    pub(super) ending: Ending,
}

/// Tells an answer that is dropped before its end when it is not the caller who has gone. To be dropped
/// before whatever gives the answer.
pub(super) struct Parting {
    pub(super) progress: Arc<Progress>,
    pub(super) ending: Ending,
    unread: Arc<AtomicBool>,
}

impl Parting {
    /// For an answer by that connection.
    pub(super) fn of(arrival: &Arrival, progress: &Arc<Progress>) -> Self {
        let Arrival { ending, unread, .. } = arrival.clone();
        Self { progress: Arc::clone(progress), ending, unread }
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        if self.unread.load(Ordering::Relaxed) {
            self.progress.tell_cut("the caller left it unread for too long");
        } else if self.ending.is_now() {
            self.progress.tell_cut("the gateway stops");
        }
    }
}
