//! A question to a vendor's API, before an address and a token are added to it.

use std::fmt;

/// A `GET` on a vendor's API.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// What follows the API's base address, percent-encoded: `/v2/usercollection/sleep/6a5f`.
    pub path: String,
    /// Names and values, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// The vendor has made this address, and it is its own key: `path` follows the host of the base address (or is a whole
    /// address, which must be on that host), is encoded already and has its query in it; no token goes with it.
    pub is_link: bool,
}

impl ApiRequest {
    /// The path of these segments. An id comes from outside: encoded it is one segment and no more.
    pub fn of(segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            encode(segment, &mut path);
        }
        Self { path, query: Vec::new(), is_link: false }
    }

    /// An address as the vendor has made it: on the vendor's host if it begins with a slash, else a whole one.
    pub fn link(address: &str) -> Self {
        Self { path: address.to_owned(), query: Vec::new(), is_link: true }
    }

    /// With this in its query.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With this page in its query, if it is not the first.
    pub fn with_page(self, name: &'static str, page: Option<&String>) -> Self {
        match page {
            Some(page) => self.with(name, page),
            None => self,
        }
    }
}

impl fmt::Debug for ApiRequest {
    /// Records' ids and days are personal, and stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiRequest(<hidden>)")
    }
}

/// Everything but RFC 3986's unreserved characters becomes `%XX`.
fn encode(segment: &str, path: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => {
                path.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]].map(char::from))
            }
        }
    }
}
