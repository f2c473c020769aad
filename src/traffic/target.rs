//! A bridge to send to, and the requests that it is sent.

use std::fmt::Write;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::crowd::Delivery;
use super::kind::Secrets;

/// A bridge to send to.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) address: SocketAddr,
    host: String,
    base_path: String,
    pub(super) secrets: Secrets,
}

/// Nothing can be sent there.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL that this build can send to.
    #[error("{0} is no URL as http://127.0.0.1:8889 (this build speaks no TLS)")]
    Url(String),
    /// Nobody knows the host.
    #[error("{host}: {error}")]
    Host {
        /// As in the URL.
        host: String,
        /// Why.
        error: io::Error,
    },
}

impl Target {
    /// The bridge at `url`, an `http` URL without `/webhook`. Looks its host up, once.
    ///
    /// # Errors
    /// It is no such URL, or nobody knows the host.
    pub fn new(url: &str, secrets: Secrets) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::Url(url.to_owned());
        let parsed = reqwest::Url::parse(url).map_err(|_| not_a_url())?;
        let (Some(host), Some(port), "http") =
            (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            return Err(not_a_url());
        };
        let unknown = |error| TargetError::Host { host: host.to_owned(), error };
        let mut addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(unknown)?;
        let address = addresses.next().ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))?;
        let base_path = parsed.path().trim_end_matches('/').to_owned();
        Ok(Self { address, host: format!("{host}:{port}"), base_path, secrets })
    }

    /// The whole request.
    pub(super) fn request(&self, Delivery { kind, body }: &Delivery, now_s: i64) -> Vec<u8> {
        let Self { host, base_path, .. } = self;
        let (device, len) = (kind.device(), body.len());
        let mut head = format!(
            "POST {base_path}/webhook/{device} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {len}\r\n"
        );
        // Looked for before anything was sent.
        for (name, value) in kind.sign(&self.secrets, body, now_s).unwrap_or_default() {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        request
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::traffic::Kind;

    #[test]
    fn a_request_is_whole_and_signed() {
        let secrets: Secrets = [("HEALTHKIT_API_KEY", "a key")].into_iter().collect();
        let target = Target::new("http://127.0.0.1:8889/base/", secrets).unwrap();
        let delivery = Delivery { kind: Kind::HealthKit, body: b"{}".to_vec() };
        let request = String::from_utf8(target.request(&delivery, 0)).unwrap();
        let expected = "POST /base/webhook/healthkit HTTP/1.1\r\nhost: 127.0.0.1:8889\r\n\
            content-type: application/json\r\ncontent-length: 2\r\nauthorization: Bearer a key\r\n\r\n{}";
        assert_eq!(request, expected);
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused() {
        for url in ["https://127.0.0.1", "127.0.0.1:8889", "ftp://somewhere", "http://"] {
            assert!(matches!(Target::new(url, Secrets::default()), Err(TargetError::Url(_))), "{url}");
        }
        assert_eq!(
            Target::new("http://[::1]:1", Secrets::default()).unwrap().address,
            "[::1]:1".parse().unwrap()
        );
    }
}
