//! WHOOP's records as ours: what they are called, and what their kind is.

use super::{DEVICE_TYPE, NAME};
use crate::vendors::record::Kind;

/// Identified by their `id`.
pub(super) const SLEEP: Kind = kind("sleep", "sleep");
/// Identified by the `sleep_id` of the sleep that it follows.
pub(super) const RECOVERY: Kind = kind("recovery", "recovery");
/// Identified by their `id`.
pub(super) const WORKOUT: Kind = kind("workout", "workout");

/// Identified by their `id`.
pub(super) const CYCLE: Kind = kind("cycle", "cycle");
/// One an account, without an id.
pub(super) const BODY: Kind = kind("body", "body");

const fn kind(record: &'static str, kind: &'static str) -> Kind {
    Kind { vendor: NAME, device_type: DEVICE_TYPE, record, kind }
}
