//! Terra's times: with an offset from UTC, or as the user's clock showed them.

use std::cell::Cell;

use serde_json::value::RawValue;

use crate::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset, Zone};
use crate::vendors::json;
use crate::vendors::record::Record;
use crate::vendors::timestamp::{Moment, is_local};

/// What is known of the clocks behind one delivery.
pub(super) struct Clocks<'d> {
    /// No time may be more than a day after that.
    pub(super) received_at: Timestamp,
    /// The user's zone, if it is known by now.
    pub(super) zone: Option<&'d Zone>,
    /// Some time told no offset, and the zone was not known.
    pub(super) is_guessed: Cell<bool>,
}

/// How the times of one record are read.
pub(super) struct Times<'d> {
    clocks: &'d Clocks<'d>,
    /// At this offset where a time tells none of its own: another time of the record does.
    offset: Option<UtcOffset>,
}

impl<'d> Times<'d> {
    /// By what the record's `metadata` tells: a time of it with an offset, or that its times are in UTC.
    pub(super) fn of(clocks: &'d Clocks<'d>, metadata: &mut Record<'_, '_>) -> Self {
        let texts = ["start_time", "end_time"].map(|name| metadata.hint(name));
        let told = texts.iter().flatten().find(|text| !is_local(text));
        let told = told.and_then(|text| Moment::from_text(text, clocks.received_at).ok());
        let told = told.map(|moment| moment.utc_offset.unwrap_or_default());
        let localization = metadata.read("timestamp_localization", json::number);
        let is_utc = localization == Some(0.0);
        Self { clocks, offset: told.or_else(|| is_utc.then(UtcOffset::default)) }
    }

    /// Reads a time.
    pub(super) fn read(&self, raw: &RawValue) -> Result<Moment, String> {
        let moment = Moment::from_json(raw, self.clocks.received_at).map_err(|error| error.to_string())?;
        if !json::text(raw).is_ok_and(|text| is_local(&text)) {
            return Ok(moment);
        }
        if let Some(offset) = self.offset {
            let at = moment.at.plus_ms(-i64::from(offset.minutes()) * MS_PER_MINUTE);
            return Ok(Moment { at, utc_offset: Some(offset).filter(|offset| offset.minutes() != 0) });
        }
        let found = self.clocks.zone.and_then(|zone| zone.moment_of(moment.at));
        let Some((at, offset)) = found else {
            self.clocks.is_guessed.set(true);
            return Ok(moment);
        };
        Ok(Moment { at, utc_offset: Some(offset) })
    }

    /// The record's member of this name.
    pub(super) fn of_member(&self, record: &mut Record<'_, '_>, name: &str) -> Option<Moment> {
        record.read(name, |raw| self.read(raw))
    }
}
