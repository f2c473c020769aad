//! From what a decoder read to the event that is stored: identity, version and deduplication (contract §3).
//!
//! Every store holds, for each identity, the newest version and where it stands. It asks [`EventDraft::admit`]
//! inside its transaction, so the same rules hold on every engine.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::{DeviceType, Event, Reading};
use super::ids::{EventId, Identity, UserId};
use super::time::Timestamp;

/// How a fact's version is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The first arrival wins for ever: the fact never changes (a HealthKit sample).
    Fixed,
    /// The vendor tells it; the larger wins whatever the order of arrival.
    Given(i64),
    /// The later arrival wins (the Python system's inline formats).
    Arrival,
    /// The later arrival wins where it says something else: what is sent again and again in overlapping windows is new
    /// only then. Holds a hash of what is said.
    ArrivalOf(u32),
}

/// One reading with an identity of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingFact {
    /// What makes it the same reading.
    pub identity: Identity,
    /// Which of two arrivals of it wins.
    pub version: Version,
    /// The reading.
    pub reading: Reading,
}

/// What an event is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    /// One record with one identity and version for all its readings; no readings if it was deleted.
    Record {
        /// What makes it the same record.
        identity: Identity,
        /// What else makes it the same: the day that it sums up, of which a vendor may make another record. The newer
        /// one takes the older one's place; each keeps its own `record_id`.
        also: Option<Identity>,
        /// Which of two arrivals of it wins.
        version: Version,
        /// Its readings.
        readings: Vec<Reading>,
    },
    /// What is beyond the thousand readings that fit into one event, of a record whose own draft comes before it in the
    /// same delivery. It counts only with that version of the record that is the newest: a late older copy of the record
    /// brings none of its parts back. Without readings it takes the place of a part that earlier versions had, and is
    /// nothing if they had none.
    Part {
        /// The record's.
        whole: Identity,
        /// Its own.
        identity: Identity,
        /// The record's.
        version: Version,
        /// Its readings.
        readings: Vec<Reading>,
    },
    /// A batch in which every reading is a fact of its own; never empty.
    Readings(Vec<ReadingFact>),
}

/// An event before the store has decided which of its facts are new.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDraft {
    /// The family of devices.
    pub device_type: DeviceType,
    /// Whose it is, in our ids.
    pub user_id: UserId,
    /// `sample`, `inline`, `sleep` …
    pub kind: Arc<str>,
    /// A record's own time. A batch takes the newest time of the readings that are kept.
    pub timestamp: Timestamp,
    /// When the delivery arrived.
    pub received_at: Timestamp,
    /// History that decides nothing.
    pub is_backfill: bool,
    /// The record was deleted.
    pub deleted: bool,
    /// An injected event's own id: a second one is a duplicate whatever it holds.
    pub event_id: Option<EventId>,
    /// An injected event's own `record_id`, kept as given.
    pub record_id: Option<Arc<str>>,
    /// What it is made of.
    pub facts: Facts,
}

/// The newest known version of a fact, and the event and reading in which it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The newest version.
    pub version: i64,
    /// The store's number of the event that carries it.
    pub event_seq: i64,
    /// Its place among that event's readings; `None` when the fact is the whole event.
    pub reading: Option<u32>,
}

/// An event that is new, at least in part, and what the store must write beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// As it goes to the store and to the log.
    pub event: Event,
    /// The facts whose newest version this event now carries; to be upserted.
    pub facts: Vec<(Identity, Known)>,
    /// Where older versions of them stand; to be hidden from the read API.
    pub superseded: Vec<Known>,
}

impl EventDraft {
    /// The identities that the store must look up before it calls [`EventDraft::admit`].
    pub fn identities(&self) -> impl Iterator<Item = Identity> + '_ {
        let (record, readings) = match &self.facts {
            Facts::Record { identity, also, .. } => ([Some(*identity), *also], [].as_slice()),
            Facts::Part { whole, identity, .. } => ([Some(*whole), Some(*identity)], [].as_slice()),
            Facts::Readings(facts) => ([None, None], facts.as_slice()),
        };
        let record = record.into_iter().flatten();
        self.event_id
            .iter()
            .map(Identity::of_event_id)
            .chain(record)
            .chain(readings.iter().map(|fact| fact.identity))
    }

    /// How many readings the draft holds.
    pub fn readings_len(&self) -> usize {
        match &self.facts {
            Facts::Record { readings, .. } | Facts::Part { readings, .. } => readings.len(),
            Facts::Readings(facts) => facts.len(),
        }
    }

    /// Whether what else a record is besides itself, or of what it is a part, leaves it a place.
    fn has_place(&self, known: &HashMap<Identity, Known>) -> bool {
        match &self.facts {
            Facts::Record { also: Some(also), version, .. } => {
                newer_version(*version, self.received_at, known.get(also).copied()).is_some()
            }
            Facts::Part { whole, identity, version, readings } => {
                let is_of = |newest: &Known| !matches!(version, Version::Given(it) if *it != newest.version);
                let is_of_newest = known.get(whole).is_some_and(is_of);
                is_of_newest && (!readings.is_empty() || known.contains_key(identity))
            }
            Facts::Record { also: None, .. } | Facts::Readings(_) => true,
        }
    }

    /// Leaves out what is known in the same or a newer version. `None`: nothing was new.
    ///
    /// `event_seq` is the number that the store gives to the event if there is one. `known` is brought up to
    /// date, so that the drafts of one transaction see each other.
    pub fn admit(self, event_seq: i64, known: &mut HashMap<Identity, Known>) -> Option<Admitted> {
        let guard = self.event_id.as_ref().map(Identity::of_event_id);
        if guard.is_some_and(|guard| known.contains_key(&guard)) {
            return None;
        }
        if !self.has_place(known) {
            return None;
        }
        let mut facts = Vec::new();
        let mut superseded: Vec<Known> = Vec::new();
        let mut take = |identity: Identity, version: Version, reading: Option<u32>| {
            let older = known.get(&identity).copied();
            let version = newer_version(version, self.received_at, older)?;
            superseded.extend(older);
            let now = Known { version, event_seq, reading };
            known.insert(identity, now);
            facts.push((identity, now));
            Some(())
        };

        let readings = match self.facts {
            Facts::Record { identity, also, version, readings } => {
                take(identity, version, None)?;
                also.map(|also| take(also, version, None));
                readings
            }
            Facts::Part { identity, version, readings, .. } => {
                take(identity, version, None)?;
                readings
            }
            Facts::Readings(all) => {
                let mut kept: Vec<Reading> = Vec::with_capacity(all.len());
                for fact in all {
                    if take(fact.identity, fact.version, Some(kept.len() as u32)).is_some() {
                        kept.push(fact.reading);
                    }
                }
                if kept.is_empty() {
                    return None;
                }
                kept
            }
        };
        // What is newer than a record and than its day's is newer than one event.
        superseded.dedup_by_key(|known| (known.event_seq, known.reading));

        let named = naming(&facts);
        let timestamp = newest_of_batch(&facts, &readings).unwrap_or(self.timestamp);
        let event = Event {
            event_id: self
                .event_id
                .unwrap_or_else(|| EventId::of_facts(named.iter().map(|(id, known)| (id, known.version)))),
            record_id: self.record_id.unwrap_or_else(|| record_id_of(named)),
            version: facts.iter().map(|(_, known)| known.version).max().unwrap_or_default(),
            device_type: self.device_type,
            user_id: self.user_id,
            timestamp,
            received_at: self.received_at,
            kind: self.kind,
            is_backfill: self.is_backfill,
            deleted: self.deleted,
            readings,
        };
        if let Some(guard) = guard {
            let now = Known { version: 0, event_seq, reading: None };
            known.insert(guard, now);
            facts.push((guard, now));
        }
        Some(Admitted { event, facts, superseded })
    }
}

/// The newest time of readings that are facts of their own; a record has a time of its own instead.
fn newest_of_batch(facts: &[(Identity, Known)], readings: &[Reading]) -> Option<Timestamp> {
    let is_batch = facts.first().is_some_and(|(_, known)| known.reading.is_some());
    readings.iter().map(|reading| reading.timestamp).max().filter(|_| is_batch)
}

/// The facts that give an event its name: what a record is besides itself gives it no other one.
fn naming(facts: &[(Identity, Known)]) -> &[(Identity, Known)] {
    match facts {
        [(_, Known { reading: None, .. }), ..] => &facts[..1],
        all => all,
    }
}

fn record_id_of(named: &[(Identity, Known)]) -> Arc<str> {
    match named {
        [(identity, _)] => identity.to_text(),
        several => Identity::of_all(several.iter().map(|(identity, _)| identity)).to_text(),
    }
}

/// The version to store, or `None` if what is known is as new.
fn newer_version(version: Version, received_at: Timestamp, known: Option<Known>) -> Option<i64> {
    match (version, known) {
        (Version::Fixed, None) => Some(0),
        (Version::Fixed, Some(_)) => None,
        (Version::Given(version), Some(known)) if version <= known.version => None,
        (Version::Given(version), _) => Some(version),
        // Arrival is the order of commits: a clock that stands still or steps back loses nothing.
        (Version::Arrival, known) => {
            Some(received_at.as_ms().max(known.map_or(i64::MIN, |known| known.version.saturating_add(1))))
        }
        (Version::ArrivalOf(hash), known) => {
            let said = i64::from(hash) & SAID_MASK;
            let older = known.map(|known| (known.version >> SAID_BITS, known.version & SAID_MASK));
            if older.is_some_and(|(_, what)| what == said) {
                return None;
            }
            let at = received_at.as_ms().max(older.map_or(i64::MIN, |(at, _)| at.saturating_add(1)));
            Some((at.min(i64::MAX >> SAID_BITS) << SAID_BITS) | said)
        }
    }
}

/// How much of a version tells what was said; the rest tells when, for some thousand years.
const SAID_BITS: u32 = 16;
const SAID_MASK: i64 = (1 << SAID_BITS) - 1;
