//! The program: arguments, settings, run, exit code.

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    biometric_bridge::cli::run(Instant::now())
}
