//! How many requests a vendor allows an application, counted so that no window of the vendor's holds more.
//!
//! The vendor counts a request when it arrives there, some time after we have given it out, and its windows begin when it
//! likes. So requests are counted in slots of a hundredth of a window, and a slot counts for a window and a fiftieth
//! from its end: whichever window of that length the vendor looks at, as long as a request is on its way for no longer
//! than that fiftieth, all requests in it are counted here at once. It costs three hundredths of the limit at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// At most so many requests in any time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// At least 1.
    pub requests: u32,
    /// At least 100 ms.
    pub window: Duration,
}

impl RateLimit {
    /// For how long a request that was given out may be on its way to the vendor.
    pub fn slack(&self) -> Duration {
        self.window / SLACK_PART
    }
}

/// Slots in a window.
const SLOTS: i64 = 100;
/// For how many slots a request may be on its way.
const SLACK_SLOTS: i64 = 2;
/// The same as a part of the window.
const SLACK_PART: u32 = 50;
/// Of each limit, what is left to live requests: a part in so many.
const RESERVE: u32 = 10;

/// What a vendor has been asked of late. It is stored, under one lock for all bridges: names are never to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateBudget {
    /// One for each limit, by its window's length.
    used: Vec<Used>,
    /// Nothing is sent before.
    rests_until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    window_ms: i64,
    /// A slot's number since the epoch, and the requests in it; ascending.
    slots: Vec<(i64, u32)>,
}

/// What a budget gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// So many requests may be sent now.
    pub requests: u32,
    /// When there may be more; none if all that was wanted was given.
    pub more_in: Option<Duration>,
}

impl Used {
    fn slot_ms(&self) -> i64 {
        (self.window_ms / SLOTS).max(1)
    }

    /// For how many slots a slot counts, itself among them.
    fn counts_for(&self) -> i64 {
        SLOTS + SLACK_SLOTS + 1
    }

    /// Forgets what counts no more. Slots of the future stay: a clock that was set back gives nothing twice.
    fn forget(&mut self, now_ms: i64) {
        let oldest = now_ms.div_euclid(self.slot_ms()) - self.counts_for() + 1;
        self.slots.retain(|(slot, _)| *slot >= oldest);
    }

    fn count(&self) -> u32 {
        self.slots.iter().map(|(_, requests)| *requests).sum()
    }

    /// When the oldest slot counts no more.
    fn more_at_ms(&self) -> Option<i64> {
        self.slots.first().map(|(slot, _)| (slot + self.counts_for()) * self.slot_ms())
    }

    fn add(&mut self, now_ms: i64, requests: u32) {
        let slot = now_ms.div_euclid(self.slot_ms());
        match self.slots.last_mut() {
            Some((last, count)) if *last >= slot => *count += requests,
            _ => self.slots.push((slot, requests)),
        }
    }
}

impl RateBudget {
    /// Takes up to `wanted` requests under all of `limits`; for backfill, so that a tenth of each is left.
    pub fn take(&mut self, limits: &[RateLimit], now: Timestamp, wanted: u32, is_backfill: bool) -> Given {
        let now_ms = now.as_ms();
        self.keep_only(limits);
        if let Some(until) = self.rests_until.filter(|until| *until > now) {
            return Given { requests: 0, more_in: Some(from_ms(until.as_ms() - now_ms)) };
        }
        self.rests_until = None;
        let reserve = |limit: &RateLimit| if is_backfill { limit.requests / RESERVE } else { 0 };
        let free = limits.iter().zip(&mut self.used).map(|(limit, used)| {
            used.forget(now_ms);
            (limit.requests - reserve(limit)).saturating_sub(used.count())
        });
        let free: Vec<u32> = free.collect();
        let requests = free.iter().copied().fold(wanted, u32::min);
        if requests > 0 {
            self.used.iter_mut().for_each(|used| used.add(now_ms, requests));
        }
        let scarce = self.used.iter().zip(free).filter(|(_, free)| *free < wanted);
        let more_at_ms = scarce.filter_map(|(used, _)| used.more_at_ms()).max();
        let more_in = more_at_ms.map(|at| from_ms((at - now_ms).max(1)));
        Given { requests, more_in }
    }

    /// Nothing is sent before `until`.
    pub fn rest(&mut self, until: Timestamp) {
        self.rests_until = self.rests_until.max(Some(until));
    }

    /// One count for each limit, in their order. A limit of another length begins anew.
    fn keep_only(&mut self, limits: &[RateLimit]) {
        let window_ms = |limit: &RateLimit| i64::try_from(limit.window.as_millis()).unwrap_or(i64::MAX);
        let kept = limits.iter().map(|limit| {
            let window_ms = window_ms(limit);
            let held = self.used.iter().find(|used| used.window_ms == window_ms).cloned();
            held.unwrap_or(Used { window_ms, slots: Vec::new() })
        });
        self.used = kept.collect();
    }
}

fn from_ms(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_MS: i64 = 1_789_000_000_000;

    fn limit(requests: u32, window_ms: u64) -> RateLimit {
        RateLimit { requests, window: Duration::from_millis(window_ms) }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(START_MS + ms)
    }

    #[test]
    fn a_burst_up_to_the_limit_goes_at_once_and_the_rest_when_the_window_has_passed() {
        let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
        assert_eq!(budget.take(&limits, at(0), 80, false), Given { requests: 80, more_in: None });
        let given = budget.take(&limits, at(10), 80, false);
        assert_eq!(given.requests, 20);
        let more_in = given.more_in.unwrap();
        assert!(more_in > Duration::from_secs(60) && more_in <= Duration::from_millis(61_800), "{more_in:?}");
        let later = at(10 + more_in.as_millis() as i64);
        assert_eq!(budget.take(&limits, later, 80, false), Given { requests: 80, more_in: None });
    }

    #[test]
    fn the_narrowest_limit_decides_and_each_is_counted() {
        let (mut budget, limits) = (RateBudget::default(), [limit(10, 1_000), limit(15, 100_000)]);
        assert_eq!(budget.take(&limits, at(0), 12, false).requests, 10);
        assert_eq!(budget.take(&limits, at(2_000), 12, false).requests, 5);
        let given = budget.take(&limits, at(4_000), 1, false);
        assert_eq!(given.requests, 0);
        assert!(given.more_in.unwrap() > Duration::from_secs(90), "{given:?}");
    }

    #[test]
    fn backfill_leaves_a_tenth_to_what_is_live() {
        let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
        assert_eq!(budget.take(&limits, at(0), 500, true).requests, 90);
        assert_eq!(budget.take(&limits, at(0), 1, true).requests, 0);
        assert_eq!(budget.take(&limits, at(0), 50, false).requests, 10);
    }

    #[test]
    fn a_vendor_that_asks_for_rest_has_it_and_a_shorter_rest_shortens_none() {
        let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
        budget.rest(at(5_000));
        budget.rest(at(1_000));
        let given = budget.take(&limits, at(2_000), 1, false);
        assert_eq!(given, Given { requests: 0, more_in: Some(Duration::from_secs(3)) });
        assert_eq!(budget.take(&limits, at(5_000), 1, false).requests, 1);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nothing_twice() {
        let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
        assert_eq!(budget.take(&limits, at(0), 100, false).requests, 100);
        assert_eq!(budget.take(&limits, at(-3_600_000), 1, false).requests, 0);
    }

    #[test]
    fn the_stored_form_stays_as_it_is() {
        let mut budget = RateBudget::default();
        budget.take(&[limit(10, 1_000)], at(0), 3, false);
        budget.rest(at(7));
        let stored = serde_json::to_string(&budget).unwrap();
        let want = r#"{"used":[{"window_ms":1000,"slots":[[178900000000,3]]}],"rests_until":"2026-09-10T00:26:40.007Z"}"#;
        assert_eq!(stored, want);
        assert_eq!(serde_json::from_str::<RateBudget>(&stored).unwrap(), budget);
    }

    proptest! {
        /// Whatever is asked when, and however long within the slack each request is on its way: no window of the vendor's
        /// holds more than the limit.
        #[test]
        fn no_window_of_the_vendors_holds_more_than_the_limit(
            asks in proptest::collection::vec((0_i64..3_000, 1_u32..40, 0_i64..200), 1..200),
            requests in 1_u32..60,
        ) {
            let (window_ms, mut budget) = (10_000_i64, RateBudget::default());
            let limits = [limit(requests, window_ms as u64)];
            let (mut now_ms, mut arrivals) = (0, Vec::new());
            for (pause, wanted, on_its_way) in asks {
                now_ms += pause;
                let given = budget.take(&limits, at(now_ms), wanted, false);
                prop_assert!(given.requests <= wanted);
                prop_assert_eq!(given.more_in.is_none(), given.requests == wanted);
                arrivals.extend((0..given.requests).map(|_| now_ms + on_its_way));
            }
            arrivals.sort_unstable();
            for (first, arrival) in arrivals.iter().enumerate() {
                let held = arrivals[first..].iter().take_while(|other| **other < arrival + window_ms).count();
                prop_assert!(held <= requests as usize, "{} in a window", held);
            }
        }

        /// Somebody who always wants more, and asks when told, gets at least 96 % of what is allowed.
        #[test]
        fn what_is_allowed_is_used(requests in 1_u32..500, window_ms in 1_000_u64..100_000) {
            let (mut budget, limits) = (RateBudget::default(), [limit(requests, window_ms)]);
            let (mut now_ms, mut given_in_all, windows) = (0_i64, 0_u64, 20_u64);
            while now_ms < (windows * window_ms) as i64 {
                let given = budget.take(&limits, at(now_ms), 1_000, false);
                given_in_all += u64::from(given.requests);
                now_ms += given.more_in.unwrap().as_millis() as i64;
            }
            let allowed = windows * u64::from(requests);
            prop_assert!(given_in_all * 100 >= allowed * 95, "{} of {}", given_in_all, allowed);
        }
    }
}
