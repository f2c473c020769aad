//! HealthKit's samples built from parts that fit: bytes alone seldom make a sample whose every field is read.

use std::fmt::Write;

use actors::domain::delivery::Decoded;
use actors::domain::time::Timestamp;
use arbitrary::{Arbitrary, Unstructured};

use super::Reached;
use super::healthkit;
use super::readings::NOW_MS;

const TYPES: [&str; 12] = [
    "heartRate",
    "HKQuantityTypeIdentifierRestingHeartRate",
    "heart_rate_variability_sdnn",
    "OxygenSaturation",
    "respiratoryRate",
    "bodyTemperature",
    "basalBodyTemperature",
    "stepCount",
    "distanceWalkingRunning",
    "activeEnergyBurned",
    "sleepAnalysis",
    "",
];
const UNITS: [&str; 16] = [
    "count/min",
    "bpm",
    "count/s",
    "ms",
    "s",
    "%",
    "degC",
    "degF",
    "K",
    "count",
    "m",
    "mi",
    "kcal",
    "kJ",
    "cal",
    "?",
];
const WORDS: [&str; 8] = ["null", "true", "\"61\"", "-0", "1e400", "-1e400", "1e-400", "[61]"];
const SOURCES: [&str; 6] = [
    r#""Apple Watch""#,
    r#""iPhone""#,
    r#"{"name":"Ring","productType":"Watch7,5"}"#,
    r#"{"source":{"name":"\u0000\u2028"}}"#,
    "7",
    r#""""#,
];
const TIME_KEYS: [&str; 6] = ["startDate", "endDate", "start", "end", "timestamp", "date"];

#[derive(Arbitrary, Debug)]
enum Value {
    Whole(u16),
    Tenths(i16),
    Any(f64),
    Word(u8),
}

#[derive(Arbitrary, Debug)]
enum When {
    /// Seconds from the delivery on.
    Seconds(i32),
    Milliseconds(i32),
    Rfc3339(i32),
    Number(f64),
    Text(String),
}

#[derive(Arbitrary, Debug)]
struct Sample {
    kind: u8,
    value: Option<Value>,
    unit: Option<u8>,
    times: Vec<(u8, When)>,
    source: Option<u8>,
    id: Option<u8>,
}

/// Every sample of a batch is a reading or a refusal, and a refusal costs no other sample anything.
pub fn healthkit_samples(data: &[u8]) -> Reached {
    let Ok(mut samples) = Vec::<Sample>::arbitrary(&mut Unstructured::new(data)) else { return "ignored" };
    samples.truncate(40);
    let texts: Vec<String> = samples.iter().map(Sample::json).collect();
    let are_readings: Vec<bool> = texts.iter().map(|text| is_reading(text)).collect();
    let body = format!(r#"{{"user_id":"u","samples":[{}]}}"#, texts.join(","));
    let checked = healthkit::decode(body.as_bytes());
    let expected = are_readings.iter().filter(|is_reading| **is_reading).count();
    assert_eq!((checked.readings, checked.rejected), (expected, texts.len() - expected), "{body}");
    if let Ok(Decoded::Events { rejected, .. }) = &checked.decoded {
        for refused in &rejected.listed {
            assert!(!are_readings[refused.index]);
            assert!(refused.path.starts_with(&format!("/samples/{}", refused.index)));
        }
    }
    checked.reached
}

fn is_reading(sample: &str) -> bool {
    let body = format!(r#"{{"user_id":"u","samples":[{sample}]}}"#);
    healthkit::decode(body.as_bytes()).readings == 1
}

impl Sample {
    fn json(&self) -> String {
        let mut json = format!(r#"{{"type":"{}""#, of(&TYPES, self.kind));
        if let Some(value) = &self.value {
            let _ = write!(json, r#","value":{}"#, value.json());
        }
        if let Some(unit) = self.unit {
            let _ = write!(json, r#","unit":"{}""#, of(&UNITS, unit));
        }
        for (key, when) in self.times.iter().take(4) {
            let _ = write!(json, r#","{}":{}"#, of(&TIME_KEYS, *key), when.json());
        }
        if let Some(source) = self.source {
            let _ = write!(json, r#","source":{}"#, of(&SOURCES, source));
        }
        if let Some(id) = self.id {
            let _ = write!(json, r#","uuid":"{id}""#);
        }
        json.push('}');
        json
    }
}

impl Value {
    fn json(&self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Tenths(number) => (f64::from(*number) / 10.0).to_string(),
            Self::Any(number) if number.is_finite() => format!("{number:e}"),
            Self::Any(_) => "null".to_owned(),
            Self::Word(word) => of(&WORDS, *word).to_owned(),
        }
    }
}

impl When {
    fn json(&self) -> String {
        match self {
            Self::Seconds(seconds) => (NOW_MS / 1000 + i64::from(*seconds)).to_string(),
            Self::Milliseconds(ms) => (NOW_MS + i64::from(*ms)).to_string(),
            Self::Rfc3339(seconds) => {
                format!("\"{}\"", Timestamp::from_ms(NOW_MS + i64::from(*seconds) * 1000))
            }
            Self::Number(number) if number.is_finite() => format!("{number:e}"),
            Self::Number(_) => "null".to_owned(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        }
    }
}

fn of<'a>(list: &[&'a str], place: u8) -> &'a str {
    list[usize::from(place) % list.len()]
}
