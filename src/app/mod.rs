//! The composition root: adapters, tree and doors are put together here, and taken apart in order.

mod build;
mod data_dir;
mod engines;
mod keys;
mod log_reader;
mod open_files;
mod reload;
mod run;
mod tools;
mod topics;
mod vault;
mod warnings;
mod whatif;

pub use build::{Bridge, StartError, build, devices, doors};
pub use data_dir::{DataDir, DataDirError};
pub use engines::Engines;
pub use keys::{RotateError, Rotation, rotate_keys};
pub use log_reader::LogReader;
pub use run::{Ending, Reason, Running};
pub use tools::{SchemaMove, import_from_python, move_schema};
pub use topics::{TopicReport, create_topics};
pub use whatif::{Comparisons, Shown, UserComparison, WhatifError, compare};
