//! A small population and all that its devices send, in order, without end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use actors::domain::time::{MS_PER_MINUTE, MS_PER_SECOND};

use super::payloads::Person;
use super::vitals::OPENING;
use crate::traffic::Kind;

/// How many people live in a demonstration that was not told otherwise.
pub const DEFAULT_COUNT: usize = 60;

/// Minutes between two pushes of a phone and between two readings of a ring, in the history and after it.
const PHONE_EVERY: (i64, i64) = (60, 1);
const RING_EVERY: (i64, i64) = (30, 3);
/// The first push comes no earlier, so that it holds at least one heart rate: an empty one would be ignored.
const FIRST_MINUTE: i64 = 5;
/// Vendors' notifications follow the data by about half a minute.
const NOTIFIED_AFTER_MS: i64 = 30 * MS_PER_SECOND;

/// One webhook to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it is sent, in simulated time, Unix milliseconds.
    pub due_ms: i64,
    /// Which person it is about, counting from 0: what is about one person is sent in order.
    pub person: usize,
    /// How it is signed and where it goes.
    pub kind: Kind,
    /// The request's body, JSON.
    pub body: Vec<u8>,
    /// How many readings it holds.
    pub readings: u32,
}

impl std::fmt::Debug for Delivery {
    /// Hides the body: it holds readings.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { due_ms, person, kind, body, readings } = self;
        let bytes = body.len();
        write!(
            f,
            "Delivery {{ {kind:?} of person {person} at {due_ms}, {readings} readings, {bytes} bytes }}"
        )
    }
}

/// People who each wear a ring and a watch, made from a seed alone.
#[derive(Debug, Clone)]
pub struct Population {
    people: Vec<Person>,
}

impl Population {
    /// `count` people. The seed is part of their ids, so that another run with another seed is about others.
    pub fn new(seed: u64, count: usize) -> Self {
        Self { people: (0..count).map(|index| Person::new(seed, index, count)).collect() }
    }

    /// The ids under which the bridge knows them. The first one is under acute stress when the history ends.
    pub fn user_ids(&self) -> impl Iterator<Item = &str> {
        self.people.iter().map(|person| person.id.as_str())
    }

    /// All deliveries of a story that begins at `start_ms` (simulated Unix milliseconds, see
    /// [`super::pace::Pace::start_ms`]), ordered by due time, without end.
    pub fn deliveries(self, start_ms: i64) -> Deliveries {
        let mut due = BinaryHeap::new();
        for (index, _) in self.people.iter().enumerate() {
            for kind in [Kind::HealthKit, Kind::OuraReading] {
                let (every, _) = intervals(kind);
                let first = FIRST_MINUTE + (index as i64 * 7) % every;
                due.push(Reverse(Due {
                    at_ms: due_ms(start_ms, first, index),
                    index,
                    kind,
                    from: 0,
                    to: first,
                }));
            }
        }
        Deliveries { people: self.people, start_ms, due }
    }
}

const fn intervals(kind: Kind) -> (i64, i64) {
    match kind {
        Kind::HealthKit => PHONE_EVERY,
        Kind::OuraReading | Kind::OuraNotification => RING_EVERY,
    }
}

/// The end of `minute` and some seconds that differ between people, so that they do not all send at once.
fn due_ms(start_ms: i64, minute: i64, index: usize) -> i64 {
    start_ms + minute * MS_PER_MINUTE + (index as i64 * 13 % 60) * MS_PER_SECOND
}

/// The end of the interval that begins at minute `from`; the history's last one is cut where it ends.
fn next_minute(kind: Kind, from: i64, index: usize) -> i64 {
    let (every, recent_every) = intervals(kind);
    if from < OPENING {
        return (from + every).min(OPENING);
    }
    if from == OPENING { from + 1 + index as i64 % recent_every } else { from + recent_every }
}

/// Something that becomes due: what happened after minute `from` up to `to`. Ordered by time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ms: i64,
    index: usize,
    kind: Kind,
    from: i64,
    to: i64,
}

/// The deliveries of a [`Population`], by due time.
#[derive(Debug, Clone)]
pub struct Deliveries {
    people: Vec<Person>,
    start_ms: i64,
    due: BinaryHeap<Reverse<Due>>,
}

impl Deliveries {
    fn schedule_after(&mut self, done: Due) {
        let Due { at_ms, index, kind, from, to } = done;
        if kind == Kind::OuraNotification {
            return;
        }
        if kind == Kind::OuraReading && self.people[index].body.night_told(from, to).is_some() {
            let notification =
                Due { kind: Kind::OuraNotification, at_ms: at_ms + NOTIFIED_AFTER_MS, index, from, to };
            self.due.push(Reverse(notification));
        }
        let next = next_minute(kind, to, index);
        let at_ms = due_ms(self.start_ms, next, index);
        self.due.push(Reverse(Due { at_ms, index, kind, from: to, to: next }));
    }
}

impl Iterator for Deliveries {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        let Reverse(due) = self.due.pop()?;
        let Due { at_ms, index, kind, from, to } = due;
        let person = &self.people[index];
        let (body, readings) = match kind {
            Kind::HealthKit => person.healthkit(self.start_ms, from, to),
            Kind::OuraReading => person.ring(self.start_ms, from, to),
            Kind::OuraNotification => (person.notification(self.start_ms, to), 0),
        };
        self.schedule_after(due);
        Some(Delivery { due_ms: at_ms, person: index, kind, body, readings })
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
