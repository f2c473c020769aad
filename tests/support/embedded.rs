//! The family of engines that needs nothing: what a bridge stands on when nothing is configured.

use std::path::Path;

/// Whether what is committed is on the log with the same commit. Elsewhere a kill between the two may bring a run of
/// events twice.
pub(crate) const LOGS_WITH_THE_COMMIT: bool = true;

/// What a bridge in `folder` is told of its engines.
pub(crate) fn settings(_: &Path, _: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    Vec::new()
}

/// What a killed bridge had in hand is in nobody's: so it is anyhow, since one process has the file.
pub(crate) async fn pass_leases(_: &Path) {}
