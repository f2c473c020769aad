//! Many live users: how much memory they take, how soon a new process is ready, how long dirty states take to become
//! durable.

use std::time::{Duration, Instant};

use actors::domain::time::MS_PER_HOUR;
use biometric_bridge::traffic::{End, Kind, Pace, Plan};

use crate::family::Family;
use crate::machine;
use crate::options::Options;
use crate::process::{Server, folder, plan};
use crate::report::Results;

/// Connections that send.
const CONNECTIONS: usize = 64;
/// A day in one push: a sample an hour.
const DAY_SAMPLES: usize = 24;
/// Users whose states are made dirty at once.
const DIRTY: usize = 10_000;
/// Between two flushes, while dirty states are counted: long enough to dirty all of them.
const FLUSH_SECONDS: u64 = 10;

/// Measures all three.
pub(crate) fn run(options: &Options, family: &Family, results: &mut Results) {
    let home = folder();
    let mut bridge = Server::bridge(home.path(), &family.settings);
    let users = options.users;
    let day = Plan { users, batch: DAY_SAMPLES, sample_every_ms: MS_PER_HOUR, ..plan() };
    let pace = Pace::Closed { connections: CONNECTIONS };
    let idle_kib = machine::memory_kib(bridge.pid(), "VmRSS");
    let sent = bridge.send(&day, pace, End::Count(2 * users as u64)).total();
    bridge.until_applied(sent.events);
    let full_kib = machine::memory_kib(bridge.pid(), "VmRSS");
    let events = sent.events;
    results.figure(
        format!("{users} live users with a day of history ({events} events): RSS"),
        format!("{} MiB ({} MiB before)", full_kib / 1_024, idle_kib / 1_024),
    );
    results.figure(
        "the same: highest RSS on the way".to_owned(),
        format!("{} MiB", machine::memory_kib(bridge.pid(), "VmHWM") / 1_024),
    );
    let stopping = Instant::now();
    bridge.stop();
    results.figure(format!("stop with {users} users, everything flushed"), seconds(stopping.elapsed()));

    let starting = Instant::now();
    let mut settings = family.settings.clone();
    settings.push(("CHECKPOINT_INTERVAL_SECONDS".to_owned(), FLUSH_SECONDS.to_string()));
    let mut bridge = Server::bridge(home.path(), &settings);
    results.figure(format!("start on checkpoints of {users} users until ready"), seconds(starting.elapsed()));

    let dirty = DIRTY.min(users);
    let plan = Plan { users: dirty, kinds: vec![Kind::HealthKit], batch: 1, ..day };
    let before = saved(&bridge);
    let sent = bridge.send(&plan, pace, End::Count(dirty as u64)).total();
    bridge.until_applied(sent.events);
    // Whatever was dirty when the last event was applied is durable after two intervals without another save.
    let mut last = (Instant::now(), saved(&bridge));
    bridge.until("flushed", |bridge| {
        let now = saved(bridge);
        // Sum and count are read one after the other: a save may come in between.
        if now != last.1 {
            last = (Instant::now(), now);
        }
        last.0.elapsed() > Duration::from_secs(FLUSH_SECONDS + 2)
    });
    let (time, saves) = (last.1.0 - before.0, last.1.1 - before.1);
    results.figure(
        format!("{dirty} dirty states by {} events made durable ({saves} flushes)", sent.events),
        seconds(Duration::from_secs_f64(time.max(0.0))),
    );
    bridge.stop();
}

/// The seconds that saves have taken so far, and how many there were.
fn saved(bridge: &Server) -> (f64, f64) {
    let sum = bridge.metric("checkpoint_save_seconds_sum", "");
    (sum, bridge.metric("checkpoint_save_seconds_count", ""))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
