//! What a time means that tells no offset, and what a point of an export sums up: said beside the body.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::domain::event::Context;
use crate::domain::ids::UserId;
use crate::domain::time::Zone;

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn verified(headers: &Fields, body: &str) -> Verified {
    verify(&healthkit_device(), headers, body).unwrap()
}

fn key() -> Fields {
    fields([("x-api-key", HEALTHKIT_KEY)])
}

fn key_and(name: &'static str, value: &'static str) -> Fields {
    fields([("x-api-key", HEALTHKIT_KEY), (name, value)])
}

/// Decodes it in these zones of users.
fn in_zones(verified: &Verified, zones: &[(&str, &str)]) -> (Vec<EventDraft>, Rejections) {
    let zones: HashMap<_, _> =
        zones.iter().map(|(id, zone)| (user(id), Zone::of_name(zone).unwrap())).collect();
    let decoded = healthkit_device().decode(&verified.in_zones(Arc::new(zones)), NOW);
    assert!(matches!(decoded, Ok(Decoded::Events { .. })), "nobody is asked twice: {decoded:?}");
    events(decoded)
}

/// The time and the offset in minutes of the one reading of a sample of Ann's in Berlin.
fn in_berlin(times: &str) -> (String, Option<i32>) {
    let body = format!(r#"{{"user_id":"ann","samples":[{{"type":"heartRate","value":61,{times}}}]}}"#);
    let (drafts, rejected) = in_zones(&verified(&key(), &body), &[("ann", "Europe/Berlin")]);
    assert_eq!(rejected.total, 0, "{body} {rejected:?}");
    let reading = &facts(&drafts[0])[0].reading;
    (reading.timestamp.to_string(), reading.utc_offset.map(|offset| offset.minutes()))
}

#[test]
fn a_time_without_an_offset_is_that_of_the_users_clock() {
    let cases = [
        (r#""timestamp":"2026-09-10T08:42:11""#, "2026-09-10T06:42:11Z", Some(120)),
        (r#""timestamp":"2026-09-10 08:42:11""#, "2026-09-10T06:42:11Z", Some(120)),
        ("\"date\":\"2026-09-10 8:42:11\u{202f}AM\"", "2026-09-10T06:42:11Z", Some(120)),
        (r#""date":"2026-09-10""#, "2026-09-09T22:00:00Z", Some(120)),
        (r#""start":"2026-01-10T07:00:00","end":"2026-01-10T07:15:00""#, "2026-01-10T06:15:00Z", Some(60)),
        // Of one that occurs twice the first; one that does not exist moves forward.
        (r#""timestamp":"2025-10-26T02:30:00""#, "2025-10-26T00:30:00Z", Some(120)),
        (r#""timestamp":"2026-03-29T02:30:00""#, "2026-03-29T01:30:00Z", Some(120)),
        // What stands in the sample goes before what is known of the user.
        (r#""timestamp":"2025-10-26T02:30:00+01:00""#, "2025-10-26T01:30:00Z", Some(60)),
        (r#""timestamp":"2026-09-10T08:42:11","zoneOffset":"-05:00""#, "2026-09-10T13:42:11Z", Some(-300)),
        (r#""timestamp":"2026-09-10T06:42:11Z""#, "2026-09-10T06:42:11Z", None),
        (r#""timestamp":"2026-09-10 06:42:11 GMT""#, "2026-09-10T06:42:11Z", None),
        (r#""timestamp":1789022531"#, "2026-09-10T06:42:11Z", None),
        (r#""timestamp":"1789022531000""#, "2026-09-10T06:42:11Z", None),
    ];
    for (times, at, offset) in cases {
        assert_eq!(in_berlin(times), (at.to_owned(), offset), "{times}");
    }
    // A day is the delivery's limit where the user is, not in UTC.
    let body =
        r#"{"user_id":"ann","samples":[{"type":"heartRate","value":61,"timestamp":"2026-09-11T06:00:00"}]}"#;
    let (drafts, rejected) = in_zones(&verified(&key(), body), &[("ann", "America/Los_Angeles")]);
    assert_eq!((drafts.len(), rejected.listed[0].path.as_str()), (0, "/samples/0/timestamp"));
}

#[test]
fn whose_zones_are_wanted_is_told_and_utc_stands_in() {
    let sample = |time: &str| format!(r#"{{"type":"heartRate","value":61,"timestamp":"{time}"}}"#);
    let body = |ann: &str, bob: &str| {
        let of = |user: &str, time: &str| format!(r#"{{"user_id":"{user}","samples":[{}]}}"#, sample(time));
        format!("[{},{}]", of("ann", ann), of("bob", bob))
    };
    let (local, told) = ("2026-09-10T08:42:11", "2026-09-10T08:42:11Z");
    let decode = |body: &str| healthkit_device().decode(&verified(&key(), body), NOW);
    assert!(matches!(decode(&body(told, told)), Ok(Decoded::Events { .. })));
    match decode(&body(told, local)) {
        Ok(Decoded::LocalToUsers { users, as_utc }) => {
            assert_eq!(users.into_iter().collect::<Vec<_>>(), [user("bob")]);
            assert_eq!(Ok(*as_utc), decode(&body(told, told)));
        }
        other => panic!("{other:?}"),
    }
    // Each by the own zone; where nobody knows it, UTC.
    let (drafts, _) = in_zones(&verified(&key(), &body(local, local)), &[("bob", "Asia/Tokyo")]);
    let times: Vec<_> = drafts.iter().map(|draft| draft.timestamp.to_string()).collect();
    assert_eq!(times, ["2026-09-10T08:42:11Z", "2026-09-09T23:42:11Z"]);
}

#[test]
fn an_exports_dates_without_an_offset_are_local_too() {
    let body = r#"{"user_id":"ann","data":{
        "metrics":[{"name":"step_count","units":"count","data":[{"date":"2026-09-10 08:00:00","qty":5}]},
            {"name":"blood_pressure","units":"mmHg","data":[{"date":"2026-09-10 08:00:00","systolic":120,"diastolic":80}]},
            {"name":"sleep_analysis","units":"hr","data":[{"date":"2026-09-10","totalSleep":7,
                "sleepStart":"2026-09-10 00:30:00","sleepEnd":"2026-09-10 08:00:00"}]}],
        "workouts":[{"name":"Run","start":"2026-09-10 07:30:00","end":"2026-09-10 08:00:00",
            "heartRateData":[{"date":"2026-09-10 08:00:00","Avg":120}]}]}}"#;
    let (drafts, rejected) = in_zones(&verified(&key(), body), &[("ann", "Europe/Berlin")]);
    assert_eq!(rejected.total, 0, "{rejected:?}");
    let readings: Vec<_> = drafts.iter().flat_map(facts).map(|fact| &fact.reading).collect();
    assert_eq!(readings.len(), 6, "{readings:?}");
    for reading in readings {
        assert_eq!(reading.timestamp.to_string(), "2026-09-10T06:00:00Z", "{reading:?}");
    }
}

/// The facts of an export with this word for what its points sum up.
fn aggregated(word: &'static str, metrics: &str) -> (Vec<ReadingFact>, Rejections) {
    let body = format!(r#"{{"user_id":"ann","data":{{"metrics":[{metrics}]}}}}"#);
    let headers = match word {
        "" => key(),
        word => key_and("automation-aggregation", word),
    };
    let (drafts, rejected) = events(healthkit_device().decode(&verified(&headers, &body), NOW));
    (drafts.iter().flat_map(facts).cloned().collect(), rejected)
}

const DATE: &str = r#""date":"2026-09-10 00:00:00 +0200","source":"Watch""#;

#[test]
fn a_minutes_total_and_a_days_are_two_facts() {
    let metrics = [
        format!(r#"{{"name":"step_count","units":"count","data":[{{"qty":12,{DATE}}}]}}"#),
        format!(r#"{{"name":"heart_rate","units":"bpm","data":[{{"Avg":61,{DATE}}}]}}"#),
        format!(
            r#"{{"name":"blood_pressure","units":"mmHg","data":[{{"systolic":120,"diastolic":80,{DATE}}}]}}"#
        ),
    ];
    for metric in &metrics {
        let one = |word| aggregated(word, metric).0[0].clone();
        let (plain, minute, day) = (one(""), one("minutes"), one("days"));
        assert_eq!(minute.identity, one(" Minutes ").identity, "{metric}");
        assert!(minute.identity != day.identity && plain.identity != day.identity, "{metric}");
        assert_eq!((minute.version, minute.reading.value), (day.version, day.reading.value));
    }
    // A day's average is no rate at rest.
    let context = |word| aggregated(word, &metrics[1]).0[0].reading.context;
    assert_eq!(
        ["", "minutes", "hours", "days", "Weeks"].map(context),
        [None, None, None, Some(Context::Daily), Some(Context::Daily)]
    );
    // A night is the same night, and raw sleep the same sleep.
    for night in [
        format!(r#"{{"name":"sleep_analysis","units":"hr","data":[{{"totalSleep":7,{DATE}}}]}}"#),
        r#"{"name":"sleep_analysis","units":"hr","data":[{"value":"Core","qty":1,"source":"Watch",
            "startDate":"2026-09-10 00:00:00 +0200","endDate":"2026-09-10 01:00:00 +0200"}]}"#
            .to_owned(),
    ] {
        assert_eq!(aggregated("days", &night).0, aggregated("", &night).0);
    }
}

#[test]
fn one_body_with_points_of_two_lengths_is_two_deliveries() {
    let key_of = |headers: &Fields| crate::vendors::delivery_key("healthkit", &verified(headers, "{}"));
    let (plain, days) = (key_of(&key()), key_of(&key_and("automation-aggregation", "days")));
    assert_ne!(plain, days);
    assert_ne!(days, key_of(&key_and("automation-aggregation", "hours")));
    // Anything else than a word tells nothing.
    for text in ["", "   ", "\u{fffd}", "a much longer text than any word for a span of time"] {
        assert_eq!(plain, key_of(&key_and("automation-aggregation", text)), "{text:?}");
    }
}

#[test]
fn nobody_walks_more_than_thirty_thousand_steps_an_hour() {
    let steps = |value: u32, end: &str| {
        let sample = format!(
            r#"{{"type":"stepCount","value":{value},"unit":"count","startDate":"2026-09-10T06:00:00Z","endDate":"2026-09-10T{end}Z"}}"#
        );
        one_sample(&sample).map(|fact| fact.reading.value).map_err(|(path, _)| path)
    };
    let refused = || Err("/samples/0/value".to_owned());
    assert_eq!(steps(30_000, "07:00:00"), Ok(30_000.0));
    assert_eq!(steps(30_001, "07:00:00"), refused());
    assert_eq!(steps(30_001, "06:05:00"), refused());
    assert_eq!(steps(45_000, "07:30:00"), Ok(45_000.0));
    assert_eq!(steps(45_001, "07:30:00"), refused());
    assert_eq!(steps(200_000, "06:00:00"), Ok(200_000.0), "nobody said how long it took");
    let metric = format!(r#"{{"name":"step_count","units":"count","data":[{{"qty":30001,{DATE}}}]}}"#);
    for (word, kept) in [("", 1), ("days", 1), ("hours", 0), ("minutes", 0)] {
        let (facts, rejected) = aggregated(word, &metric);
        assert_eq!((facts.len(), rejected.total), (kept, 1 - kept), "{word}");
    }
}
