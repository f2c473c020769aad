//! Every type of vendors.md §4a beyond plain quantities' units: categories, correlations, times, envelopes.

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::HrvMethod;

const AT: &str = r#""timestamp":"2026-09-10T06:42:11Z""#;
const SPAN: &str = r#""startDate":"2026-09-10T06:00:00+02:00","endDate":"2026-09-10T06:15:00+02:00""#;

fn decode(body: &str) -> (Vec<EventDraft>, Rejections) {
    events(decode_healthkit(body.as_bytes()))
}

/// Name, value and kind of every reading of a body with these samples.
fn readings(samples: &str) -> Vec<(&'static str, f64, String)> {
    let (drafts, rejected) = decode(&format!(r#"{{"user_id":"u","samples":[{samples}]}}"#));
    assert_eq!(rejected.total, 0, "{rejected:?}");
    let of = |draft: &EventDraft| -> Vec<_> {
        let kind = draft.kind.to_string();
        facts(draft).iter().map(|f| (f.reading.metric.name(), f.reading.value, kind.clone())).collect()
    };
    drafts.iter().flat_map(of).collect()
}

fn refused(samples: &str) -> Vec<(usize, String)> {
    let (_, rejected) = decode(&format!(r#"{{"user_id":"u","samples":[{samples}]}}"#));
    rejected.listed.into_iter().map(|refused| (refused.index, refused.path)).collect()
}

#[test]
fn every_other_quantity_becomes_its_metric_in_every_unit() {
    let cases = [
        ("WalkingHeartRateAverage", "98", "count/min", "walking_heart_rate", 98.0, "sample"),
        ("HeartRateRecoveryOneMinute", "31", "count/min", "heart_rate_recovery", 31.0, "sample"),
        ("HeartRateRecoveryOneMinute", "0.5", "count/s", "heart_rate_recovery", 30.0, "sample"),
        ("BasalBodyTemperature", "97.7", "degF", "body_temperature", 36.5, "sample"),
        ("AppleSleepingWristTemperature", "35.2", "degC", "skin_temperature", 35.2, "sample"),
        ("AppleSleepingWristTemperature", "95", "degF", "skin_temperature", 35.0, "sample"),
        ("AppleSleepingWristTemperature", "308.15", "K", "skin_temperature", 35.0, "sample"),
        ("AppleSleepingWristTemperature", "95", "", "skin_temperature", 35.0, "sample"),
        ("AppleSleepingWristTemperature", "0.3", "degC", "temperature_deviation", 0.3, "sample"),
        ("AppleSleepingWristTemperature", "-0.9", "degF", "temperature_deviation", -0.5, "sample"),
        ("AppleSleepingWristTemperature", "0", "", "temperature_deviation", 0.0, "sample"),
        ("DistanceCycling", "1", "mi", "distance_meters", 1609.344, "sample"),
        ("DistanceSwimming", "25", "yd", "distance_meters", 22.86, "sample"),
        ("BasalEnergyBurned", "4.184", "kJ", "basal_calories", 1.0, "sample"),
        ("AppleExerciseTime", "90", "s", "exercise_minutes", 1.5, "sample"),
        ("AppleExerciseTime", "12", "min", "exercise_minutes", 12.0, "sample"),
        ("AppleStandTime", "0.5", "hr", "stand_minutes", 30.0, "sample"),
        ("AppleStandTime", "5", "", "stand_minutes", 5.0, "sample"),
        ("FlightsClimbed", "3", "count", "flights_climbed", 3.0, "sample"),
        ("VO2Max", "42.5", "ml/kg*min", "vo2max", 42.5, "sample"),
        ("VO2Max", "42.5", "mL/min·kg", "vo2max", 42.5, "sample"),
        ("VO2Max", "42.5", "ml/(kg*min)", "vo2max", 42.5, "sample"),
        ("BodyMass", "72.4", "kg", "weight", 72.4, "body"),
        ("BodyMass", "150", "lb", "weight", 68.0388555, "body"),
        ("BodyMass", "72400", "g", "weight", 72.4, "body"),
        ("BodyMass", "11", "st", "weight", 69.85322498, "body"),
        ("BodyMass", "1600", "oz", "weight", 45.359237, "body"),
        ("BodyFatPercentage", "0.192", "%", "body_fat", 19.2, "body"),
        ("BodyFatPercentage", "19.2", "%", "body_fat", 19.2, "body"),
        ("BodyMassIndex", "22.1", "count", "bmi", 22.1, "body"),
        ("Height", "178", "cm", "height", 1.78, "body"),
        ("Height", "1.78", "m", "height", 1.78, "body"),
        ("Height", "6", "ft", "height", 1.8288, "body"),
        ("Height", "70", "in", "height", 1.778, "body"),
        ("LeanBodyMass", "120", "lb", "lean_mass", 54.4310844, "body"),
        ("BloodGlucose", "99", "mg/dL", "blood_glucose", 99.0, "sample"),
        ("BloodGlucose", "5.5", "mmol/L", "blood_glucose", 99.0858, "sample"),
        ("BloodGlucose", "5.5", "mmol<180.1558800000541>/L", "blood_glucose", 99.0858, "sample"),
        ("BloodPressureSystolic", "118", "mmHg", "blood_pressure_systolic", 118.0, "sample"),
        ("BloodPressureDiastolic", "10", "kPa", "blood_pressure_diastolic", 75.0062, "sample"),
    ];
    for (kind, value, unit, metric, expected, event) in cases {
        for name in [kind.to_owned(), format!("HKQuantityTypeIdentifier{kind}"), kind.to_lowercase()] {
            let sample = format!(r#"{{"type":"{name}","value":{value},"unit":"{unit}",{AT}}}"#);
            assert_eq!(readings(&sample), [(metric, expected, event.to_owned())], "{sample}");
        }
    }
}

#[test]
fn each_variability_has_its_own_method() {
    let method = |name: &str| {
        let sample = format!(r#"{{"type":"{name}","value":42,"unit":"ms",{AT}}}"#);
        let (drafts, rejected) = decode(&format!(r#"{{"user_id":"u","samples":[{sample}]}}"#));
        assert_eq!(rejected.total, 0, "{rejected:?}");
        let reading = &facts(&drafts[0])[0].reading;
        (reading.metric.name(), reading.value, reading.method.map(HrvMethod::name))
    };
    assert_eq!(method("HKQuantityTypeIdentifierHeartRateVariabilitySDNN"), ("hrv", 42.0, Some("sdnn")));
    // Since iOS 27.
    assert_eq!(method("HKQuantityTypeIdentifierHeartRateVariabilityRMSSD"), ("hrv", 42.0, Some("rmssd")));
    // Nobody knows which of the two.
    assert_eq!(
        refused(&format!(r#"{{"type":"heartRateVariability","value":42,{AT}}}"#)),
        [(0, "/samples/0/type".to_owned())]
    );
}

#[test]
fn the_table_of_types_has_each_name_once_and_finds_itself() {
    use crate::vendors::healthkit::types_by_name;
    let names = types_by_name();
    for (place, (name, found)) in names.iter().enumerate() {
        assert!(names[..place].iter().all(|(other, _)| other != name), "{name} twice");
        // A workout's totals, an export's hours and lengths are no types of their own.
        let is_inner =
            name.starts_with("workout") || ["applestandhour", "mindfulsession", "nightpart"].contains(name);
        assert_eq!(*found, !is_inner, "{name}");
    }
}

#[test]
fn a_stand_hour_is_an_hour_or_none_by_number_or_name() {
    let cases = [
        ("0", 60.0),
        ("1", 0.0),
        (r#""HKCategoryValueAppleStandHourStood""#, 60.0),
        (r#""HKCategoryValueAppleStandHourIdle""#, 0.0),
        (r#""stood""#, 60.0),
        (r#""Idle""#, 0.0),
    ];
    for (value, minutes) in cases {
        let sample = format!(r#"{{"type":"HKCategoryTypeIdentifierAppleStandHour","value":{value},{SPAN}}}"#);
        assert_eq!(readings(&sample), [("stand_minutes", minutes, "sample".to_owned())], "{value}");
    }
    for value in ["2", "0.5", "-1", "true", "null", r#""sat""#, r#""0""#] {
        let sample = format!(r#"{{"type":"appleStandHour","value":{value},{SPAN}}}"#);
        assert_eq!(refused(&sample), [(0, "/samples/0/value".to_owned())], "{value}");
    }
}

#[test]
fn a_mindful_session_is_as_long_as_its_interval_whatever_its_value() {
    for value in [r#""value":0,"#, "", r#""value":null,"#] {
        let sample = format!(r#"{{"type":"HKCategoryTypeIdentifierMindfulSession",{value}{SPAN}}}"#);
        assert_eq!(readings(&sample), [("mindful_minutes", 15.0, "sample".to_owned())]);
    }
    let sample = format!(r#"{{"type":"mindful_session","value":0,{AT}}}"#);
    assert_eq!(refused(&sample), [(0, "/samples/0/startDate".to_owned())]);
}

#[test]
fn blood_pressure_comes_as_a_correlation_in_any_form() {
    let part = |kind: &str, value: u32| format!(r#"{{"type":"{kind}","value":{value},"unit":"mmHg"}}"#);
    let list = format!(
        "[{},{}]",
        part("HKQuantityTypeIdentifierBloodPressureSystolic", 121),
        part("bloodPressureDiastolic", 79)
    );
    let forms = [
        format!(r#"{{"type":"HKCorrelationTypeIdentifierBloodPressure","objects":{list},{AT}}}"#),
        format!(r#"{{"type":"bloodPressure","samples":{list},{AT}}}"#),
        format!(r#"{{"type":"blood_pressure","systolic":121,"diastolic":79,"unit":"mmHg",{AT}}}"#),
        format!(r#"{{"type":"BloodPressure","value":{{"systolic":121,"diastolic":79}},{AT}}}"#),
    ];
    for form in &forms {
        let expected = [
            ("blood_pressure_systolic", 121.0, "sample".to_owned()),
            ("blood_pressure_diastolic", 79.0, "sample".to_owned()),
        ];
        assert_eq!(readings(form), expected, "{form}");
    }
    // A correlation and the samples in it, both sent, are one fact each.
    let id =
        |sample: &str| facts(&decode(&format!(r#"{{"user_id":"u","samples":[{sample}]}}"#)).0[0])[0].identity;
    let alone = format!(r#"{{"type":"bloodPressureSystolic","value":121,"uuid":"s-1",{AT}}}"#);
    let together = format!(
        r#"{{"type":"bloodPressure","uuid":"c-1","objects":[{{"type":"bloodPressureSystolic","value":121,"uuid":"s-1"}}],{AT}}}"#
    );
    assert_eq!(id(&alone), id(&together));
    assert_ne!(id(&forms[2]), id(&alone));

    let cases = [
        (r#""systolic":80,"diastolic":80"#, "/diastolic"),
        (r#""systolic":301,"diastolic":80"#, "/systolic"),
        (r#""systolic":"120","diastolic":80"#, "/systolic"),
        (r#""systolic":120,"diastolic":80,"unit":"bar""#, "/systolic"),
        (r#""value":1"#, "/systolic"),
        (r#""objects":7"#, "/objects"),
        (r#""objects":[{"type":"heartRate","value":61}]"#, "/objects/0/type"),
        (r#""objects":[{"type":"bloodPressureSystolic"}]"#, "/objects/0/value"),
    ];
    for (form, field) in cases {
        let sample = format!(r#"{{"type":"bloodPressure",{form},{AT}}}"#);
        assert_eq!(refused(&sample), [(0, format!("/samples/0{field}"))], "{form}");
    }
}

#[test]
fn apples_other_types_are_passed_by_and_strange_ones_are_refused() {
    let passed = [
        "AtrialFibrillationBurden",
        "PhysicalEffort",
        "RunningPower",
        "TimeInDaylight",
        "EnvironmentalAudioExposure",
        "DietaryWater",
        "Headache",
    ];
    for kind in passed {
        let sample = |name: String| format!(r#"{{"type":"{name}","value":"any"}}"#);
        for name in [kind.to_owned(), format!("HKQuantityTypeIdentifier{kind}")] {
            let body = format!(r#"{{"user_id":"u","samples":[{}]}}"#, sample(name));
            assert!(matches!(decode_healthkit(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{body}");
        }
        let beside = format!(r#"{},{{"type":"heartRate","value":61,{AT}}},{{}}"#, sample(kind.to_owned()));
        assert_eq!(refused(&beside), [(2, "/samples/2/type".to_owned())], "each counts");
    }
    assert_eq!(refused(r#"{"type":"HKQuantityTypeIdentifierHeartRat","value":61}"#).len(), 1);
}

#[test]
fn apples_reference_time_is_known_by_lying_before_2000() {
    // 2026-09-10T06:02:11Z, counted from 2001.
    for time in ["810712931", "810712931.5", r#""810712931""#, r#""810712931.5""#] {
        let reading = one_reading(&format!(r#"{{"type":"heartRate","value":61,"timestamp":{time}}}"#));
        let ms = if time.contains('.') { 500 } else { 0 };
        let at = Timestamp::from_ms(1_789_020_131_000 + ms);
        assert_eq!(reading.timestamp, at, "{time}");
    }
    // Before there was a HealthKit, after tomorrow, in milliseconds, and a text that tells its year.
    for time in ["0", "-1", "410227199", "811000000", "631152000000", r#""1995-09-10T06:02:11Z""#] {
        let sample = format!(r#"{{"type":"heartRate","value":61,"timestamp":{time}}}"#);
        assert_eq!(refused(&sample), [(0, "/samples/0/timestamp".to_owned())], "{time}");
    }
}

#[test]
fn times_and_offsets_come_in_every_form() {
    let cases = [
        (r#""2026-09-10T06:42:11Z""#, None),
        (r#""2026-09-10T06:42:11.000Z""#, None),
        (r#""2026-09-10T08:42:11+02:00""#, Some(120)),
        (r#""2026-09-10T08:42:11+0200""#, Some(120)),
        (r#""2026-09-09 22:42:11 -0800""#, Some(-480)),
        (r#""2026-09-10 4:42:11 pm +1000""#, Some(600)),
        ("\"2026-09-10 4:42:11\u{202f}PM +1000\"", Some(600)),
        ("1789022531", None),
        (r#""1789022531""#, None),
        ("1789022531000", None),
        (r#""1789022531000""#, None),
    ];
    for (time, offset) in cases {
        let reading = one_reading(&format!(r#"{{"type":"heartRate","value":61,"date":{time}}}"#));
        assert_eq!(reading.timestamp.to_string(), "2026-09-10T06:42:11Z", "{time}");
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), offset, "{time}");
    }
    let zoned = format!(r#"{{"type":"heartRate","value":61,{AT},"zoneOffset":"+01:00"}}"#);
    assert_eq!(one_reading(&zoned).utc_offset.map(|offset| offset.minutes()), Some(60));
    let bad = format!(r#"{{"type":"heartRate","value":61,{AT},"zoneOffset":"CET"}}"#);
    assert_eq!(refused(&bad), [(0, "/samples/0/zoneOffset".to_owned())]);
    for (time, at) in [
        ("2026-09-09", "2026-09-09T00:00:00Z"),
        ("2026-09-09T24:00:00Z", "2026-09-10T00:00:00Z"),
        ("2026-09-09T23:59:60Z", "2026-09-09T23:59:59Z"),
    ] {
        let reading = one_reading(&format!(r#"{{"type":"heartRate","value":61,"date":"{time}"}}"#));
        assert_eq!(reading.timestamp.to_string(), at);
    }
}

#[test]
fn the_sdks_envelope_counts_its_arrays_in_the_order_of_the_document() {
    let body = format!(
        r#"{{"provider":"apple","sdkVersion":"1.2.0","syncTimestamp":"2026-09-10T07:00:00Z","user_id":"u","data":{{
            "sleep":[{{"id":"s1","stage":"light","startDate":"2026-09-10T00:00:00Z","endDate":"2026-09-10T01:00:00Z",
                "source":{{"deviceName":"Ann's Apple Watch","deviceType":"watch","appId":"x"}}}},7],
            "records":[{{"id":"r1","type":"HEART_RATE","value":61,"unit":"bpm",{AT}}},{{"type":"STEP_COUNT"}}],
            "workouts":[{{"id":"w1","type":"RUNNING",{SPAN}}},null],"other":[1]}}}}"#
    );
    let (drafts, rejected) = decode(&body);
    let places: Vec<_> = rejected.listed.iter().map(|r| (r.index, r.path.as_str())).collect();
    assert_eq!(places, [(1, "/data/sleep/1"), (3, "/data/records/1/value"), (5, "/data/workouts/1")]);
    let found: Vec<_> = drafts
        .iter()
        .flat_map(|draft| facts(draft).iter().map(|f| (f.reading.metric.name(), draft.kind.to_string())))
        .collect();
    let expected = [
        ("sleep_state", "sleep"),
        ("heart_rate", "sample"),
        ("workout_duration_minutes", "workout"),
        ("total_sleep_minutes", "sleep"),
        ("deep_sleep_minutes", "sleep"),
        ("light_sleep_minutes", "sleep"),
        ("rem_sleep_minutes", "sleep"),
        ("awake_minutes", "sleep"),
    ];
    assert_eq!(found, expected.map(|(metric, kind)| (metric, kind.to_owned())));
    let sleep = &facts(&drafts[0])[0].reading;
    assert_eq!((sleep.source.as_deref(), sleep.confidence), (Some("Ann's Apple Watch"), Some(1.0)));
    assert!(drafts[0].user_id.as_str() == "u" && facts(&drafts[0])[0].version == Version::Fixed);
}

#[test]
fn a_body_without_any_place_for_samples_is_refused_and_one_without_samples_ignored() {
    for body in
        [r#"{"user_id":"u"}"#, r#"{"user_id":"u","data":7}"#, r#"{"user_id":"u","data":{"records":{}}}"#]
    {
        assert!(matches!(decode_healthkit(body.as_bytes()), Err(DecodeError::Shape { .. })), "{body}");
    }
    for data in ["{}", "null", "[]", r#"{"records":[],"sleep":null}"#, r#"{"metrics":[]}"#, r#"{"ecg":[{}]}"#]
    {
        let body = format!(r#"{{"user_id":"u","data":{data}}}"#);
        assert!(matches!(decode_healthkit(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{body}");
    }
}
