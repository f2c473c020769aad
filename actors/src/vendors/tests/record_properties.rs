//! What holds for every answer of a vendor's API: nothing panics, and nothing impossible comes out.

use std::collections::HashMap;

use proptest::prelude::*;

use super::oura_records::owner;
use super::*;
use crate::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords};
use crate::domain::metric::Metric;
use crate::vendors::fetch::read;

/// Every kind of question.
fn fetches() -> Vec<Fetch> {
    let (from, to, page) = (NOW, NOW, None);
    let ouras = OuraDataType::ALL.into_iter().flat_map(|data_type| {
        let id = "a".to_owned();
        [OuraFetch::Record { data_type, id }, OuraFetch::Days { data_type, from, to, page: None, turned: 0 }]
    });
    let activities = [WhoopActivity::Sleep, WhoopActivity::Workout].into_iter().flat_map(|kind| {
        let id = "a".to_owned();
        [WhoopFetch::Activity { kind, id: id.clone() }, WhoopFetch::Mapped { kind, v1_id: id }]
    });
    let lists =
        [WhoopRecords::Sleeps, WhoopRecords::Recoveries, WhoopRecords::Workouts, WhoopRecords::Cycles]
            .map(|records| WhoopFetch::Records { records, from, to, page: None, turned: 0 });
    let others = [
        WhoopFetch::CycleOfSleep { sleep_id: "a".to_owned() },
        WhoopFetch::Recovery { cycle_id: "1".to_owned() },
        WhoopFetch::Body,
    ];
    let samples = OuraFetch::HeartRate { from, to, page, turned: 0 };
    ouras
        .chain([samples])
        .map(Fetch::Oura)
        .chain(activities.chain(lists).chain(others).map(Fetch::Whoop))
        .collect()
}

/// Numbers that a field may hold, and others.
fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        (-10.0..300.0).prop_map(|value: f64| value.to_string()),
        (0_u32..100_000_000).prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("JSON has no other", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        any::<i64>().prop_map(|value| value.to_string()),
        prop::sample::select(vec!["1e400", "-1e400", "-0", "0"]).prop_map(str::to_owned),
    ]
}

/// A value of any kind: a number, or what stands in a number's or an object's place.
fn any_value() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"61\"",
        "\"long_sleep\"",
        "\"deleted\"",
        "\"SCORED\"",
        "\"PENDING_SCORE\"",
        "\"strong\"",
        "\"meditation\"",
        "\"\\ud800\"",
        "\"2026-09-10\"",
        "\"2026-09-10T06:00:00Z\"",
        "\"2026-09-09T22:00:00.5+02:00\"",
        "\"9999-12-31T23:59:59Z\"",
    ]);
    prop_oneof![8 => any_number(), 6 => word.prop_map(str::to_owned), 1 => any_series(), 1 => any_phases()]
}

/// What is told by the minute, begun near the night that most records have.
fn any_series() -> impl Strategy<Value = String> {
    let items = prop::collection::vec(prop_oneof![Just("null".to_owned()), any_number()], 0..40);
    let interval = prop_oneof![Just("300".to_owned()), Just("5".to_owned()), any_number()];
    let begun = prop::sample::select(vec!["2026-09-09T23:00:00+02:00", "2026-09-09T20:58:00Z", "soon"]);
    (items, interval, begun).prop_map(|(items, interval, begun)| {
        format!(r#"{{"interval":{interval},"items":[{}],"timestamp":"{begun}"}}"#, items.join(","))
    })
}

fn any_phases() -> impl Strategy<Value = String> {
    prop_oneof!["\"[1-4]{0,120}\"", "\"[0-5]{0,40}\"", "\"[1-4]{960,1100}\""]
}

/// A record with the members that the tables look for, each of them perhaps.
fn any_record() -> impl Strategy<Value = String> {
    let outer = prop::sample::select(vec![
        "id",
        "sleep_id",
        "day",
        "timestamp",
        "type",
        "score",
        "bedtime_start",
        "bedtime_end",
        "start",
        "end",
        "start_datetime",
        "end_datetime",
        "created_at",
        "updated_at",
        "meta",
        "score_state",
        "steps",
        "bpm",
        "average_hrv",
        "total_sleep_duration",
        "efficiency",
        "lowest_heart_rate",
        "level",
        "vo2_max",
        "vascular_age",
        "stress_high",
        "calories",
        "distance",
        "activity",
        "sport_name",
        "timezone_offset",
        "height_meter",
        "weight_kilogram",
        "temperature_deviation",
        "cycle_id",
        "v2_activity_id",
        "nap",
        "heart_rate",
        "hrv",
        "heart_rate_variability",
        "sleep_phase_5_min",
        "sleep_phase_30_sec",
    ]);
    let inner = prop::sample::select(vec![
        "recovery_score",
        "hrv_rmssd_milli",
        "strain",
        "kilojoule",
        "average",
        "hrv_balance",
        "resting_heart_rate",
        "respiratory_rate",
        "sleep_performance_percentage",
        "average_heart_rate",
    ]);
    let stage = prop::sample::select(vec![
        "total_light_sleep_time_milli",
        "total_slow_wave_sleep_time_milli",
        "total_rem_sleep_time_milli",
        "total_in_bed_time_milli",
    ]);
    let members = |name, count| prop::collection::vec((name, any_value()), 0..count).prop_map(join);
    let sections = (members(inner.boxed(), 8), members(stage.boxed(), 6));
    let good_start = r#""id":"6a5f","sleep_id":"6a5f","start":"2026-09-09T21:00:00Z","end":"2026-09-10T05:00:00Z",
        "bedtime_start":"2026-09-09T21:00:00Z","bedtime_end":"2026-09-10T05:00:00Z",
        "start_datetime":"2026-09-09T21:00:00Z","end_datetime":"2026-09-10T05:00:00Z","#;
    (prop::collection::vec((outer, any_value()), 0..12), sections, any::<bool>(), any::<bool>()).prop_map(
        move |(outer, (inner, stages), is_good, is_nested)| {
            let start = if is_good { good_start } else { "" };
            let nested = format!(
                r#""{}":{{"stage_summary":{{{stages}}},"x":0{}{inner}}},"contributors":{{{inner}}},"spo2_percentage":{{{inner}}}"#,
                if is_nested { "score" } else { "other" },
                if inner.is_empty() { "" } else { "," },
            );
            let outer = join(outer);
            format!("{{{start}{nested}{}{outer}}}", if outer.is_empty() { "" } else { "," })
        },
    )
}

fn join(members: Vec<(&'static str, String)>) -> String {
    members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
}

fn check(draft: &EventDraft) {
    let readings: Vec<&Reading> = match &draft.facts {
        Facts::Record { readings, .. } | Facts::Part { readings, .. } => readings.iter().collect(),
        Facts::Readings(facts) => facts.iter().map(|fact| &fact.reading).collect(),
    };
    assert_eq!(draft.deleted, readings.is_empty());
    assert!(readings.len() <= 1000);
    for reading in readings {
        let (low, high) = reading.metric.range();
        assert!(reading.value.is_finite() && (low..=high).contains(&reading.value), "{reading:?}");
        assert_eq!(reading.unit, reading.metric.unit());
        assert_eq!(reading.method.is_some(), reading.metric == Metric::Hrv, "{reading:?}");
        assert!(reading.timestamp.ms_since(NOW) <= 86_400_000, "{reading:?}");
        assert!(reading.timestamp.as_ms() >= 946_684_800_000 - 86_400_000, "{reading:?}");
        assert!(reading.start.is_none_or(|start| start < reading.timestamp), "{reading:?}");
        assert!(draft.timestamp >= reading.timestamp);
    }
    assert!(draft.clone().admit(1, &mut HashMap::new()).is_some());
}

fn read_everywhere(body: &[u8]) {
    for fetch in fetches() {
        if let Ok(fetched) = read(&fetch, body, &owner()) {
            fetched.drafts.iter().for_each(check);
            assert_ne!(fetched.next, Some(fetch), "no answer leads back to its question");
        }
    }
}

proptest! {
    // Each case is read as the answer to every question.
    #![proptest_config(ProptestConfig { cases: 96, ..fixed_cases(0x7265_636f) })]

    #[test]
    fn no_bytes_make_a_reader_of_records_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        read_everywhere(&body);
    }

    #[test]
    fn no_record_makes_an_impossible_reading(records in prop::collection::vec(any_record(), 1..4)) {
        read_everywhere(records[0].as_bytes());
        let list = records.join(",");
        for name in ["data", "records"] {
            read_everywhere(format!(r#"{{"{name}":[{list}],"next_token":"n"}}"#).as_bytes());
        }
    }

    #[test]
    fn no_cut_of_an_answer_makes_a_reader_panic(record in any_record(), cut in any::<prop::sample::Index>()) {
        read_everywhere(&record.as_bytes()[..cut.index(record.len())]);
    }
}
