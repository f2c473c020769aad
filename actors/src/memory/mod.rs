//! Every port in memory, with scripted faults: what a test builds the tree on.
//!
//! [`MemoryStore`] and [`MemoryLog`] keep what they hold for as long as any handle to it lives; each handle has
//! [`Faults`] of its own. So a process that dies and the next one are two handles: take the first one down, stop its
//! tree, and start another tree on what [`MemoryStore::reopen`] and [`MemoryLog::reopen`] give.
//!
//! ```text
//! store.faults().go_down(StoreError::Unavailable("killed".into()));
//! log.faults().go_down(LogError::Unavailable("killed".into()));
//! let _ = tree.stop().await;                   // the flush in it fails: nothing more is saved
//! let tree = tree::start(Foundation { store: Arc::new(store.reopen()), log: Arc::new(log.reopen()), .. });
//! ```
//!
//! Nothing here sleeps. Tests wait for what they want to see with `changes()` of each port.

mod accounts;
mod cache;
mod clock;
mod contents;
mod dead_letters;
mod event_log;
mod faults;
mod fetch_queue;
mod follower;
mod oauth;
mod store;
mod telemetry;
mod vault;
mod vendor_api;

pub use accounts::AccountRows;
pub use cache::{CACHE_BYTES_MAX, CACHE_EVENTS_MAX, CACHE_USERS_MAX, CacheCall, MemoryCache};
pub use clock::ManualClock;
pub use contents::{Contents, EventRow};
pub use event_log::{LogCall, MemoryLog, Topics};
pub use faults::{Fate, Faults, Held, Moment};
pub use fetch_queue::FetchRows;
pub use oauth::{MemoryOAuth, OAuthCall};
pub use store::{MemoryStore, StoreCall};
pub use telemetry::{Recorder, Tally};
pub use vault::MemoryVault;
pub use vendor_api::{ApiCall, MemoryVendorApi, Reply};
