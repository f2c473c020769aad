//! The HTTP client for vendors, made on first use.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// How long a request may take in all …
pub(super) const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// … and how much of it a new connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// No vendor is believed to ask for more: it is far more than is obeyed, and no sum with it overflows.
const REST_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Why there is no answer, for people; without addresses, which may hold what is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the client cannot be made: {0}")]
    Client(String),
    #[error("it cannot be connected to")]
    Connect,
    #[error("it does not answer in time")]
    Late,
    #[error("the connection broke")]
    Broken,
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Pooled connections to one vendor.
#[derive(Debug, Default)]
pub(super) struct VendorClient(OnceCell<Client>);

impl VendorClient {
    /// The client for `url`: through the system's proxy, if it names one, unless that is on this machine.
    pub(super) async fn get(&self, url: &Url) -> Result<Client, HttpError> {
        let is_loopback = is_loopback(url);
        let made = self.0.get_or_try_init(async || {
            // The system's roots are read from files.
            let tls = tokio::task::spawn_blocking(tls)
                .await
                .map_err(|error| HttpError::Client(error.to_string()))?;
            build(tls?, is_loopback)
        });
        made.await.cloned()
    }
}

/// Whether a URL stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The system's roots beside bundled ones: a machine without certificates still reaches the vendors.
fn tls() -> Result<ClientConfig, HttpError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| HttpError::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn build(tls: ClientConfig, is_loopback: bool) -> Result<Client, HttpError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(REQUEST_PATIENCE)
        .connect_timeout(CONNECT_PATIENCE)
        .redirect(Policy::none());
    let builder = if is_loopback { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| HttpError::Client(error.without_url().to_string()))
}

/// Sends a request.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    request.send().await.map_err(|error| told(&error))
}

/// The body of an answer, up to `max_bytes`.
pub(super) async fn read(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    let is_whole = read_on(&mut response, &mut body, max_bytes).await?;
    is_whole.then_some(body).ok_or(HttpError::TooLong(max_bytes))
}

/// Adds to the body what comes, until it is whole, or longer than `max_bytes` by a piece at the most. Whether it is whole
/// and no longer.
pub(super) async fn read_on(
    response: &mut Response,
    body: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<bool, HttpError> {
    while body.len() <= max_bytes {
        let Some(piece) = response.chunk().await.map_err(|error| told(&error))? else { return Ok(true) };
        body.extend_from_slice(&piece);
    }
    Ok(false)
}

/// How long a vendor asks to wait: `Retry-After`, in seconds or as a date, or WHOOP's `X-RateLimit-Reset`, in seconds
/// (vendors.md §3, Limits).
pub(super) fn patience(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let retry_after = text("retry-after").and_then(|text| seconds(text).or_else(|| until(text, headers)));
    retry_after.or_else(|| seconds(text("x-ratelimit-reset")?))
}

fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Digits that are no `u64` are too many seconds, and not none.
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(REST_MAX))
}

/// From the vendor's own now, where it tells that too: its clock need not be ours.
fn until(date: &str, headers: &HeaderMap) -> Option<Duration> {
    let read = |text: &str| text.parse::<HttpDate>().ok().map(SystemTime::from);
    let now = headers.get("date").and_then(|date| read(date.to_str().ok()?.trim()));
    let left = read(date)?.duration_since(now.unwrap_or_else(SystemTime::now));
    Some(left.unwrap_or_default().min(REST_MAX))
}

fn told(error: &reqwest::Error) -> HttpError {
    match error {
        error if error.is_timeout() => HttpError::Late,
        error if error.is_connect() => HttpError::Connect,
        _ => HttpError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for url in ["http://127.0.0.1:9", "http://[::1]/x", "http://localhost:80/", "https://127.9.9.9"] {
            assert!(is_loopback(&url.parse().unwrap()), "{url}");
        }
        for url in ["https://api.example.org", "http://128.0.0.1", "http://localhost.example.org"] {
            assert!(!is_loopback(&url.parse().unwrap()), "{url}");
        }
    }

    #[actix_web::test]
    async fn a_client_is_made_on_first_use_and_kept() {
        let client = VendorClient::default();
        let url: Url = "https://api.example.org".parse().unwrap();
        assert!(!client.0.initialized());
        client.get(&url).await.unwrap();
        assert!(client.0.initialized());
    }
}
