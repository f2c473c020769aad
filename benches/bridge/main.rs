//! `make bench`: what the bridge takes in, beside two floors, and what it costs. See `docs/benchmarks.md`.
//!
//! The bridge runs as a process of its own; this program sends to it, and counts what each process has used.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be run ends there, and says why")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its results are for people")]

mod floors;
mod intake;
mod machine;
mod no_store;
mod options;
mod process;
mod report;
mod states;

use options::{Options, Section};
use report::Results;

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
            Section::Floors => floors::run(&options, &mut results),
            Section::Embedded => intake::run(&options, &intake::Family::embedded(), &mut results),
            Section::Batches => intake::batches(&options, &intake::Family::embedded(), &mut results),
            Section::States => states::run(&options, &intake::Family::embedded(), &mut results),
        }
    }
    println!("\n{results}");
    let path = results.save();
    println!("\nThe same for programs: {}", path.display());
}
