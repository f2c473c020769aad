//! The bodies as they are spelled: what a phone's app pushes, and what Oura and its rings send.

use std::borrow::Cow;

use serde::Serialize;

/// An app's push of HealthKit samples.
#[derive(Debug, Clone, Serialize)]
pub struct Push<'a> {
    /// Whose; the bridge's own id.
    pub user_id: &'a str,
    /// In order of time.
    pub samples: Vec<Sample<'a>>,
}

/// One HealthKit sample, with either `timestamp` or a beginning and an end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample<'a> {
    /// Apple's identifier or its short name.
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    /// In `unit`.
    pub value: f64,
    /// As apps write it: `bpm`, `count/min` …
    pub unit: &'a str,
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// From when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// Until when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// What took it.
    pub source: &'a str,
}

/// A ring's reading in the Python system's inline format.
#[derive(Debug, Clone, Serialize)]
pub struct RingReading<'a> {
    /// Whose; the bridge's own id.
    pub user_id: &'a str,
    /// When, RFC 3339.
    pub timestamp: String,
    /// HRV.
    pub hrv_data: Hrv,
    /// 0 to 1.
    pub stress: Level,
    /// How well the night went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Score>,
    /// How rested the body is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Score>,
}

/// HRV as rings measure it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hrv {
    /// Milliseconds.
    pub rmssd: f64,
}

/// A level, 0 to 1.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Level {
    /// 0 to 1.
    pub level: f64,
}

/// A score, 0 to 100.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Score {
    /// 0 to 100.
    pub score: i64,
}

/// Oura's notification that a record exists; it carries no data.
#[derive(Debug, Clone, Serialize)]
pub struct Notification<'a> {
    /// `update` …
    pub event_type: &'a str,
    /// `daily_readiness` …
    pub data_type: &'a str,
    /// The record's id.
    pub object_id: String,
    /// When, RFC 3339.
    pub event_time: String,
    /// Oura's id of the user.
    pub user_id: Cow<'a, str>,
}

/// The body's bytes.
pub fn json(body: &impl Serialize) -> Vec<u8> {
    // Writing numbers and texts to memory cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}
