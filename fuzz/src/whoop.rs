//! WHOOP: what the two kinds of bodies on its endpoint turn into.

use actors::vendors::whoop::{Whoop, WhoopConfig};
use actors::vendors::{Device, RawDelivery, signing};
use bytes::Bytes;

use super::Reached;
use super::hmac::hmac_sha256_hex;
use super::readings::{self, NOW, NOW_MS};
use super::request::Request;

/// The secret of the vector of vendors.md §3.
const SECRET: &str = "whoop-client-secret-9e27";

/// The body of one of WHOOP's own notifications.
pub fn whoop_notification(data: &[u8]) -> Reached {
    let signature = signing::whoop(SECRET, NOW_MS, data);
    let head = format!("x-whoop-signature-timestamp: {NOW_MS}\nx-whoop-signature: {signature}\n\n");
    let reached = decode(data, &head);
    assert!(!reached.ends_with("events"), "a notification holds no readings");
    reached
}

/// A body of the Python system's: data inline, or a notification.
pub fn whoop_inline(data: &[u8]) -> Reached {
    let reached = decode(data, &format!("signature: {}\n\n", hmac_sha256_hex(SECRET.as_bytes(), &[data])));
    assert_ne!(reached, "deleted", "the Python system knows no deletions");
    reached
}

fn decode(body: &[u8], head: &str) -> Reached {
    let config = WhoopConfig { webhook_secret: SECRET.to_owned(), tolerance_s: 300 };
    let (whoop, request) = (Whoop::new(&config), Request::read(head.as_bytes()));
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers: &request, query_user: None, body, received_at: NOW };
    let verified = whoop.verify(raw).expect("it was signed here");
    readings::check(&whoop, &verified).reached
}
