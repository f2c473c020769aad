//! The biometric bridge's shell: HTTP, adapters, commands and the pages around the `actors` crate.

pub mod dashboard;
pub mod demo;
