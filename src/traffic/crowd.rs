//! Any number of users whose devices send without end: no two deliveries hold the same fact.

use std::fmt;

use actors::domain::time::Timestamp;
use uuid::Uuid;

use super::formats::{self, Hrv, Level, Notification, Push, RingReading, Sample, Score};
use super::kind::Kind;
use super::noise;

/// A ring tells its scores with one reading in so many.
const SCORES_EVERY: u64 = 8;
/// One sample in so many is a respiratory rate, the others are heart rates.
const BREATHING_EVERY: usize = 8;

/// Who sends what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Part of every user's id: another seed makes other users.
    pub seed: u64,
    /// How many there are; at least one.
    pub users: usize,
    /// What each of them sends, in turn; at least one.
    pub kinds: Vec<Kind>,
    /// Samples in each push of HealthKit; at least one.
    pub batch: usize,
    /// How far those samples are apart, in milliseconds, unless less time has passed since the push before; at least 1.
    pub sample_every_ms: i64,
}

impl Plan {
    /// The id of a user, counted from 0.
    pub fn user_id(&self, user: u64) -> String {
        format!("sim-{:x}-{user}", self.seed)
    }
}

/// One webhook to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// How it is signed and where it goes.
    pub kind: Kind,
    /// The request's body, JSON.
    pub body: Vec<u8>,
}

impl fmt::Debug for Delivery {
    /// Hides the body: it holds readings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery {{ {:?}, {} bytes }}", self.kind, self.body.len())
    }
}

/// Some of a plan's users, and how far each has come.
#[derive(Debug)]
pub struct Crowd {
    plan: Plan,
    /// The first of these users, counted over the whole plan; the next one is `step` further.
    first: usize,
    step: usize,
    made: u64,
    /// When each has last measured, Unix milliseconds.
    last_ms: Vec<i64>,
}

impl Crowd {
    /// The share `index` of `of` of the plan's users (`of` is at most their number).
    pub fn share(plan: &Plan, index: usize, of: usize) -> Self {
        let users = (plan.users - index).div_ceil(of);
        Self { plan: plan.clone(), first: index, step: of, made: 0, last_ms: vec![i64::MIN; users] }
    }

    /// The next delivery of the next user, measured up to `now_ms` (Unix milliseconds), or later by as many milliseconds
    /// as that user has sent more samples than time has passed.
    pub fn next(&mut self, now_ms: i64) -> Delivery {
        let users = self.last_ms.len() as u64;
        let (slot, round) = ((self.made % users) as usize, self.made / users);
        self.made += 1;
        let user = self.first + slot * self.step;
        let kind = self.plan.kinds[(user as u64 + round) as usize % self.plan.kinds.len()];
        let moment = Moment { plan: &self.plan, user: user as u64, round, now_ms };
        let last_ms = &mut self.last_ms[slot];
        let body = match kind {
            Kind::HealthKit => moment.push(last_ms),
            Kind::OuraReading => moment.ring(last_ms),
            Kind::OuraNotification => moment.notification(),
        };
        Delivery { kind, body }
    }
}

/// What one delivery is made of.
struct Moment<'a> {
    plan: &'a Plan,
    user: u64,
    round: u64,
    now_ms: i64,
}

impl Moment<'_> {
    fn user_id(&self) -> String {
        self.plan.user_id(self.user)
    }

    /// A value between `low` and `high`, in quarters: their decimal text is exact.
    fn value(&self, at_ms: i64, low: f64, high: f64) -> f64 {
        let quarters = (high - low) * 4.0;
        low + (noise(self.plan.seed, self.user, at_ms) * quarters).round() / 4.0
    }

    fn push(&self, last_ms: &mut i64) -> Vec<u8> {
        let Plan { batch, sample_every_ms, .. } = *self.plan;
        let batch_ms = batch as i64;
        let end_ms = self.now_ms.max(last_ms.saturating_add(batch_ms));
        let since_ms = end_ms.saturating_sub(*last_ms);
        let every_ms = (since_ms / batch_ms).clamp(1, sample_every_ms);
        *last_ms = end_ms;
        let sample = |index: usize| {
            let at_ms = end_ms - (batch - 1 - index) as i64 * every_ms;
            let (kind, value, unit) = if index % BREATHING_EVERY == BREATHING_EVERY - 1 {
                ("respiratoryRate", self.value(at_ms, 12.0, 18.0), "count/min")
            } else {
                ("heartRate", self.value(at_ms, 58.0, 82.0), "bpm")
            };
            let timestamp = Some(Timestamp::from_ms(at_ms).to_string());
            Sample {
                kind: kind.into(),
                value,
                unit,
                timestamp,
                start_date: None,
                end_date: None,
                source: "Apple Watch",
            }
        };
        let samples = (0..batch).map(sample).collect();
        formats::json(&Push { user_id: &self.user_id(), samples })
    }

    fn ring(&self, last_ms: &mut i64) -> Vec<u8> {
        let at_ms = self.now_ms.max(last_ms.saturating_add(1));
        *last_ms = at_ms;
        let has_scores = (self.round + self.user).is_multiple_of(SCORES_EVERY);
        let score = |low, high| has_scores.then(|| Score { score: self.value(at_ms, low, high) as i64 });
        formats::json(&RingReading {
            user_id: &self.user_id(),
            timestamp: Timestamp::from_ms(at_ms).to_string(),
            hrv_data: Hrv { rmssd: self.value(at_ms, 35.0, 65.0) },
            stress: Level { level: self.value(at_ms, 0.0, 2.0) / 4.0 },
            sleep: score(65.0, 90.0),
            recovery: score(60.0, 90.0),
        })
    }

    fn notification(&self) -> Vec<u8> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.plan.seed ^ self.user.rotate_left(32)).to_be_bytes());
        id[8..].copy_from_slice(&(self.now_ms as u64 ^ self.round.rotate_left(40)).to_be_bytes());
        formats::json(&Notification {
            event_type: "update",
            data_type: "daily_readiness",
            object_id: Uuid::new_v8(id).to_string(),
            event_time: Timestamp::from_ms(self.now_ms).to_string(),
            user_id: self.user_id().into(),
        })
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
