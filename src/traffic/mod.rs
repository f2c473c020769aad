//! Signed webhooks as vendors and phones send them: how each kind is spelled, signed and timed.
//!
//! [`crate::demo::cloud`] tells its people's days in it; [`send`] has a [`Crowd`] send as much as it is asked for, at a
//! rate or as fast as it is answered. Nothing here knows the bridge's inside.

mod client;
pub mod conformance;
mod crowd;
pub mod formats;
mod golden;
mod golden_terra;
mod kind;
mod latency;
mod load;
mod plain;
mod report;
mod schedule;
mod sender;
mod target;

pub use crowd::{Crowd, Delivery, Plan};
pub use kind::{Kind, MissingSecret, Secrets};
pub use latency::Latencies;
pub use load::{End, IN_FLIGHT_MAX, Order, Pace, Progress, send};
pub use plain::plain_client;
pub use report::{Report, Tally};
pub use schedule::Schedule;
pub use target::{Target, TargetError};

/// A number in 0..1 that depends on nothing but its arguments (the finaliser of SplitMix64).
pub fn noise(seed: u64, channel: u64, index: i64) -> f64 {
    let mut z = seed
        ^ channel.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (index as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    for _ in 0..2 {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}
