//! How many sockets and files this process may have open.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::server;

/// For everything that is no connection: files, listeners, the store.
const OTHERS: usize = 64;

/// Raises the process's own bound to the system's, as far as that allows it, and gives what it is then;
/// `None` where there is none. Many shells give 1,024, which a few hundred streams use up.
#[cfg(unix)]
fn raised() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
    let bound = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => found.maximum,
        // Some systems allow less than they say.
        Err(_) => found.current,
    };
    bound.map(|it| usize::try_from(it).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}

/// Sees to it that the descriptors last: without one no caller is accepted and no provider reached, which
/// would look like the provider's fault.
pub(super) fn fit(params: server::Params) -> server::Params {
    let Some(bound) = raised() else { return params };
    let (sockets, connections) = shares(bound);
    // Each request has a connection and calls a provider.
    if sockets / 2 < params.max_concurrent_requests {
        tracing::info!(
            "this process may open {bound} files (ulimit -n): some {} requests at once",
            sockets / 2
        );
    }
    server::Params {
        max_connections: params.max_connections.min(connections),
        sockets: Arc::new(Semaphore::new(sockets.min(Semaphore::MAX_PERMITS))),
        ..params
    }
}

/// Of so many descriptors: for sockets in all, and of these for connections of callers. Connections that
/// do nothing are not to take what others need for their calls.
fn shares(bound: usize) -> (usize, usize) {
    let sockets = bound.saturating_sub(OTHERS + server::CROWD).max(2);
    (sockets, (sockets / 5 * 4).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_left_for_calls_and_for_all_else() {
        let check = |bound, expected: (usize, usize)| assert_eq!(shares(bound), expected);
        check(1_048_576, (1_048_256, 838_604));
        check(20_000, (19_680, 15_744));
        check(1_024, (704, 560));
        check(10, (2, 1));
    }

    #[test]
    fn what_was_set_is_never_raised() {
        let fit = fit(server::Params { max_connections: 3, ..server::Params::default() });
        assert_eq!(fit.max_connections, 3);
        assert!(fit.sockets.available_permits() > 3);
    }
}
