//! Every field that is listed as a source is read, and becomes what the list says; nothing becomes what is not listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::oura_records::owner;
use super::terra::decode_terra;
use super::*;
use crate::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords};
use crate::domain::metric::Metric;
use crate::vendors::fetch::read;
use crate::vendors::sources::{self, Source};

/// One of these is a value of every field, in whatever unit.
fn values() -> Vec<Value> {
    let numbers = [1.0, 0.5, 3.0, 15.0, 37.0, 60.0, 97.0, 175.0, 3_600.0, 3_600_000.0].map(|it| json!(it));
    let words = ["4421", "strong", "asleepDeep"].map(|it| json!(it));
    numbers.into_iter().chain(words).collect()
}

const START: &str = "2026-09-09T22:00:00Z";
const END: &str = "2026-09-10T06:00:00Z";

/// Puts `value` where these members lead.
fn put(into: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => *into = value,
        [name, rest @ ..] => put(&mut into[*name], rest, value),
    }
}

fn metrics(drafts: &[EventDraft]) -> BTreeSet<Metric> {
    let of = |draft: &EventDraft| -> Vec<Metric> {
        match &draft.facts {
            Facts::Record { readings, .. } | Facts::Part { readings, .. } => {
                readings.iter().map(|reading| reading.metric).collect()
            }
            Facts::Readings(facts) => facts.iter().map(|fact| fact.reading.metric).collect(),
        }
    };
    drafts.iter().flat_map(of).collect()
}

/// What a delivery or an answer is read as; nothing if it is refused.
fn of_events(decoded: Result<Decoded, DecodeError>) -> BTreeSet<Metric> {
    match decoded {
        Ok(Decoded::Events { drafts, .. }) => metrics(&drafts),
        _ => BTreeSet::new(),
    }
}

fn of_answer(fetch: impl Into<Fetch>, body: &Value) -> BTreeSet<Metric> {
    read(&fetch.into(), body.to_string().as_bytes(), &owner())
        .map_or_else(|_| BTreeSet::new(), |fetched| metrics(&fetched.drafts))
}

fn inline(path: &[&str], value: Value) -> Vec<u8> {
    let mut body = json!({"user_id": "user-81", "timestamp": END});
    put(&mut body, path, value);
    body.to_string().into_bytes()
}

fn oura(record: &str, path: &[&str], value: Value) -> BTreeSet<Metric> {
    if record == "heartrate" {
        let mut row = json!({"timestamp": END, "source": "awake"});
        put(&mut row, path, value);
        let (page, turned) = (None, 0);
        return of_answer(OuraFetch::HeartRate { from: NOW, to: NOW, page, turned }, &json!({"data": [row]}));
    }
    let data_type = OuraDataType::ALL.into_iter().find(|data_type| data_type.name() == record).unwrap();
    let kind = if data_type == OuraDataType::Sleep { "long_sleep" } else { "meditation" };
    let mut body = json!({
        "id": "6a5f", "day": "2026-09-10", "type": kind, "bedtime_start": START, "bedtime_end": END,
        "start_datetime": START, "end_datetime": END,
    });
    match path {
        [series, "items"] => {
            body[*series] = json!({"interval": 300, "timestamp": START, "items": [value]});
        }
        path => put(&mut body, path, value),
    }
    of_answer(OuraFetch::Record { data_type, id: "6a5f".to_owned() }, &body)
}

fn whoop(record: &str, path: &[&str], value: Value) -> BTreeSet<Metric> {
    let mut body = json!({
        "id": "6a5f", "sleep_id": "6a5f", "created_at": END, "updated_at": END, "start": START, "end": END,
        "score_state": "SCORED",
    });
    match path {
        ["score", "stage_summary", "light + slow wave + REM"] => {
            for stage in ["light_sleep", "slow_wave_sleep", "rem_sleep"] {
                body["score"]["stage_summary"][format!("total_{stage}_time_milli")] = value.clone();
            }
        }
        path => put(&mut body, path, value),
    }
    let id = "6a5f".to_owned();
    match record {
        "sleep" => of_answer(WhoopFetch::Activity { kind: WhoopActivity::Sleep, id }, &body),
        "workout" => of_answer(WhoopFetch::Activity { kind: WhoopActivity::Workout, id }, &body),
        "recovery" => of_answer(WhoopFetch::Recovery { cycle_id: "1".to_owned() }, &body),
        "body" => of_answer(WhoopFetch::Body, &body),
        _ => {
            let (records, page, turned) = (WhoopRecords::Cycles, None, 0);
            let fetch = WhoopFetch::Records { records, from: NOW, to: NOW, page, turned };
            of_answer(fetch, &json!({"records": [body]}))
        }
    }
}

fn terra(record: &str, path: &[&str], value: Value) -> BTreeSet<Metric> {
    if record == "inline" {
        let mut body = json!({"user": {"user_id": "user-81"}, "ts": END});
        put(&mut body, path, value);
        return of_events(decode_terra(&[], &body.to_string()));
    }
    let mut data = json!({"metadata": {"start_time": START, "end_time": END, "summary_id": "6a5f"}});
    let list = path.iter().position(|name| name.ends_with("samples") || *name == "measurements");
    let list = list.or_else(|| path.iter().position(|name| name.contains("_samples_")));
    match list {
        Some(list) => {
            let mut sample = json!({"timestamp": START, "measurement_time": START, "type": "SpO2"});
            put(&mut sample, &path[list + 1..], value);
            put(&mut data, &path[..=list], json!([sample]));
        }
        None => put(&mut data, path, value),
    }
    let user = json!({"user_id": "0f2c9a44", "provider": "GARMIN", "reference_id": "user-81"});
    of_events(decode_terra(&[], &json!({"type": record, "user": user, "data": [data]}).to_string()))
}

fn healthkit(record: &str, path: &[&str], value: Value) -> BTreeSet<Metric> {
    let sample =
        |kind: &str, value: &Value| json!({"type": kind, "value": value, "start": START, "end": END});
    let body = match (record, path) {
        ("samples", ["bloodpressure"]) => {
            let pressures = json!({"type": "bloodpressure", "systolic": 121, "diastolic": 79, "date": END});
            json!({"user_id": "user-81", "samples": [pressures]})
        }
        ("samples", ["sleepanalysis, summed up"]) => {
            let states = [0, 2, 3, 4, 5].map(|state| sample("sleepanalysis", &json!(state)));
            json!({"user_id": "user-81", "samples": states})
        }
        ("samples", [kind]) => {
            let kind = kind.trim_end_matches(", small");
            json!({"user_id": "user-81", "samples": [sample(kind, &value)]})
        }
        ("metrics", [name, rest @ ..]) => {
            let name = name.trim_end_matches(", small");
            let mut point = json!({"date": START, "startDate": START, "endDate": END});
            put(&mut point, if rest.is_empty() { &["qty"] } else { rest }, value);
            json!({"user_id": "user-81", "data": {"metrics": [{"name": name, "data": [point]}]}})
        }
        ("workouts", ["heartRateData"]) => {
            let rates = json!([{"date": START, "Avg": value}]);
            let workout = json!({"name": "Run", "start": START, "end": END, "heartRateData": rates});
            json!({"user_id": "user-81", "data": {"workouts": [workout]}})
        }
        (_, path) => {
            let mut workout = json!({"name": "Run", "start": START, "end": END});
            put(&mut workout, path, value);
            json!({"user_id": "user-81", "data": {"workouts": [workout]}})
        }
    };
    of_events(decode_healthkit(body.to_string().as_bytes()))
}

/// Everything that this field alone, with some value, is read as.
fn read_as(source: &Source) -> BTreeSet<Metric> {
    let mut names = source.field.split('.');
    let record = names.next().unwrap();
    let path: Vec<&str> = names.collect();
    let read = |value: Value| match (source.vendor, record) {
        ("oura", "inline") => of_events(decode_oura_inline(&inline(&path, value))),
        ("whoop", "inline") => of_events(decode_whoop_inline(&inline(&path, value))),
        ("oura", _) => oura(record, &path, value),
        ("whoop", _) => whoop(record, &path, value),
        ("healthkit", _) => healthkit(record, &path, value),
        ("terra", _) => terra(record, &path, value),
        (vendor, _) => panic!("another vendor: {vendor}"),
    };
    values().into_iter().flat_map(read).collect()
}

#[test]
fn every_listed_source_is_read_and_nothing_else_comes_of_it() {
    let all = sources::all();
    for source in &all {
        let found = read_as(source);
        assert!(found.contains(&source.metric), "{source:?} is read as {found:?}");
        for metric in found {
            let is_listed =
                all.iter().any(|listed| listed.vendor == source.vendor && listed.metric == metric);
            assert!(is_listed, "{} makes {metric:?} of something, unlisted", source.vendor);
        }
    }
}

/// The modules of `vendors`, a folder or a file each, in which there is a device.
fn modules_with_a_device() -> BTreeSet<String> {
    let vendors = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vendors");
    let has_device = |module: &Path| {
        let file = if module.is_dir() { module.join("mod.rs") } else { module.to_owned() };
        fs::read_to_string(file).is_ok_and(|text| text.contains("\nimpl Device for "))
    };
    let modules = fs::read_dir(vendors).unwrap().map(|entry| entry.unwrap().path());
    let named = |module: PathBuf| module.file_stem().unwrap().to_str().unwrap().to_owned();
    modules.filter(|module| has_device(module)).map(named).collect()
}

#[test]
fn every_vendor_with_a_device_has_its_sources_listed() {
    let listed: BTreeSet<String> = sources::all().iter().map(|source| source.vendor.to_owned()).collect();
    assert_eq!(modules_with_a_device(), listed);
}

#[test]
fn every_metric_has_a_source_and_every_source_a_unit_of_its_metric() {
    let all = sources::all();
    for metric in Metric::ALL {
        assert!(all.iter().any(|source| source.metric == *metric), "{metric:?} comes from nowhere");
    }
    for source in &all {
        let Some(unit) = source.unit else { continue };
        let units = source.metric.dimension().units();
        assert!(units.contains(&unit), "{source:?}");
    }
}
