//! `make bench`: what the bridge takes in, beside two floors, and what it costs. See `docs/benchmarks.md`.
//!
//! The bridge runs as a process of its own; this program sends to it, and counts what each process has used.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be run ends there, and says why")]
#![allow(dead_code, reason = "each program uses its part of the common helpers")]
#![allow(clippy::disallowed_methods, reason = "nobody else is on the thread of a helper that waits")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its results are for people")]

#[path = "../../tests/support/kafka.rs"]
mod cluster;
mod decode;
mod family;
mod fetches;
mod floors;
mod folds;
mod intake;
mod known;
mod long_bodies;
mod machine;
mod no_store;
mod options;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
mod process;
#[path = "../../tests/support/redis.rs"]
mod redis_server;
mod report;
#[path = "../../tests/support/services.rs"]
mod services;
mod states;
mod switches;
mod whatif;

use family::Family;
use options::{Options, Section};
use report::Results;

/// As the bridge has it, so that the floors stand on the same ground.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // The first floor is a server of its own, which this program is too.
    if std::env::args().nth(1).as_deref() == Some(no_store::COMMAND) {
        return no_store::serve();
    }
    let options = Options::from_process();
    let mut results = Results::new(machine::fsync());
    for section in options.sections() {
        println!("… {}", section.name());
        match section {
            Section::Decode => decode::run(&mut results),
            Section::Floors => floors::without_a_store(&options, &mut results),
            Section::Embedded => intake::run(&options, &Family::embedded(), &mut results),
            Section::Production => match Family::production() {
                Some(family) => intake::run(&options, &family, &mut results),
                None => results.figure("production".to_owned(), "skipped, see above".to_owned()),
            },
            Section::Batches => intake::batches(&options, &Family::embedded(), &mut results),
            Section::HealthKitMillion => long_bodies::run(&Family::embedded(), &mut results),
            Section::States => states::run(&options, &Family::embedded(), &mut results),
            Section::Known => known::run(&options, &Family::embedded(), &mut results),
            Section::Fetches => fetches::run(&Family::embedded(), &mut results),
            Section::Folds => folds::run(&mut results),
            Section::Whatif => whatif::run(&Family::embedded(), &mut results),
            Section::SwitchLatency => switches::run(&options, &Family::embedded(), &mut results),
        }
    }
    println!("\n{results}");
    let path = results.save();
    println!("\nThe same for programs: {}", path.display());
}
