//! What verifying and decoding one delivery of each vendor costs, beside `serde_json` reading the same body into plain
//! structs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use actors::domain::delivery::{Header, Headers};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopFetch};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::terra::{Terra, TerraConfig};
use actors::vendors::whoop::{Whoop, WhoopConfig};
use actors::vendors::{Device, Owner, RawDelivery, fetch, signing};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::report::Results;

/// 2026-09-10T12:00:00Z.
const NOW_S: i64 = 1_789_041_600;
const NOW: Timestamp = Timestamp::from_ms(NOW_S * 1000);
const SECRET: &str = "test-secret-of-the-benchmark";
const KEY: &str = "test-key-of-the-benchmark";
const TOLERANCE_S: u32 = 300;

/// The two are measured in turns of so long, so that whatever else the machine does hits both.
const TURN: Duration = Duration::from_millis(20);
const TURNS: usize = 50;

/// Bodies in serde's own words: the fields that the decoders read, each in its natural type.
mod plain {
    use serde::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct OuraNotification {
        pub(super) event_type: String,
        pub(super) data_type: String,
        pub(super) object_id: String,
        pub(super) event_time: String,
        pub(super) user_id: String,
    }

    #[derive(Deserialize)]
    pub(super) struct WhoopNotification {
        pub(super) user_id: i64,
        pub(super) id: String,
        #[serde(rename = "type")]
        pub(super) kind: String,
        pub(super) trace_id: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Series {
        pub(super) interval: f64,
        pub(super) items: Vec<Option<f64>>,
        pub(super) timestamp: String,
    }

    #[derive(Deserialize)]
    pub(super) struct OuraSleep {
        pub(super) id: String,
        pub(super) day: String,
        #[serde(rename = "type")]
        pub(super) kind: String,
        pub(super) bedtime_start: String,
        pub(super) bedtime_end: String,
        pub(super) total_sleep_duration: u32,
        pub(super) deep_sleep_duration: u32,
        pub(super) light_sleep_duration: u32,
        pub(super) rem_sleep_duration: u32,
        pub(super) awake_time: u32,
        pub(super) time_in_bed: u32,
        pub(super) latency: u32,
        pub(super) efficiency: u32,
        pub(super) average_breath: f64,
        pub(super) average_heart_rate: f64,
        pub(super) lowest_heart_rate: u32,
        pub(super) average_hrv: u32,
        pub(super) heart_rate: Series,
        pub(super) hrv: Series,
        pub(super) sleep_phase_5_min: String,
    }

    #[derive(Deserialize)]
    pub(super) struct RecoveryScore {
        pub(super) recovery_score: f64,
        pub(super) resting_heart_rate: f64,
        pub(super) hrv_rmssd_milli: f64,
        pub(super) spo2_percentage: f64,
        pub(super) skin_temp_celsius: f64,
    }

    #[derive(Deserialize)]
    pub(super) struct WhoopRecovery {
        pub(super) cycle_id: i64,
        pub(super) sleep_id: String,
        pub(super) user_id: i64,
        pub(super) created_at: String,
        pub(super) updated_at: String,
        pub(super) score_state: String,
        pub(super) score: RecoveryScore,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraUser {
        pub(super) user_id: String,
        pub(super) provider: String,
        pub(super) reference_id: String,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraMetadata {
        pub(super) start_time: String,
        pub(super) end_time: String,
        pub(super) upload_type: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraDistance {
        pub(super) steps: u32,
        pub(super) distance_meters: f64,
        pub(super) floors_climbed: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraSample {
        pub(super) timestamp: String,
        pub(super) bpm: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraSummary {
        pub(super) avg_hr_bpm: f64,
        pub(super) resting_hr_bpm: u32,
        pub(super) avg_hrv_rmssd: f64,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraDetailed {
        pub(super) hr_samples: Vec<TerraSample>,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraHeart {
        pub(super) summary: TerraSummary,
        pub(super) detailed: TerraDetailed,
    }

    #[derive(Deserialize)]
    pub(super) struct TerraDay {
        pub(super) metadata: TerraMetadata,
        pub(super) distance_data: TerraDistance,
        pub(super) heart_rate_data: TerraHeart,
    }

    #[derive(Deserialize)]
    pub(super) struct Terra {
        #[serde(rename = "type")]
        pub(super) kind: String,
        pub(super) user: TerraUser,
        pub(super) data: Vec<TerraDay>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Sample {
        pub(super) uuid: String,
        #[serde(rename = "type")]
        pub(super) kind: String,
        pub(super) value: f64,
        pub(super) unit: String,
        pub(super) start_date: String,
        pub(super) end_date: String,
        pub(super) source: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Push {
        pub(super) user_id: String,
        pub(super) samples: Vec<Sample>,
    }
}

struct Fields(Vec<(&'static str, String)>);

impl Headers for Fields {
    fn get(&self, name: &str) -> Header<'_> {
        let value = self.0.iter().find(|(field, _)| *field == name);
        value.map_or(Header::Missing, |(_, value)| Header::One(value))
    }
}

/// The mean time of one call in a turn.
fn turn(call: &mut dyn FnMut()) -> f64 {
    let (started, mut calls) = (Instant::now(), 0_u32);
    while started.elapsed() < TURN {
        call();
        calls += 1;
    }
    started.elapsed().as_secs_f64() / f64::from(calls)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn compare(results: &mut Results, what: &str, body: &[u8], mut ours: impl FnMut(), mut plain: impl FnMut()) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        times.0.push(turn(&mut ours));
        times.1.push(turn(&mut plain));
    }
    let (ours, plain) = (median(times.0) * 1e6, median(times.1) * 1e6);
    results.figure(
        format!("decode {what}, {} bytes", body.len()),
        format!("{ours:.1} µs, {:.2} times serde_json's {plain:.1} µs", ours / plain),
    );
}

/// A delivery to a door: verified, then decoded.
fn delivery<T: DeserializeOwned>(
    results: &mut Results,
    what: &str,
    device: &dyn Device,
    fields: Vec<(&'static str, String)>,
    body: &serde_json::Value,
) {
    let (body, headers) = (Bytes::from(body.to_string()), Fields(fields));
    let ours = || {
        let raw = RawDelivery { headers: &headers, query_user: None, body: body.clone(), received_at: NOW };
        let verified = device.verify(raw).expect("a good signature");
        black_box(device.decode(&verified, NOW).expect("a good body"));
    };
    compare(results, what, &body, ours, || {
        black_box(serde_json::from_slice::<T>(&body).expect("the same body"));
    });
}

/// An answer of a vendor's API.
fn answer<T: DeserializeOwned>(results: &mut Results, what: &str, asked: &Fetch, body: &serde_json::Value) {
    let owner = Owner {
        account: "account".to_owned(),
        user_id: UserId::parse("user-81").expect("an id"),
        zone: None,
        changed_at: NOW,
        received_at: NOW,
        fetched_at: NOW,
        is_backfill: false,
    };
    let body = body.to_string().into_bytes();
    let ours = || {
        let fetched = fetch::read(asked, &body, &owner).expect("a good answer");
        assert!(!fetched.drafts.is_empty(), "{what} has brought nothing");
        black_box(fetched);
    };
    compare(results, what, &body, ours, || {
        black_box(serde_json::from_slice::<T>(&body).expect("the same body"));
    });
}

pub(crate) fn run(results: &mut Results) {
    oura(results);
    whoop(results);
    healthkit(results);
    terra(results);
}

fn oura(results: &mut Results) {
    let device = Oura::new(&OuraConfig {
        webhook_secret: SECRET.to_owned(),
        verification_token: KEY.to_owned(),
        tolerance_s: TOLERANCE_S,
    });
    let notification = json!({
        "event_type": "update", "data_type": "daily_readiness", "user_id": "A1B2C3D4E5",
        "object_id": "6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11", "event_time": "2026-09-10T12:00:00+00:00",
    });
    let signature = signing::oura(SECRET, NOW_S, notification.to_string().as_bytes());
    let fields = vec![("x-oura-signature", signature), ("x-oura-timestamp", NOW_S.to_string())];
    delivery::<plain::OuraNotification>(results, "Oura's notification", &device, fields, &notification);
    let series = |low: i64, high: i64| {
        let items: Vec<_> = (0..96).map(|i| (i % 9 != 0).then_some(low + i * 7 % (high - low))).collect();
        json!({"interval": 300.0, "items": items, "timestamp": "2026-09-09T22:30:00.000+02:00"})
    };
    let sleep = json!({
        "id": "2b6f0c52-73b1-4c0e-9d55-6f2f3f0b7a12", "day": "2026-09-10", "type": "long_sleep", "period": 0,
        "bedtime_start": "2026-09-09T22:30:00+02:00", "bedtime_end": "2026-09-10T06:30:00+02:00",
        "total_sleep_duration": 26_400, "deep_sleep_duration": 5_400, "light_sleep_duration": 14_400,
        "rem_sleep_duration": 6_600, "awake_time": 2_400, "time_in_bed": 28_800, "latency": 600,
        "efficiency": 92, "average_breath": 14.5, "average_heart_rate": 54.2, "lowest_heart_rate": 47,
        "average_hrv": 61, "heart_rate": series(46, 70), "hrv": series(30, 110),
        "sleep_phase_5_min": "4222111122223333".repeat(6),
    });
    let asked = OuraFetch::Record {
        data_type: OuraDataType::Sleep,
        id: "2b6f0c52-73b1-4c0e-9d55-6f2f3f0b7a12".to_owned(),
    };
    answer::<plain::OuraSleep>(results, "Oura's sleep with its series", &asked.into(), &sleep);
}

fn whoop(results: &mut Results) {
    let device = Whoop::new(&WhoopConfig { webhook_secret: SECRET.to_owned(), tolerance_s: TOLERANCE_S });
    let notification = json!({
        "user_id": 456_789, "id": "3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10", "type": "recovery.updated",
        "trace_id": "0d9f2a1c-6a54-4a3e-8a54-2f0c7d1e4b55",
    });
    let signature = signing::whoop(SECRET, NOW_S * 1000, notification.to_string().as_bytes());
    let fields =
        vec![("x-whoop-signature", signature), ("x-whoop-signature-timestamp", (NOW_S * 1000).to_string())];
    delivery::<plain::WhoopNotification>(results, "WHOOP's notification", &device, fields, &notification);
    let recovery = json!({
        "cycle_id": 93_845, "sleep_id": "3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10", "user_id": 456_789,
        "created_at": "2026-09-10T06:25:44.774Z", "updated_at": "2026-09-10T07:25:44.774Z", "score_state": "SCORED",
        "score": {
            "user_calibrating": false, "recovery_score": 61.0, "resting_heart_rate": 58.0,
            "hrv_rmssd_milli": 31.813_562, "spo2_percentage": 95.6875, "skin_temp_celsius": 33.7,
        },
    });
    let asked = WhoopFetch::Recovery { cycle_id: "93845".to_owned() };
    answer::<plain::WhoopRecovery>(results, "WHOOP's recovery", &asked.into(), &recovery);
}

fn healthkit(results: &mut Results) {
    let device =
        HealthKit::new(&HealthKitConfig { api_keys: vec![KEY.to_owned()], signature_secret: String::new() });
    let sample = |i: i64| {
        let at = Timestamp::from_ms((NOW_S - i) * 1000).to_string();
        json!({
            "uuid": format!("3c6f1f6e-0b0c-4f43-9d1b-{i:012x}"), "type": "HKQuantityTypeIdentifierHeartRate",
            "value": 60 + i % 40, "unit": "count/min", "startDate": at, "endDate": at, "source": "Apple Watch",
        })
    };
    for samples in [1, 1_000] {
        let body = json!({"user_id": "user-81", "samples": (0..samples).map(sample).collect::<Vec<_>>()});
        let what = format!("a push of HealthKit's, samples: {samples}");
        delivery::<plain::Push>(results, &what, &device, vec![("x-api-key", KEY.to_owned())], &body);
    }
}

fn terra(results: &mut Results) {
    let device = Terra::new(&TerraConfig {
        webhook_secret: SECRET.to_owned(),
        tolerance_s: TOLERANCE_S,
        ..TerraConfig::default()
    });
    let sample = |i: i64| {
        let at = Timestamp::from_ms((NOW_S - 86_400 + i * 60) * 1000).to_string();
        json!({"timestamp": at, "bpm": 50 + i % 60})
    };
    // A day's sums alone, and with a heart rate of every minute.
    for samples in [0, 900] {
        let body = json!({
            "type": "daily", "version": "2022-03-16",
            "user": {"user_id": "0f2c9a44-6d0e-4b3f-a0a5-58b9a1f3c7de", "provider": "GARMIN", "reference_id": "user-81"},
            "data": [{
                "metadata": {
                    "start_time": "2026-09-09T12:00:00.000000+00:00", "end_time": "2026-09-10T12:00:00.000000+00:00",
                    "upload_type": 1,
                },
                "distance_data": {"steps": 8_412, "distance_meters": 6_050.5, "floors_climbed": 4},
                "heart_rate_data": {
                    "summary": {"avg_hr_bpm": 72.5, "resting_hr_bpm": 55, "avg_hrv_rmssd": 41.25},
                    "detailed": {"hr_samples": (0..samples).map(sample).collect::<Vec<_>>()},
                },
            }],
        });
        let signature = signing::terra(SECRET, NOW_S, body.to_string().as_bytes());
        let fields = vec![
            ("x-terra-signature", signature),
            ("x-terra-ordering-timestamp", (NOW_S * 1000).to_string()),
            ("x-terra-trace-id", "5b1c2f5e-73b1-4c0e-9d55-6f2f3f0b7a11".to_owned()),
        ];
        let what = format!("a day of Terra's, samples: {samples}");
        delivery::<plain::Terra>(results, &what, &device, fields, &body);
    }
}
