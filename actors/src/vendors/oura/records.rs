//! Oura's records as ours: what they are called, and what their kind is.

use super::{DEVICE_TYPE, NAME};
use crate::domain::admission::{EventDraft, Facts};
use crate::domain::fetch::OuraDataType;
use crate::vendors::record::{Kind, Owner};

/// Where records of a type belong.
pub(super) const fn kind(data_type: OuraDataType) -> Kind {
    let kind = match data_type {
        OuraDataType::Sleep | OuraDataType::DailySleep => "sleep",
        OuraDataType::DailyReadiness => "readiness",
        OuraDataType::DailyActivity => "activity",
        OuraDataType::DailySpo2 => "spo2",
        OuraDataType::DailyStress | OuraDataType::DailyResilience => "stress",
        OuraDataType::DailyCardiovascularAge | OuraDataType::Vo2Max => "body",
        OuraDataType::Workout => "workout",
        OuraDataType::Session => "sample",
    };
    Kind { vendor: NAME, device_type: DEVICE_TYPE, record: data_type.name(), kind }
}

/// Samples of the heart rate, identified by their time alone.
pub(super) const HEART_RATE: Kind =
    Kind { vendor: NAME, device_type: DEVICE_TYPE, record: "heartrate", kind: "sample" };

/// What is told by the minute beside records of a type, one event for each record, identified by the record's id.
pub(super) const fn series_kind(data_type: OuraDataType) -> Option<Kind> {
    let record = match data_type {
        OuraDataType::Sleep => "sleep_series",
        OuraDataType::Session => "session_series",
        _ => return None,
    };
    Some(Kind { vendor: NAME, device_type: DEVICE_TYPE, record, kind: "sample" })
}

/// The same event, which takes the place of the record's series as well: it has none any more.
pub(super) fn replacing_series(
    mut draft: EventDraft,
    data_type: OuraDataType,
    owner: &Owner,
    id: &str,
) -> EventDraft {
    if let Some(kind) = series_kind(data_type)
        && let Facts::Record { also, .. } = &mut draft.facts
    {
        *also = Some(kind.identity(&owner.account, id));
    }
    draft
}
