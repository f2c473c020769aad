//! Health Auto Export: every name, shape and unit of its metrics, and windows that overlap.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::HrvMethod;
use crate::domain::ids::{Identity, UserId};
use crate::domain::time::Zone;

fn body(metrics: &str) -> String {
    format!(r#"{{"user_id":"u","data":{{"metrics":[{metrics}]}}}}"#)
}

fn metric(name: &str, units: &str, points: &str) -> String {
    format!(r#"{{"name":"{name}","units":"{units}","data":[{points}]}}"#)
}

fn read(metrics: &str) -> Vec<ReadingFact> {
    let (drafts, rejected) = events(decode_healthkit(body(metrics).as_bytes()));
    assert_eq!(rejected.total, 0, "{rejected:?}");
    drafts.iter().flat_map(facts).cloned().collect()
}

fn refused(metrics: &str) -> Vec<(usize, String)> {
    let (_, rejected) = events(decode_healthkit(body(metrics).as_bytes()));
    rejected.listed.into_iter().map(|refused| (refused.index, refused.path)).collect()
}

const DATE: &str = r#""date":"2026-09-10 06:00:00 +0200","source":"Irvin’s Apple Watch|iPhone""#;

#[test]
fn every_name_is_read_in_every_unit_of_the_users_choice() {
    let cases = [
        ("resting_heart_rate", "count/min", "52", "resting_heart_rate", 52.0),
        ("resting_heart_rate", "bpm", "52", "resting_heart_rate", 52.0),
        ("walking_heart_rate_average", "count/min", "98", "walking_heart_rate", 98.0),
        ("walking_heart_rate", "bpm", "98", "walking_heart_rate", 98.0),
        ("heart_rate_variability", "ms", "47.5", "hrv", 47.5),
        ("blood_oxygen_saturation", "%", "97", "blood_oxygen", 97.0),
        ("blood_oxygen_saturation", "%", "0.97", "blood_oxygen", 97.0),
        ("respiratory_rate", "count/min", "14.5", "respiratory_rate", 14.5),
        ("body_temperature", "degF", "98.6", "body_temperature", 37.0),
        ("body_temperature", "degC", "37", "body_temperature", 37.0),
        ("basal_body_temperature", "degC", "36.4", "body_temperature", 36.4),
        ("apple_sleeping_wrist_temperature", "degC", "35.1", "skin_temperature", 35.1),
        ("apple_sleeping_wrist_temperature", "degC", "-0.2", "temperature_deviation", -0.2),
        ("step_count", "count", "377", "steps", 377.0),
        ("step_count", "steps", "377", "steps", 377.0),
        ("walking_running_distance", "km", "1.2", "distance_meters", 1200.0),
        ("walking_running_distance", "mi", "2", "distance_meters", 3218.688),
        ("walking_+_running_distance", "mi", "2", "distance_meters", 3218.688),
        ("walking_&_running_distance", "km", "1.2", "distance_meters", 1200.0),
        ("active_energy", "kcal", "12.5", "active_calories", 12.5),
        ("active_energy", "kJ", "41.84", "active_calories", 10.0),
        ("basal_energy_burned", "kJ", "4184", "basal_calories", 1000.0),
        ("apple_exercise_time", "min", "7", "exercise_minutes", 7.0),
        ("apple_stand_time", "min", "3", "stand_minutes", 3.0),
        ("apple_stand_hour", "count", "1", "stand_minutes", 60.0),
        ("apple_stand_hour", "hr", "2", "stand_minutes", 120.0),
        ("flights_climbed", "count", "4", "flights_climbed", 4.0),
        ("vo2max", "ml/(kg·min)", "42.5", "vo2max", 42.5),
        ("vo2_max", "ml/kg*min", "42.5", "vo2max", 42.5),
        ("weight_body_mass", "kg", "72.4", "weight", 72.4),
        ("weight_body_mass", "lb", "150", "weight", 68.0388555),
        ("weight_&_body_mass", "lb", "150", "weight", 68.0388555),
        ("body_fat_percentage", "%", "19.2", "body_fat", 19.2),
        ("body_fat_percentage", "%", "0.192", "body_fat", 19.2),
        ("body_mass_index", "count", "22.1", "bmi", 22.1),
        ("blood_glucose", "mg/dL", "99", "blood_glucose", 99.0),
        ("blood_glucose", "mmol/L", "5.5", "blood_glucose", 99.0858),
        ("mindful_minutes", "min", "10", "mindful_minutes", 10.0),
        ("cardio_recovery", "count/min", "31", "heart_rate_recovery", 31.0),
        ("heart_rate", "bpm", "61", "heart_rate", 61.0),
    ];
    for (name, units, qty, expected, value) in cases {
        let facts = read(&metric(name, units, &format!(r#"{{"qty":{qty},"mealTime":"Before",{DATE}}}"#)));
        let reading = &facts[0].reading;
        assert_eq!(
            (facts.len(), reading.metric.name(), reading.value),
            (1, expected, value),
            "{name} {units}"
        );
        assert_eq!(reading.timestamp.to_string(), "2026-09-10T04:00:00Z", "the begin of the bucket");
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), Some(120));
        assert_eq!(
            (reading.source.as_deref(), reading.confidence),
            (Some("Irvin’s Apple Watch|iPhone"), Some(1.0))
        );
        assert_eq!(reading.method, (expected == "hrv").then_some(HrvMethod::Sdnn));
        assert_eq!((reading.start, reading.end, reading.context), (None, None, None));
    }
}

#[test]
fn a_heart_rate_is_its_average_in_every_spelling() {
    let forms = [
        r#""Min":58,"Avg":61.5,"Max":70"#,
        r#""min":58,"avg":61.5,"max":70"#,
        r#""Avg":61.5"#,
        r#""qty":61.5"#,
        r#""average":61.5"#,
    ];
    for units in ["bpm", "count/min"] {
        for form in forms {
            let facts = read(&metric("heart_rate", units, &format!("{{{form},{DATE}}}")));
            assert_eq!(
                (facts.len(), facts[0].reading.metric.name(), facts[0].reading.value),
                (1, "heart_rate", 61.5)
            );
        }
    }
    let bad = metric(
        "heart_rate",
        "bpm",
        &format!(r#"{{"Min":58,{DATE}}},{{"Avg":5,{DATE}}},{{"Avg":"61",{DATE}}}"#),
    );
    let at = |point: usize, field: &str| (point, format!("/data/metrics/0/data/{point}{field}"));
    assert_eq!(refused(&bad), [at(0, "/qty"), at(1, "/Avg"), at(2, "/Avg")]);
}

#[test]
fn blood_pressure_is_a_pair() {
    let facts =
        read(&metric("blood_pressure", "mmHg", &format!(r#"{{"systolic":121,"diastolic":79,{DATE}}}"#)));
    let found: Vec<_> = facts.iter().map(|f| (f.reading.metric.name(), f.reading.value)).collect();
    assert_eq!(found, [("blood_pressure_systolic", 121.0), ("blood_pressure_diastolic", 79.0)]);
    let bad =
        metric("blood_pressure", "mmHg", &format!(r#"{{"systolic":70,"diastolic":79,{DATE}}},{{{DATE}}}"#));
    let at = |point: usize, field: &str| (point, format!("/data/metrics/0/data/{point}{field}"));
    assert_eq!(refused(&bad), [at(0, "/diastolic"), at(1, "/systolic")]);
}

#[test]
fn a_nights_totals_are_decimal_hours() {
    let night = |fields: &str| {
        let point = format!(
            r#"{{"date":"2026-09-10 00:00:00 +0200",{fields}"sleepStart":"2026-09-09 11:00:00 PM +0200","sleepEnd":"2026-09-10 6:30:00 AM +0200","inBedStart":"2026-09-09 22:45:00 +0200","inBedEnd":"2026-09-10 06:40:00 +0200","source":"Apple Watch"}}"#
        );
        read(&metric("sleep_analysis", "hr", &point))
    };
    let minutes = |facts: &[ReadingFact]| -> BTreeMap<&'static str, f64> {
        facts.iter().map(|fact| (fact.reading.metric.name(), fact.reading.value)).collect()
    };
    let staged =
        r#""totalSleep":7.25,"asleep":0,"core":4.5,"deep":1.25,"rem":1.5,"awake":0.25,"inBed":7.75,"#;
    let facts = night(staged);
    let expected: BTreeMap<_, _> = [
        ("total_sleep_minutes", 435.0),
        ("light_sleep_minutes", 270.0),
        ("deep_sleep_minutes", 75.0),
        ("rem_sleep_minutes", 90.0),
        ("awake_minutes", 15.0),
        ("time_in_bed_minutes", 465.0),
    ]
    .into_iter()
    .collect();
    assert_eq!(minutes(&facts), expected);
    for ReadingFact { reading, .. } in &facts {
        assert_eq!(reading.timestamp.to_string(), "2026-09-10T04:30:00Z");
        assert_eq!(reading.start.map(|at| at.to_string()).as_deref(), Some("2026-09-09T21:00:00Z"));
        assert_eq!(reading.confidence, Some(1.0));
    }
    // Older versions tell no total.
    let older = night(r#""asleep":0.5,"core":4.5,"deep":1,"rem":1.5,"awake":0.25,"inBed":0,"#);
    assert_eq!(minutes(&older)["total_sleep_minutes"], 450.0);
    assert!(!minutes(&older).contains_key("time_in_bed_minutes"));
    let plain = night(r#""asleep":6.5,"inBed":7,"#);
    let expected = [("total_sleep_minutes", 390.0), ("time_in_bed_minutes", 420.0)];
    assert_eq!(minutes(&plain), expected.into_iter().collect());
    // The same night with more sleep is newer, and is the same night.
    let more = night(&staged.replace("7.25", "7.5"));
    for (fact, more) in facts.iter().zip(&more) {
        assert_eq!(fact.identity, more.identity);
        assert!(
            matches!((fact.version, more.version), (Version::Given(one), Version::Given(other)) if one < other)
        );
    }
    let bad = metric(
        "sleep_analysis",
        "hr",
        r#"{"date":"2026-09-10 00:00:00 +0200","totalSleep":7,"deep":"1"},{"date":"2026-09-10 00:00:00 +0200"},{"totalSleep":7}"#,
    );
    let at = |point: usize, field: &str| (point, format!("/data/metrics/0/data/{point}{field}"));
    assert_eq!(refused(&bad), [at(0, "/deep"), at(1, "/totalSleep"), at(2, "/date")]);
}

#[test]
fn a_night_called_by_its_day_alone_is_the_same_night_in_every_zone() {
    let point = |date: &str| {
        let rest = r#""totalSleep":7,"sleepEnd":"2026-09-10 06:30:00 +0200","source":"Watch""#;
        metric("sleep_analysis", "hr", &format!(r#"{{"date":"{date}",{rest}}}"#))
    };
    let body = body(&point("2026-09-10"));
    let device = healthkit_device();
    let verified = verify(&device, &fields([("x-api-key", HEALTHKIT_KEY)]), &body).unwrap();
    // Nobody has to be asked where the user is.
    assert!(matches!(device.decode(&verified, NOW), Ok(Decoded::Events { .. })));
    let night = |zone: Option<&str>| {
        let zone = zone.map(|name| (UserId::parse("u").unwrap(), Zone::of_name(name).unwrap()));
        let zones = Arc::new(zone.into_iter().collect());
        facts(&events(device.decode(&verified.in_zones(zones), NOW)).0[0])[0].clone()
    };
    let untold = night(None);
    assert_eq!(untold.reading.timestamp.to_string(), "2026-09-10T04:30:00Z");
    for zone in ["Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland"] {
        assert_eq!(night(Some(zone)), untold, "{zone}");
    }
    // Told by its midnight it is that night too, and on a phone that has crossed an ocean since.
    let called = |date: &str| read(&point(date))[0].identity;
    for midnight in ["00:00:00 +0200", "00:00:00 -0400", "12:00:00\u{202f}AM +1300", "00:00:00"] {
        assert_eq!(called(&format!("2026-09-10 {midnight}")), untold.identity, "{midnight}");
    }
    for other in ["2026-09-11", "2026-09-09 22:00:00 +0000", "2026-09-10 06:30:00 +0200"] {
        assert_ne!(called(other), untold.identity, "{other}");
    }
}

#[test]
fn raw_sleep_is_intervals_and_the_night_that_they_make() {
    let part = |value: &str, from: &str, to: &str| {
        format!(
            r#"{{"date":null,"startDate":"2026-09-10 {from}:00 +0200","endDate":"2026-09-10 {to}:00 +0200","qty":1,"value":"{value}","source":"Apple Watch"}}"#
        )
    };
    let points = [
        part("In Bed", "00:00", "06:00"),
        part("Core", "00:00", "02:00"),
        part("Deep", "02:00", "03:00"),
        part("REM", "03:00", "03:30"),
        part("Awake", "03:30", "03:40"),
        part("Asleep", "03:40", "04:00"),
        part("Unspecified", "04:00", "05:00"),
    ];
    let facts = read(&metric("sleep_analysis", "hr", &points.join(",")));
    let labels: Vec<_> = facts.iter().filter_map(|fact| fact.reading.label.as_deref()).collect();
    assert_eq!(labels, ["in_bed", "light", "deep", "rem", "awake", "asleep", "asleep"]);
    let derived =
        |name: &str| facts.iter().find(|f| f.reading.metric.name() == name).map(|f| f.reading.value);
    assert_eq!(derived("total_sleep_minutes"), Some(290.0));
    assert_eq!((derived("awake_minutes"), derived("time_in_bed_minutes")), (Some(10.0), Some(360.0)));
}

#[test]
fn what_is_none_of_ours_is_passed_by_and_still_counts() {
    let metrics = [
        metric("dietary_water", "mL", r#"{"qty":"much"},7"#),
        r#"{"name":"step_count","units":"count","data":null}"#.to_owned(),
        r#"{"name":"step_count","units":"count","data":[]}"#.to_owned(),
        r#"{"name":"step_count"}"#.to_owned(),
        metric("step_count", "count", &format!(r#"{{"qty":-1,{DATE}}},{{"qty":5}}"#)),
        r#"{"data":[{"qty":1}]}"#.to_owned(),
        r#"{"name":"step_count","units":7,"data":[1,{"qty":2}]}"#.to_owned(),
        r#"{"name":"step_count","data":{}}"#.to_owned(),
        "null".to_owned(),
        metric("step_count", "furlong", &format!(r#"{{"qty":1,{DATE}}}"#)),
    ];
    let expected = [
        (2, "/data/metrics/4/data/0/qty"),
        (3, "/data/metrics/4/data/1/date"),
        (4, "/data/metrics/5/name"),
        (5, "/data/metrics/6/units"),
        (6, "/data/metrics/6/units"),
        (7, "/data/metrics/7/data"),
        (8, "/data/metrics/8"),
        (9, "/data/metrics/9/data/0/units"),
    ];
    assert_eq!(refused(&metrics.join(",")), expected.map(|(index, path)| (index, path.to_owned())));
    let empty = [
        r#"{"user_id":"u","data":{"metrics":[]}}"#.to_owned(),
        r#"{"user_id":"u","data":{"metrics":[{"name":"step_count","units":"count","data":[]}],"workouts":[]}}"#.to_owned(),
        r#"{"user_id":"u","data":{"stateOfMind":[{"id":1}],"medications":[{}],"symptoms":[1],"cycleTracking":[2],"ecg":[{}],"heartRateNotifications":[{}]}}"#.to_owned(),
        body(&metric("dietary_water", "mL", r#"{"qty":1}"#)),
    ];
    for body in empty {
        assert!(matches!(decode_healthkit(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{body}");
    }
}

#[test]
fn an_export_has_no_user_of_its_own() {
    let body = format!(
        r#"{{"data":{{"metrics":[{}]}}}}"#,
        metric("step_count", "count", &format!(r#"{{"qty":1,{DATE}}}"#))
    );
    assert!(matches!(decode_healthkit(body.as_bytes()), Err(DecodeError::NoUser(_))));
    let device = healthkit_device();
    for (headers, query) in [
        (fields([("x-api-key", HEALTHKIT_KEY), ("x-user-id", "v")]), None),
        (fields([("x-api-key", HEALTHKIT_KEY)]), Some("v")),
    ] {
        let verified = verify_for(&device, &headers, query, &body).unwrap();
        assert_eq!(events(device.decode(&verified, NOW)).0[0].user_id.as_str(), "v");
    }
}

#[test]
fn what_comes_again_is_the_same_fact_and_a_larger_total_is_newer() {
    let one = |name: &str, units: &str, point: &str| read(&metric(name, units, point)).remove(0);
    let steps = |qty: u32| one("step_count", "count", &format!(r#"{{"qty":{qty},{DATE}}}"#));
    assert_eq!(steps(377).identity, steps(400).identity);
    let (Version::Given(less), Version::Given(more)) = (steps(377).version, steps(400).version) else {
        panic!("a total tells its version")
    };
    assert!(less < more);
    let weight =
        |units: &str, qty: &str| one("weight_body_mass", units, &format!(r#"{{"qty":{qty},{DATE}}}"#));
    assert_eq!(weight("kg", "45.359237"), weight("lb", "100"), "in whatever unit");
    let (kg, other) = (weight("kg", "72.4"), weight("kg", "72.3"));
    assert!(kg.identity == other.identity && kg.version != other.version);
    let rate = |name: &str, date: &str, source: &str| -> Identity {
        one(name, "count/min", &format!(r#"{{"qty":61,"date":"{date}","source":"{source}"}}"#)).identity
    };
    let base = rate("heart_rate", "2026-09-10 06:00:00 +0200", "Watch");
    assert_eq!(base, rate("heart_rate", "2026-09-10 4:00:00\u{202f}am +0000", "Watch"));
    for other in [
        rate("heart_rate", "2026-09-10 06:01:00 +0200", "Watch"),
        rate("heart_rate", "2026-09-10 06:00:00 +0200", "iPhone"),
        rate("resting_heart_rate", "2026-09-10 06:00:00 +0200", "Watch"),
    ] {
        assert_ne!(base, other);
    }
    let walking = |name| rate(name, "2026-09-10 06:00:00 +0200", "Watch");
    assert_eq!(walking("walking_heart_rate"), walking("walking_heart_rate_average"));
}
