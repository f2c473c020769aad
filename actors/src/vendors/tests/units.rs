//! Every HealthKit type, every unit of each, every spelling of a type's name.

use super::{one_reading, one_sample};
use crate::domain::event::HrvMethod;

/// The value that a sample of `kind` becomes, with the name of its metric.
fn convert(kind: &str, value: &str, unit: Option<&str>) -> Result<(&'static str, f64), (String, String)> {
    let unit = unit.map_or(String::new(), |unit| format!(r#""unit":{},"#, serde_json::json!(unit)));
    let sample = format!(r#"{{"type":"{kind}","value":{value},{unit}"timestamp":"2026-09-10T06:42:11Z"}}"#);
    one_sample(&sample).map(|fact| {
        assert_eq!(fact.reading.unit, fact.reading.metric.unit());
        (fact.reading.metric.name(), fact.reading.value)
    })
}

#[test]
fn every_unit_of_every_type_is_converted_exactly() {
    let cases = [
        ("HeartRate", "61", "count/min", "heart_rate", 61.0),
        ("HeartRate", "61", "bpm", "heart_rate", 61.0),
        ("HeartRate", "61", "BPM", "heart_rate", 61.0),
        ("HeartRate", "61", "beats/min", "heart_rate", 61.0),
        ("HeartRate", "1.2", "count/s", "heart_rate", 72.0),
        ("RestingHeartRate", "52", "count/min", "resting_heart_rate", 52.0),
        ("RestingHeartRate", "0.9", "count/s", "resting_heart_rate", 54.0),
        ("HeartRateVariabilitySDNN", "47.5", "ms", "hrv", 47.5),
        ("HeartRateVariabilitySDNN", "0.0475", "s", "hrv", 47.5),
        ("OxygenSaturation", "0.97", "%", "blood_oxygen", 97.0),
        ("OxygenSaturation", "0.57", "%", "blood_oxygen", 57.0),
        ("OxygenSaturation", "1", "%", "blood_oxygen", 100.0),
        ("OxygenSaturation", "97", "%", "blood_oxygen", 97.0),
        ("OxygenSaturation", "97", "percent", "blood_oxygen", 97.0),
        ("RespiratoryRate", "14.5", "count/min", "respiratory_rate", 14.5),
        ("RespiratoryRate", "14.5", "breaths/min", "respiratory_rate", 14.5),
        ("RespiratoryRate", "0.25", "count/s", "respiratory_rate", 15.0),
        ("BodyTemperature", "36.6", "degC", "body_temperature", 36.6),
        ("BodyTemperature", "36.6", "°C", "body_temperature", 36.6),
        ("BodyTemperature", "36.6", "C", "body_temperature", 36.6),
        ("BodyTemperature", "98.6", "degF", "body_temperature", 37.0),
        ("BodyTemperature", "98.6", "°F", "body_temperature", 37.0),
        ("BodyTemperature", "98.6", "F", "body_temperature", 37.0),
        ("BodyTemperature", "310.15", "K", "body_temperature", 37.0),
        ("StepCount", "1024", "count", "steps", 1024.0),
        ("StepCount", "1024", "steps", "steps", 1024.0),
        ("DistanceWalkingRunning", "850.5", "m", "distance_meters", 850.5),
        ("DistanceWalkingRunning", "1.25", "km", "distance_meters", 1250.0),
        ("DistanceWalkingRunning", "150", "cm", "distance_meters", 1.5),
        ("DistanceWalkingRunning", "2", "mi", "distance_meters", 3218.688),
        ("DistanceWalkingRunning", "100", "ft", "distance_meters", 30.48),
        ("DistanceWalkingRunning", "100", "yd", "distance_meters", 91.44),
        ("ActiveEnergyBurned", "12.5", "kcal", "active_calories", 12.5),
        ("ActiveEnergyBurned", "12.5", "Cal", "active_calories", 12.5),
        ("ActiveEnergyBurned", "41.84", "kJ", "active_calories", 10.0),
        ("ActiveEnergyBurned", "41840", "J", "active_calories", 10.0),
        ("ActiveEnergyBurned", "2500", "cal", "active_calories", 2.5),
    ];
    for (kind, value, unit, metric, expected) in cases {
        assert_eq!(convert(kind, value, Some(unit)), Ok((metric, expected)), "{value} {unit} of {kind}");
    }
}

#[test]
fn without_a_unit_the_canonical_one_counts_except_where_the_value_tells_another() {
    let cases = [
        ("HeartRate", "61", 61.0),
        ("RestingHeartRate", "52", 52.0),
        ("HeartRateVariabilitySDNN", "47.5", 47.5),
        ("OxygenSaturation", "0.97", 97.0),
        ("OxygenSaturation", "97", 97.0),
        ("RespiratoryRate", "14", 14.0),
        ("BodyTemperature", "36.6", 36.6),
        ("BodyTemperature", "45", 45.0),
        ("BodyTemperature", "98.6", 37.0),
        ("StepCount", "0", 0.0),
        ("DistanceWalkingRunning", "12", 12.0),
        ("ActiveEnergyBurned", "3", 3.0),
    ];
    for (kind, value, expected) in cases {
        for unit in [None, Some(""), Some("  ")] {
            assert_eq!(convert(kind, value, unit).map(|(_, value)| value), Ok(expected), "{value} of {kind}");
        }
    }
    let with_null = r#"{"type":"HeartRate","value":61,"unit":null,"timestamp":"2026-09-10T06:42:11Z"}"#;
    assert_eq!(one_reading(with_null).value, 61.0);
    // With the unit told there is nothing to guess: 46 °C is no temperature of a body.
    assert_eq!(convert("BodyTemperature", "46", Some("degC")).unwrap_err().0, "/samples/0/value");
}

#[test]
fn ranges_include_their_ends_and_zero_is_no_value() {
    let cases = [
        ("HeartRate", ["19.99", "20", "250", "250.01"]),
        ("RestingHeartRate", ["19.99", "20", "150", "150.01"]),
        ("HeartRateVariabilitySDNN", ["0.99", "1", "400", "400.01"]),
        ("OxygenSaturation", ["49.99", "50", "100", "100.01"]),
        ("RespiratoryRate", ["3.99", "4", "60", "60.01"]),
        ("BodyTemperature", ["29.99", "30", "113", "113.01"]),
        ("StepCount", ["-0.01", "-0", "200000", "200000.01"]),
        ("DistanceWalkingRunning", ["-0.01", "0", "1000000", "1000000.01"]),
        ("ActiveEnergyBurned", ["-0.01", "0.0", "20000", "20000.01"]),
    ];
    for (kind, [below, low, high, above]) in cases {
        for accepted in [low, high] {
            let (_, value) = convert(kind, accepted, None).unwrap();
            assert!(value.is_sign_positive(), "{accepted} of {kind}");
        }
        for refused in [below, above, "1e300", "-1e300", "1e400", "-1e400"] {
            let (path, detail) = convert(kind, refused, None).unwrap_err();
            assert_eq!(path, "/samples/0/value", "{refused} of {kind}");
            assert!(!detail.contains(refused), "the answer repeats a reading: {detail}");
        }
    }
    for kind in
        ["HeartRate", "RestingHeartRate", "HeartRateVariabilitySDNN", "OxygenSaturation", "BodyTemperature"]
    {
        assert!(convert(kind, "0", None).is_err(), "{kind}");
    }
}

#[test]
fn an_unknown_unit_is_refused_by_its_name() {
    let cases = [
        ("HeartRate", "mg/dL", "mg/dL"),
        ("HeartRate", "Bpm", "Bpm"),
        ("RespiratoryRate", "bpm", "bpm"),
        ("ActiveEnergyBurned", "CAL", "CAL"),
        ("DistanceWalkingRunning", "M", "M"),
        ("OxygenSaturation", "fraction", "fraction"),
        ("BodyTemperature", "℃", "℃"),
        ("VO2Max", "mL·kg⁻¹", "mL·kg⁻¹"),
        ("BodyTemperature", "\u{1b}[31mk\u{202e}\n", "[31mk"),
        ("StepCount", "0123456789012345678901234567890123456789", "01234567890123456789012345678901"),
    ];
    for (kind, unit, shown) in cases {
        let (path, detail) = convert(kind, "61", Some(unit)).unwrap_err();
        assert_eq!(path, "/samples/0/unit", "{kind} in {unit:?}");
        assert!(detail.starts_with(&format!("unknown unit `{shown}`: ")), "{detail}");
    }
}

#[test]
fn names_of_types_match_without_prefix_case_and_underscores() {
    let spellings = [
        "HKQuantityTypeIdentifierHeartRate",
        "hkquantitytypeidentifierheartrate",
        "HeartRate",
        "heartRate",
        "heart_rate",
        "HEART_RATE",
    ];
    for kind in spellings {
        assert_eq!(convert(kind, "61", None), Ok(("heart_rate", 61.0)), "{kind}");
    }
    assert_eq!(convert("heart_rate_variability_sdnn", "61", None), Ok(("hrv", 61.0)));
    let unknown =
        ["", "heart", "heartRates", "HKQuantityTypeIdentifier", "HKQuantityTypeIdentifieréHeartRate"];
    for kind in unknown {
        assert_eq!(
            convert(kind, "61", None),
            Err(("/samples/0/type".to_owned(), "unknown type".to_owned())),
            "{kind}"
        );
    }
}

#[test]
fn the_method_of_healthkits_variability_is_sdnn_and_no_other_metric_has_one() {
    let reading =
        |kind| one_reading(&format!(r#"{{"type":"{kind}","value":60,"timestamp":"2026-09-10T06:42:11Z"}}"#));
    assert_eq!(reading("heartRateVariabilitySDNN").method, Some(HrvMethod::Sdnn));
    assert_eq!(reading("heartRate").method, None);
}
