//! Times and offsets: as RFC 3339 knows them, and as apps write them into samples.

use actors::domain::admission::Facts;
use actors::domain::delivery::Decoded;
use actors::domain::event::Reading;
use actors::domain::time::{Timestamp, UtcOffset};
use serde_json::value::RawValue;

use super::Reached;
use super::healthkit;
use super::readings::Checked;

/// What is written is read back, and the two readers of times never disagree.
pub fn timestamps(data: &[u8]) -> Reached {
    let Ok(text) = std::str::from_utf8(data) else { return "not_text" };
    if let Some(offset) = UtcOffset::parse(text) {
        assert_eq!(UtcOffset::parse(&offset.to_string()), Some(offset));
        assert_eq!(UtcOffset::from_minutes(offset.minutes()), Some(offset));
    }
    let standard = Timestamp::parse_rfc3339(text);
    if let Some(at) = standard {
        assert_eq!(Timestamp::parse_rfc3339(&at.to_string()), Some(at), "{at} was read and not read back");
    }
    if is_number(text) {
        sample(text);
    }
    let reading = sample(&serde_json::Value::from(text).to_string());
    match (standard, reading) {
        (Some(standard), Some(reading)) => {
            assert_eq!(standard, reading.timestamp, "{text:?}");
            "both"
        }
        (None, Some(_)) => "ours",
        (Some(_), None) => "rfc_3339",
        (None, None) => "neither",
    }
}

fn is_number(text: &str) -> bool {
    let raw: Result<&RawValue, _> = serde_json::from_str(text);
    raw.is_ok_and(|raw| raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()))
}

/// The reading of a sample of this time, if it is taken.
fn sample(time: &str) -> Option<Reading> {
    let sample = format!(r#"{{"type":"heartRate","value":61,"timestamp":{time}}}"#);
    let body = format!(r#"{{"user_id":"u","samples":[{sample}]}}"#);
    let Checked { decoded, .. } = healthkit::decode(body.as_bytes());
    let Ok(Decoded::Events { mut drafts, .. }) = decoded else { panic!("{body} is no batch") };
    match drafts.pop()?.facts {
        Facts::Readings(mut facts) => facts.pop().map(|fact| fact.reading),
        Facts::Record { .. } | Facts::Part { .. } => None,
    }
}
