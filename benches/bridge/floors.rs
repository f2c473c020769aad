//! What any bridge on this machine could reach: its own doors without a store, and its engine without the doors.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::domain::delivery::{Decoded, Header, Headers};
use actors::domain::ids::RequestId;
use actors::domain::time::Timestamp;
use actors::event_message;
use actors::ports::clock::{Clock, SystemClock};
use actors::ports::store::{Committed, DeliveryStatus, EncodeEvent, NewDelivery, Store};
use actors::vendors::{Device, RawDelivery, delivery_key};
use biometric_bridge::app::{self, DataDir, Engines};
use biometric_bridge::settings::{Settings, Sources};
use biometric_bridge::traffic::{Crowd, Delivery, End, Kind, Pace, Plan, Secrets};

use crate::family::Family;
use crate::no_store;
use crate::options::Options;
use crate::process::{Cpu, Server, folder, plan};
use crate::report::{Results, Row};

/// Deliveries in one transaction of the second floor.
const BATCH: usize = 200;
/// Deliveries that are prepared for a second of the second floor: no engine here takes more.
const PREPARED_PER_SECOND: usize = 15_000;
/// How often a store that is being reached is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Connections of the closed loop.
pub(crate) const CONNECTIONS: usize = 256;

/// The second floor: the family's store without the bridge.
pub(crate) fn engine(options: &Options, family: &Family, results: &mut Results) {
    let home = folder();
    let settings = Settings::read(Sources::from_process().over(family.settings_in(home.path())));
    // The store alone: nothing moves what it holds to the log, nothing reads it.
    let settings = Settings { kafka: None, ..settings.expect("the benchmark's settings") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let data_dir = DataDir::open(&settings.data_dir).expect("a folder");
    let engines = runtime.block_on(Engines::open(&settings, &data_dir)).expect("the engines");
    runtime.block_on(async {
        while engines.store.check().await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let prepared = prepare(&plan(), PREPARED_PER_SECOND * options.seconds.as_secs() as usize);
    let cpu = Cpu::start(&family.processes);
    let (count, time) = runtime.block_on(commit(&*engines.store, &prepared, options.seconds));
    let rate = count as f64 / time.as_secs_f64();
    let name = engines.kinds.store;
    let mut row = Row::new(&format!("floor 2: {name} in batches of {BATCH}, no bridge"), rate);
    row.cpu_us = cpu.per_event(count);
    results.floor_2.insert(family.name, rate);
    results.add(row);
    runtime.block_on(engines.close());
}

/// The first floor.
pub(crate) fn without_a_store(options: &Options, results: &mut Results) {
    let home = folder();
    let program = std::env::current_exe().expect("this program");
    let server = Server::start(Path::new(&program), no_store::COMMAND, home.path(), &[]);
    let pace = Pace::Closed { connections: CONNECTIONS };
    server.send(&plan(), pace, End::After(Duration::from_secs(1)));
    let cpu = Cpu::start(&[("server", server.pid())]);
    let report = server.send(&plan(), pace, End::After(options.seconds));
    let total = report.total();
    let rate = total.succeeded() as f64 / report.elapsed.as_secs_f64();
    let mut row = Row::new("floor 1: the same server without a store", rate);
    row.cpu_us = cpu.per_event(total.succeeded());
    row.latencies(&total.latencies);
    row.refused = total.sent - total.succeeded();
    results.floor_1 = Some(rate);
    results.add(row);
}

struct Fields(HashMap<&'static str, String>);

impl Headers for Fields {
    fn get(&self, name: &str) -> Header<'_> {
        self.0.get(name).map_or(Header::Missing, |value| Header::One(value))
    }
}

/// Deliveries as the writer gets them: verified and decoded.
fn prepare(plan: &Plan, count: usize) -> Vec<Arc<NewDelivery>> {
    let settings = [("OURA_WEBHOOK_SECRET", "secret"), ("HEALTHKIT_API_KEY", "secret")];
    let secrets: Secrets = settings.into_iter().collect();
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(Sources::from_process().over(settings)).expect("the benchmark's settings");
    let devices = app::devices(&settings);
    let mut crowd = Crowd::share(plan, 0, 1);
    let mut next = || {
        let received_at = SystemClock.now();
        let Delivery { kind, body } = crowd.next(received_at.as_ms());
        let device = devices.iter().find(|device| device.name() == kind.device()).expect("a device");
        decode(&**device, kind, &secrets, body, received_at)
    };
    (0..count).map(|_| Arc::new(next())).collect()
}

fn decode(
    device: &dyn Device,
    kind: Kind,
    secrets: &Secrets,
    body: Vec<u8>,
    received_at: Timestamp,
) -> NewDelivery {
    let fields = kind.sign(secrets, &body, received_at.as_ms() / 1_000).expect("a secret");
    let headers = Fields(fields.into_iter().collect());
    let raw = RawDelivery { headers: &headers, query_user: None, body: body.into(), received_at };
    let verified = device.verify(raw).expect("a signature");
    let Ok(Decoded::Events { drafts, .. }) = device.decode(&verified, received_at) else {
        panic!("a delivery without events")
    };
    NewDelivery {
        key: delivery_key(device.name(), &verified),
        device: device.name(),
        request_id: RequestId::generate(),
        received_at,
        status: DeliveryStatus::Processed,
        body: verified.body().clone(),
        drafts,
        fetches: Vec::new(),
        ends: None,
    }
}

/// Commits what is prepared, for at most `limit`: how many, and how long it took.
async fn commit(store: &dyn Store, prepared: &[Arc<NewDelivery>], limit: Duration) -> (u64, Duration) {
    let thresholds = actors::cognition::thresholds::Thresholds::default();
    let encode: EncodeEvent =
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds));
    let (started, mut count) = (Instant::now(), 0);
    for batch in prepared.chunks(BATCH).take_while(|_| started.elapsed() < limit) {
        let results = store.commit_deliveries(batch, &encode).await.expect("the store takes them");
        assert!(results.iter().all(|result| matches!(result, Ok(Committed::Stored(_)))), "each is new");
        count += batch.len() as u64;
    }
    (count, started.elapsed())
}
