//! Whatever the order in which deliveries and answers come, and however often, the same is left of them in the end.
//!
//! Not of what has no version but its arrival (an exported average that changes): there the later one is the newer, by
//! contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use actors::cognition::thresholds::Thresholds;
use actors::domain::delivery::{Decoded, Header, Headers};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords};
use actors::domain::ids::{RequestId, UserId};
use actors::domain::time::Timestamp;
use actors::event_message;
use actors::memory::MemoryStore;
use actors::ports::Store as _;
use actors::ports::store::{DeliveryStatus, EncodeEvent, NewDelivery};
use actors::vendors::fetch::read;
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::terra::{Terra, TerraConfig};
use actors::vendors::{Device, Fetched, Owner, RawDelivery, signing};
use bytes::Bytes;
use serde_json::{Value, json};

/// 2026-09-10T12:00:00Z.
const NOW_S: i64 = 1_789_041_600;
const NOW: Timestamp = Timestamp::from_ms(NOW_S * 1000);
const SECRET: &str = "oura-client-secret-4f1c";

const NIGHT: &str = r#"{"id":"6a5f","day":"2026-09-10","type":"long_sleep",
    "bedtime_start":"2026-09-09T23:10:00.000+02:00","bedtime_end":"2026-09-10T07:10:00.000+02:00",
    "total_sleep_duration":25200,"average_heart_rate":52.5,"average_hrv":61,"heart_rate":null}"#;

fn owner() -> Owner {
    Owner {
        account: "A1B2".to_owned(),
        user_id: UserId::parse("user-81").unwrap(),
        zone: None,
        changed_at: NOW.plus_ms(-60_000),
        received_at: NOW,
        fetched_at: NOW,
        is_backfill: false,
    }
}

/// A delivery's header fields.
struct Fields(Vec<(&'static str, String)>);

impl Headers for Fields {
    fn get(&self, name: &str) -> Header<'_> {
        let value = self.0.iter().find(|(field, _)| *field == name);
        value.map_or(Header::Missing, |(_, value)| Header::One(value))
    }
}

/// What a delivery to a device's door brings.
fn pushed(device: &dyn Device, headers: Vec<(&'static str, String)>, body: String) -> Fetched {
    let raw =
        RawDelivery { headers: &Fields(headers), query_user: None, body: body.into(), received_at: NOW };
    let Ok(Decoded::Events { mut drafts, rejected }) = device.decode(&device.verify(raw).unwrap(), NOW)
    else {
        panic!("no events");
    };
    assert_eq!(rejected.total, 0, "{rejected:?}");
    drafts.iter_mut().for_each(|draft| draft.user_id = owner().user_id);
    Fetched { drafts, ..Fetched::default() }
}

fn oura(data_type: OuraDataType, body: String) -> Fetched {
    let fetch = Fetch::Oura(OuraFetch::Record { data_type, id: "a".to_owned() });
    read(&fetch, body.as_bytes(), &owner()).unwrap()
}

/// A night's document as it was after so many minutes.
fn night(minute: u32, change: &str, into: &str) -> Fetched {
    let updated = format!(r#"{{"meta":{{"updated_at":"2026-09-10T08:{minute:02}:00Z"}},"#);
    oura(OuraDataType::Sleep, NIGHT.replacen('{', &updated, 1).replace(change, into))
}

fn summary(id: &str, minute: u32, score: u32) -> Fetched {
    let meta = format!(r#""meta":{{"updated_at":"2026-09-10T08:{minute:02}:00Z"}}"#);
    let body = format!(r#"{{"id":"{id}","day":"2026-09-10","score":{score},{meta}}}"#);
    oura(OuraDataType::DailySleep, body)
}

fn heart_rates(minutes: std::ops::Range<u32>) -> Fetched {
    let row = |minute| {
        let source = if minute % 2 == 0 { "awake" } else { "workout" };
        format!(
            r#"{{"timestamp":"2026-09-10T09:{minute:02}:00Z","bpm":{},"source":"{source}"}}"#,
            60 + minute
        )
    };
    let rows: Vec<String> = minutes.map(row).collect();
    let fetch = OuraFetch::HeartRate { from: NOW, to: NOW, page: None, turned: 0 };
    read(&fetch.into(), format!(r#"{{"data":[{}]}}"#, rows.join(",")).as_bytes(), &owner()).unwrap()
}

fn cycle(minute: u32, strain: f64, end: &str) -> Fetched {
    let body = format!(
        r#"{{"records":[{{"id":9007199254740993,"start":"2026-09-09T21:00:00Z"{end},"score_state":"SCORED",
        "updated_at":"2026-09-10T08:{minute:02}:00Z","score":{{"strain":{strain},"kilojoule":8000}}}}]}}"#
    );
    let records = WhoopRecords::Cycles;
    let fetch = WhoopFetch::Records { records, from: NOW, to: NOW, page: None, turned: 0 };
    read(&fetch.into(), body.as_bytes(), &owner()).unwrap()
}

fn workout(id: &str, minute: u32, strain: u32) -> Fetched {
    let body = format!(
        r#"{{"id":"{id}","start":"2026-09-10T06:00:00Z","end":"2026-09-10T07:00:00Z","score_state":"SCORED",
        "updated_at":"2026-09-10T08:{minute:02}:00Z","score":{{"strain":{strain}}}}}"#
    );
    let fetch = WhoopFetch::Activity { kind: WhoopActivity::Workout, id: id.to_owned() };
    read(&fetch.into(), body.as_bytes(), &owner()).unwrap()
}

/// What a poll of an hour has found: it tells no version of its own.
fn body(hour: i64, weight: u32) -> Fetched {
    let at = Timestamp::from_ms(NOW.as_ms() + hour * 3_600_000);
    let owner = Owner { changed_at: at, received_at: at, fetched_at: at, ..owner() };
    let answer = format!(r#"{{"height_meter":1.8,"weight_kilogram":{weight}}}"#);
    read(&WhoopFetch::Body.into(), answer.as_bytes(), &owner).unwrap()
}

/// A notification of Oura's that a record is gone.
fn deletion(data_type: &str, id: &str, minute: u32) -> Fetched {
    let user = owner().account;
    let body = format!(
        r#"{{"event_type":"delete","data_type":"{data_type}","object_id":"{id}","user_id":"{user}",
        "event_time":"2026-09-10T08:{minute:02}:00Z"}}"#
    );
    let (timestamp, signature) = (NOW_S.to_string(), signing::oura(SECRET, NOW_S, body.as_bytes()));
    let config = OuraConfig { webhook_secret: SECRET.to_owned(), tolerance_s: 300, ..OuraConfig::default() };
    pushed(&Oura::new(&config), vec![("x-oura-timestamp", timestamp), ("x-oura-signature", signature)], body)
}

/// A push of an app's, or an export.
fn healthkit(body: Value) -> Fetched {
    let config = HealthKitConfig { api_keys: vec![SECRET.to_owned()], signature_secret: String::new() };
    let mut body = body;
    body["user_id"] = json!("user-81");
    pushed(&HealthKit::new(&config), vec![("x-api-key", SECRET.to_owned())], body.to_string())
}

/// Heart rates of an app, with ids, of these minutes.
fn samples(minutes: std::ops::Range<u32>) -> Fetched {
    let sample = |minute: u32| {
        json!({
            "uuid": format!("3c6f1f6e-0b0c-4f43-9d1b-{minute:012}"), "type": "heartRate", "value": 60 + minute,
            "unit": "count/min", "timestamp": format!("2026-09-10T09:{minute:02}:00Z"), "source": "Apple Watch",
        })
    };
    healthkit(json!({"samples": minutes.map(sample).collect::<Vec<_>>()}))
}

/// A night as a watch tells it up to this hour.
fn slept(until: u32) -> Fetched {
    let stages = ["asleepCore", "asleepDeep", "asleepREM", "awake"].into_iter().cycle();
    let hour = |(hour, stage): (u32, &str)| {
        json!({
            "type": "sleepAnalysis", "value": stage, "source": "Apple Watch",
            "start": format!("2026-09-10T{hour:02}:00:00Z"), "end": format!("2026-09-10T{:02}:00:00Z", hour + 1),
        })
    };
    healthkit(json!({"samples": (0..until).zip(stages).map(hour).collect::<Vec<_>>()}))
}

/// A window of an export whose last minute still fills: so many steps then, and the others are whole.
fn export(minutes: std::ops::Range<u32>, last: u32, asleep: f64) -> Fetched {
    let end = minutes.end - 1;
    let date = |minute: u32| format!("2026-09-10 06:{minute:02}:00 +0000");
    let steps: Vec<Value> = minutes
        .clone()
        .map(|minute| json!({"date": date(minute), "source": "Watch", "qty": if minute == end { last } else { 100 }}))
        .collect();
    let rates: Vec<Value> =
        minutes.map(|minute| json!({"date": date(minute), "source": "Watch", "Avg": 70 + minute})).collect();
    let night = json!([{"date": "2026-09-10 00:00:00 +0000", "totalSleep": asleep, "inBed": 8, "source": "Watch",
        "sleepStart": "2026-09-09 22:00:00 +0000", "sleepEnd": "2026-09-10 06:00:00 +0000"}]);
    healthkit(json!({"data": {"metrics": [
        {"name": "step_count", "units": "count", "data": steps},
        {"name": "heart_rate", "units": "bpm", "data": rates},
        {"name": "sleep_analysis", "units": "hr", "data": night},
    ]}}))
}

/// A copy of a record of Terra's, the `order`th.
fn terra(kind: &str, order: u32, record: Value) -> Fetched {
    let user = json!({"user_id": "0f2c9a44", "provider": "GARMIN", "reference_id": "user-81"});
    let body = json!({"type": kind, "user": user, "data": [record]}).to_string();
    let config =
        TerraConfig { webhook_secret: SECRET.to_owned(), tolerance_s: 300, ..TerraConfig::default() };
    let signature = signing::terra(SECRET, NOW_S, body.as_bytes());
    let order = (NOW.as_ms() - 1_000 + i64::from(order)).to_string();
    let fields = vec![("x-terra-signature", signature), ("x-terra-ordering-timestamp", order)];
    pushed(&Terra::new(&config), fields, body)
}

/// A day of Terra's with so many steps and samples.
fn day(date: &str, order: u32, steps: u32, samples: usize) -> Fetched {
    let sample = |place: usize| {
        let (hour, minute, second) = (place / 3600, place / 60 % 60, place % 60);
        json!({"timestamp": format!("{date}T{hour:02}:{minute:02}:{second:02}Z"), "bpm": 60 + order})
    };
    let samples: Vec<Value> = (0..samples).map(sample).collect();
    let record = json!({
        "metadata": {"start_time": format!("{date}T00:00:00Z")}, "distance_data": {"steps": steps},
        "heart_rate_data": {"detailed": {"hr_samples": samples}},
    });
    terra("daily", order, record)
}

fn deleted_day(date: &str, order: u32) -> Fetched {
    let metadata = json!({"start_time": format!("{date}T00:00:00Z"), "upload_type": 4});
    terra("daily", order, json!({"metadata": metadata}))
}

fn enriched_night(order: u32, score: Value) -> Fetched {
    let record = json!({
        "metadata": {"summary_id": "n", "start_time": "2026-09-09T22:00:00Z", "end_time": "2026-09-10T06:00:00Z"},
        "sleep_durations_data": {"sleep_efficiency": 80 + order}, "data_enrichment": {"sleep_score": score},
    });
    terra("sleep", order, record)
}

/// All that is ever fetched, in the order of its making.
static TOLD: LazyLock<Vec<Fetched>> = LazyLock::new(told);

/// All that is ever pushed.
static PUSHED: LazyLock<Vec<Fetched>> = LazyLock::new(|| {
    vec![
        samples(0..20),
        samples(10..30),
        slept(4),
        slept(8),
        export(0..10, 5, 6.5),
        export(5..20, 40, 7.25),
        export(0..20, 60, 7.0),
        day("2026-09-08", 1, 100, 1_100),
        day("2026-09-08", 2, 200, 1_050),
        day("2026-09-08", 3, 300, 20),
        day("2026-09-07", 1, 500, 1_100),
        deleted_day("2026-09-07", 2),
        day("2026-09-06", 1, 600, 10),
        deleted_day("2026-09-06", 2),
        day("2026-09-06", 3, 700, 30),
        enriched_night(1, json!(79)),
        enriched_night(2, Value::Null),
    ]
});

fn told() -> Vec<Fetched> {
    const SERIES: &str = r#""heart_rate":null"#;
    let series = |items: &str| {
        format!(
            r#""heart_rate":{{"interval":300,"items":[{items}],"timestamp":"2026-09-09T23:10:00+02:00"}}"#
        )
    };
    vec![
        night(1, SERIES, &series("50,51")),
        night(2, SERIES, &series("52,null,53")),
        night(3, SERIES, SERIES),
        night(4, SERIES, &series("54")),
        night(5, r#""id":"6a5f""#, r#""id":"7b60","sleep_phase_30_sec":"4421""#),
        deletion("sleep", "7b60", 6),
        night(7, r#""id":"6a5f""#, r#""id":"8c71""#),
        night(8, r#""id":"6a5f","day":"2026-09-10","type":"long_sleep""#, r#""id":"8c71","type":"rest""#),
        summary("a", 1, 70),
        summary("b", 2, 71),
        summary("a", 3, 72),
        deletion("daily_sleep", "c", 9),
        heart_rates(0..20),
        heart_rates(10..30),
        cycle(1, 5.5, ""),
        cycle(2, 7.25, ""),
        cycle(3, 9.0, r#","end":"2026-09-10T07:30:00Z""#),
        workout("w1", 1, 8),
        workout("w1", 2, 9),
        workout("w2", 1, 4),
        body(1, 80),
        body(2, 81),
    ]
}

/// What the read API shows in the end: everything of each reading, and whose version it is.
fn left(told: &[Fetched], order: &[usize]) -> Vec<String> {
    let store = MemoryStore::default();
    let thresholds = Thresholds::default();
    let encode: EncodeEvent =
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds));
    let deliveries: Vec<Arc<NewDelivery>> = order
        .iter()
        .map(|place| {
            Arc::new(NewDelivery {
                key: NewDelivery::key_of_its_own(),
                device: "oura",
                request_id: RequestId::generate(),
                received_at: NOW,
                status: DeliveryStatus::Processed,
                body: Bytes::new(),
                drafts: told[*place].drafts.clone(),
                fetches: Vec::new(),
                ends: None,
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for deliveries in deliveries.chunks(3) {
        runtime.block_on(store.commit_deliveries(deliveries, &encode)).unwrap();
    }
    store.read(|contents| {
        let visible = contents.events.iter().filter(|row| row.is_visible);
        let readings = visible.flat_map(|row| {
            let shown = row.event.readings.iter().zip(0_u32..).filter(|(_, at)| !row.hidden.contains(at));
            shown.map(|(reading, _)| format!("{} {} {reading:?}", row.event.kind, row.event.is_backfill))
        });
        // Not a set: what is shown twice is no duplicate of itself.
        let mut readings: Vec<String> = readings.collect();
        readings.sort_unstable();
        readings
    })
}

/// Everything that is told, once or more, in some order.
fn any_order(len: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..len, 0..len)
        .prop_map(move |again| (0..len).chain(again).collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x6f72_6465),
        failure_persistence: None,
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_order_and_every_repetition_ends_in_the_same_readings(order in any_order(TOLD.len())) {
        let in_order: Vec<usize> = (0..TOLD.len()).collect();
        prop_assert_eq!(left(&TOLD, &order), left(&TOLD, &in_order));
    }

    #[test]
    fn every_order_and_every_repetition_of_pushes_ends_in_the_same_readings(order in any_order(PUSHED.len())) {
        let in_order: Vec<usize> = (0..PUSHED.len()).collect();
        prop_assert_eq!(left(&PUSHED, &order), left(&PUSHED, &in_order));
    }
}

#[test]
fn what_is_left_of_pushes_is_the_newest_of_everything() {
    let left = left(&PUSHED, &(0..PUSHED.len()).collect::<Vec<_>>());
    let of = |metric: &str| left.iter().filter(|text| text.contains(&format!("metric: {metric},"))).count();
    // 30 samples and 20 exported averages; of Terra's days 20 and 30.
    assert_eq!(of("HeartRate"), 100);
    // 20 exported minutes and two days; one night of samples and one exported.
    assert_eq!((of("Steps"), of("TotalSleepMinutes"), of("SleepState")), (22, 2, 8));
    assert_eq!((of("SleepScore"), of("SleepEfficiency")), (1, 1), "a null erases no score");
    for newest in ["value: 300.0", "value: 700.0", "value: 60.0", "value: 435.0", "value: 82.0"] {
        assert!(left.iter().any(|text| text.contains(newest)), "{newest}");
    }
    assert!(!left.iter().any(|text| text.contains("value: 500.0")), "it was deleted");
}

#[test]
fn what_is_left_is_the_newest_of_everything() {
    let left = left(&TOLD, &(0..TOLD.len()).collect::<Vec<_>>());
    let of = |metric: &str| left.iter().filter(|text| text.contains(&format!("metric: {metric},"))).count();
    // One night, its one item, 30 rates; one summary, cycle and body; two workouts.
    assert_eq!((of("HeartRate"), of("SleepScore"), of("Strain"), of("Weight")), (32, 1, 1, 1), "{left:#?}");
    assert_eq!((of("WorkoutStrain"), of("TotalSleepMinutes"), of("SleepState")), (2, 1, 0));
    for newest in ["value: 54.0", "value: 72.0", "value: 9.0", "value: 81.0"] {
        assert!(left.iter().any(|text| text.contains(newest)), "{newest}");
    }
}
