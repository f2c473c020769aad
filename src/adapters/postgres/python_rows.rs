//! From a row of the Python system's `biometric_events` to a draft of an event.
//!
//! Nobody has that system's table definition, so a row is taken as JSON, whatever its columns are, and searched for
//! what is known of it: who, which device, when, and readings, in a column of JSON or in columns of their own.

use actors::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use actors::domain::event::{DeviceType, HrvMethod, Reading};
use actors::domain::ids::UserId;
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_SECOND, Timestamp};
use actors::vendors::inline_identity;
use serde_json::{Map, Value};

/// Columns that may hold the readings as JSON.
pub(super) const JSON_COLUMNS: [&str; 5] = ["readings", "data", "payload", "event_data", "raw_data"];
/// The confidence in what came through a vendor's cloud (contract §3).
const CONFIDENCE: f64 = 0.95;
/// Unix times from here on are milliseconds.
const EPOCH_MS_MIN: f64 = 1e11;
/// How deep sections are looked into: `{"data":{"hrv_data":{"rmssd":45}}}`.
const DEPTH_MAX: usize = 3;

/// What the Python system called metrics, where not by our names; `section.field` for its inline sections.
const ALIASES: [(&str, Metric); 12] = [
    ("hrv_data.rmssd", Metric::Hrv),
    ("heart_rate_data.hrv", Metric::Hrv),
    ("hrv_rmssd", Metric::Hrv),
    ("rmssd", Metric::Hrv),
    ("sleep.score", Metric::SleepScore),
    ("sleep_data.score", Metric::SleepScore),
    ("recovery.score", Metric::RecoveryScore),
    ("recovery", Metric::RecoveryScore),
    ("stress.level", Metric::StressLevel),
    ("stress", Metric::StressLevel),
    ("resting_hr", Metric::RestingHeartRate),
    ("spo2", Metric::BloodOxygen),
];

/// Why a row, or a reading in it, is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    UserId,
    DeviceType,
    Timestamp,
    NoReadings,
    Value,
    Refused,
}

impl Flaw {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UserId => "user_id is missing or no id",
            Self::DeviceType => "device_type is unknown",
            Self::Timestamp => "timestamp is missing or no time",
            Self::NoReadings => "no reading that is known",
            Self::Value => "a reading outside of its metric's range",
            Self::Refused => "refused by the store",
        }
    }
}

/// The endpoint and the family of a device, by any name that it had.
fn device(name: &str) -> Option<(&'static str, DeviceType)> {
    Some(match name.to_ascii_lowercase().as_str() {
        "oura_ring" | "oura" => ("oura", DeviceType::OuraRing),
        "whoop_band" | "whoop" => ("whoop", DeviceType::WhoopBand),
        "apple_health" | "healthkit" | "apple_healthkit" | "apple_watch" => {
            ("healthkit", DeviceType::AppleHealth)
        }
        "terra" => ("terra", DeviceType::Terra),
        other => {
            let device_type = DeviceType::from_name(other)?;
            (device_type.name(), device_type)
        }
    })
}

/// RFC 3339; without an offset it is UTC; or unix time in s or ms.
fn time(value: Option<&Value>) -> Option<Timestamp> {
    match value? {
        Value::String(text) => {
            let text = text.trim().replacen(' ', "T", 1);
            Timestamp::parse_rfc3339(&text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
        }
        Value::Number(number) => {
            let number = number.as_f64()?;
            let ms = if number < EPOCH_MS_MIN { number * MS_PER_SECOND as f64 } else { number };
            Some(Timestamp::from_ms(ms.round() as i64))
        }
        _ => None,
    }
}

/// Reads a row. The flaws are those of single readings; with none left the row itself is the error.
pub(super) fn draft(row: &Map<String, Value>, now: Timestamp) -> Result<(EventDraft, Vec<Flaw>), Flaw> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let user_id = text("user_id").and_then(|id| UserId::parse(id).ok()).ok_or(Flaw::UserId)?;
    let (device, device_type) = text("device_type").and_then(device).ok_or(Flaw::DeviceType)?;
    let timestamp = time(row.get("timestamp")).ok_or(Flaw::Timestamp)?;
    let written_at = time(row.get("updated_at")).or_else(|| time(row.get("created_at"))).unwrap_or(timestamp);
    let mut found = Found { timestamp, device_type, readings: Vec::new(), flaws: Vec::new() };
    for column in JSON_COLUMNS {
        match row.get(column) {
            // A column of text may hold JSON all the same.
            Some(Value::String(text)) => {
                if let Ok(value) = serde_json::from_str(text) {
                    found.look(column, &value, 0);
                }
            }
            Some(value) => found.look(column, value, 0),
            None => {}
        }
    }
    let plain = row.iter().filter(|(name, _)| !JSON_COLUMNS.contains(&name.as_str()));
    plain.for_each(|(name, value)| found.number("", name, value));
    let Found { readings, flaws, .. } = found;
    if readings.is_empty() {
        return Err(flaws.first().copied().unwrap_or(Flaw::NoReadings));
    }
    // Older than anything that arrives from now on, so that it never takes the place of what a vendor sends again; of
    // two rows about one moment the one that was written later counts.
    let version = Version::Given(written_at.as_ms().min(now.as_ms()));
    let fact = |reading: Reading| {
        let identity = inline_identity(device, &user_id, reading.timestamp, reading.metric);
        ReadingFact { identity, version, reading }
    };
    let facts = Facts::Readings(readings.into_iter().map(fact).collect());
    let draft = EventDraft {
        device_type,
        user_id: user_id.clone(),
        kind: "inline".into(),
        timestamp,
        received_at: written_at,
        is_backfill: true,
        deleted: false,
        event_id: None,
        record_id: None,
        facts,
    };
    Ok((draft, flaws))
}

/// The readings of one row.
struct Found {
    timestamp: Timestamp,
    device_type: DeviceType,
    readings: Vec<Reading>,
    flaws: Vec<Flaw>,
}

impl Found {
    /// Looks for readings in JSON: a list of them, an object with such a list, or numbers by their names.
    fn look(&mut self, section: &str, value: &Value, depth: usize) {
        match value {
            Value::Array(readings) => readings.iter().for_each(|reading| self.reading(reading)),
            Value::Object(fields) => {
                if let Some(Value::Array(readings)) = fields.get("readings") {
                    return readings.iter().for_each(|reading| self.reading(reading));
                }
                for (name, value) in fields {
                    match value {
                        Value::Object(_) if depth < DEPTH_MAX => self.look(name, value, depth + 1),
                        _ => self.number(section, name, value),
                    }
                }
            }
            _ => {}
        }
    }

    /// One of a list: as on our topic, or at least with a metric and a value.
    fn reading(&mut self, value: &Value) {
        if let Ok(reading) = serde_json::from_value::<Reading>(value.clone()) {
            return self.push(reading);
        }
        let Some(name) = value.get("metric").or_else(|| value.get("metric_type")).and_then(Value::as_str)
        else {
            return;
        };
        let held = self.readings.len();
        self.number("", name, value.get("value").unwrap_or(&Value::Null));
        if self.readings.len() == held {
            return;
        }
        if let (Some(at), Some(reading)) = (time(value.get("timestamp")), self.readings.last_mut()) {
            reading.timestamp = at;
        }
    }

    /// A number under a name, if that is one of a metric.
    fn number(&mut self, section: &str, name: &str, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        let path = format!("{section}.{name}");
        let alias =
            |wanted: &str| ALIASES.iter().find(|(alias, _)| *alias == wanted).map(|(_, metric)| *metric);
        let Some(metric) = alias(&path).or_else(|| Metric::from_name(name)).or_else(|| alias(name)) else {
            return;
        };
        match metric.accept(number) {
            Ok(number) => self.push(Reading::new(metric, number, self.timestamp, CONFIDENCE)),
            Err(_) => self.flaws.push(Flaw::Value),
        }
    }

    /// Keeps a reading; the same one in two columns once.
    fn push(&mut self, mut reading: Reading) {
        if reading.metric == Metric::Hrv && reading.method.is_none() {
            let is_apple = self.device_type == DeviceType::AppleHealth;
            reading.method = Some(if is_apple { HrvMethod::Sdnn } else { HrvMethod::Rmssd });
        }
        let same = |held: &Reading| held.metric == reading.metric && held.timestamp == reading.timestamp;
        if !self.readings.iter().any(same) {
            self.readings.push(reading);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(extra: Value) -> Result<Vec<(&'static str, f64)>, Flaw> {
        let mut row =
            json!({"id": 7, "user_id": "u", "device_type": "oura_ring", "timestamp": "2026-09-10T06:42:11"});
        row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let (draft, _) = draft(row.as_object().unwrap(), Timestamp::from_ms(i64::MAX))?;
        assert_eq!(draft.timestamp.to_string(), "2026-09-10T06:42:11Z");
        let Facts::Readings(facts) = draft.facts else { panic!("a batch was expected") };
        Ok(facts.iter().map(|fact| (fact.reading.metric.name(), fact.reading.value)).collect())
    }

    #[test]
    fn readings_are_found_wherever_the_python_system_may_have_put_them() {
        let reading =
            json!({"metric": "hrv", "value": 45.0, "unit": "ms", "timestamp": "2026-09-10T06:42:11Z"});
        for row in [
            json!({"hrv": 45.0, "heart_rate": null}),
            json!({"data": {"hrv": 45}}),
            json!({"payload": "{\"hrv_data\":{\"rmssd\":45.0}}"}),
            json!({"raw_data": {"event": {"hrv_data": {"rmssd": 45}}}}),
            json!({"readings": [reading]}),
            json!({"event_data": {"user_id": "u", "readings": [reading]}}),
            json!({"readings": [{"metric": "hrv_rmssd", "value": 45}]}),
            json!({"hrv": 45.0, "data": {"hrv_data": {"rmssd": 45}}}),
        ] {
            assert_eq!(read(row.clone()), Ok(vec![("hrv", 45.0)]), "{row}");
        }
    }

    #[test]
    fn what_is_no_event_is_told_by_its_flaw() {
        for (row, flaw) in [
            (json!({"user_id": " "}), Flaw::UserId),
            (json!({"user_id": 7}), Flaw::UserId),
            (json!({"device_type": "toaster"}), Flaw::DeviceType),
            (json!({"timestamp": "yesterday"}), Flaw::Timestamp),
            (json!({}), Flaw::NoReadings),
            (json!({"data": {"stress": {"level": 7}}}), Flaw::Value),
        ] {
            assert_eq!(read(row.clone()), Err(flaw), "{row}");
        }
    }
}
