//! Vendors' servers over HTTPS.

mod api;
mod client;
mod oauth;

pub use api::HttpVendorApi;
pub use oauth::{HttpOAuth, OAuthClient};
