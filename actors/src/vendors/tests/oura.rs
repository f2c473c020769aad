//! Oura's notifications, and the Python system's bodies on the same endpoint.

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::{DeviceType, HrvMethod};
use crate::domain::ids::{IdError, UserId};
use crate::domain::metric::Metric;

#[test]
fn ouras_notification_names_the_user_by_vendor_and_vendors_id() {
    let bodies = [
        r#"{"event_type":"update","data_type":"daily_readiness","object_id":"6a5f","event_time":"2026-09-10T12:00:00+00:00","user_id":"A1B2C3D4E5"}"#,
        r#"{"event_type":"create","data_type":"sleep","user_id":"A1B2C3D4E5"}"#,
        r#"{"event_type":"delete","data_type":"vo2_max","object_id":null,"user_id":"A1B2C3D4E5","extra":[{}]}"#,
    ];
    for body in bodies {
        assert_eq!(notified(decode_oura_native(body.as_bytes())), "oura:A1B2C3D4E5", "{body}");
    }
}

#[test]
fn a_notification_says_whether_its_body_tells_it_from_the_next_one() {
    let is_dated = |decoded: Result<Decoded, DecodeError>| match decoded {
        Ok(Decoded::Notification { is_dated, .. }) => is_dated,
        other => panic!("no notification: {other:?}"),
    };
    let native = |time: &str| {
        let body = format!(r#"{{"event_type":"update","data_type":"sleep",{time}"user_id":"A1"}}"#);
        is_dated(decode_oura_native(body.as_bytes()))
    };
    assert!(native(r#""event_time":"2026-09-10T12:00:00+00:00","#));
    assert!(!native(""));
    assert!(!is_dated(decode_oura_inline(br#"{"event_type":"sleep.updated","user_id":"user-1"}"#)));
}

#[test]
fn ouras_types_without_metrics_of_ours_are_ignored() {
    for (event_type, data_type) in [("update", "tag"), ("update", "no_such_type"), ("renamed", "sleep")] {
        let body = format!(r#"{{"event_type":"{event_type}","data_type":"{data_type}","user_id":"A1"}}"#);
        assert!(matches!(decode_oura_native(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{body}");
    }
}

#[test]
fn ouras_notification_with_a_broken_field_is_refused_by_its_place() {
    let cases = [
        (r#"[]"#, ""),
        (r#""update""#, ""),
        (r#"{"data_type":"sleep","user_id":"A1"}"#, "/event_type"),
        (r#"{"event_type":1,"data_type":"sleep","user_id":"A1"}"#, "/event_type"),
        (r#"{"event_type":"update","user_id":"A1"}"#, "/data_type"),
        (r#"{"event_type":"update","data_type":["sleep"],"user_id":"A1"}"#, "/data_type"),
        (r#"{"event_type":"update","data_type":"sleep","user_id":7}"#, "/user_id"),
        (r#"{"event_type":"update","data_type":"sleep","user_id":"A1","user_id":"A2"}"#, ""),
    ];
    for (body, path) in cases {
        assert_eq!(shape_path(decode_oura_native(body.as_bytes())), path, "{body}");
    }
    let native = |user: &str| {
        let body = serde_json::json!({"event_type": "update", "data_type": "sleep", "user_id": user});
        decode_oura_native(body.to_string().as_bytes())
    };
    for (user, error) in [
        (" ".to_owned(), IdError::Blank),
        ("a\u{7}".to_owned(), IdError::ControlCharacter),
        ("a".repeat(124), IdError::TooLong),
    ] {
        assert_eq!(native(&user), Err(DecodeError::UserId { path: "/user_id", error }));
    }
    assert_eq!(notified(native(&"a".repeat(123))).len(), 128);
    let body = br#"{"event_type":"update","data_type":"sleep","user_id":null}"#;
    assert!(matches!(decode_oura_native(body), Err(DecodeError::NoUser(_))));
}

#[test]
fn the_python_notification_names_our_user() {
    for kind in ["sleep.updated", "readiness.updated", "activity.updated"] {
        let body = format!(r#"{{"event_type":"{kind}","user_id":"user-81"}}"#);
        assert_eq!(notified(decode_oura_inline(body.as_bytes())), "user-81");
    }
    let unknown = br#"{"event_type":"ring.lost","user_id":"user-81"}"#;
    assert!(matches!(decode_oura_inline(unknown), Ok(Decoded::Ignored { .. })));
    assert_eq!(shape_path(decode_oura_inline(br#"{"event_type":5,"user_id":"user-81"}"#)), "/event_type");
    let blank = decode_oura_inline(br#"{"event_type":"sleep.updated","user_id":""}"#);
    assert_eq!(blank, Err(DecodeError::UserId { path: "/user_id", error: IdError::Blank }));
}

const INLINE: &str = r#"{"user_id":"user-81","timestamp":"2026-09-10T08:00:00+02:00","hrv_data":{"rmssd":45.5},"sleep":{"score":88},"recovery":{"score":70},"stress":{"level":0.25}}"#;

#[test]
fn the_inline_format_is_one_event_with_a_fact_for_each_value() {
    let (drafts, rejected) = events(decode_oura_inline(INLINE.as_bytes()));
    assert_eq!((drafts.len(), rejected.total), (1, 0));
    let draft = &drafts[0];
    let at: Timestamp = "2026-09-10T06:00:00Z".parse_time();
    assert_eq!(
        (draft.device_type, draft.user_id.as_str(), &*draft.kind, draft.timestamp, draft.received_at),
        (DeviceType::OuraRing, "user-81", "inline", at, NOW)
    );
    let readings: Vec<_> = facts(draft)
        .iter()
        .map(|fact| {
            assert_eq!(fact.version, Version::Arrival);
            assert_eq!((fact.reading.timestamp, fact.reading.confidence), (at, Some(0.95)));
            assert_eq!(fact.reading.utc_offset.map(|offset| offset.minutes()), Some(120));
            (fact.reading.metric, fact.reading.value, fact.reading.method)
        })
        .collect();
    assert_eq!(
        readings,
        [
            (Metric::Hrv, 45.5, Some(HrvMethod::Rmssd)),
            (Metric::SleepScore, 88.0, None),
            (Metric::RecoveryScore, 70.0, None),
            (Metric::StressLevel, 0.25, None),
        ]
    );
}

#[test]
fn an_inline_value_is_the_same_fact_however_its_moment_is_written() {
    let identities = |body: &str| -> Vec<_> {
        events(decode_oura_inline(body.as_bytes())).0.iter().flat_map(|draft| draft.identities()).collect()
    };
    let first = identities(INLINE);
    assert_eq!(first.len(), 4);
    for time in
        [r#""2026-09-10T06:00:00.000Z""#, "1789020000", "1789020000000", r#""2026-09-10 8:00:00 am +0200""#]
    {
        let again = INLINE.replace(r#""2026-09-10T08:00:00+02:00""#, time).replace("45.5", "50");
        assert_eq!(identities(&again), first, "{time}");
    }
    let other_user = identities(&INLINE.replace("user-81", "user-82"));
    let other_time = identities(&INLINE.replace("08:00:00", "08:00:01"));
    assert!(first.iter().all(|identity| !other_user.contains(identity) && !other_time.contains(identity)));
}

#[test]
fn a_bad_inline_field_is_refused_and_the_rest_is_kept() {
    let cases = [
        (r#""hrv_data":{"rmssd":0}"#, "/hrv_data/rmssd"),
        (r#""hrv_data":{"rmssd":"45"}"#, "/hrv_data/rmssd"),
        (r#""hrv_data":{"rmssd":1e400}"#, "/hrv_data/rmssd"),
        (r#""hrv_data":{"rmssd":45,"rmssd":46}"#, "/hrv_data"),
        (r#""hrv_data":45"#, "/hrv_data"),
        (r#""recovery":{"score":100.5}"#, "/recovery/score"),
        (r#""recovery":{"score":true}"#, "/recovery/score"),
        (r#""recovery":[70]"#, "/recovery"),
        (r#""stress":{"level":25}"#, "/stress/level"),
        (r#""stress":{"level":-0.1}"#, "/stress/level"),
    ];
    for (bad, path) in cases {
        let record = |rest: &str| {
            let body = format!(r#"{{"user_id":"u","timestamp":"2026-09-10T06:00:00Z",{bad}{rest}}}"#);
            decode_oura_inline(body.as_bytes())
        };
        let (drafts, rejected) = events(record(r#","sleep":{"score":0}"#));
        assert_eq!(facts(&drafts[0]).len(), 1, "{bad}");
        assert_eq!(rejected.total, 1, "{bad}");
        assert_eq!((rejected.listed[0].index, rejected.listed[0].path.as_str()), (0, path), "{bad}");

        let Err(DecodeError::NothingUsable(rejected)) = record("") else { panic!("{bad} was usable") };
        assert_eq!(rejected.listed[0].path, path, "{bad}");
    }
}

#[test]
fn absent_and_null_inline_values_are_no_values_and_no_errors() {
    let body = br#"{"user_id":"u","timestamp":1789020000,"hrv_data":null,"sleep":{},"recovery":{"score":null},"stress":{"level":0.5}}"#;
    let (drafts, rejected) = events(decode_oura_inline(body));
    assert_eq!((facts(&drafts[0]).len(), rejected.total), (1, 0));
    let empty = br#"{"user_id":"u","timestamp":1789020000,"sleep":{},"recovery":{"score":null}}"#;
    assert!(matches!(decode_oura_inline(empty), Err(DecodeError::NothingUsable(_))));
}

#[test]
fn an_inline_record_needs_a_user_a_time_and_a_known_shape() {
    let body = |rest: &str| format!(r#"{{"user_id":"u"{rest}}}"#);
    let cases = [
        (body(""), ""),
        (body(r#","timestamp":1789020000,"steps":{"count":4}"#), ""),
        (body(r#","sleep":{"score":88}"#), "/timestamp"),
        (body(r#","timestamp":null,"sleep":{"score":88}"#), "/timestamp"),
        (body(r#","timestamp":true,"sleep":{"score":88}"#), "/timestamp"),
        (body(r#","timestamp":"yesterday","sleep":{"score":88}"#), "/timestamp"),
        (body(r#","timestamp":"1995-09-10T06:00:00Z","sleep":{"score":88}"#), "/timestamp"),
        (body(r#","timestamp":"2026-09-11T12:00:01Z","sleep":{"score":88}"#), "/timestamp"),
        (format!("[{INLINE}]"), ""),
    ];
    for (body, path) in cases {
        assert_eq!(shape_path(decode_oura_inline(body.as_bytes())), path, "{body}");
    }
    let without_user = br#"{"timestamp":1789020000,"sleep":{"score":88}}"#;
    assert!(matches!(decode_oura_inline(without_user), Err(DecodeError::NoUser(_))));
    assert!(matches!(decode_oura_inline(b"not json"), Err(DecodeError::NotJson { .. })));
}

#[test]
fn user_ids_beside_the_body_mean_nothing_to_oura() {
    let signature = signing::inline(OURA_SECRET, INLINE.as_bytes());
    let headers = fields([("signature", signature.as_str()), ("x-user-id", "somebody-else")]);
    let verified = verify_for(&oura_device(), &headers, Some("a third"), INLINE).unwrap();
    let (drafts, _) = events(oura_device().decode(&verified, NOW));
    assert_eq!(drafts[0].user_id, UserId::parse("user-81").unwrap());
}

trait ParseTime {
    fn parse_time(self) -> Timestamp;
}

impl ParseTime for &str {
    fn parse_time(self) -> Timestamp {
        Timestamp::parse_rfc3339(self).unwrap()
    }
}
