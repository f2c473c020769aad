//! What the records of all vendors' APIs have in common: their identity, and what is left of one that was deleted.

use std::fmt;

use crate::domain::admission::{EventDraft, Facts, Version};
use crate::domain::event::DeviceType;
use crate::domain::ids::{Identity, UserId};
use crate::domain::time::{Timestamp, UtcOffset};

/// Whose records are read, and by what they were asked for.
#[derive(Clone)]
pub struct Owner {
    /// The vendor's id of the account: part of the records' identities, so that these outlast every link.
    pub account: String,
    /// Ours.
    pub user_id: UserId,
    /// The user's offset from UTC, for days of which the vendor does not tell when they began; UTC where unknown.
    pub zone: UtcOffset,
    /// The plan's `changed_at`: the version of records that tell none of their own.
    pub changed_at: Timestamp,
    /// When the notification arrived; fetched by ourselves, when the answer did.
    pub received_at: Timestamp,
    /// History, that decides nothing.
    pub is_backfill: bool,
}

impl Owner {
    /// Of what a notification itself tells.
    pub(super) fn notified(
        account: String,
        user_id: UserId,
        changed_at: Timestamp,
        received_at: Timestamp,
    ) -> Self {
        Self { account, user_id, zone: UtcOffset::default(), changed_at, received_at, is_backfill: false }
    }
}

impl fmt::Debug for Owner {
    /// Ids are personal, and stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("is_backfill", &self.is_backfill).finish_non_exhaustive()
    }
}

/// Where a vendor's records come from and what they are to us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// The device's name, part of identities.
    pub(super) vendor: &'static str,
    pub(super) device_type: DeviceType,
    /// The vendor's word for this type of record, part of identities: never to be changed.
    pub(super) record: &'static str,
    /// The event's kind (contract §3).
    pub(super) kind: &'static str,
}

impl Kind {
    /// The identity of one record (vendors.md §14): of the vendor's account, whatever user it is linked to.
    pub(super) fn identity(&self, account: &str, id: &str) -> Identity {
        Identity::of(&[
            self.vendor.as_bytes(),
            account.as_bytes(),
            b"record",
            self.record.as_bytes(),
            id.as_bytes(),
        ])
    }

    /// What takes the place of a record that the vendor has deleted. When the record was is not told; when it was
    /// deleted stands in.
    pub(super) fn tombstone(&self, owner: &Owner, id: &str, version: Version) -> EventDraft {
        EventDraft {
            device_type: self.device_type,
            user_id: owner.user_id.clone(),
            kind: self.kind.into(),
            timestamp: owner.changed_at,
            received_at: owner.received_at,
            is_backfill: owner.is_backfill,
            deleted: true,
            event_id: None,
            record_id: None,
            facts: Facts::Record {
                identity: self.identity(&owner.account, id),
                version,
                readings: Vec::new(),
            },
        }
    }
}
