//! Vendors' servers over HTTPS.

mod client;
mod oauth;

pub use oauth::{HttpOAuth, OAuthClient};
