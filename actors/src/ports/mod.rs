//! What the actors ask of the outside: one trait a neighbour, each with the promises that its adapters keep.

pub mod accounts;
pub mod cache;
pub mod clock;
pub mod dead_letters;
pub mod event_log;
pub mod fetch_queue;
pub mod follow;
pub mod store;
pub mod telemetry;
pub mod vault;
pub mod vendor_api;

pub use accounts::Accounts;
pub use cache::Cache;
pub use clock::Clock;
pub use dead_letters::DeadLetters;
pub use event_log::EventLog;
pub use fetch_queue::FetchQueue;
pub use store::Store;
pub use telemetry::Telemetry;
pub use vault::Vault;
pub use vendor_api::{OAuth, VendorApi};
