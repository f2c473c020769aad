//! The family of engines that needs nothing: what a bridge stands on when nothing is configured.

use std::path::Path;

/// What a bridge in `folder` is told of its engines.
pub(crate) fn settings(_: &Path, _: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    Vec::new()
}

/// What a killed bridge had in hand is in nobody's: so it is anyhow, since one process has the file.
pub(crate) async fn pass_leases(_: &Path) {}
