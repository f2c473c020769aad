//! How many requests the vendors take, and how they say so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Vendor;

/// Requests in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At most so many …
    pub requests: u32,
    /// … in each window of this length, in real time.
    pub window: Duration,
}

/// The vendors' limits, for all of an application's users together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// 5000 in 5 minutes (`vendors.md` §2).
    pub oura: Limit,
    /// 100 a minute (`vendors.md` §3).
    pub whoop: Limit,
    /// 10 000 a day (`vendors.md` §3).
    pub whoop_day: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            oura: Limit { requests: 5_000, window: Duration::from_secs(300) },
            whoop: Limit { requests: 100, window: Duration::from_secs(60) },
            whoop_day: Limit { requests: 10_000, window: Duration::from_secs(86_400) },
        }
    }
}

/// What is left of the limits now.
#[derive(Debug)]
pub(super) struct Budget {
    oura: Mutex<Window>,
    whoop: Mutex<[Window; 2]>,
}

#[derive(Debug)]
struct Window {
    limit: Limit,
    began: Instant,
    used: u32,
    /// When requests came, taken or not, as far back as one length of the window.
    arrivals: VecDeque<Instant>,
    /// The most of them at once: in any window of this length, wherever it begins.
    busiest: usize,
}

/// Header fields that tell what is left.
pub(super) type Fields = Vec<(&'static str, String)>;

impl Window {
    fn new(limit: Limit) -> Self {
        Self { limit, began: Instant::now(), used: 0, arrivals: VecDeque::new(), busiest: 0 }
    }

    fn arrive(&mut self, now: Instant) {
        self.arrivals.push_back(now);
        let is_over = |at: &Instant| now.duration_since(*at) >= self.limit.window;
        while self.arrivals.front().is_some_and(is_over) {
            self.arrivals.pop_front();
        }
        self.busiest = self.busiest.max(self.arrivals.len());
        if now.duration_since(self.began) >= self.limit.window {
            (self.began, self.used) = (now, 0);
        }
    }

    fn left(&self) -> u32 {
        self.limit.requests.saturating_sub(self.used)
    }

    /// Whole seconds until the next window, at least 1.
    fn resets_in(&self, now: Instant) -> u64 {
        let left = self.limit.window.saturating_sub(now.duration_since(self.began));
        left.as_secs_f64().ceil().max(1.0) as u64
    }
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        let whoop = [Window::new(limits.whoop), Window::new(limits.whoop_day)];
        Self { oura: Mutex::new(Window::new(limits.oura)), whoop: Mutex::new(whoop) }
    }

    /// Takes one request; whether it fits, and the fields of its answer.
    pub(super) fn take(&self, vendor: Vendor) -> (bool, Fields) {
        let now = Instant::now();
        match vendor {
            Vendor::Whoop => {
                let mut windows = self.whoop.lock();
                windows.iter_mut().for_each(|window| window.arrive(now));
                let fits = windows.iter().all(|window| window.left() > 0);
                if fits {
                    windows.iter_mut().for_each(|window| window.used += 1);
                }
                (fits, whoop_fields(&windows, now))
            }
            _ => {
                let mut window = self.oura.lock();
                window.arrive(now);
                let fits = window.left() > 0;
                window.used += u32::from(fits);
                let seconds = window.resets_in(now);
                (fits, if fits { Vec::new() } else { vec![("retry-after", seconds.to_string())] })
            }
        }
    }

    /// The most requests that came in any time of the window's length: of WHOOP's, in its shorter one.
    pub(super) fn busiest(&self, vendor: Vendor) -> usize {
        match vendor {
            Vendor::Whoop => self.whoop.lock()[0].busiest,
            _ => self.oura.lock().busiest,
        }
    }

    /// The fields of an answer 429 without a limit behind it.
    pub(super) fn refusal(&self, vendor: Vendor) -> Fields {
        match vendor {
            Vendor::Whoop => whoop_fields(&self.whoop.lock(), Instant::now()),
            _ => vec![("retry-after", "1".to_owned())],
        }
    }
}

/// `X-RateLimit-Reset` is seconds until the window ends, not an epoch; there is no `Retry-After`.
fn whoop_fields(windows: &[Window; 2], now: Instant) -> Fields {
    let [minute, day] = windows;
    let tight = if day.left() < minute.left() { day } else { minute };
    let told =
        |window: &Window| format!("{};window={}", window.limit.requests, window.limit.window.as_secs());
    vec![
        ("x-ratelimit-limit", format!("{}, {}, {}", tight.limit.requests, told(minute), told(day))),
        ("x-ratelimit-remaining", tight.left().to_string()),
        ("x-ratelimit-reset", tight.resets_in(now).to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_told_when_to_come_again() {
        let limit = Limit { requests: 2, window: Duration::from_secs(60) };
        let budget = Budget::new(Limits { oura: limit, whoop: limit, ..Limits::default() });
        for vendor in [Vendor::Oura, Vendor::Whoop] {
            assert_eq!([0; 3].map(|_| budget.take(vendor).0), [true, true, false]);
        }
        assert_eq!(budget.take(Vendor::Oura).1, [("retry-after", "60".to_owned())]);
        let fields = budget.take(Vendor::Whoop).1;
        assert_eq!(fields[0].1, "2, 2;window=60, 10000;window=86400");
        assert_eq!((fields[1].1.as_str(), fields[2].1.as_str()), ("0", "60"));
        assert_eq!([Vendor::Oura, Vendor::Whoop].map(|vendor| budget.busiest(vendor)), [4, 4]);
    }

    #[test]
    fn the_busiest_time_may_begin_anywhere() {
        let mut window = Window::new(Limit { requests: 9, window: Duration::from_secs(10) });
        let start = window.began;
        for seconds in [0, 8, 9, 12, 17, 30] {
            window.arrive(start + Duration::from_secs(seconds));
        }
        assert_eq!(window.busiest, 4, "from the 8th second to the 17th");
    }
}
