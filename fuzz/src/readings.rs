//! What holds for everything that a decoder gives back, whoever sent it.

use std::collections::HashMap;
use std::sync::LazyLock;

use actors::cognition::thresholds::Thresholds;
use actors::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use actors::domain::delivery::{DecodeError, Decoded, Rejections};
use actors::domain::event::{Event, Reading};
use actors::domain::ids::{ID_MAX_BYTES, RequestId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_DAY, Timestamp};
use actors::event_message;
use actors::vendors::{Device, Verified};

use super::Reached;

/// 2026-09-10T12:00:00Z, when every delivery arrives.
pub const NOW_MS: i64 = 1_789_041_600_000;
/// The same.
pub const NOW: Timestamp = Timestamp::from_ms(NOW_MS);

/// The compiled-in thresholds, read once: they are a file.
pub static THRESHOLDS: LazyLock<Thresholds> = LazyLock::new(Thresholds::default);

/// 2000-01-01T00:00:00Z: no vendor's reading is older.
const EARLIEST: Timestamp = Timestamp::from_ms(946_684_800_000);
const READINGS_MAX: usize = 1000;
/// No refusal says more than this, whatever was sent.
const DETAIL_MAX_BYTES: usize = 2048;

/// What a decoder made of a body.
pub struct Checked {
    /// In one word.
    pub reached: Reached,
    /// How many readings came out.
    pub readings: usize,
    /// How many samples or fields were refused.
    pub rejected: usize,
    /// All of it.
    pub decoded: Result<Decoded, DecodeError>,
}

/// Decodes and holds what came out against every promise of the decoders.
pub fn check(device: &dyn Device, verified: &Verified) -> Checked {
    let decoded = device.decode(verified, NOW);
    assert_eq!(decoded, device.decode(verified, NOW), "the same bytes are read in one way");
    // What stands in for times of unknown zones is held to the same promises.
    let decoded = match decoded {
        Ok(Decoded::LocalToUsers { as_utc, .. }) => Ok(*as_utc),
        decoded => decoded,
    };
    let (mut readings, mut rejected) = (0, 0);
    let reached = match &decoded {
        Ok(Decoded::Events { drafts, rejected: refused }) => {
            if drafts.iter().any(|draft| draft.deleted) {
                check_tombstones(drafts, refused);
                return Checked { reached: "deleted", readings: 0, rejected: 0, decoded };
            }
            drafts.iter().for_each(check_draft);
            check_rejections(refused);
            readings = drafts.iter().map(EventDraft::readings_len).sum();
            rejected = refused.total;
            match (readings, rejected) {
                (0, 0) => panic!("neither a reading nor a refusal"),
                (0, _) => "no_events",
                (_, 0) => "events",
                _ => "some_events",
            }
        }
        Ok(Decoded::Notification { user_id, .. }) => {
            check_user(user_id);
            "notification"
        }
        Ok(Decoded::Ignored { .. }) => "ignored",
        Ok(Decoded::LocalTimes { .. }) => "local_times",
        Ok(Decoded::LocalToUsers { .. }) => "local_to_users",
        Ok(Decoded::AccountMoved { .. }) => "account_moved",
        Err(error) => check_error(error),
    };
    Checked { reached, readings, rejected, decoded }
}

/// What an error tells is bounded, and points into the body.
pub fn check_error(error: &DecodeError) -> Reached {
    assert!(error.to_string().len() <= 4 * DETAIL_MAX_BYTES, "{error}");
    match error {
        DecodeError::NotJson { line, column, .. } => {
            assert!(*line >= 1 && *column >= 1, "{error}");
            "not_json"
        }
        DecodeError::Shape { .. } => "shape",
        DecodeError::UserId { .. } => "user_id",
        DecodeError::NoUser(_) => "no_user",
        DecodeError::UsersDiffer => "users_differ",
        DecodeError::NothingUsable(rejected) => {
            assert!(rejected.total > 0);
            check_rejections(rejected);
            "nothing_usable"
        }
    }
}

/// The first hundred are listed, in order, each with a place and a reason.
pub fn check_rejections(rejected: &Rejections) {
    assert_eq!(rejected.listed.len(), rejected.total.min(Rejections::LISTED_MAX));
    assert!(rejected.listed.is_sorted_by_key(|refused| refused.index));
    for refused in &rejected.listed {
        assert!(refused.path.is_empty() || refused.path.starts_with('/'), "{}", refused.path);
        assert!((1..=DETAIL_MAX_BYTES).contains(&refused.detail.len()), "{}", refused.detail);
        assert_eq!(refused.error_type, "validation_error");
    }
}

/// A deletion comes alone, and holds nothing but what record it was.
fn check_tombstones(drafts: &[EventDraft], refused: &Rejections) {
    let [draft] = drafts else { panic!("a notification is about one record") };
    let Facts::Record { readings, .. } = &draft.facts else { panic!("a record, not a batch") };
    assert!(draft.deleted && readings.is_empty() && refused.total == 0 && draft.event_id.is_none());
    check_user(&draft.user_id);
    assert!((EARLIEST..=NOW.plus_ms(MS_PER_DAY)).contains(&draft.timestamp));
    let admitted = draft.clone().admit(1, &mut HashMap::new()).expect("it is the first of its kind");
    check_event(&admitted.event);
}

fn check_draft(draft: &EventDraft) {
    let Facts::Readings(facts) = &draft.facts else { panic!("a batch, not a record") };
    assert!((1..=READINGS_MAX).contains(&facts.len()));
    assert_eq!(draft.received_at, NOW);
    assert_eq!(facts.iter().map(|fact| fact.reading.timestamp).max(), Some(draft.timestamp));
    check_user(&draft.user_id);
    for ReadingFact { reading, .. } in facts {
        check_reading(reading);
        check_times(reading);
        assert!(reading.source.as_ref().is_none_or(|source| {
            (1..=128).contains(&source.len()) && !source.contains(char::is_control)
        }));
    }

    let mut known = HashMap::new();
    let admitted = draft.clone().admit(1, &mut known).expect("it is the first of its kind");
    check_event(&admitted.event);
    if facts.iter().all(|fact| fact.version == Version::Fixed) {
        assert!(draft.clone().admit(2, &mut known).is_none(), "a fact that is known is not admitted again");
    }
}

/// Nothing that a store is given can be misread as an id.
pub fn check_user(user: &UserId) {
    assert!(UserId::parse(user.as_str()).as_ref() == Ok(user) && user.as_str().len() <= ID_MAX_BYTES);
}

/// In its metric's unit and range.
pub fn check_reading(reading: &Reading) {
    let (low, high) = reading.metric.range();
    assert!(reading.value.is_finite() && (low..=high).contains(&reading.value), "{reading:?}");
    assert!(reading.value != 0.0 || reading.value.is_sign_positive(), "{reading:?}");
    assert_eq!(reading.unit, reading.metric.unit());
    assert!(reading.confidence.is_none_or(|confidence| (0.0..=1.0).contains(&confidence)), "{reading:?}");
}

/// What a vendor's reading may be dated.
pub fn check_times(reading: &Reading) {
    assert!((EARLIEST..=NOW.plus_ms(MS_PER_DAY)).contains(&reading.timestamp), "{reading:?}");
    let interval = (reading.start, reading.end);
    assert!(
        matches!(interval, (None, None))
            || matches!(interval, (Some(start), Some(end)) if start < end && end == reading.timestamp),
        "{reading:?}"
    );
    assert_eq!(reading.method.is_some(), reading.metric == Metric::Hrv, "{reading:?}");
}

/// What is read from the log is what was written to it, to the last bit.
pub fn check_event(event: &Event) {
    event.readings.iter().for_each(check_reading);
    let request_id = RequestId::parse("fuzz").expect("an id");
    let message = event_message::encode(event, &request_id, &THRESHOLDS);
    assert_eq!(&*message.key, event.user_id.as_str());
    let read = event_message::decode(&message.headers, &message.value).expect("our own message is read");
    assert_eq!(&read, event, "an event came back from the log as another");
    assert_eq!(event_message::encode(&read, &request_id, &THRESHOLDS), message);
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn reading(change: impl FnOnce(&mut Reading)) -> Reading {
        let mut reading = Reading::new(Metric::HeartRate, 61.0, NOW, 1.0);
        change(&mut reading);
        reading
    }

    #[test]
    fn a_broken_promise_of_a_reading_is_caught() {
        let check = |reading: Reading| {
            let all = || {
                check_reading(&reading);
                check_times(&reading);
            };
            catch_unwind(all).is_err()
        };
        assert!(!check(reading(|_| ())));
        assert!(check(reading(|reading| reading.value = f64::NAN)));
        assert!(check(reading(|reading| reading.value = 250.1)));
        assert!(check(reading(|reading| reading.unit = "ms")));
        assert!(check(reading(|reading| reading.confidence = Some(1.1))));
        assert!(check(reading(|reading| reading.timestamp = NOW.plus_ms(MS_PER_DAY + 1))));
        assert!(check(reading(|reading| reading.start = Some(NOW))));
        assert!(check(reading(|reading| reading.metric = Metric::Hrv)));
    }

    #[test]
    fn a_refusal_that_is_not_counted_is_caught() {
        let mut rejected = Rejections::default();
        rejected.push(3, "/samples/3".to_owned(), "is missing");
        check_rejections(&rejected);
        rejected.total = 2;
        assert!(catch_unwind(|| check_rejections(&rejected)).is_err());
    }
}
