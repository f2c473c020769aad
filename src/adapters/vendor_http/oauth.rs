//! Refreshing tokens at vendors' OAuth servers (RFC 6749 §6; vendors.md §2 and §3, OAuth2).

use std::collections::BTreeMap;
use std::time::Duration;

use actors::domain::account::{Token, TokenPair, Vendor};
use actors::ports::OAuth;
use actors::ports::vendor_api::{Grant, OAuthError};
use async_trait::async_trait;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::client::{VendorClient, patience, read, send};

/// Answers with tokens are short.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// A scope that is longer is nothing to keep.
const SCOPE_MAX_BYTES: usize = 4 << 10;
/// No access token is believed to last longer: ten years, in seconds.
const LASTS_MAX_S: f64 = 315_360_000.0;

/// What a vendor knows our application by.
#[derive(Clone)]
pub struct OAuthClient {
    /// The vendor.
    pub vendor: Vendor,
    /// `{VENDOR}_CLIENT_ID` and `{VENDOR}_CLIENT_SECRET`, if both are set.
    pub credentials: Option<(String, Token)>,
    /// `{VENDOR}_TOKEN_URL`.
    pub token_url: Url,
}

/// The OAuth servers of vendors.
pub struct HttpOAuth {
    vendors: BTreeMap<Vendor, (OAuthClient, VendorClient)>,
}

impl HttpOAuth {
    /// Those of these clients. Nothing is connected to before its first use.
    pub fn new(clients: Vec<OAuthClient>) -> Self {
        let entry = |client: OAuthClient| (client.vendor, (client, VendorClient::default()));
        Self { vendors: clients.into_iter().map(entry).collect() }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    // Whatever their types: nothing but the tokens is worth a pair that is given once.
    #[serde(default)]
    expires_in: serde_json::Value,
    #[serde(default)]
    scope: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
}

#[async_trait]
impl OAuth for HttpOAuth {
    async fn refresh(&self, vendor: Vendor, refresh: &Token) -> Result<Grant, OAuthError> {
        let name = vendor.name().to_ascii_uppercase();
        let unset =
            || OAuthError::Misconfigured(format!("{name}_CLIENT_ID and {name}_CLIENT_SECRET are not set"));
        let (client, http) = self.vendors.get(&vendor).ok_or_else(unset)?;
        let (id, secret) = client.credentials.as_ref().ok_or_else(unset)?;
        // WHOOP wants the credentials in the body, and the scope with each refresh (vendors.md §3); Oura takes the
        // credentials in either place (§2).
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("client_id", id),
            ("client_secret", secret.expose()),
        ];
        if vendor == Vendor::Whoop {
            form.push(("scope", "offline"));
        }
        let unavailable = |error: super::client::HttpError| OAuthError::Unavailable(error.to_string());
        let http = http.get(&client.token_url).await.map_err(unavailable)?;
        let request = http.post(client.token_url.clone()).form(&form);
        let response = send(request).await.map_err(unavailable)?;
        let (status, patience) = (response.status(), patience(response.headers()));
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(OAuthError::RateLimited { retry_after: patience });
        }
        let body = Zeroizing::new(read(response, ANSWER_MAX_BYTES).await.map_err(unavailable)?);
        match status {
            status if status.is_success() => granted(&body),
            status if status.is_client_error() => Err(refused(&name, status, &body)),
            status => Err(OAuthError::Unavailable(format!("it answers {}", status.as_u16()))),
        }
    }
}

fn granted(body: &[u8]) -> Result<Grant, OAuthError> {
    let unreadable = || OAuthError::Unavailable("its answer holds no tokens".to_owned());
    // The library's message may repeat the answer.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let token = |text: String| (!text.is_empty()).then(|| Token::new(text));
    let seconds = answer.expires_in.as_f64().or_else(|| answer.expires_in.as_str()?.trim().parse().ok());
    let lasts = seconds.filter(|seconds| (0.0..=LASTS_MAX_S).contains(seconds));
    let is_scope = |scope: &String| scope.len() <= SCOPE_MAX_BYTES && !scope.contains(char::is_control);
    Ok(Grant {
        pair: TokenPair {
            access: token(answer.access_token).ok_or_else(unreadable)?,
            refresh: answer.refresh_token.and_then(token),
        },
        lasts: lasts.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        scope: answer.scope.as_str().map(str::to_owned).filter(is_scope),
    })
}

/// What a 4xx means. A dead refresh token is `invalid_grant` or `invalid_request` (vendors.md §2 and §3, OAuth2).
fn refused(name: &str, status: StatusCode, body: &[u8]) -> OAuthError {
    let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
    match (status, &*error) {
        (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, "invalid_grant")
        | (StatusCode::BAD_REQUEST, "invalid_request") => OAuthError::InvalidGrant,
        (StatusCode::UNAUTHORIZED, _) | (_, "invalid_client" | "unauthorized_client") => {
            OAuthError::Misconfigured(format!("the vendor refuses {name}_CLIENT_ID and {name}_CLIENT_SECRET"))
        }
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
            OAuthError::Misconfigured(format!("{name}_TOKEN_URL is not where the vendor refreshes tokens"))
        }
        (status, _) => OAuthError::Unavailable(format!("it answers {}", status.as_u16())),
    }
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
