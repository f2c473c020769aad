//! Samples of a delivery gathered into drafts: one per user, source and kind, with a bounded number of readings each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::admission::{EventDraft, Facts, ReadingFact};
use crate::domain::event::DeviceType;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// The most readings in one event (contract §3).
const READINGS_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of their first reading.
    groups: Vec<Group>,
    /// The group of a user, source and kind that still has room.
    open: HashMap<(UserId, Option<Arc<str>>, &'static str), usize>,
    readings: usize,
}

#[derive(Debug)]
struct Group {
    user_id: UserId,
    kind: &'static str,
    facts: Vec<ReadingFact>,
}

impl Batch {
    /// Adds a reading, in document order.
    pub(super) fn push(&mut self, user_id: &UserId, kind: &'static str, fact: ReadingFact) {
        let next = self.groups.len();
        let open = self.open.entry((user_id.clone(), fact.reading.source.clone(), kind)).or_insert(next);
        if self.groups.get(*open).is_some_and(|group| group.facts.len() == READINGS_MAX) {
            *open = next;
        }
        if *open == next {
            self.groups.push(Group { user_id: user_id.clone(), kind, facts: Vec::new() });
        }
        self.groups[*open].facts.push(fact);
        self.readings += 1;
    }

    /// How many it holds.
    pub(super) fn readings(&self) -> usize {
        self.readings
    }

    pub(super) fn into_drafts(self, received_at: Timestamp) -> Vec<EventDraft> {
        let draft = |group: Group| EventDraft {
            device_type: DeviceType::AppleHealth,
            user_id: group.user_id,
            kind: group.kind.into(),
            timestamp: group.facts.iter().map(|fact| fact.reading.timestamp).max().unwrap_or(received_at),
            received_at,
            is_backfill: false,
            deleted: false,
            event_id: None,
            record_id: None,
            facts: Facts::Readings(group.facts),
        };
        self.groups.into_iter().map(draft).collect()
    }
}
