//! Signed webhooks as vendors and phones send them: how each kind is spelled, signed and timed.
//!
//! [`crate::demo`] tells a small population's days with it.
//! Nothing here knows the bridge's inside.

pub mod formats;
mod kind;
mod latency;

pub use kind::{Kind, MissingSecret, Secrets};
pub use latency::Latencies;

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
