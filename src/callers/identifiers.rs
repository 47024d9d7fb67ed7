//! Limits for each user of an app that calls with one key for all of them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::callers::lru::Lru;
use crate::clock::Now;
use crate::window::Owner;
use crate::window::Shape;
use crate::window::Window;

/// How much each user may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Requests in a window.
    pub max: u64,
    /// The window's length. It rolls.
    pub window: Duration,
    /// Users remembered, from 1 on; who was not heard of for longest is forgotten first.
    pub max_buckets: usize,
}

/// Who a request is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The id of the key that was shown, if it was a virtual one: two apps may both have a user `1`.
    pub key: Option<std::sync::Arc<str>>,
    /// The user.
    pub user: User,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// As the app calls them.
    Named(String),
    /// Whoever comes from this address, in its IPv6 form.
    At(u128),
}

/// What is left for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// May this request go on?
    pub passes: bool,
    /// Requests left after it.
    pub remaining: u64,
    /// Until one more is left.
    pub reset: Duration,
}

/// The counts of all users.
#[derive(Debug)]
pub struct Identifiers {
    params: Params,
    windows: Mutex<Lru<Bucket, Window>>,
}

impl Identifiers {
    /// Nobody has asked anything.
    pub fn new(params: Params) -> Self {
        Self { params, windows: Mutex::new(Lru::new(params.max_buckets.max(1))) }
    }

    /// Counts a request, unless it is one too many.
    pub fn take(&self, bucket: Bucket, now: Now) -> Left {
        let Params { max, window, .. } = self.params;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.of(bucket, || Window::new(Shape::Rolling(window)));
        let passes = window.used(now) < max;
        if passes {
            window.charge(1, Owner::ONLY, now);
        }
        let remaining = max.saturating_sub(window.used(now));
        let free = window.next_free(remaining + 1, max, now).unwrap_or(now.monotonic);
        Left { passes, remaining, reset: free.saturating_sub(now.monotonic) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Bucket {
        Bucket { key: None, user: User::Named(name.to_owned()) }
    }

    #[test]
    fn each_user_has_a_window_of_their_own() {
        let params = Params { max: 2, window: Duration::from_secs(60), max_buckets: 3 };
        let identifiers = Identifiers::new(params);
        let check = |bucket: Bucket, at: u64, expected: (bool, u64, u64)| {
            let now = Now::default().plus(Duration::from_secs(at));
            let left = identifiers.take(bucket.clone(), now);
            let got = (left.passes, left.remaining, left.reset.as_secs());
            assert_eq!(got, expected, "{bucket:?} at {at}");
        };
        let in_app = Bucket { key: Some("key_1".into()), ..named("a") };
        check(named("a"), 0, (true, 1, 60));
        check(named("a"), 20, (true, 0, 40));
        check(named("a"), 20, (false, 0, 40));
        check(named("b"), 20, (true, 1, 60));
        check(in_app, 20, (true, 1, 60));
        check(named("a"), 60, (true, 0, 20));
        // A fourth, and `b` is forgotten.
        check(Bucket { key: None, user: User::At(1) }, 61, (true, 1, 60));
        check(named("b"), 62, (true, 1, 60));
    }
}
