//! How a vendor is asked that has asked for patience: not at all while it rests, and gently afterwards.
//!
//! Of what was in hand when it refused the first, nothing more is sent. When it has rested, one request finds out whether
//! it takes any, and when as many have been answered as may be under way, one more may: a vendor that allows less than we
//! believe refuses a few at a time, and not all that fits in hand.

use std::time::Duration;

use tokio::time::Instant;

/// What this process knows of it; other bridges hear of rests by the budget.
#[derive(Debug)]
pub(super) struct Pace {
    rests_until: Option<Instant>,
    /// So many at once, less than ever fit in hand only after a refusal.
    at_once: usize,
    /// Answered since that was changed.
    answered: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rests_until: None, at_once: usize::MAX, answered: 0 }
    }
}

impl Pace {
    /// It wants to be left alone for so long.
    pub(super) fn rest(&mut self, rest: Duration) {
        let until = Instant::now().checked_add(rest);
        self.rests_until = self.rests_until.max(until);
    }

    /// It has refused a request, and rests.
    pub(super) fn refused(&mut self, rest: Duration) {
        self.rest(rest);
        (self.at_once, self.answered) = (1, 0);
    }

    /// It has answered one.
    pub(super) fn answered(&mut self) {
        self.answered = self.answered.saturating_add(1);
        if self.answered >= self.at_once {
            (self.at_once, self.answered) = (self.at_once.saturating_add(1), 0);
        }
    }

    /// For how long it still rests.
    pub(super) fn rests_for(&self) -> Option<Duration> {
        let left = self.rests_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// How many of `most` may be in hand.
    pub(super) fn at_once(&self, most: usize) -> usize {
        self.at_once.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_refusal_it_rests_as_long_as_it_said_and_then_is_asked_ever_less_gently() {
        let mut pace = Pace::default();
        assert_eq!((pace.rests_for(), pace.at_once(72)), (None, 72));
        pace.refused(10 * SECOND);
        pace.refused(SECOND);
        assert!(pace.rests_for().is_some_and(|left| left > 9 * SECOND), "a shorter rest shortens none");
        assert_eq!(pace.at_once(72), 1);
        (0..1 + 2 + 3 + 4).for_each(|_| pace.answered());
        assert_eq!((pace.at_once(72), pace.at_once(3)), (5, 3));
        pace.rest(20 * SECOND);
        assert_eq!(pace.at_once(72), 5, "a rest that it announces is no refusal");
    }
}
