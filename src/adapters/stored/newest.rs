//! Which reading of a metric is a user's newest.

use std::collections::BTreeMap;

use actors::domain::event::{DeviceType, Event, Reading};
use actors::domain::ids::UserId;

/// A reading that may be the newest of its metric.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) user_id: UserId,
    pub(crate) event_seq: i64,
    pub(crate) device_type: DeviceType,
    pub(crate) reading: Reading,
}

impl Candidate {
    /// How far it is trusted; what says nothing is trusted.
    pub(crate) fn confidence(&self) -> f64 {
        self.reading.confidence.unwrap_or(1.0)
    }

    /// Newer first; of equal timestamps the higher confidence, then the later event.
    fn beats(&self, other: &Self) -> bool {
        let rank = |candidate: &Self| {
            (candidate.reading.timestamp, (candidate.confidence() * 1e6) as i64, candidate.event_seq)
        };
        rank(self) >= rank(other)
    }
}

/// The best candidate of each metric of each user, in order of both.
#[derive(Debug, Default)]
pub(crate) struct Newest(BTreeMap<(UserId, &'static str), Candidate>);

impl Newest {
    /// The best of all readings of these events.
    pub(crate) fn of<'e>(events: impl Iterator<Item = (i64, &'e Event)>) -> Self {
        let mut newest = Self::default();
        events.for_each(|(event_seq, event)| newest.offer(event_seq, event, |_| true));
        newest
    }

    /// Takes in every reading of an event that `fits`.
    pub(crate) fn offer(&mut self, event_seq: i64, event: &Event, fits: impl Fn(&Reading) -> bool) {
        for reading in event.readings.iter().filter(|reading| fits(reading)) {
            let (user_id, device_type) = (event.user_id.clone(), event.device_type);
            let candidate = Candidate { user_id, event_seq, device_type, reading: reading.clone() };
            let key = (candidate.user_id.clone(), candidate.reading.metric.name());
            match self.0.get(&key) {
                Some(held) if !candidate.beats(held) => {}
                _ => drop(self.0.insert(key, candidate)),
            }
        }
    }

    /// The winners, in order of user and metric.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.0.values()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
