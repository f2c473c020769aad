//! The one kind of biometric event that every vendor's data becomes (contract §3).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{EventId, UserId};
use super::metric::Metric;
use super::time::{Timestamp, UtcOffset};

/// The device family that an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DeviceType {
    OuraRing,
    WhoopBand,
    AppleHealth,
    Terra,
    Garmin,
    Fitbit,
    GoogleHealth,
    Withings,
    Polar,
    Strava,
    EightSleep,
}

impl DeviceType {
    /// Every family.
    pub const ALL: [Self; 11] = [
        Self::OuraRing,
        Self::WhoopBand,
        Self::AppleHealth,
        Self::Terra,
        Self::Garmin,
        Self::Fitbit,
        Self::GoogleHealth,
        Self::Withings,
        Self::Polar,
        Self::Strava,
        Self::EightSleep,
    ];

    /// The name in events, headers and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OuraRing => "oura_ring",
            Self::WhoopBand => "whoop_band",
            Self::AppleHealth => "apple_health",
            Self::Terra => "terra",
            Self::Garmin => "garmin",
            Self::Fitbit => "fitbit",
            Self::GoogleHealth => "google_health",
            Self::Withings => "withings",
            Self::Polar => "polar",
            Self::Strava => "strava",
            Self::EightSleep => "eight_sleep",
        }
    }

    /// The device type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.name() == name)
    }
}

/// How a heart rate variability was computed; the two are never compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HrvMethod {
    /// Root mean square of successive differences.
    Rmssd,
    /// Standard deviation of normal-to-normal intervals.
    Sdnn,
}

impl HrvMethod {
    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rmssd => "rmssd",
            Self::Sdnn => "sdnn",
        }
    }
}

/// The setting in which a reading was taken, where that makes it no resting reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    /// An average or extreme over a night.
    Sleep,
    /// Taken in, or summed up over, a workout.
    Workout,
    /// A day's summary.
    Daily,
}

/// One measured or derived value, in its metric's unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// What was measured.
    pub metric: Metric,
    /// Finite and inside the metric's range.
    pub value: f64,
    /// Always [`Metric::unit`].
    pub unit: &'static str,
    /// When (`vendors.md` §16).
    pub timestamp: Timestamp,
    /// How far to trust it, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// For `hrv` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HrvMethod>,
    /// Absent for an ordinary reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// The name of a category value (`deep`), or of what was done (`running`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// Start of the interval that the value sums up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// End of that interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// The source's own name (`Apple Watch`), or `derived` for what a decoder computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
    /// The user's offset from UTC at that time, where the vendor told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utc_offset: Option<UtcOffset>,
}

impl Reading {
    /// A reading with the metric's unit and nothing else known of it.
    pub fn new(metric: Metric, value: f64, timestamp: Timestamp, confidence: f64) -> Self {
        Self {
            metric,
            value,
            unit: metric.unit(),
            timestamp,
            confidence: Some(confidence),
            method: None,
            context: None,
            label: None,
            start: None,
            end: None,
            source: None,
            utc_offset: None,
        }
    }
}

impl<'de> Deserialize<'de> for Reading {
    /// Reads a reading as on the topic; refuses another unit than the metric's and values out of range.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        #[derive(Deserialize)]
        struct Wire<'a> {
            metric: Metric,
            value: f64,
            #[serde(borrow, default)]
            unit: Option<std::borrow::Cow<'a, str>>,
            timestamp: Timestamp,
            confidence: Option<f64>,
            method: Option<HrvMethod>,
            context: Option<Context>,
            label: Option<Arc<str>>,
            start: Option<Timestamp>,
            end: Option<Timestamp>,
            source: Option<Arc<str>>,
            utc_offset: Option<UtcOffset>,
        }

        let wire = Wire::deserialize(deserializer)?;
        let metric = wire.metric;
        if wire.unit.is_some_and(|unit| unit != metric.unit()) {
            return Err(D::Error::custom(format!(
                "{} is in {}, not in another unit",
                metric.name(),
                metric.unit()
            )));
        }
        let value = metric
            .accept(wire.value)
            .map_err(|error| D::Error::custom(format!("the value of {} {error}", metric.name())))?;
        if wire.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            return Err(D::Error::custom("confidence is outside 0 to 1"));
        }
        Ok(Self {
            metric,
            value,
            unit: metric.unit(),
            timestamp: wire.timestamp,
            confidence: wire.confidence,
            method: wire.method,
            context: wire.context,
            label: wire.label,
            start: wire.start,
            end: wire.end,
            source: wire.source,
            utc_offset: wire.utc_offset,
        })
    }
}

/// One event, exactly as it stands on the topic `biometric-events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The same for the same fact, whatever the order or number of arrivals.
    pub event_id: EventId,
    /// The same for all versions of one record.
    pub record_id: Arc<str>,
    /// Grows with each version of the record.
    pub version: i64,
    /// The family of devices that it comes from.
    pub device_type: DeviceType,
    /// Whose it is, in our ids.
    pub user_id: UserId,
    /// When it happened; of a batch, the newest of its readings.
    pub timestamp: Timestamp,
    /// When its delivery arrived.
    pub received_at: Timestamp,
    /// `sample`, `sleep`, `readiness` …; any word when injected.
    pub kind: Arc<str>,
    /// History fetched or moved, that decides nothing.
    #[serde(default)]
    pub is_backfill: bool,
    /// The record was deleted; such an event has no readings.
    #[serde(default)]
    pub deleted: bool,
    /// What was measured, in the order of arrival.
    #[serde(default)]
    pub readings: Vec<Reading>,
}
