//! Links everybody's accounts with the vendors to the user who wears them, as an operator does.

use actors::domain::time::Timestamp;
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::cloud::{Cloud, Vendor};
use crate::traffic::plain_client;

/// Requests under way at once.
const IN_FLIGHT: usize = 16;

/// Why accounts could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The bridge does not answer.
    #[error("no answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It says no.
    #[error("answered {0}")]
    Refused(StatusCode),
}

/// Links all accounts of a cloud that have records to the bridge's user with the name of that person's phone, with tokens
/// that the cloud grants.
///
/// # Errors
/// The bridge does not answer, or refuses.
pub async fn link_all(cloud: &Cloud, base_url: &str, admin_key: &str) -> Result<(), LinkError> {
    let client = plain_client().build()?;
    let with_api = || Vendor::ALL.into_iter().filter(|vendor| vendor.has_api());
    let accounts = (0..cloud.people()).flat_map(|person| with_api().map(move |vendor| (vendor, person)));
    let linking = accounts.map(|(vendor, person)| {
        let url = format!("{base_url}/admin/links/{}/{}", vendor.name(), cloud.account(vendor, person));
        let user = cloud.account(Vendor::HealthKit, person);
        link(&client, url, admin_key, body(&user, &cloud.grant(vendor, person)))
    });
    stream::iter(linking).buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn link(client: &Client, url: String, admin_key: &str, body: Value) -> Result<(), LinkError> {
    let request = client.put(url).bearer_auth(admin_key).header("content-type", "application/json");
    // An address would name the account.
    let response = request.body(body.to_string()).send().await.map_err(reqwest::Error::without_url)?;
    if response.status().is_success() { Ok(()) } else { Err(LinkError::Refused(response.status())) }
}

fn body(user: &str, pair: &Value) -> Value {
    let lives_ms = pair["expires_in"].as_i64().unwrap_or_default() * 1_000;
    let expires_at = Timestamp::from_ms(SystemClock.now().as_ms() + lives_ms).to_string();
    json!({
        "user_id": user, "access_token": pair["access_token"], "refresh_token": pair["refresh_token"],
        "expires_at": expires_at,
    })
}
