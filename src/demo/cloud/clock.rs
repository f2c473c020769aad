//! The cloud's time: simulated, at a speed of its own, never ahead of the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use tokio::sync::Notify;

use super::Opening;

/// Simulated time that starts somewhere and runs at a speed until it has caught up with the wall clock, with which it
/// goes on. Only wearables' times are simulated: tokens, rate limits and signatures stand in real time, in which their
/// clients live.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    start_ms: i64,
    began: Instant,
    speed: f64,
    opening: Option<Opening>,
    /// By how much it was put forward.
    forward_ms: AtomicI64,
    moved: Notify,
}

impl SimulatedClock {
    /// Time that begins now with `start_ms` (Unix milliseconds); `speed` in simulated seconds a second, 0 for time that
    /// stands still. Until the opening, if there is one, it takes the opening's time instead.
    pub(super) fn new(start_ms: i64, speed: f64, opening: Option<Opening>) -> Self {
        let (began, speed) = (Instant::now(), speed.max(0.0));
        Self { start_ms, began, speed, opening, forward_ms: AtomicI64::new(0), moved: Notify::new() }
    }

    /// Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.at(self.began.elapsed(), SystemClock.now().as_ms())
    }

    /// The simulated time with which it began, Unix milliseconds.
    pub(super) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Puts it forward by so many milliseconds, but not beyond the wall clock.
    pub(super) fn forward(&self, ms: u32) {
        self.forward_ms.fetch_add(i64::from(ms), Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Ends when it is put forward after this call.
    pub(super) fn moved(&self) -> impl Future<Output = ()> {
        self.moved.notified()
    }

    /// How long it is until the simulated time `at_ms` has come; `None` if it never does.
    pub(super) fn wait_for(&self, at_ms: i64) -> Option<Duration> {
        self.wait(at_ms, self.began.elapsed(), SystemClock.now().as_ms())
    }

    /// A vendor's waiting time as it passes here: shorter by the speed, where that is more than 1.
    pub(super) fn scaled(&self, vendors: Duration) -> Duration {
        vendors.div_f64(self.speed.max(1.0))
    }

    /// The simulated milliseconds before the opening, and the real time that they take.
    fn hurry(&self) -> (f64, Duration) {
        let hurried = |opening: Opening| ((opening.at_ms - self.start_ms).max(0) as f64, opening.after);
        self.opening.map_or((0.0, Duration::ZERO), hurried)
    }

    fn passed_ms(&self, elapsed: Duration) -> f64 {
        let (hurried_ms, after) = self.hurry();
        match elapsed.checked_sub(after) {
            Some(since) => hurried_ms + since.as_secs_f64() * 1e3 * self.speed,
            None => hurried_ms * elapsed.div_duration_f64(after),
        }
    }

    /// The real time from the beginning in which so many simulated milliseconds pass; `None` if they never do.
    fn takes(&self, ahead_ms: f64) -> Option<Duration> {
        let (hurried_ms, after) = self.hurry();
        if ahead_ms <= 0.0 {
            return Some(Duration::ZERO);
        }
        if ahead_ms <= hurried_ms {
            return Some(after.mul_f64(ahead_ms / hurried_ms));
        }
        if self.speed <= 0.0 {
            return None;
        }
        after.checked_add(Duration::try_from_secs_f64((ahead_ms - hurried_ms) / 1e3 / self.speed).ok()?)
    }

    fn at(&self, elapsed: Duration, wall_ms: i64) -> i64 {
        let passed_ms = self.passed_ms(elapsed) as i64;
        let forward_ms = self.forward_ms.load(Ordering::Relaxed);
        self.start_ms.saturating_add(passed_ms).saturating_add(forward_ms).min(wall_ms)
    }

    fn wait(&self, at_ms: i64, elapsed: Duration, wall_ms: i64) -> Option<Duration> {
        let forward_ms = self.forward_ms.load(Ordering::Relaxed);
        let ahead_ms = at_ms.saturating_sub(self.start_ms).saturating_sub(forward_ms).max(0) as f64;
        let by_speed = self.takes(ahead_ms)?;
        let by_wall = Duration::from_millis(at_ms.saturating_sub(wall_ms).max(0) as u64);
        Some(by_speed.saturating_sub(elapsed).max(by_wall))
    }
}

#[cfg(test)]
impl SimulatedClock {
    /// The real milliseconds from the beginning until `at_ms` has come, if the wall is no hindrance.
    pub(super) fn elapsed_ms(&self, at_ms: i64) -> i64 {
        let takes = self.takes((at_ms - self.start_ms) as f64);
        takes.map_or(i64::MAX, |takes| takes.as_millis() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_789_041_600_000;

    #[test]
    fn simulated_time_hurries_until_it_has_caught_up() {
        let clock = SimulatedClock::new(NOW_MS - 60_000, 10.0, None);
        let at = |seconds: u64| clock.at(Duration::from_secs(seconds), NOW_MS + seconds as i64 * 1_000);
        assert_eq!(at(0), NOW_MS - 60_000);
        assert_eq!(at(3), NOW_MS - 30_000);
        assert_eq!(at(100), NOW_MS + 100_000);
    }

    #[test]
    fn what_is_waited_for_has_come_when_the_wait_is_over() {
        for speed in [0.5, 1.0, 60.0, 100_000.0] {
            let clock = SimulatedClock::new(NOW_MS - 60_000, speed, None);
            for ahead_ms in [0, 1, 59_999, 60_000, 3_600_000] {
                let at_ms = NOW_MS - 60_000 + ahead_ms;
                let wait =
                    clock.wait(at_ms, Duration::ZERO, NOW_MS).expect("it comes") + Duration::from_millis(1);
                assert!(clock.at(wait, NOW_MS + wait.as_millis() as i64) >= at_ms, "{speed} {ahead_ms}");
            }
        }
    }

    #[test]
    fn it_hurries_to_the_opening_and_goes_on_at_its_speed() {
        let opening = Opening { at_ms: NOW_MS - 60_000, after: Duration::from_secs(20) };
        let clock = SimulatedClock::new(NOW_MS - 3_660_000, 3.0, Some(opening));
        let at = |seconds: u64| clock.at(Duration::from_secs(seconds), NOW_MS);
        assert_eq!([0, 10, 20, 30].map(at), [-3_660_000, -1_860_000, -60_000, -30_000].map(|ms| NOW_MS + ms));
        let takes = |seconds: i64| clock.wait(NOW_MS + seconds * 1_000, Duration::ZERO, NOW_MS);
        let seconds = [-3_660, -1_860, -60, -30].map(takes);
        assert_eq!(seconds, [0, 10, 20, 30].map(|seconds| Some(Duration::from_secs(seconds))));
    }

    #[test]
    fn where_time_stands_still_nothing_more_comes() {
        let clock = SimulatedClock::new(NOW_MS, 0.0, None);
        assert_eq!(clock.wait(NOW_MS, Duration::ZERO, NOW_MS), Some(Duration::ZERO));
        assert_eq!(clock.wait(NOW_MS + 1, Duration::ZERO, NOW_MS + 5_000), None);
        clock.forward(2_000);
        assert_eq!(clock.wait(NOW_MS + 2_000, Duration::ZERO, NOW_MS + 5_000), Some(Duration::ZERO));
        assert_eq!(clock.at(Duration::ZERO, NOW_MS + 5_000), NOW_MS + 2_000);
        assert_eq!(clock.at(Duration::ZERO, NOW_MS + 1_000), NOW_MS + 1_000, "never ahead of the wall");
    }
}
