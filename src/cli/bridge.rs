//! A bridge that runs somewhere, as commands speak to it: at `BRIDGE_URL`, with `ADMIN_API_KEY`.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use super::Failure;
use crate::settings::Settings;

/// Where it is, and what opens it.
pub(super) struct Bridge {
    client: Client,
    url: String,
    key: Option<String>,
}

impl Bridge {
    /// The one that the settings name. Each answer may take as long as `patience`.
    pub(super) fn new(settings: &Settings, patience: Duration) -> Result<Self, Failure> {
        let client = crate::traffic::plain_client().timeout(patience).build();
        let client = client.map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        let key = settings.keys.admin_api_key.as_ref().map(|key| key.expose().to_owned());
        Ok(Self { client, url: settings.bridge_url.clone(), key })
    }

    /// Its address, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What it answers to `GET` of a path, which begins with a slash.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        self.send(self.client.get(&url), &url).await
    }

    /// What it answers to `PUT` of a body to a path.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        self.send(self.client.put(&url).json(body), &url).await
    }

    /// What it answers to `POST` of a body to a path.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        self.send(self.client.post(&url).json(body), &url).await
    }

    async fn send(&self, request: RequestBuilder, url: &str) -> Result<Value, Failure> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            let what = if error.is_timeout() { "does not answer in time" } else { "is not there" };
            Failure::failed(format!(
                "no bridge answers at {url}: it {what}. Is it running? BRIDGE_URL says where"
            ))
        })?;
        let status = response.status();
        let answer: Option<Value> = response.json().await.ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            answer => {
                let detail = answer.as_ref().and_then(|problem| problem["detail"].as_str());
                let detail = detail.unwrap_or("what answers there is not a bridge");
                Err(Failure::failed(format!("{url} answered {}: {detail}", status.as_u16())))
            }
        }
    }
}

/// As it may stand in one part of a path.
pub(super) fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let escape = |byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}
