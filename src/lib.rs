//! The shell around the core: doors (HTTP, command line) and plumbing (adapters).

pub mod adapters;
