//! Whatever the order in which answers and notifications come, and however often, the same is left of them in the end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
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
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::{Device as _, Fetched, Owner, RawDelivery, signing};
use bytes::Bytes;

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

/// The header fields that Oura signs with.
struct Signed {
    timestamp: String,
    signature: String,
}

impl Headers for Signed {
    fn get(&self, name: &str) -> Header<'_> {
        match name {
            "x-oura-timestamp" => Header::One(&self.timestamp),
            "x-oura-signature" => Header::One(&self.signature),
            _ => Header::Missing,
        }
    }
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
    let (device, headers) = (Oura::new(&config), &Signed { timestamp, signature });
    let raw = RawDelivery { headers, query_user: None, body: body.into(), received_at: NOW };
    let Ok(Decoded::Events { mut drafts, .. }) = device.decode(&device.verify(raw).unwrap(), NOW) else {
        panic!("a deletion is an event");
    };
    drafts.iter_mut().for_each(|draft| draft.user_id = owner().user_id);
    Fetched { drafts, ..Fetched::default() }
}

/// All that is ever told, in the order of its making.
static TOLD: LazyLock<Vec<Fetched>> = LazyLock::new(told);

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
fn left(order: &[usize]) -> BTreeSet<String> {
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
                drafts: TOLD[*place].drafts.clone(),
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
        readings.collect()
    })
}

/// Everything that is told, once or more, in some order.
fn any_order() -> impl Strategy<Value = Vec<usize>> {
    let len = TOLD.len();
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
    fn every_order_and_every_repetition_ends_in_the_same_readings(order in any_order()) {
        let in_order: Vec<usize> = (0..TOLD.len()).collect();
        prop_assert_eq!(left(&order), left(&in_order));
    }
}

#[test]
fn what_is_left_is_the_newest_of_everything() {
    let left = left(&(0..TOLD.len()).collect::<Vec<_>>());
    let of = |metric: &str| left.iter().filter(|text| text.contains(&format!("metric: {metric},"))).count();
    // One night, its one item, 30 rates; one summary, cycle and body; two workouts.
    assert_eq!((of("HeartRate"), of("SleepScore"), of("Strain"), of("Weight")), (32, 1, 1, 1), "{left:#?}");
    assert_eq!((of("WorkoutStrain"), of("TotalSleepMinutes"), of("SleepState")), (2, 1, 0));
    for newest in ["value: 54.0", "value: 72.0", "value: 9.0", "value: 81.0"] {
        assert!(left.iter().any(|text| text.contains(newest)), "{newest}");
    }
}
