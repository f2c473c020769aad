//! Addresses that a vendor has given for a while: when that is over, asking again brings nothing.

use super::job::Job;
use super::schedule::Setback;
use crate::ports::vendor_api::ApiError;
use crate::vendors::fetch::{expired, instead};

impl Job {
    /// The last word of who keeps the data.
    pub(super) fn expired(&self) -> Setback {
        let told = instead(&self.claimed.job.fetch).map(str::to_owned);
        Setback::Refused(told.unwrap_or_else(|| ApiError::Expired.to_string()))
    }

    /// A failure is the last one where the address tells itself that it is over. Not before it was asked: our clock may
    /// be ahead.
    pub(super) fn or_expired(&self, setback: Setback) -> Setback {
        let has_failed = matches!(setback, Setback::Failed(_) | Setback::Overloaded(_) | Setback::Missing);
        let over = expired(&self.claimed.job.fetch, self.parts.clock.now()).filter(|_| has_failed);
        over.map_or(setback.clone(), |instead| {
            Setback::Refused(format!("{instead}; the last time: {setback}"))
        })
    }
}
