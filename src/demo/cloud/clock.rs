//! The cloud's time: simulated, at a speed of its own, never ahead of the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use tokio::sync::Notify;

/// Simulated time that starts somewhere and runs at a speed until it has caught up with the wall clock, with which it
/// goes on. Only wearables' times are simulated: tokens, rate limits and signatures stand in real time, in which their
/// clients live.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    start_ms: i64,
    began: Instant,
    speed: f64,
    /// By how much it was put forward.
    forward_ms: AtomicI64,
    moved: Notify,
}

impl SimulatedClock {
    /// Time that begins now with `start_ms` (Unix milliseconds); `speed` in simulated seconds a second, 0 for time that
    /// stands still.
    pub(super) fn new(start_ms: i64, speed: f64) -> Self {
        let (began, speed) = (Instant::now(), speed.max(0.0));
        Self { start_ms, began, speed, forward_ms: AtomicI64::new(0), moved: Notify::new() }
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

    fn at(&self, elapsed: Duration, wall_ms: i64) -> i64 {
        let passed_ms = (elapsed.as_secs_f64() * 1e3 * self.speed) as i64;
        let forward_ms = self.forward_ms.load(Ordering::Relaxed);
        self.start_ms.saturating_add(passed_ms).saturating_add(forward_ms).min(wall_ms)
    }

    fn wait(&self, at_ms: i64, elapsed: Duration, wall_ms: i64) -> Option<Duration> {
        let forward_ms = self.forward_ms.load(Ordering::Relaxed);
        let ahead_ms = at_ms.saturating_sub(self.start_ms).saturating_sub(forward_ms).max(0) as f64;
        if self.speed <= 0.0 && ahead_ms > 0.0 {
            return None;
        }
        let by_speed = if ahead_ms > 0.0 {
            Duration::try_from_secs_f64(ahead_ms / 1e3 / self.speed).ok()?
        } else {
            Duration::ZERO
        };
        let by_wall = Duration::from_millis(at_ms.saturating_sub(wall_ms).max(0) as u64);
        Some(by_speed.saturating_sub(elapsed).max(by_wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_789_041_600_000;

    #[test]
    fn simulated_time_hurries_until_it_has_caught_up() {
        let clock = SimulatedClock::new(NOW_MS - 60_000, 10.0);
        let at = |seconds: u64| clock.at(Duration::from_secs(seconds), NOW_MS + seconds as i64 * 1_000);
        assert_eq!(at(0), NOW_MS - 60_000);
        assert_eq!(at(3), NOW_MS - 30_000);
        assert_eq!(at(100), NOW_MS + 100_000);
    }

    #[test]
    fn what_is_waited_for_has_come_when_the_wait_is_over() {
        for speed in [0.5, 1.0, 60.0, 100_000.0] {
            let clock = SimulatedClock::new(NOW_MS - 60_000, speed);
            for ahead_ms in [0, 1, 59_999, 60_000, 3_600_000] {
                let at_ms = NOW_MS - 60_000 + ahead_ms;
                let wait =
                    clock.wait(at_ms, Duration::ZERO, NOW_MS).expect("it comes") + Duration::from_millis(1);
                assert!(clock.at(wait, NOW_MS + wait.as_millis() as i64) >= at_ms, "{speed} {ahead_ms}");
            }
        }
    }

    #[test]
    fn where_time_stands_still_nothing_more_comes() {
        let clock = SimulatedClock::new(NOW_MS, 0.0);
        assert_eq!(clock.wait(NOW_MS, Duration::ZERO, NOW_MS), Some(Duration::ZERO));
        assert_eq!(clock.wait(NOW_MS + 1, Duration::ZERO, NOW_MS + 5_000), None);
        clock.forward(2_000);
        assert_eq!(clock.wait(NOW_MS + 2_000, Duration::ZERO, NOW_MS + 5_000), Some(Duration::ZERO));
        assert_eq!(clock.at(Duration::ZERO, NOW_MS + 5_000), NOW_MS + 2_000);
        assert_eq!(clock.at(Duration::ZERO, NOW_MS + 1_000), NOW_MS + 1_000, "never ahead of the wall");
    }
}
