//! What holds for every body: nothing panics, and nothing impossible comes out.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::Identity;

/// JSON of any shape, made of the words that the decoders look for.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let key = prop::sample::select(vec![
        "user_id",
        "samples",
        "type",
        "value",
        "unit",
        "timestamp",
        "startDate",
        "endDate",
        "source",
        "name",
        "uuid",
        "hrv_data",
        "rmssd",
        "sleep",
        "score",
        "stress",
        "level",
        "event_type",
        "data_type",
        "data",
        "metrics",
        "records",
        "workouts",
        "units",
        "qty",
        "Avg",
        "date",
        "totalSleep",
        "sleepEnd",
        "duration",
        "heartRateData",
        "systolic",
        "diastolic",
        "objects",
        "values",
        "id",
        "trace_id",
        "object_id",
        "event_time",
        "x",
    ]);
    let text = prop::sample::select(vec![
        "",
        "u",
        "heartRate",
        "stepCount",
        "BodyTemperature",
        "sleepAnalysis",
        "sleep_analysis",
        "bloodPressure",
        "blood_pressure",
        "workout",
        "In Bed",
        "core",
        "hr",
        "bpm",
        "degF",
        "%",
        "Watch",
        "update",
        "delete",
        "sleep.deleted",
        "sleep.updated",
        "recovery.updated",
        "2026-09-10T06:42:11Z",
        "2026-09-10 7:57:00\u{202f}am +1000",
        "1789020131",
        "\u{2028}",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        (0_u32..300).prop_map(Into::into),
        text.prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// A sample that looks right, with values and units that need not be.
fn any_sample() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec![
        "heartRate",
        "resting_heart_rate",
        "heartRateVariabilitySDNN",
        "oxygenSaturation",
        "respiratoryRate",
        "bodyTemperature",
        "stepCount",
        "distanceWalkingRunning",
        "activeEnergyBurned",
        "unknown",
    ]);
    let unit = prop::sample::select(vec![
        "", "bpm", "count/s", "ms", "s", "%", "degF", "K", "count", "mi", "ft", "kJ", "cal", "?",
    ]);
    let value = prop_oneof![
        (-10.0..300.0).prop_map(|value: f64| value.to_string()),
        any::<f64>().prop_filter("JSON has no other", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        prop::sample::select(vec!["1e400", "-1e400", "-0", "0", "null", "true", "\"61\""])
            .prop_map(str::to_owned),
    ];
    let time = prop_oneof![
        (NOW_S - 100_000..NOW_S + 100_000).prop_map(|s| s.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[0-9T:+Z. -]{0,30}".prop_map(|text| format!("{text:?}")),
    ];
    let source = prop::sample::select(vec!["Apple Watch", "iPhone", "Ring"]);
    (kind, value, unit, time.clone(), time, source).prop_map(|(kind, value, unit, start, end, source)| {
        format!(
            r#"{{"type":"{kind}","value":{value},"unit":"{unit}","startDate":{start},"endDate":{end},"source":"{source}"}}"#
        )
    })
}

fn batch(samples: &[String]) -> Vec<u8> {
    format!(r#"{{"user_id":"u","samples":[{}]}}"#, samples.join(",")).into_bytes()
}

/// Bodies of each envelope whose items are of the words that the decoders look for.
fn any_envelope() -> impl Strategy<Value = serde_json::Value> {
    let item = any_json();
    let sleep = (0_i64..6, 0_i64..200, 0_i64..200).prop_map(|(state, start, length)| {
        serde_json::json!({"type": "sleepAnalysis", "value": state, "startDate": NOW_S - start * 600,
            "endDate": NOW_S + (length - start) * 600, "date": "2026-09-10 06:00:00 +0200"})
    });
    let run = (any_json(), any_json(), 0_i64..9000).prop_map(|(one, other, duration)| {
        serde_json::json!({"name": "run", "start": NOW_S - 6000, "end": NOW_S, "duration": duration,
            "distance": one, "heartRateData": [other], "values": [{"type": "calories", "value": duration}]})
    });
    let items = prop::collection::vec(prop_oneof![item, sleep, run], 0..6);
    let name = prop::sample::select(vec!["sleep_analysis", "blood_pressure", "heart_rate", "vo2_max", "x"]);
    (items, name, any_json()).prop_map(|(items, name, any)| {
        serde_json::json!({"user_id": "u", "samples": items, "workouts": items, "data": {
            "records": items, "sleep": items, "workouts": items,
            "metrics": [any, {"name": name, "data": items}, {"name": name, "units": "hr", "data": [any]}]}})
    })
}

/// Checks whatever came out, and gives back how many readings did.
fn check_readings(decoded: Result<Decoded, DecodeError>) -> usize {
    let Ok(Decoded::Events { drafts, .. }) = decoded else { return 0 };
    let mut count = 0;
    for draft in &drafts {
        if draft.deleted {
            assert_eq!(draft.readings_len(), 0);
            continue;
        }
        assert!((1..=1000).contains(&draft.readings_len()));
        for ReadingFact { reading, .. } in facts(draft) {
            let (low, high) = reading.metric.range();
            assert!(reading.value.is_finite() && (low..=high).contains(&reading.value), "{reading:?}");
            assert!(reading.timestamp.ms_since(NOW) <= 86_400_000, "{reading:?}");
            assert!(reading.timestamp.as_ms() >= 946_684_800_000, "{reading:?}");
            assert!(reading.start.is_none_or(|start| start < reading.timestamp), "{reading:?}");
            assert!(draft.timestamp >= reading.timestamp);
            count += 1;
        }
    }
    count
}

fn decode_everywhere(body: &[u8]) {
    check_readings(decode_healthkit(body));
    check_readings(decode_oura_inline(body));
    check_readings(decode_oura_native(body));
    check_readings(decode_whoop_inline(body));
    check_readings(decode_whoop_native(body));
}

proptest! {
    #![proptest_config(fixed_cases(0x6269_6f6d))]

    #[test]
    fn no_bytes_make_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_everywhere(&body);
    }

    #[test]
    fn no_json_makes_a_decoder_panic_or_an_impossible_reading(json in any_json()) {
        decode_everywhere(json.to_string().as_bytes());
        let list = [json.clone(), serde_json::json!({"user_id": "u", "samples": [json]})];
        decode_everywhere(serde_json::to_string(&list).unwrap().as_bytes());
        decode_everywhere(list[1].to_string().as_bytes());
    }

    #[test]
    fn no_item_of_any_envelope_makes_a_decoder_panic_or_an_impossible_reading(envelope in any_envelope()) {
        check_readings(decode_healthkit(envelope.to_string().as_bytes()));
    }

    #[test]
    fn no_cut_of_a_good_body_makes_a_decoder_panic(
        samples in prop::collection::vec(any_sample(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = batch(&samples);
        let cut = cut.index(body.len());
        let is_refused = matches!(decode_healthkit(&body[..cut]), Err(DecodeError::NotJson { .. }));
        prop_assert!(is_refused);
    }

    #[test]
    fn every_sample_is_either_a_reading_or_a_rejection(samples in prop::collection::vec(any_sample(), 1..40)) {
        let decoded = decode_healthkit(&batch(&samples));
        let (_, rejected) = events(decoded.clone());
        prop_assert_eq!(check_readings(decoded) + rejected.total, samples.len());
    }

    #[test]
    fn the_order_of_samples_changes_no_fact(
        (samples, shuffled) in prop::collection::vec(any_sample(), 1..40)
            .prop_flat_map(|samples| (Just(samples.clone()), Just(samples).prop_shuffle())),
    ) {
        let found = |samples: &[String]| -> BTreeMap<Identity, Reading> {
            let (drafts, _) = events(decode_healthkit(&batch(samples)));
            drafts.iter().flat_map(facts).map(|fact| (fact.identity, fact.reading.clone())).collect()
        };
        prop_assert_eq!(found(&samples), found(&shuffled));
    }

    #[test]
    fn no_text_makes_the_reader_of_times_panic(text in any::<String>(), civil in "[0-9TZapm:+. -]{0,32}") {
        for text in [text, civil] {
            let sample = serde_json::json!({"type": "heartRate", "value": 61, "timestamp": text}).to_string();
            check_readings(decode_healthkit(&batch(&[sample])));
        }
    }
}
