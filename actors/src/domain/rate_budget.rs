//! How many requests a vendor allows an application, counted so that no window of the vendor's holds more.
//!
//! The vendor counts a request when it arrives there, some time after we have given it out, and its windows begin when it
//! likes. So requests are counted in slots of a 250th of a window, and a slot counts for a window and a hundredth from its
//! end: whichever window of that length the vendor looks at, as long as a request is on its way for no longer than that
//! hundredth, all requests in it are counted here at once. It costs fifteen thousandths of the limit at most.

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

/// Slots in a window. Only those with requests in them are stored: 5 KB of text, if all have some.
const SLOTS: i64 = 250;
/// Slots in a window of builds that stored none of their lengths.
const SLOTS_OF_OLD: i64 = 100;
/// For what part of the window a request may be on its way.
pub const SLACK_PART: u32 = 100;
/// A rest that seems to last longer is of a clock that has been set back.
const REST_LONGEST: Duration = Duration::from_secs(3_600);
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
    /// The length of a slot; 0 in rows of builds that had one length alone. Such a build that reads longer numbers takes
    /// them for times to come, which is as if all requests had been sent just now: too few are given out, never too many.
    #[serde(default)]
    slot_ms: i64,
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
    fn new(window_ms: i64) -> Self {
        Self { window_ms, slot_ms: (window_ms / SLOTS).max(1), slots: Vec::new() }
    }

    /// The same in slots of this build's length. A request may be counted for longer than it need be, never shorter.
    fn in_our_slots(self) -> Self {
        let ours = Self::new(self.window_ms);
        if self.slot_ms == ours.slot_ms {
            return self;
        }
        let their_ms = if self.slot_ms > 0 { self.slot_ms } else { (self.window_ms / SLOTS_OF_OLD).max(1) };
        let last_ms = |slot: i64| slot.saturating_add(1).saturating_mul(their_ms).saturating_sub(1);
        let mut slots: Vec<(i64, u32)> = Vec::with_capacity(self.slots.len());
        for (slot, requests) in self.slots {
            let slot = last_ms(slot).div_euclid(ours.slot_ms);
            match slots.last_mut() {
                Some((last, count)) if *last == slot => *count = count.saturating_add(requests),
                _ => slots.push((slot, requests)),
            }
        }
        Self { slots, ..ours }
    }

    /// When a slot counts no more.
    fn counts_until_ms(&self, slot: i64) -> i64 {
        (slot + 1) * self.slot_ms + self.window_ms + self.window_ms / i64::from(SLACK_PART)
    }

    fn slot_at(&self, ms: i64) -> i64 {
        ms.div_euclid(self.slot_ms)
    }

    /// Forgets what counts no more. What lies in the future, since the clock was set back, is as if it had been now:
    /// nothing is given twice, and nothing is kept for longer than a window.
    fn forget(&mut self, now_ms: i64) {
        let now = self.slot_at(now_ms);
        self.slots.iter_mut().for_each(|(slot, _)| *slot = (*slot).min(now));
        let oldest = self.slots.iter().position(|(slot, _)| self.counts_until_ms(*slot) > now_ms);
        self.slots.drain(..oldest.unwrap_or(self.slots.len()));
    }

    fn count(&self) -> u32 {
        self.slots.iter().fold(0, |sum, (_, requests)| sum.saturating_add(*requests))
    }

    /// When the oldest slot counts no more.
    fn more_at_ms(&self) -> Option<i64> {
        self.slots.first().map(|(slot, _)| self.counts_until_ms(*slot))
    }

    fn add(&mut self, now_ms: i64, requests: u32) {
        let slot = self.slot_at(now_ms);
        match self.slots.last_mut() {
            Some((last, count)) if *last >= slot => *count = count.saturating_add(requests),
            _ => self.slots.push((slot, requests)),
        }
    }

    /// Takes one request out that was given not before `since_ms`: of the first slot from then on that has any, which
    /// is its own or an older one.
    fn take_out(&mut self, since_ms: i64) {
        let (since, is_full) = (self.slot_at(since_ms), |(_, count): &(i64, u32)| *count > 0);
        let place = self.slots.iter().position(|slot| slot.0 >= since && is_full(slot));
        // A clock that was set forward: then out of the oldest, which counts for the shortest time still.
        let Some(place) = place.or_else(|| self.slots.iter().position(is_full)) else { return };
        self.slots[place].1 -= 1;
        if self.slots[place].1 == 0 {
            self.slots.remove(place);
        }
    }
}

impl RateBudget {
    /// Takes up to `wanted` requests under all of `limits`; for backfill, so that a tenth of each is left.
    pub fn take(&mut self, limits: &[RateLimit], now: Timestamp, wanted: u32, is_backfill: bool) -> Given {
        let now_ms = now.as_ms();
        self.arrange(limits, now_ms);
        let longest = now.plus_ms(i64::try_from(REST_LONGEST.as_millis()).unwrap_or(i64::MAX));
        if let Some(until) = self.rests_until.filter(|until| *until > now && *until <= longest) {
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

    /// Gives one request back that was taken `held` ago, at the most, and has not been sent. One that may count no more is
    /// gone.
    pub fn give_back(&mut self, now: Timestamp, held: Duration) {
        self.modernise();
        let held_ms = i64::try_from(held.as_millis()).unwrap_or(i64::MAX);
        for used in self.used.iter_mut().filter(|used| held_ms < used.window_ms) {
            used.take_out(now.as_ms().saturating_sub(held_ms));
        }
    }

    /// Takes one request, `instead` of one that was taken so long ago, at the most, and has not been sent: that is gone in
    /// any case. Whether there was one.
    pub fn take_one(&mut self, limits: &[RateLimit], now: Timestamp, instead: Option<Duration>) -> bool {
        instead.into_iter().for_each(|held| self.give_back(now, held));
        self.take(limits, now, 1, false).requests > 0
    }

    /// Nothing is sent before `until`.
    pub fn rest(&mut self, until: Timestamp) {
        self.rests_until = self.rests_until.max(Some(until));
    }

    fn modernise(&mut self) {
        self.used = self.used.drain(..).map(Used::in_our_slots).collect();
    }

    /// First one count for each limit, in their order.
    fn arrange(&mut self, limits: &[RateLimit], now_ms: i64) {
        let window_ms = |limit: &RateLimit| i64::try_from(limit.window.as_millis()).unwrap_or(i64::MAX);
        let mut kept: Vec<Used> = Vec::with_capacity(self.used.len());
        self.modernise();
        for window_ms in limits.iter().map(window_ms) {
            let held = self.used.iter().position(|used| used.window_ms == window_ms);
            let held = held.map(|place| self.used.swap_remove(place));
            kept.push(held.unwrap_or_else(|| Used::new(window_ms)));
        }
        // Those of another bridge with other limits: during a deploy nobody's count is lost.
        self.used.iter_mut().for_each(|used| used.forget(now_ms));
        kept.extend(self.used.drain(..).filter(|used| !used.slots.is_empty()));
        self.used = kept;
    }
}

fn from_ms(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
#[path = "rate_budget_tests.rs"]
mod tests;
