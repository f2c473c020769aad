//! Vendors' servers over HTTPS.

mod api;
mod client;
mod oauth;
mod slots;

pub use api::HttpVendorApi;
pub use oauth::{HttpOAuth, OAuthClient};
pub use slots::most_of_one;
