//! HealthKit's samples: whose, when, from where, and what one bad sample does to the others.

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::DeviceType;
use crate::domain::ids::{IdError, Identity};

const T: &str = r#""timestamp":"2026-09-10T06:42:11Z""#;

fn identity(sample: &str) -> Identity {
    one_sample(sample).unwrap_or_else(|refused| panic!("{sample}: {refused:?}")).identity
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

#[test]
fn the_published_sample_becomes_one_event_with_one_reading() {
    let body = br#"{"user_id":"user-81","samples":[{"type":"heartRate","value":61,"unit":"count/min","timestamp":"2026-09-10T06:42:11Z","source":"Apple Watch"}]}"#;
    let (drafts, rejected) = events(decode_healthkit(body));
    assert_eq!((drafts.len(), rejected.total), (1, 0));
    let draft = &drafts[0];
    let at = time("2026-09-10T06:42:11Z");
    assert_eq!(
        (draft.device_type, draft.user_id.as_str(), &*draft.kind, draft.timestamp, draft.received_at),
        (DeviceType::AppleHealth, "user-81", "sample", at, NOW)
    );
    let fact = &facts(draft)[0];
    assert_eq!(fact.version, Version::Fixed);
    let reading = &fact.reading;
    assert_eq!(
        (reading.metric.name(), reading.value, reading.unit, reading.timestamp, reading.confidence),
        ("heart_rate", 61.0, "bpm", at, Some(1.0))
    );
    assert_eq!((reading.start, reading.end, reading.utc_offset), (None, None, None));
    assert_eq!(reading.source.as_deref(), Some("Apple Watch"));
}

#[test]
fn the_time_of_an_interval_is_its_end_in_either_spelling() {
    for (start, end) in [("startDate", "endDate"), ("start", "end"), ("startDate", "end")] {
        let reading = one_reading(&format!(
            r#"{{"type":"stepCount","value":377,"{start}":"2026-09-10T08:00:00+02:00","{end}":"2026-09-10T08:05:00+02:00"}}"#
        ));
        assert_eq!(reading.timestamp, time("2026-09-10T06:05:00Z"));
        assert_eq!(reading.start, Some(time("2026-09-10T06:00:00Z")));
        assert_eq!(reading.end, Some(reading.timestamp));
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), Some(120));
    }
}

#[test]
fn a_moment_is_taken_from_whichever_field_holds_it() {
    for fields in [
        r#""timestamp":1789020131"#,
        r#""date":"1789020131000""#,
        r#""startDate":"2026-09-10T06:02:11Z""#,
        r#""endDate":"2026-09-10T06:02:11Z""#,
        r#""start":"2026-09-10T06:02:11Z","end":"2026-09-10T06:02:11Z""#,
        r#""timestamp":null,"date":"2026-09-10 6:02:11\u202fAM""#,
    ] {
        let reading = one_reading(&format!(r#"{{"type":"heartRate","value":61,{fields}}}"#));
        assert_eq!(reading.timestamp, time("2026-09-10T06:02:11Z"), "{fields}");
        assert_eq!((reading.start, reading.end), (None, None), "{fields}");
    }
}

#[test]
fn source_and_confidence_come_from_any_field_that_tells_them() {
    let long = format!(r#""source":"{}""#, "é".repeat(100));
    let cases = [
        (r#""source":"Apple Watch""#, Some("Apple Watch"), 1.0),
        (
            "\"source\":\"Irvin\u{2019}s\u{a0}Apple\u{a0}Watch\"",
            Some("Irvin\u{2019}s\u{a0}Apple\u{a0}Watch"),
            1.0,
        ),
        (r#""source":"iPhone""#, Some("iPhone"), 0.8),
        (r#""source":"iPhone|Watch""#, Some("iPhone|Watch"), 1.0),
        (r#""source":"Stopwatch Pro""#, Some("Stopwatch Pro"), 0.7),
        (r#""source":"""#, None, 0.7),
        (r#""source":null"#, None, 0.7),
        (r#""metadata":{"x":[1]}"#, None, 0.7),
        (r#""source":{"name":"Health","productType":"Watch7,5"}"#, Some("Health"), 1.0),
        (r#""source":{"name":"Health","bundleIdentifier":"com.apple.health"}"#, Some("Health"), 0.7),
        (r#""source":{"productType":"iPhone15,2"}"#, Some("iPhone15,2"), 0.8),
        (r#""sourceRevision":{"source":{"name":"Ann's"},"productType":"Watch7,5"}"#, Some("Ann's"), 1.0),
        (r#""device":{"name":"Apple Watch","model":"Watch"}"#, Some("Apple Watch"), 1.0),
        (r#""source":"Health","device":{"name":"Apple Watch"}"#, Some("Health"), 1.0),
        (r#""source":"  My\u0007 app\u2028\u0085 ""#, Some("My app"), 0.7),
        (r#""source":"\u0000""#, None, 0.7),
        (long.as_str(), Some(&"é".repeat(64)), 0.7),
    ];
    for (fields, source, confidence) in cases {
        let reading = one_reading(&format!(r#"{{"type":"heartRate","value":61,{T},{fields}}}"#));
        assert_eq!(reading.source.as_deref(), source, "{fields}");
        assert_eq!(reading.confidence, Some(confidence), "{fields}");
    }
}

#[test]
fn the_same_sample_in_another_spelling_is_the_same_fact() {
    let same = [
        r#"{"type":"heartRate","value":72,"unit":"bpm","timestamp":"2026-09-10T06:42:11Z","source":"Apple Watch"}"#,
        r#"{"source":{"name":"Apple Watch"},"timestamp":"2026-09-10T08:42:11+0200","value":72.0,"type":"heart_rate"}"#,
        r#"{"type":"HKQuantityTypeIdentifierHeartRate","value":1.2,"unit":"count/s","startDate":1789022531,"endDate":1789022531000,"source":"Apple Watch"}"#,
        r#"{"type":"heartRate","value":7.2e1,"date":"2026-09-10 6:42:11 am +0000","source":"Apple\u0020Watch","id":" ","metadata":{"a":1}}"#,
    ];
    for sample in &same[1..] {
        assert_eq!(identity(sample), identity(same[0]), "{sample}");
    }
    let others = [
        same[0].to_owned(),
        same[0].replace("72", "73"),
        same[0].replace("06:42:11", "06:42:12"),
        same[0].replace("Apple Watch", "iPhone"),
        same[0].replace("heartRate", "restingHeartRate"),
        same[0].replace(r#""timestamp":"#, r#""startDate":"2026-09-10T06:00:00Z","endDate":"#),
        same[0].replace(r#""type""#, r#""uuid":"x","type""#),
    ];
    for (i, other) in others.iter().enumerate() {
        assert!(others[..i].iter().all(|earlier| identity(earlier) != identity(other)), "{other}");
    }
}

#[test]
fn healthkits_uuid_alone_tells_a_sample_of_a_type() {
    let sample = |id: &str, value: u32| format!(r#"{{"type":"heartRate","value":{value},{T},{id}}}"#);
    let first = identity(&sample(r#""uuid":"3C6F1F6E-0B0C-4F43-9D1B-5F6E2A7C9B10""#, 61));
    assert_eq!(first, identity(&sample(r#""id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10""#, 62)));
    assert_eq!(
        first,
        identity(&sample(r#""id":"17","uuid":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10""#, 61)),
        "the uuid goes before the id"
    );
    assert_ne!(first, identity(&sample(r#""uuid":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b11""#, 61)));
    let app_made = sample(r#""id":"17""#, 61);
    assert_eq!(identity(&app_made), identity(&sample(r#""id":"17""#, 99)));
    assert_ne!(identity(&app_made), identity(&app_made.replace("heartRate", "stepCount")));
}

#[test]
fn a_fact_belongs_to_its_user() {
    let of = |user: &str| {
        let body =
            format!(r#"{{"user_id":"{user}","samples":[{{"type":"heartRate","value":61,"uuid":"x",{T}}}]}}"#);
        facts(&events(decode_healthkit(body.as_bytes())).0[0])[0].identity
    };
    assert_ne!(of("user-81"), of("user-82"));
}

#[test]
fn a_bad_sample_is_refused_by_field_and_no_other_with_it() {
    let good = format!(r#"{{"type":"heartRate","value":61,{T}}}"#);
    let with = |fields: &str| format!(r#"{{"type":"heartRate","value":61,{T},{fields}}}"#);
    let cases = [
        ("null".to_owned(), ""),
        ("61".to_owned(), ""),
        ("\"heartRate\"".to_owned(), ""),
        ("[]".to_owned(), ""),
        (r#"["heartRate",61]"#.to_owned(), ""),
        (with(r#""value":62"#), ""),
        (with(r#""\ud800":1"#), ""),
        (format!(r#"{{"value":61,{T}}}"#), "/type"),
        (format!(r#"{{"type":5,"value":61,{T}}}"#), "/type"),
        (format!(r#"{{"type":"\ud800","value":61,{T}}}"#), "/type"),
        (format!(r#"{{"type":"sleepAnalysis","value":3,{T}}}"#), "/startDate"),
        (format!(r#"{{"type":"hourAnalysis","value":3,{T}}}"#), "/type"),
        (format!(r#"{{"type":"heartRate",{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":null,{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":"61",{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":true,{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":[61],{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":1e400,{T}}}"#), "/value"),
        (format!(r#"{{"type":"heartRate","value":0,{T}}}"#), "/value"),
        (with(r#""unit":60"#), "/unit"),
        (with(r#""unit":"furlong""#), "/unit"),
        (r#"{"type":"heartRate","value":61}"#.to_owned(), "/timestamp"),
        (r#"{"type":"heartRate","value":61,"timestamp":{}}"#.to_owned(), "/timestamp"),
        (r#"{"type":"heartRate","value":61,"date":false}"#.to_owned(), "/date"),
        (with(r#""startDate":"soon","endDate":"later""#), "/startDate"),
        (with(r#""end":"2026-09-11T12:00:00.001Z""#), "/end"),
        (with(r#""start":1000"#), "/start"),
        (with(r#""start":"2026-09-10T07:00:00Z","endDate":"2026-09-10T06:59:59Z""#), "/endDate"),
        (with(r#""source":1"#), "/source"),
        (with(r#""source":{"name":1}"#), "/source"),
        (with(r#""source":{"name":"a","name":"b"}"#), "/source"),
        (with(r#""sourceRevision":["Watch"]"#), "/sourceRevision"),
        (with(r#""device":{"productType":{}}"#), "/device"),
        (with(r#""uuid":7"#), "/uuid"),
        (with(r#""id":{}"#), "/id"),
    ];
    for (bad, field) in cases {
        let body = format!(r#"{{"user_id":"u","samples":[{good},{bad},{good}]}}"#);
        let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
        assert_eq!(facts(&drafts[0]).len(), 2, "{bad}");
        assert_eq!(rejected.total, 1, "{bad}");
        let refused = &rejected.listed[0];
        assert_eq!(
            (refused.index, refused.path.as_str()),
            (1, format!("/samples/1{field}").as_str()),
            "{bad}"
        );
        assert!(!refused.detail.is_empty() && !refused.detail.contains("61"), "{bad}: {}", refused.detail);
    }
}

#[test]
fn rejections_count_over_a_list_of_envelopes_in_document_order() {
    let good = format!(r#"{{"type":"heartRate","value":61,{T}}}"#);
    let body = format!(
        r#"[{{"user_id":"a","samples":[{good},{{}}]}},{{"samples":[],"user_id":"b"}},{{"user_id":"c","samples":[7,{good},{good},{{"type":"heartRate","value":999,{T}}}]}}]"#
    );
    let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
    let places: Vec<_> = rejected.listed.iter().map(|r| (r.index, r.path.as_str())).collect();
    assert_eq!(places, [(1, "/0/samples/1/type"), (2, "/2/samples/0"), (5, "/2/samples/3/value")]);
    let users: Vec<_> = drafts.iter().map(|draft| (draft.user_id.as_str(), draft.readings_len())).collect();
    assert_eq!(users, [("a", 1), ("c", 2)]);
}

#[test]
fn a_batch_of_bad_samples_is_no_event_and_lists_a_hundred_of_them() {
    let body = format!(r#"{{"user_id":"u","samples":[{}]}}"#, vec!["{}"; 150].join(","));
    let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
    assert!(drafts.is_empty());
    assert_eq!((rejected.total, rejected.listed.len(), rejected.listed[99].index), (150, 100, 99));
}

#[test]
fn no_samples_is_nothing_for_us() {
    for body in [r#"{"user_id":"u","samples":[]}"#, r#"[{"user_id":"u","samples":[]}]"#, "[]"] {
        assert!(matches!(decode_healthkit(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{body}");
    }
}

#[test]
fn drafts_are_one_per_user_and_source_with_a_thousand_readings_in_document_order() {
    let sample = |i: usize, source: &str| {
        format!(
            r#"{{"type":"stepCount","value":{i},"timestamp":{},"source":"{source}"}}"#,
            NOW_S - 5000 + i as i64
        )
    };
    let envelope = |user: &str, samples: Vec<String>| {
        format!(r#"{{"user_id":"{user}","samples":[{}]}}"#, samples.join(","))
    };
    let mixed = (0..2500).map(|i| sample(i, if i % 5 == 4 { "iPhone" } else { "Watch" })).collect();
    let body = format!(
        "[{},{},{}]",
        envelope("a", mixed),
        envelope("b", vec![sample(0, "Watch")]),
        envelope("a", vec![sample(2500, "iPhone")])
    );
    let (drafts, _) = events(decode_healthkit(body.as_bytes()));
    let heads: Vec<_> = drafts
        .iter()
        .map(|draft| {
            let readings = facts(draft);
            assert!(readings.is_sorted_by_key(|fact| fact.reading.timestamp));
            assert_eq!(draft.timestamp, readings[readings.len() - 1].reading.timestamp);
            assert!(readings.iter().all(|fact| fact.reading.source == readings[0].reading.source));
            (draft.user_id.as_str(), readings[0].reading.source.as_deref().unwrap(), readings.len())
        })
        .collect();
    assert_eq!(heads, [("a", "Watch", 1000), ("a", "iPhone", 501), ("a", "Watch", 1000), ("b", "Watch", 1)]);
}

#[test]
fn the_user_is_found_in_the_body_else_the_header_else_the_query() {
    let decode = |body_user: Option<&str>, header: &[&str], query: Option<&str>| {
        let body_user = body_user.map_or(String::new(), |user| format!(r#""user_id":{user},"#));
        let body = format!(r#"{{{body_user}"samples":[{{"type":"heartRate","value":61,{T}}}]}}"#);
        let credentials = [("x-api-key", HEALTHKIT_KEY)];
        let headers = fields(credentials.into_iter().chain(header.iter().map(|user| ("x-user-id", *user))));
        let device = healthkit_device();
        let decoded = device.decode(&verify_for(&device, &headers, query, &body).unwrap(), NOW)?;
        Ok(events(Ok(decoded)).0[0].user_id.as_str().to_owned())
    };
    assert_eq!(decode(Some(r#""u""#), &[], None), Ok("u".to_owned()));
    assert_eq!(decode(None, &["u"], None), Ok("u".to_owned()));
    assert_eq!(decode(Some("null"), &["u"], None), Ok("u".to_owned()));
    assert_eq!(decode(None, &[], Some("ü 1")), Ok("ü 1".to_owned()));
    assert_eq!(decode(Some(r#""u""#), &["u"], Some("u")), Ok("u".to_owned()));

    for (body, header, query) in [
        (Some(r#""u""#), Some("v"), None),
        (Some(r#""u""#), None, Some("v")),
        (None, Some("u"), Some("v")),
        (None, Some("u"), Some("U")),
    ] {
        assert_eq!(decode(body, header.as_slice(), query), Err(DecodeError::UsersDiffer));
    }
    let long = "u".repeat(129);
    for (path, error, decoded) in [
        ("/user_id", IdError::Blank, decode(Some(r#""""#), &["u"], None)),
        ("/user_id", IdError::ControlCharacter, decode(Some(r#""a\u0007b""#), &[], None)),
        ("X-User-Id", IdError::Blank, decode(None, &[" "], None)),
        ("?user_id=", IdError::TooLong, decode(None, &[], Some(&long))),
        ("?user_id=", IdError::Blank, decode(Some(r#""u""#), &[], Some(""))),
    ] {
        assert_eq!(decoded, Err(DecodeError::UserId { path, error }));
    }
    assert!(matches!(decode(None, &[], None), Err(DecodeError::NoUser(_))));
    for header in [["u", "u"].as_slice(), &["\u{fffd}"]] {
        let Err(DecodeError::Shape { path, .. }) = decode(None, header, None) else { panic!("{header:?}") };
        assert_eq!(path, "X-User-Id");
    }
}

#[test]
fn a_body_of_another_shape_is_refused_by_its_place() {
    let cases = [
        ("7", ""),
        ("null", ""),
        (r#""samples""#, ""),
        (r#"{"user_id":"u"}"#, "/samples"),
        (r#"{"user_id":"u","samples":null}"#, "/samples"),
        (r#"{"user_id":"u","samples":{}}"#, "/samples"),
        (r#"{"user_id":7,"samples":[]}"#, "/user_id"),
        (r#"{"user_id":"\udc00","samples":[]}"#, "/user_id"),
        (r#"{"user_id":"u","user_id":"v","samples":[]}"#, ""),
        (r#"{"user_id":"u","samples":[],"samples":[]}"#, ""),
        (r#"[{"user_id":"u","samples":[]},[]]"#, "/1"),
        (r#"[{"user_id":"u","samples":[]},{"user_id":"u"}]"#, "/1/samples"),
        (r#"[{"user_id":"u","samples":[]},{"user_id":{},"samples":[]}]"#, "/1/user_id"),
    ];
    for (body, expected) in cases {
        match decode_healthkit(body.as_bytes()) {
            Err(DecodeError::Shape { path, .. }) => assert_eq!(path, expected, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn an_error_never_repeats_the_bodys_words() {
    let bodies = [
        r#"{"user_id":"hush\u0007","samples":[]}"#,
        r#"{"user_id":"u","samples":"hush"}"#,
        r#"{"user_id":["hush"],"samples":[]}"#,
        r#"{"user_id":"hush","samples":[hush]}"#,
        r#"{"user_id":"hush""#,
    ];
    for body in bodies {
        let error = decode_healthkit(body.as_bytes()).expect_err("a bad body").to_string();
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn an_error_says_where_it_is_even_when_it_is_the_whole_body() {
    let detail = |body: &str| decode_healthkit(body.as_bytes()).expect_err("a bad body").to_string();
    assert!(detail("7").starts_with("the body: an object"), "{}", detail("7"));
    assert_eq!(detail(r#"{"samples":{}}"#), "/samples: an array was expected");
    assert_eq!(detail("[1,\n2"), "the body is not valid JSON: unexpected end at line 2, column 1");
}
