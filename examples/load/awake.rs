//! Staying awake, so that what is measured does not pay for waking those who measure it.
//!
//! On one machine a write to a socket delivers to it at once, and if its reader sleeps, wakes it: an
//! interrupt to another processor, which on a virtual machine takes some 5 µs and is counted as the
//! writer's. A fast proxy keeps mock and load busy and seldom pays for that, a slower one finds them
//! asleep each time. So they look for something to do in place of sleeping, and leave their
//! processor to each other in between.

/// Gives others their turn on this processor, then has tokio look at the sockets.
pub(crate) async fn look() {
    std::thread::yield_now();
    tokio::task::yield_now().await;
}
