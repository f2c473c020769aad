//! What the records of all vendors' APIs have in common: how their fields are read one by one, their identity, and
//! what is left of one that was deleted.

mod field;
mod list;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::json::{self, Members};
use super::timestamp::Moment;
use crate::domain::account::VendorUserId;
use crate::domain::admission::{EventDraft, Facts, Version};
use crate::domain::delivery::Rejections;
use crate::domain::event::{DeviceType, Reading};
use crate::domain::fetch::Fetch;
use crate::domain::ids::{Identity, IdentityBeginning, UserId};
use crate::domain::time::{Timestamp, Zone};

pub(super) use field::{Field, Section, Stamp, value};

/// The longest label that is kept, in bytes of UTF-8.
const LABEL_MAX_BYTES: usize = 64;

/// Whose records are read, and by what they were asked for.
#[derive(Clone)]
pub struct Owner {
    /// The vendor's id of the account: part of the records' identities, so that these outlast every link.
    pub account: String,
    /// Ours.
    pub user_id: UserId,
    /// The user's zone, for days of which the vendor does not tell when they began; UTC where unknown.
    pub zone: Option<Zone>,
    /// The plan's `changed_at`: the version of records that tell none of their own.
    pub changed_at: Timestamp,
    /// When the notification arrived; without one, when the answer did.
    pub received_at: Timestamp,
    /// When the answer came, perhaps days later: no time in it may lie more than a day ahead of that.
    pub fetched_at: Timestamp,
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
        Self {
            account,
            user_id,
            zone: None,
            changed_at,
            received_at,
            fetched_at: received_at,
            is_backfill: false,
        }
    }
}

impl fmt::Debug for Owner {
    /// Ids are personal, and stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("is_backfill", &self.is_backfill).finish_non_exhaustive()
    }
}

/// What an answer of a vendor's API holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fetched {
    /// One per record; samples are gathered, at most 1,000 readings in each.
    pub drafts: Vec<EventDraft>,
    /// Fields that were refused; `index` counts the answer's records.
    pub rejected: Rejections,
    /// What to fetch next, for the same account: a further page, or what this answer led to.
    pub next: Option<Fetch>,
    /// A record is known and not computed yet: the same is to be asked again later (mission §5).
    pub is_pending: bool,
    /// Times in it tell no offset, and UTC stood in: they are right in the zone of this account's user.
    pub local_to: Option<VendorUserId>,
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
        self.identities(account).and(id.as_bytes())
    }

    /// The beginning of the identities of all records of one account.
    pub(super) fn identities(&self, account: &str) -> IdentityBeginning {
        Identity::beginning_with(&[
            self.vendor.as_bytes(),
            account.as_bytes(),
            b"record",
            self.record.as_bytes(),
        ])
    }

    /// What a daily summary is besides its id (vendors.md §14): the summary of that `day`.
    pub(super) fn identity_of_day(&self, account: &str, day: &str) -> Identity {
        Identity::of(&[
            self.vendor.as_bytes(),
            account.as_bytes(),
            b"day",
            self.record.as_bytes(),
            day.as_bytes(),
        ])
    }

    /// The event of a record.
    pub(super) fn draft(
        &self,
        owner: &Owner,
        id: &str,
        version: Version,
        timestamp: Timestamp,
        readings: Vec<Reading>,
    ) -> EventDraft {
        let identity = self.identity(&owner.account, id);
        let facts = Facts::Record { identity, also: None, version, readings };
        EventDraft {
            device_type: self.device_type,
            user_id: owner.user_id.clone(),
            kind: self.kind.into(),
            timestamp,
            received_at: owner.received_at,
            is_backfill: owner.is_backfill,
            deleted: false,
            event_id: None,
            record_id: None,
            facts,
        }
    }

    /// What takes the place of a record that the vendor has deleted. When the record was is not told; when it was
    /// deleted stands in.
    pub(super) fn tombstone(&self, owner: &Owner, id: &str, version: Version) -> EventDraft {
        EventDraft { deleted: true, ..self.draft(owner, id, version, owner.changed_at, Vec::new()) }
    }
}

/// A record of an answer, read field by field: what is wrong is refused by its place, and nothing else with it.
pub(super) struct Record<'a, 'r> {
    members: Members<'a>,
    index: usize,
    at: Place<'r>,
    rejected: &'r mut Rejections,
    /// Objects of it that were opened: many tables look into the same ones, and some of them are long.
    opened: Vec<(&'a RawValue, Rc<Members<'a>>)>,
}

/// Where a record is, as a JSON Pointer: written only when something is refused, since few are of many.
enum Place<'r> {
    /// There.
    At(String),
    /// In this place of the list that is there.
    InList(&'r str, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => f.write_str(at),
            Self::InList(list, place) => write!(f, "{list}/{place}"),
        }
    }
}

/// The JSON Pointer to which these members lead.
fn pointer(names: &[&str]) -> String {
    names.iter().flat_map(|name| ["/", name]).collect()
}

impl<'a, 'r> Record<'a, 'r> {
    /// The record at `at`, the answer's `index`th.
    pub(super) fn open(
        raw: &'a RawValue,
        (index, at): (usize, String),
        rejected: &'r mut Rejections,
    ) -> Option<Self> {
        Self::open_at(raw, (index, Place::At(at)), rejected)
    }

    fn open_at(
        raw: &'a RawValue,
        (index, at): (usize, Place<'r>),
        rejected: &'r mut Rejections,
    ) -> Option<Self> {
        match json::members(raw) {
            Ok(members) => Some(Self { members, index, at, rejected, opened: Vec::new() }),
            Err(detail) => {
                rejected.push(index, at.to_string(), detail);
                None
            }
        }
    }

    /// Refuses the value at `field`, a JSON Pointer from the record on.
    pub(super) fn refuse(&mut self, field: &str, detail: impl Into<String>) {
        self.rejected.push(self.index, format!("{}{field}", self.at), detail);
    }

    /// The member of this name, read; `None` if it is absent, null or refused.
    pub(super) fn read<T, E: Into<Cow<'static, str>>>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Result<T, E>,
    ) -> Option<T> {
        let found = self.members.get(name).map_err(Cow::Borrowed);
        let value = found.and_then(|raw| raw.map(read).transpose().map_err(Into::into));
        value.unwrap_or_else(|detail| {
            self.refuse(&format!("/{name}"), detail);
            None
        })
    }

    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.read(name, json::text)
    }

    /// What must be there, or the record is none.
    pub(super) fn require<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let refused = self.rejected.total;
        let value = read(self, name);
        if value.is_none() && self.rejected.total == refused {
            self.refuse(&format!("/{name}"), "is missing");
        }
        value
    }

    pub(super) fn id(&mut self, name: &str) -> Option<String> {
        self.read(name, |raw| super::fetch::record_id(&json::id(raw)?).map_err(Cow::Owned))
    }

    pub(super) fn moment(&mut self, name: &str, fetched_at: Timestamp) -> Option<Moment> {
        self.read(name, |raw| Moment::from_json(raw, fetched_at).map_err(|error| error.to_string()))
    }

    /// The object to which these members lead, if there is one.
    fn section(&mut self, at: &[&str]) -> Option<Rc<Members<'a>>> {
        let mut section: Option<Rc<Members<'a>>> = None;
        for (depth, name) in at.iter().enumerate() {
            let found = section.as_deref().unwrap_or(&self.members).get(name);
            match found.and_then(|raw| raw.map(|raw| self.object(raw)).transpose()) {
                Ok(Some(found)) => section = Some(found),
                Ok(None) => return None,
                Err(detail) => {
                    self.refuse(&pointer(&at[..=depth]), detail);
                    return None;
                }
            }
        }
        section
    }

    /// The members of an object of the record.
    fn object(&mut self, raw: &'a RawValue) -> Result<Rc<Members<'a>>, &'static str> {
        let is_it = |(opened, _): &&(&'a RawValue, _)| std::ptr::eq(*opened, raw);
        if let Some((_, members)) = self.opened.iter().find(is_it) {
            return Ok(Rc::clone(members));
        }
        let members = Rc::new(json::members(raw)?);
        self.opened.push((raw, Rc::clone(&members)));
        Ok(members)
    }

    /// The value of one of the record's own fields; none if it is absent or refused.
    pub(super) fn value(&mut self, field: &Field) -> Option<f64> {
        self.read(field.name(), |raw| value(raw, field)).flatten()
    }

    /// The readings of a section's fields.
    pub(super) fn readings(&mut self, section: &Section, stamp: &Stamp) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.values(section, |field, value| readings.push(stamp.reading(field, value)));
        readings
    }

    /// Gives the values of a section's fields, in their order; not of one that is absent or refused.
    pub(super) fn values(&mut self, section: &Section, mut give: impl FnMut(&'static Field, f64)) {
        let nested = match section.at {
            [] => None,
            at => match self.section(at) {
                Some(members) => Some(members),
                None => return,
            },
        };
        for field in section.fields {
            let raw = nested.as_deref().unwrap_or(&self.members).get(field.name());
            let value =
                raw.map_err(Cow::Borrowed).and_then(|raw| raw.map_or(Ok(None), |raw| value(raw, field)));
            match value {
                Ok(Some(value)) => give(field, value),
                Ok(None) => {}
                Err(detail) => self.refuse(&format!("{}/{}", pointer(section.at), field.name()), detail),
            }
        }
    }
}

/// A vendor's word as a label: without control characters, and short.
pub(super) fn label(text: &str) -> Option<Arc<str>> {
    let clean = text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), "");
    let end = clean.floor_char_boundary(LABEL_MAX_BYTES.min(clean.len()));
    let clean = clean[..end].trim();
    (!clean.is_empty()).then(|| clean.into())
}
