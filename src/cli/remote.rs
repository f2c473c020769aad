//! A bridge that runs somewhere, spoken to over HTTP at `BRIDGE_URL` with `ADMIN_API_KEY`.

use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::Failure;
use crate::settings::Settings;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The bridge.
pub(super) struct Remote {
    client: Client,
    /// `BRIDGE_URL`.
    pub(super) url: String,
    key: Option<String>,
}

impl Remote {
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let client = crate::traffic::plain_client().timeout(REQUEST_TIMEOUT).build();
        let client = client.map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        let key = settings.keys.admin_api_key.as_ref().map(|key| key.expose().to_owned());
        Ok(Self { client, url: settings.bridge_url.clone(), key })
    }

    /// The address of a route whose parts may hold any text.
    pub(super) fn route(&self, parts: &[&str]) -> Result<Url, Failure> {
        let mut url: Url = self.url.parse().map_err(|_| Failure::failed("BRIDGE_URL is not a URL"))?;
        let segments = url.path_segments_mut();
        segments.map_err(|()| Failure::failed("BRIDGE_URL is no HTTP URL"))?.pop_if_empty().extend(parts);
        Ok(url)
    }

    /// The JSON that a route gives.
    pub(super) async fn get(&self, url: Url) -> Result<Value, Failure> {
        self.send(Method::GET, url, None).await
    }

    /// The JSON that it answers to another.
    pub(super) async fn put(&self, url: Url, body: &Value) -> Result<Value, Failure> {
        self.send(Method::PUT, url, Some(body)).await
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.client.request(method, url);
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.map_err(|_| {
            let url = &self.url;
            Failure::failed(format!("no bridge answers at {url}: is it running? BRIDGE_URL says where"))
        })?;
        let status = response.status();
        let answer: Option<Value> = response.json().await.ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            answer => {
                let detail = answer.as_ref().and_then(|problem| problem["detail"].as_str());
                let detail = detail.unwrap_or("what answers there is not a bridge");
                Err(Failure::failed(format!("{} answered {}: {detail}", self.url, status.as_u16())))
            }
        }
    }
}
