//! End to end: from the sender's request to the user's state.

use std::time::{Duration, Instant};

use biometric_bridge::traffic::{End, Kind, Pace, Plan};

use crate::family::Family;
use crate::floors::{self, CONNECTIONS};
use crate::machine;
use crate::options::Options;
use crate::process::{Cpu, Server, folder, plan};
use crate::report::{Results, Row};

/// Requests a second of the open loop.
const OPEN_RATE: f64 = 1_000.0;
/// Samples in each push of the batches.
const BATCH: usize = 1_000;
/// Connections that push batches.
const BATCH_CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(1);

/// The engine alone; the bridge on it with as much as it takes, and then with a thousand a second.
pub(crate) fn run(options: &Options, family: &Family, results: &mut Results) {
    let name = family.name;
    floors::engine(options, family, results);
    let closed = Pace::Closed { connections: CONNECTIONS };
    let (row, _) = measure(options, family, format!("{name}: {CONNECTIONS} connections"), &plan(), closed);
    results.add(row);
    let open = Pace::Open { per_second: OPEN_RATE };
    let (mut row, overflow) =
        measure(options, family, format!("{name}: {OPEN_RATE} a second"), &plan(), open);
    row.refused += overflow;
    results.p99_of_fsync(&row);
    row.comparable = None;
    results.add(row);
}

/// HealthKit by the thousand.
pub(crate) fn batches(options: &Options, family: &Family, results: &mut Results) {
    let plan = Plan { kinds: vec![Kind::HealthKit], batch: BATCH, ..plan() };
    let closed = Pace::Closed { connections: BATCH_CONNECTIONS };
    let what = format!("{}: HealthKit, batches of {BATCH} (per sample)", family.name);
    let (mut row, _) = measure(options, family, what, &plan, closed);
    row.per_sample(BATCH as f64);
    results.add(row);
}

/// Sends, waits until every event is in its user's state, and counts what all of it has cost. Gives back the arrivals
/// that were not sent, too.
fn measure(options: &Options, family: &Family, what: String, plan: &Plan, pace: Pace) -> (Row, u64) {
    let home = folder();
    let mut bridge = Server::bridge(home.path(), &family.settings);
    let warm = bridge.send(plan, pace, End::After(WARM_UP)).total();
    bridge.until_applied(warm.events);
    let cpu = Cpu::start(&family.watched(&bridge));
    let started = Instant::now();
    // Others than those who have warmed it up: nothing of theirs is known.
    let plan = Plan { seed: plan.seed.wrapping_add(1), ..plan.clone() };
    let report = bridge.send(&plan, pace, End::After(options.seconds));
    let total = report.total();
    bridge.until_applied(warm.events + total.events);
    let to_state = started.elapsed();

    let mut row = Row::new(&what, total.succeeded() as f64 / report.elapsed.as_secs_f64());
    row.to_state = Some(total.events as f64 / to_state.as_secs_f64());
    row.comparable = Some(family.name);
    row.cpu_us = cpu.per_event(total.succeeded());
    row.latencies(&total.latencies);
    row.rss_max_mib = Some(machine::memory_kib(bridge.pid(), "VmHWM") as f64 / 1_024.0);
    row.refused = total.sent - total.succeeded();
    bridge.stop();
    (row, report.overflow)
}
