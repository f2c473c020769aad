//! The vendors' side: people who wear rings, straps and watches, seen as a bridge sees them.
//!
//! [`cloud`] is Oura's and WHOOP's clouds with a phone's pushes: webhooks and the records that they tell of. [`story`] says
//! what a demonstration shows of them and when, with [`secrets`] of its own and accounts that [`links`] connects. Nothing here knows the bridge's inside: it
//! talks to it as vendors do.

pub mod cloud;
mod days;
pub mod links;
mod nights;
mod payloads;
pub mod secrets;
pub mod story;
mod vitals;
