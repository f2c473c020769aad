//! Everything that is gathered from a body, item by item, wherever its bytes lie.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::batch::Batch;
use super::clock::Clock;
use super::export;
use super::item::{Item, Refusal, Refusals};
use super::nights::Nights;
use super::sample::{self, Found};
use super::sections::{Kind, Section};
use super::source::SourceNames;
use super::types::SampleType;
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{Decoded, Rejections};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::vendors::{Verified, Zones};

/// Reads items in document order; what it has gathered may be taken away in between.
#[derive(Debug)]
pub(super) struct Reader {
    received_at: Timestamp,
    /// What the points of an export sum up, where their sender tells it.
    aggregation: Option<String>,
    /// Where the users' clocks stand; none while nobody was asked for that.
    zones: Option<Zones>,
    /// Users of whom times told no offset, while nobody was asked.
    local_to: BTreeSet<UserId>,
    batch: Batch,
    /// Sleep that may go on in the items to come.
    nights: Nights,
    names: SourceNames,
    rejected: Rejections,
    /// Of the next item, over all of the body.
    index: usize,
    /// How many items were of types that we have no metric for.
    passed_by: usize,
}

impl Reader {
    /// For a delivery that arrived then.
    pub(super) fn new(verified: &Verified, received_at: Timestamp) -> Self {
        Self {
            received_at,
            aggregation: verified.told().aggregation.clone(),
            zones: verified.zones().cloned(),
            local_to: BTreeSet::new(),
            batch: Batch::default(),
            nights: Nights::default(),
            names: SourceNames::default(),
            rejected: Rejections::default(),
            index: 0,
            passed_by: 0,
        }
    }

    /// Reads the item at `position` of a section. A bad one refuses itself and nothing else.
    pub(super) fn read(&mut self, section: &Section<'_>, position: usize, item: &RawValue) {
        let mut refused = Refusals::default();
        let zone = self.zones.as_ref().and_then(|zones| zones.get(&section.user_id));
        let (read, is_local) = {
            let mut into = Item {
                user: &section.user_id,
                clock: Clock::new(self.received_at, zone),
                aggregation: self.aggregation.as_deref(),
                batch: &mut self.batch,
                nights: &mut self.nights,
                names: &mut self.names,
                refused: &mut refused,
            };
            (read_item(&section.kind, item, &mut into), into.clock.is_guessed())
        };
        if is_local && self.zones.is_none() && !self.local_to.contains(&section.user_id) {
            self.local_to.insert(section.user_id.clone());
        }
        match read {
            Ok(Found::Data) => {}
            Ok(Found::PassedBy) => self.passed_by += 1,
            Err(refusal) => refused.push(refusal),
        }
        for refusal in refused.listed {
            let path = match section.kind {
                Kind::Refused(..) => format!("{}{}", section.at, refusal.field),
                // What is wrong stands beside the points.
                Kind::Unreadable(..) => {
                    format!("{}{}", section.at.trim_end_matches("/data"), refusal.field)
                }
                _ => format!("{}/{position}{}", section.at, refusal.field),
            };
            self.rejected.push(self.index, path, refusal.detail);
        }
        self.rejected.total += refused.more;
        self.index += 1;
    }

    /// Refuses the item at `position` of a section unread.
    pub(super) fn refuse(&mut self, section: &Section<'_>, position: usize, detail: &str) {
        self.rejected.push(self.index, format!("{}/{position}", section.at), detail);
        self.index += 1;
    }

    /// How many readings were gathered since the last time that they were taken.
    pub(super) fn readings(&self) -> usize {
        self.batch.readings()
    }

    /// Takes away what was gathered since the last time; what was refused stays, for the end.
    pub(super) fn take(&mut self) -> Vec<EventDraft> {
        // Names may be as many as items: they go with what they were taken for.
        self.names = SourceNames::default();
        std::mem::take(&mut self.batch).into_drafts(self.received_at)
    }

    /// What the body came to; of its data, what was not taken before.
    pub(super) fn finish(mut self) -> Decoded {
        if self.index == 0 {
            return Decoded::Ignored { reason: "no samples" };
        }
        if self.index == self.passed_by {
            return Decoded::Ignored { reason: "no samples of a type that is read" };
        }
        self.nights.finish(&mut self.batch);
        let drafts = self.take();
        let decoded = Decoded::Events { drafts, rejected: self.rejected };
        if self.local_to.is_empty() {
            return decoded;
        }
        Decoded::LocalToUsers { users: self.local_to, as_utc: Box::new(decoded) }
    }
}

fn read_item(kind: &Kind<'_>, raw: &RawValue, item: &mut Item<'_>) -> Result<Found, Refusal> {
    match kind {
        Kind::Samples => sample::read(raw, None, item),
        Kind::Sleep => sample::read(raw, Some(SampleType::Sleep), item),
        Kind::Workouts => sample::read(raw, Some(SampleType::Workout), item),
        Kind::Export(points, unit) => export::read(raw, *points, unit.as_deref(), item),
        Kind::Refused(field, detail) | Kind::Unreadable(field, detail) => {
            Err(Refusal { field: (*field).into(), detail: (*detail).into() })
        }
    }
}
