//! The shell around the core: doors (HTTP, command line) and plumbing (adapters).
//!
//! Everything the bridge decides and does is in the crate `actors`; here it is connected to the world. [`app`] puts
//! it together, and is the only module that names an adapter.

pub mod adapters;
pub mod app;
pub mod cli;
pub mod dashboard;
pub mod demo;
pub mod http;
pub mod settings;
pub mod telemetry;
pub mod traffic;
