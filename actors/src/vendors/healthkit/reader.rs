//! Everything that is gathered from a body, item by item, wherever its bytes lie.

use serde_json::value::RawValue;

use super::batch::Batch;
use super::sample;
use super::sections::Section;
use super::source::SourceNames;
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{Decoded, Rejections};
use crate::domain::time::Timestamp;

/// Reads items in document order; what it has gathered may be taken away in between.
#[derive(Debug)]
pub(super) struct Reader {
    received_at: Timestamp,
    batch: Batch,
    names: SourceNames,
    rejected: Rejections,
    /// Of the next item, over all of the body.
    index: usize,
}

impl Reader {
    /// For a delivery that arrived then.
    pub(super) fn new(received_at: Timestamp) -> Self {
        Self {
            received_at,
            batch: Batch::default(),
            names: SourceNames::default(),
            rejected: Rejections::default(),
            index: 0,
        }
    }

    /// Reads the item at `position` of a section. A bad one refuses itself and nothing else.
    pub(super) fn read(&mut self, section: &Section<'_>, position: usize, item: &RawValue) {
        match sample::read(item, &section.user_id, &mut self.names, self.received_at) {
            Ok(fact) => self.batch.push(&section.user_id, fact),
            Err(refusal) => {
                let path = format!("{}/{position}{}", section.at, refusal.field);
                self.rejected.push(self.index, path, refusal.detail);
            }
        }
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
        Decoded::Events { drafts: self.take(), rejected: self.rejected }
    }
}
