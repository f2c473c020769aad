//! The demonstration: a small population whose wearables send real, signed webhooks to a running bridge.
//!
//! [`people`] makes the deliveries, purely and from a seed; [`pace`] says when each is due in real time;
//! [`sender`] signs and sends them, with [`secrets`] of its own. Nothing here knows the bridge's inside: it talks to it as vendors do.

pub mod pace;
mod payloads;
pub mod people;
pub mod secrets;
pub mod sender;
mod vitals;
