//! Vendors' OAuth servers, and how tokens are refreshed there.

use std::time::Duration;

use super::Secret;
use super::reader::Reader;

/// Where and how access tokens are refreshed.
#[derive(Debug, Clone)]
pub struct OAuthSettings {
    /// `OAUTH_LOCK_TTL_SECONDS`: how long the others wait for a bridge that died while it refreshed an account's tokens.
    pub lease: Duration,
    /// `OURA_ACCESS_TOKEN`: serves Oura accounts without a token of their own.
    pub oura_access_token: Option<Secret>,
    /// `OURA_*`.
    pub oura: OAuthClientSettings,
    /// `WHOOP_*`.
    pub whoop: OAuthClientSettings,
}

/// What a vendor knows our application by.
#[derive(Debug, Clone)]
pub struct OAuthClientSettings {
    /// `{VENDOR}_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `{VENDOR}_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `{VENDOR}_TOKEN_URL`: over http too, the operator's word is enough.
    pub token_url: String,
}

pub(super) fn read_oauth(reader: &mut Reader) -> OAuthSettings {
    OAuthSettings {
        lease: Duration::from_secs(reader.number("OAUTH_LOCK_TTL_SECONDS", 1, 300)),
        oura_access_token: reader.secret("OURA_ACCESS_TOKEN"),
        oura: read_client(reader, ["OURA_CLIENT_ID", "OURA_CLIENT_SECRET", "OURA_TOKEN_URL"]),
        whoop: read_client(reader, ["WHOOP_CLIENT_ID", "WHOOP_CLIENT_SECRET", "WHOOP_TOKEN_URL"]),
    }
}

fn read_client(reader: &mut Reader, [id, secret, url]: [&'static str; 3]) -> OAuthClientSettings {
    let client_id = Some(reader.text(id)).filter(|text| !text.is_empty());
    let client_secret = reader.secret(secret);
    if client_id.is_some() != client_secret.is_some() {
        let (unset, set) = if client_id.is_some() { (secret, id) } else { (id, secret) };
        reader.problem(unset, format!("must be set, since {set} is"));
    }
    let is_url =
        |text: &str| reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    let token_url = reader.checked(url, "a URL that begins with https:// or http://", is_url);
    OAuthClientSettings { client_id, client_secret, token_url }
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, Sources};

    fn told(pairs: &[(&str, &str)]) -> Vec<String> {
        let problems = Settings::read(Sources::from_pairs(pairs.iter().copied())).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_application_is_known_by_both_its_id_and_its_secret() {
        let (id, secret) =
            (("WHOOP_CLIENT_ID", "test-client"), ("WHOOP_CLIENT_SECRET", "test-client-secret"));
        assert_eq!(told(&[id, secret]), [""; 0]);
        assert_eq!(told(&[id]), ["WHOOP_CLIENT_SECRET: must be set, since WHOOP_CLIENT_ID is"]);
        assert_eq!(told(&[secret]), ["WHOOP_CLIENT_ID: must be set, since WHOOP_CLIENT_SECRET is"]);
    }

    #[test]
    fn a_token_url_is_one() {
        for bad in ["api.example.org/token", "ftp://api.example.org", "http://"] {
            let told = told(&[("OURA_TOKEN_URL", bad)]);
            assert!(told.len() == 1 && told[0].starts_with("OURA_TOKEN_URL:"), "{told:?}");
        }
        assert_eq!(told(&[("OURA_TOKEN_URL", "http://127.0.0.1:9/token")]), [""; 0]);
    }
}
