//! What stands behind the ports. Only `app` names these; none of them imports another, save that the SQLite
//! store and the embedded log share one file through [`sqlite_file`], and both stores what they decide alike.

pub mod embedded_log;
pub mod kafka;
pub mod postgres;
pub mod redis;
pub mod sqlite;
pub mod sqlite_file;
mod stored;
pub mod vault;
pub mod vendor_http;
