//! The demonstration: a small population whose wearables send real, signed webhooks to a running bridge.
//!
//! [`people`] makes the deliveries, purely and from a seed; [`pace`] says when each is due in real time;
//! [`sender`] signs and sends them, with [`secrets`] of its own. Nothing here knows the bridge's inside: it talks to it as vendors do.
//!
//! [`cloud`] is the same kind of people seen from the other side: the vendors' clouds in which their records are.

pub mod cloud;
mod days;
mod nights;
pub mod pace;
mod payloads;
pub mod people;
pub mod secrets;
pub mod sender;
mod vitals;
