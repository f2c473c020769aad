//! `serve`: the bridge.

use std::process::ExitCode;
use std::time::Instant;

use super::{Failure, read_settings};
use crate::app::{Running, StartError};
use crate::settings::Sources;
use crate::telemetry::{Sink, init_logging};

pub(super) fn run(started: Instant) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let _log_lines = init_logging(&settings.telemetry.log_level, Sink::Stdout);
    let ending = actix_rt::System::new().block_on(async {
        let mut running = Running::start(settings, started).await?;
        let reason = running.wait().await;
        Ok::<_, StartError>(running.stop(reason).await)
    })?;
    Ok(ending.code())
}
