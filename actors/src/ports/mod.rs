//! What the actors ask of the outside: one trait a neighbour, each with the promises that its adapters keep.

pub mod clock;
pub mod event_log;
pub mod store;
pub mod telemetry;

pub use clock::Clock;
pub use event_log::EventLog;
pub use store::Store;
pub use telemetry::Telemetry;
