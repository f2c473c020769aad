//! The program: arguments, settings, run, exit code.

use std::process::ExitCode;
use std::time::Instant;

/// A delivery is many small allocations on several threads, each freed by another: what the system's allocator does
/// worst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    biometric_bridge::cli::run(Instant::now())
}
