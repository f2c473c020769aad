//! When a fetch that brought no data is due again, and when it is given up (mission §5).

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::fetch_queue::{Again, ClaimedFetch, FetchFate};
use crate::supervision::Backoff;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// After how long a record that is not there or not computed yet is looked for again; then once an hour …
const LOOKS: [Duration; 6] = [
    MINUTE,
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1_800),
    HOUR,
];
/// … for so long, if the vendor knows nothing of it …
const MISSING_FOR: Duration = DAY;
/// … and for so long, if the vendor computes it.
const PENDING_FOR: Duration = Duration::from_secs(2 * 24 * 3_600);
/// How long a fetch waits for its account.
const ACCOUNT_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The longest patience that a vendor may ask for.
const REST_LONGEST: Duration = HOUR;
/// The longest delay after a failure, in base delays.
const FAILURE_MAX: u32 = 300;
/// The spread of delays after failures.
const JITTER: f64 = 0.1;
/// How long a vendor rests that asks for patience without saying how much, in base delays.
const UNTOLD_REST: u32 = 60;
/// Fetches follow each other more slowly than anybody's patience with them ends.
const NEVER_QUIET: Duration = DAY;

/// How vendors are asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The delay after a first failure (`VENDOR_RETRY_BASE_MS`); by what it is more or less than a second, all other delays
    /// and ends of patience are longer or shorter.
    pub base: Duration,
    /// How often a fetch may fail (`VENDOR_RETRY_ATTEMPTS`).
    pub attempts: u32,
}

impl Default for RetryPolicy {
    /// 12 tries, a second after the first.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), attempts: 12 }
    }
}

/// Why a fetch brought no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Setback {
    /// The vendor's side failed: this uses up an attempt.
    #[error("it failed: {0}")]
    Failed(String),
    /// The same, and the vendor has said for how long.
    #[error("it failed and asks for patience")]
    Overloaded(Duration),
    /// Our side did, and this does too.
    #[error("it failed on our side: {0}")]
    Crashed(String),
    /// Or not yet.
    #[error("the vendor has no such record")]
    Missing,
    /// It is known.
    #[error("the vendor has not computed the record yet")]
    Pending,
    /// Nobody is to be blamed: it is due again after so long.
    #[error("it cannot be asked now")]
    NotNow(Duration),
    /// For so long.
    #[error("the vendor limits how often it is asked")]
    RateLimited(Duration),
    /// None that are of use.
    #[error("the account has no tokens")]
    NoAccount,
    /// It would be answered the same again.
    #[error("{0}")]
    Refused(String),
}

impl RetryPolicy {
    /// By the base delay.
    fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.base.as_secs_f64())
    }

    /// The longest of all delays but the wait for an account.
    pub(super) fn longest(&self) -> Duration {
        REST_LONGEST.max(self.scaled(HOUR)).max(self.base * FAILURE_MAX).mul_f64(1.0 + JITTER)
    }

    /// How long a vendor rests that has answered 429.
    pub(super) fn rest(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or_else(|| self.base * UNTOLD_REST).max(self.base)
    }

    /// The same, as far as it is obeyed.
    pub(super) fn obeyed(rest: Duration) -> Duration {
        rest.min(REST_LONGEST)
    }

    /// After the `failures`th failure.
    fn after_failure(&self, failures: u32) -> Duration {
        let backoff = Backoff { initial: self.base, max: self.base * FAILURE_MAX, jitter: JITTER };
        let (mut delays, now) = (backoff.delays(NEVER_QUIET), Instant::now());
        (1..failures).for_each(|_| {
            delays.next(now);
        });
        delays.next(now)
    }

    /// When what is pending is looked for again; none when it has been long enough.
    pub(super) fn look_again(&self, claimed: &ClaimedFetch) -> Option<Again> {
        self.look(claimed, PENDING_FOR)
    }

    fn look(&self, claimed: &ClaimedFetch, patience: Duration) -> Option<Again> {
        let looks = claimed.looks.saturating_add(1);
        let delay = LOOKS.get(claimed.looks as usize).copied().unwrap_or(HOUR);
        let again = Again { delay: self.scaled(delay), attempts: claimed.attempts, looks };
        (claimed.waited < self.scaled(patience)).then_some(again)
    }

    /// What becomes of a fetch after a setback.
    pub(super) fn fate(&self, claimed: &ClaimedFetch, setback: Setback) -> FetchFate {
        let attempts = claimed.attempts;
        let give_up = |error_type, error_message| FetchFate::GiveUp { error_type, error_message, attempts };
        let unchanged =
            |delay| FetchFate::Again(Again { delay, attempts: claimed.attempts, looks: claimed.looks });
        match setback {
            Setback::Overloaded(rest) => match self.fate(claimed, Setback::Failed(setback.to_string())) {
                FetchFate::Again(again) => {
                    FetchFate::Again(Again { delay: again.delay.max(Self::obeyed(rest)), ..again })
                }
                given_up => given_up,
            },
            Setback::Failed(ref reason) | Setback::Crashed(ref reason) => {
                let attempts = claimed.attempts.saturating_add(1);
                if attempts >= self.attempts {
                    let is_ours = matches!(setback, Setback::Crashed(_));
                    let error_type = if is_ours { "processing_error" } else { "wearable_api_error" };
                    let error_message = format!("tried {attempts} times; the last time: {reason}");
                    return FetchFate::GiveUp { error_type, error_message, attempts };
                }
                let delay = self.after_failure(attempts);
                FetchFate::Again(Again { delay, attempts, looks: claimed.looks })
            }
            Setback::Missing => self.look(claimed, MISSING_FOR).map_or_else(
                || give_up("wearable_api_error", "the vendor has had no such record for a day".to_owned()),
                FetchFate::Again,
            ),
            Setback::Pending => self.look(claimed, PENDING_FOR).map_or_else(
                || {
                    give_up(
                        "wearable_api_error",
                        "the vendor has not computed the record in two days".to_owned(),
                    )
                },
                FetchFate::Again,
            ),
            Setback::NotNow(delay) => unchanged(delay),
            Setback::RateLimited(rest) if rest > REST_LONGEST => give_up(
                "rate_limit_error",
                format!("rate limit too long: the vendor asks for {} s", rest.as_secs()),
            ),
            Setback::RateLimited(rest) => unchanged(rest),
            Setback::NoAccount if claimed.waited >= ACCOUNT_FOR => {
                give_up("authentication_error", "nobody has connected the account in 30 days".to_owned())
            }
            Setback::NoAccount => FetchFate::AwaitAccount { until_waited: ACCOUNT_FOR },
            Setback::Refused(reason) => give_up("wearable_api_error", reason),
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
