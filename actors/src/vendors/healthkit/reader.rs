//! Everything that is gathered from a body, item by item, wherever its bytes lie.

use serde_json::value::RawValue;

use super::batch::Batch;
use super::export;
use super::item::{Item, Refusal, Refusals};
use super::nights::Nights;
use super::sample::{self, Found};
use super::sections::{Kind, Section};
use super::source::SourceNames;
use super::types::SampleType;
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{Decoded, Rejections};
use crate::domain::time::Timestamp;

/// Reads items in document order; what it has gathered may be taken away in between.
#[derive(Debug)]
pub(super) struct Reader {
    received_at: Timestamp,
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
    pub(super) fn new(received_at: Timestamp) -> Self {
        Self {
            received_at,
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
        let read = {
            let mut into = Item {
                user: &section.user_id,
                received_at: self.received_at,
                batch: &mut self.batch,
                nights: &mut self.nights,
                names: &mut self.names,
                refused: &mut refused,
            };
            read_item(&section.kind, item, &mut into)
        };
        match read {
            Ok(Found::Data) => {}
            Ok(Found::PassedBy) => self.passed_by += 1,
            Err(refusal) => refused.push(refusal),
        }
        for refusal in refused.listed {
            let path = match section.kind {
                Kind::Refused(..) => format!("{}{}", section.at, refusal.field),
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
        Decoded::Events { drafts: self.take(), rejected: self.rejected }
    }
}

fn read_item(kind: &Kind<'_>, raw: &RawValue, item: &mut Item<'_>) -> Result<Found, Refusal> {
    match kind {
        Kind::Samples => sample::read(raw, None, item),
        Kind::Sleep => sample::read(raw, Some(SampleType::Sleep), item),
        Kind::Workouts => sample::read(raw, Some(SampleType::Workout), item),
        Kind::Export(points, unit) => export::read(raw, *points, unit.as_deref(), item),
        Kind::Refused(field, detail) => Err(Refusal { field: (*field).into(), detail: (*detail).into() }),
    }
}
