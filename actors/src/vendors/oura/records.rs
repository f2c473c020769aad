//! Oura's records as ours: what they are called, and what their kind is.

use super::{DEVICE_TYPE, NAME};
use crate::domain::fetch::OuraDataType;
use crate::vendors::record::Kind;

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
