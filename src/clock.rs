//! The one place that reads a clock. Everywhere else the time is an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// One reading of both clocks.
///
/// `monotonic` orders events and measures waits; it never goes back, goes on while the machine
/// sleeps (where that can be told), and means nothing outside this process. `unix_ms` is for calendars, records and people; it may jump either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Time since this process took its clock.
    pub monotonic: Duration,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

impl Now {
    /// The same moment moved on by `by` on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self {
            monotonic: self.monotonic.saturating_add(by),
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }
}

/// Something that tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// A clock shared by the rooms that act.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks. The monotonic one is tokio's, so that tests may pause it, and what the
/// machine has slept, for providers' windows and their waits go on meanwhile.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    wall: Wall,
    asleep: Asleep,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn start() -> Self {
        let asleep = Asleep::new(asleep_since_boot());
        Self { start: Instant::now(), wall: Wall::default(), asleep }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let awake = self.start.elapsed();
        let unix_ms = self.wall.at(awake, || {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that reads the clock"
            )]
            let wall = SystemTime::now().duration_since(UNIX_EPOCH);
            // A wall clock before 1970 is a machine without a battery: zero is as good as any.
            let wall = wall.unwrap_or_default();
            self.asleep.look((wall, awake), asleep_since_boot);
            (wall, self.start.elapsed())
        });
        Now { monotonic: awake.saturating_add(self.asleep.so_far()), unix_ms }
    }
}

/// For how long the wall clock is taken to go as the other does. A request looks at the time a dozen times
/// within microseconds, and each reading costs 40 ns of a virtual machine; that somebody has set the clock,
/// or that the machine has slept, is noticed this much later.
const TRUSTED: Duration = Duration::from_millis(20);

/// A reading that took longer, for the thread had to wait, tells only its own moment.
const SHORT: Duration = Duration::from_millis(1);

/// The wall clock as it was last read.
#[derive(Debug, Default)]
struct Wall {
    /// By how many microseconds it is ahead of the monotonic one.
    ahead: AtomicU64,
    /// Until when that holds, in microseconds of the monotonic one.
    until: AtomicU64,
}

impl Wall {
    /// What it shows at `awake`, in milliseconds. Where it was not asked lately it is with `read`, which
    /// also gives the other clock's time after that.
    fn at(&self, awake: Duration, read: impl Fn() -> (Duration, Duration)) -> u64 {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let at = micros(awake);
        if at < self.until.load(Ordering::Acquire) {
            return self.ahead.load(Ordering::Relaxed).saturating_add(at) / 1_000;
        }
        let (wall, after) = read();
        if after.saturating_sub(awake) <= SHORT {
            self.ahead.store(micros(wall).saturating_sub(at), Ordering::Relaxed);
            // Whoever sees this sees that.
            self.until.store(micros(awake.saturating_add(TRUSTED)), Ordering::Release);
        }
        micros(wall) / 1_000
    }
}

/// How long the machine has slept since the clock was started. A sleep shows in the wall clock, which
/// runs ahead of the other; only then is it asked for, for most readings have to be cheap.
#[derive(Debug)]
struct Asleep {
    /// What the machine had slept at the start.
    before: Duration,
    /// By how many seconds the wall clock was ahead of the monotonic one when it was last looked at.
    ahead: AtomicU64,
    /// Slept since the start, in milliseconds. Only grows.
    slept_ms: AtomicU64,
}

impl Asleep {
    fn new(before: Duration) -> Self {
        Self { before, ahead: AtomicU64::new(0), slept_ms: AtomicU64::new(0) }
    }

    /// Sees from a reading of the wall clock and of the time awake whether the machine has slept; `total`
    /// is what it has since it was started.
    fn look(&self, (wall, awake): (Duration, Duration), total: impl Fn() -> Duration) {
        let ahead = wall.saturating_sub(awake).as_secs();
        if self.ahead.load(Ordering::Relaxed).abs_diff(ahead) > 1 {
            self.ahead.store(ahead, Ordering::Relaxed);
            let slept = total().saturating_sub(self.before).as_millis();
            self.slept_ms.fetch_max(u64::try_from(slept).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The sleep since the clock was started, as far as it was seen.
    fn so_far(&self) -> Duration {
        Duration::from_millis(self.slept_ms.load(Ordering::Relaxed))
    }
}

/// What the machine has slept since it was started; nothing where the monotonic clock goes on in its
/// sleep, or where nobody can tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn asleep_since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let time = clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
    };
    // In this order what passes between the two readings is taken for no sleep.
    let all = read(ClockId::Boottime);
    all.saturating_sub(read(ClockId::Monotonic))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn asleep_since_boot() -> Duration {
    Duration::ZERO
}

/// A clock that moves with tokio's (paused or not) from a chosen date on: for tests that sleep
/// through hours in virtual time.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    base_unix_ms: u64,
}

impl VirtualClock {
    /// Starts at `base_unix_ms` milliseconds since 1970.
    #[must_use]
    pub fn starting_at(base_unix_ms: u64) -> Self {
        Self { start: Instant::now(), base_unix_ms }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        Now { monotonic: Duration::ZERO, unix_ms: self.base_unix_ms }.plus(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_sleep_counts_and_a_clock_that_is_set_does_not() {
        let asleep = Asleep::new(secs(100));
        let check = |wall, awake, total, expected| {
            asleep.look((secs(wall), secs(awake)), || secs(total));
            assert_eq!(asleep.so_far(), secs(expected), "{wall} {awake}");
        };
        check(1_000_000, 0, 100, 0);
        check(1_000_010, 10, 100, 0);
        // The lid was closed for eight hours.
        check(1_028_820, 20, 28_900, 28_800);
        check(1_028_830, 30, 28_900, 28_800);
        // The wall clock is set forward by a month, and back by a year.
        check(3_620_840, 40, 28_900, 28_800);
        check(40, 50, 28_900, 28_800);
        // A second sleep.
        check(660, 60, 29_510, 29_410);
        // Whatever the system says, time does not go back.
        check(9_660, 70, 0, 29_410);
    }

    #[test]
    fn sleep_is_not_asked_for_at_each_reading() {
        let asleep = Asleep::new(Duration::ZERO);
        asleep.look((secs(5_000), secs(0)), Duration::default);
        for second in 1..100 {
            asleep.look((secs(5_000 + second), secs(second)), || panic!("no reason to look"));
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_is_soon_heard_of() {
        let wall = Wall::default();
        let millis = Duration::from_millis;
        let asked = |awake, shows| wall.at(millis(awake), || (millis(shows), millis(awake)));
        let not_asked = |awake| wall.at(millis(awake), || panic!("no reason to ask"));
        assert_eq!(asked(0, 5_000), 5_000);
        assert_eq!(not_asked(19), 5_019);
        assert_eq!(asked(20, 9_000), 9_000);
        assert_eq!(not_asked(30), 9_010);
        // Back, and to what a machine without a battery shows.
        assert_eq!(asked(40, 1_000), 1_000);
        assert_eq!(asked(90, 0), 0);
        // A reading on which the thread had to wait is not gone by.
        assert_eq!(wall.at(millis(200), || (millis(5_300), millis(500))), 5_300);
        assert_eq!(asked(201, 5_001), 5_001);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the system's own clock is what is compared with"
    )]
    fn the_machines_clock_shows_what_the_systems_does() {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        for _ in 0..100 {
            let clock = SystemClock::start();
            for _ in 0..100 {
                let (before, ours, after) = (system(), clock.now().unix_ms, system());
                // A reading that is gone by may be as old as it may have taken.
                assert!((before - 1..=after + 1).contains(&ours.into()), "{before} {ours} {after}");
            }
        }
    }

    #[test]
    fn the_machines_clock_never_goes_back() {
        let clock = SystemClock::start();
        let readings: Vec<Duration> = (0..1_000).map(|_| clock.now().monotonic).collect();
        assert!(readings.is_sorted(), "{readings:?}");
        assert!(
            readings.iter().all(|it| *it < secs(3_600)),
            "sleep before the start counts for nothing"
        );
    }
}
