//! The clock behind a user's items: what a time without an offset means (vendors.md §16).

use std::cell::Cell;

use serde_json::value::RawValue;

use crate::domain::time::{MS_PER_DAY, MS_PER_MINUTE, Timestamp, UtcOffset, Zone};
use crate::vendors::json;
use crate::vendors::timestamp::{Moment, TimeError, is_day, is_local};

/// What is known of it while an item is read.
#[derive(Debug)]
pub(super) struct Clock<'d> {
    received_at: Timestamp,
    /// Where it stands, if that is known by now.
    zone: Option<&'d Zone>,
    /// Some time told no offset, nothing else did, and UTC stood in.
    is_guessed: Cell<bool>,
}

impl<'d> Clock<'d> {
    /// The clock of a user in `zone`, of whom a delivery arrived then.
    pub(super) fn new(received_at: Timestamp, zone: Option<&'d Zone>) -> Self {
        Self { received_at, zone, is_guessed: Cell::new(false) }
    }

    /// Whether UTC stood in for it.
    pub(super) fn is_guessed(&self) -> bool {
        self.is_guessed.get()
    }

    /// Reads what calls something by its time. A day, told alone or as its midnight, is a name: the same one wherever
    /// the user is, and wherever the user has travelled to since.
    pub(super) fn read_name(&self, raw: &RawValue) -> Result<Moment, TimeError> {
        if json::text(raw).is_ok_and(|text| is_day(&text)) {
            return Moment::from_app(raw, self.received_at);
        }
        let moment = self.read(raw, None)?;
        let offset_ms = moment.utc_offset.map_or(0, |offset| i64::from(offset.minutes()) * MS_PER_MINUTE);
        let shown = moment.at.plus_ms(offset_ms);
        let is_midnight = shown.as_ms().rem_euclid(MS_PER_DAY) == 0;
        Ok(if is_midnight { Moment { at: shown, utc_offset: None } } else { moment })
    }

    /// Reads a time. One without an offset has the `offset` that stands beside it, else that of the user's zone.
    pub(super) fn read(&self, raw: &RawValue, offset: Option<UtcOffset>) -> Result<Moment, TimeError> {
        let moment = Moment::from_app(raw, self.received_at)?;
        if moment.utc_offset.is_some() || !json::text(raw).is_ok_and(|text| is_local(&text)) {
            return Ok(moment);
        }
        let beside =
            |offset: UtcOffset| (moment.at.plus_ms(-i64::from(offset.minutes()) * MS_PER_MINUTE), offset);
        let in_zone = || self.zone.and_then(|zone| zone.moment_of(moment.at));
        let Some((at, offset)) = offset.map(beside).or_else(in_zone) else {
            self.is_guessed.set(true);
            return Ok(moment);
        };
        Moment { at, utc_offset: Some(offset) }.check(self.received_at)
    }
}
