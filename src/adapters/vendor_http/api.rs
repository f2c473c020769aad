//! Asking vendors' APIs for data (vendors.md §2 and §3, Fetch).

use std::collections::BTreeMap;
use std::time::Duration;

use actors::domain::account::{Token, Vendor};
use actors::domain::api_request::ApiRequest;
use actors::ports::VendorApi;
use actors::ports::vendor_api::{ApiAnswer, ApiError};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use super::client::{HttpError, REQUEST_PATIENCE, VendorClient, patience, read_on, send};
use super::slots::{SMALL_MAX_BYTES, Slots};

/// The longest answer: the samples of some days' heart rate take a few MiB.
const ANSWER_MAX_BYTES: usize = 8 << 20;

/// How much is read of why a storage refuses an address.
const REFUSAL_MAX_BYTES: usize = 4 << 10;

/// The APIs of vendors. Refreshes of tokens are not among the requests that it counts: a fetch may be waiting for one.
pub struct HttpVendorApi {
    vendors: BTreeMap<Vendor, (Url, VendorClient)>,
    slots: Slots,
    /// For a call in all, the wait for its turn included.
    patience: Duration,
}

impl HttpVendorApi {
    /// Those at these base addresses, of which one with a path keeps it. At most `requests_max` requests are under way
    /// at once, to all of them together, and to one of them [`most_of_one`](super::most_of_one); further ones wait.
    /// Nothing is connected to before its first use.
    pub fn new(bases: impl IntoIterator<Item = (Vendor, Url)>, requests_max: usize) -> Self {
        let entry = |(vendor, base)| (vendor, (base, VendorClient::default()));
        let vendors: BTreeMap<_, _> = bases.into_iter().map(entry).collect();
        let slots = Slots::new(vendors.keys().copied(), requests_max);
        Self { vendors, slots, patience: REQUEST_PATIENCE }
    }

    async fn ask(
        &self,
        vendor: Vendor,
        request: &ApiRequest,
        bearer: HeaderValue,
    ) -> Result<ApiAnswer, ApiError> {
        let unset = || ApiError::Unavailable(format!("no address of {}'s API is set", vendor.name()));
        let (base, http) = self.vendors.get(&vendor).ok_or_else(unset)?;
        let url = address(base, request).ok_or(ApiError::Elsewhere { vendor })?;
        let _slot = self.slots.request(vendor).await.ok_or_else(unset)?;
        let http = http.get(base).await.map_err(unavailable)?;
        let question = http.get(url);
        let question = if request.is_link { question } else { question.header(AUTHORIZATION, bearer) };
        let mut response = send(question).await.map_err(unavailable)?;
        if let Err(error) = check(response.status(), response.headers()) {
            let is_over = request.is_link && says_expired(&mut response).await;
            return Err(if is_over { ApiError::Expired } else { error });
        }
        let rest = rest(response.headers());
        let (mut body, mut place) = (Vec::new(), None);
        if !read_on(&mut response, &mut body, SMALL_MAX_BYTES).await.map_err(unavailable)? {
            place = Some(self.slots.large(vendor).await.ok_or(ApiError::Crowded)?);
            if !read_on(&mut response, &mut body, ANSWER_MAX_BYTES).await.map_err(unavailable)? {
                return Err(unavailable(HttpError::TooLong(ANSWER_MAX_BYTES)));
            }
        }
        Ok(ApiAnswer { body: Bytes::from_owner(Answer { body, _place: place }), rest })
    }
}

/// An answer with its place among the large ones, for as long as anybody has it.
struct Answer {
    body: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[async_trait]
impl VendorApi for HttpVendorApi {
    async fn get(&self, vendor: Vendor, request: &ApiRequest, token: &Token) -> Result<ApiAnswer, ApiError> {
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        // A token that no header can carry opens nothing.
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| ApiError::Unauthorized)?;
        bearer.set_sensitive(true);
        let asked = tokio::time::timeout(self.patience, self.ask(vendor, request, bearer)).await;
        asked.unwrap_or_else(|_| Err(unavailable(HttpError::Late)))
    }
}

fn unavailable(error: HttpError) -> ApiError {
    ApiError::Unavailable(error.to_string())
}

/// Always on the base's scheme, host and port: a link that leads elsewhere, or nowhere, is none.
fn address(base: &Url, request: &ApiRequest) -> Option<Url> {
    if request.is_link {
        let host = base.origin().ascii_serialization();
        let link = if request.path.starts_with('/') { host + &request.path } else { request.path.clone() };
        return Url::parse(&link).ok().filter(|link| link.origin() == base.origin());
    }
    let mut url = base.clone();
    url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), request.path));
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    Some(url)
}

/// What a status means, of an answer that is not the data.
fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), ApiError> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized),
        StatusCode::NOT_FOUND => Err(ApiError::Missing),
        StatusCode::TOO_MANY_REQUESTS => Err(ApiError::RateLimited { retry_after: patience(headers) }),
        // The vendor was too slow, or thinks that we were.
        StatusCode::REQUEST_TIMEOUT => Err(ApiError::Unavailable("it answers 408".to_owned())),
        // Somebody in between, and perhaps not for ever.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(ApiError::Unavailable("it answers 407".to_owned())),
        status if status.is_client_error() => Err(ApiError::Refused { status: status.as_u16() }),
        // WHOOP tells with every answer when its window ends: that says nothing about a failure.
        status => match patience(headers)
            .filter(|_| status.is_server_error() && headers.contains_key(RETRY_AFTER))
        {
            Some(retry_after) => Err(ApiError::Overloaded { retry_after }),
            None => Err(ApiError::Unavailable(format!("it answers {}", status.as_u16()))),
        },
    }
}

/// Whether a storage refuses an address because it, or the key that it was signed with, was good for a while only: S3 says
/// `AccessDenied` of the one, of the other `ExpiredToken`, and the first of much else as well.
async fn says_expired(response: &mut Response) -> bool {
    if !matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN) {
        return false;
    }
    let mut body = Vec::new();
    // What came before the connection broke may say it all the same.
    let _ = read_on(response, &mut body, REFUSAL_MAX_BYTES).await;
    let said = String::from_utf8_lossy(&body);
    said.contains("<Code>ExpiredToken</Code>") || said.contains("<Message>Request has expired</Message>")
}

/// How long nothing more is taken, if this was the last request of a window (vendors.md §3, Limits).
fn rest(headers: &HeaderMap) -> Option<Duration> {
    let left = headers.get("x-ratelimit-remaining")?.to_str().ok()?;
    (left.trim() == "0").then(|| patience(headers)).flatten()
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
