//! `whatif` on a month of a thousand users: how long it takes, and how much memory.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::cognition::thresholds::Thresholds;
use actors::domain::admission::{EventDraft, Facts, Version};
use actors::domain::event::{DeviceType, HrvMethod, Reading};
use actors::domain::ids::{Identity, RequestId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_DAY, Timestamp};
use actors::event_message;
use actors::ports::store::{Committed, DeliveryStatus, EncodeEvent, NewDelivery, Store};
use biometric_bridge::app::{DataDir, Engines};
use biometric_bridge::settings::{Settings, Sources};
use biometric_bridge::traffic::noise;
use serde_json::Value;

use crate::family::Family;
use crate::machine;
use crate::process::{BRIDGE, command, folder};
use crate::report::Results;

/// The aim's: so many users …
const USERS: usize = 1_000;
/// … with so many days …
const DAYS: i64 = 30;
/// … of so many events each.
const EVENTS_PER_DAY: i64 = 50;
/// 2026-09-01T00:00:00Z.
const START_MS: i64 = 1_788_220_800_000;
const END_MS: i64 = START_MS + DAYS * MS_PER_DAY;
const EVERY_MS: i64 = MS_PER_DAY / EVENTS_PER_DAY;
/// Thresholds under which some switch otherwise.
const CANDIDATE: &str = "thresholds:\n  hrv_drop_ms: 20\n  stress_level_high: 0.6\n";
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Measures it.
pub(crate) fn run(family: &Family, results: &mut Results) {
    let home = folder();
    let filling = Instant::now();
    let settings = Settings::read(Sources::from_process().over(family.settings_in(home.path())));
    fill(&settings.expect("the benchmark's settings"));
    let filled = filling.elapsed();
    std::fs::write(home.path().join("candidate.yaml"), CANDIDATE).expect("written");
    let times = [START_MS, END_MS].map(|ms| Timestamp::from_ms(ms).to_string());
    let mut command = command(BRIDGE.as_ref(), "whatif", home.path(), &family.settings);
    command.args(["--json", "--config", "candidate.yaml", "--from", &times[0], "--to", &times[1]]);
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("it starts");
    // Its answer is longer than a pipe holds.
    let mut answer = child.stdout.take().expect("a pipe");
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut answer));
    let (mut memory_kib, mut cpu) = (0, Duration::ZERO);
    let status = loop {
        let (memory, used) = (machine::memory_kib(child.id(), "VmHWM"), machine::cpu(child.id()));
        (memory_kib, cpu) = (memory_kib.max(memory), cpu.max(used));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::park_timeout(LOOK_EVERY);
    };
    let elapsed = started.elapsed();
    assert!(status.success(), "whatif ended with {status}");
    let answer = reading.join().expect("it was read").expect("text");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let events = USERS as i64 * DAYS * EVENTS_PER_DAY;
    assert_eq!(answer["events"], events, "every event is replayed");
    let switches = [&answer["current"]["switches"], &answer["candidate"]["switches"]];
    results.figure(
        format!("whatif: {events} events of {USERS} users ({DAYS} days of {EVENTS_PER_DAY} a day) by two thresholds"),
        format!("{:.1} s, {:.1} s of CPU", elapsed.as_secs_f64(), cpu.as_secs_f64()),
    );
    results.figure("the same: highest RSS".to_owned(), format!("{} MiB", memory_kib / 1_024));
    results.figure(
        "the same: switches now and by the candidate; seconds that filling the store took before".to_owned(),
        format!("{} and {}; {:.0} s", switches[0], switches[1], filled.as_secs_f64()),
    );
}

/// Puts the events into the store through its adapter: at each moment one of every user.
fn fill(settings: &Settings) {
    let users: Vec<UserId> =
        (0..USERS).map(|user| UserId::parse(&format!("user-{user:04}")).expect("an id")).collect();
    let thresholds = Thresholds::default();
    let encode: EncodeEvent =
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let data_dir = DataDir::open(&settings.data_dir).expect("a folder");
    runtime.block_on(async {
        let engines = Engines::open(settings, &data_dir).await.expect("the engines");
        while engines.store.check().await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for ms in (START_MS..END_MS).step_by(EVERY_MS as usize) {
            commit(&*engines.store, ms, &users, &encode).await;
        }
        engines.close().await;
    });
}

async fn commit(store: &dyn Store, ms: i64, users: &[UserId], encode: &EncodeEvent) {
    let delivery = NewDelivery {
        key: NewDelivery::key_of_its_own(),
        device: "inject",
        request_id: RequestId::generate(),
        received_at: Timestamp::from_ms(ms),
        status: DeliveryStatus::Processed,
        body: Vec::new().into(),
        drafts: users.iter().enumerate().map(|(number, user)| draft(number as u64, user, ms)).collect(),
        fetches: Vec::new(),
        ends: None,
    };
    let results = store.commit_deliveries(&[Arc::new(delivery)], encode).await.expect("the store takes it");
    assert!(results.iter().all(|result| matches!(result, Ok(Committed::Stored(_)))), "it is new");
}

/// A heart rate and a stress level, with every other event a variability, with the day's first a recovery.
fn draft(number: u64, user: &UserId, ms: i64) -> EventDraft {
    let at = Timestamp::from_ms(ms);
    let reading = |metric: Metric, low: f64, high: f64, digits: f64| {
        let value = low + noise(number, metric as u64, ms) * (high - low);
        Reading::new(metric, (value * digits).round() / digits, at, 0.95)
    };
    let mut readings =
        vec![reading(Metric::HeartRate, 55.0, 95.0, 1.0), reading(Metric::StressLevel, 0.0, 0.9, 100.0)];
    let event = (ms - START_MS) / EVERY_MS;
    if event % 2 == 0 {
        let method = Some(HrvMethod::Rmssd);
        readings.push(Reading { method, ..reading(Metric::Hrv, 28.0, 75.0, 10.0) });
    }
    if event % EVENTS_PER_DAY == 0 {
        readings.push(reading(Metric::RecoveryScore, 30.0, 95.0, 1.0));
    }
    EventDraft {
        device_type: DeviceType::OuraRing,
        user_id: user.clone(),
        kind: "sample".into(),
        timestamp: at,
        received_at: at,
        is_backfill: false,
        deleted: false,
        event_id: None,
        record_id: None,
        facts: Facts::Record {
            identity: Identity::of(&[user.as_str().as_bytes(), &ms.to_be_bytes()]),
            also: None,
            version: Version::Fixed,
            readings,
        },
    }
}
