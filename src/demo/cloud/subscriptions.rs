//! Oura's webhook subscriptions: one for each pair of data type and event type of an application (`vendors.md` §2).

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::domain::time::{MS_PER_DAY, Timestamp};
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use parking_lot::Mutex;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Shared;
use super::answers::Answer;
use super::doors::reply;
use super::oura_records::Kind;

pub(super) const EVENT_TYPES: [&str; 3] = ["create", "update", "delete"];
/// Oura waits so long for the answer to its handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// After so long a subscription that was not renewed is silent.
const LIVES_MS: i64 = 90 * MS_PER_DAY;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscription {
    id: String,
    callback_url: String,
    expires_ms: i64,
}

type Pair = (String, String);

/// Who is told what.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<BTreeMap<Pair, Subscription>>);

impl Subscriptions {
    /// Where changes of this data type are told.
    pub(super) fn callback(&self, data_type: &str, event_type: &str) -> Option<String> {
        let pair = (data_type.to_owned(), event_type.to_owned());
        let all = self.0.lock();
        let found = all.get(&pair).filter(|found| SystemClock.now().as_ms() < found.expires_ms)?;
        Some(found.callback_url.clone())
    }

    /// Ends all of an application's subscriptions: what a 410 does.
    pub(super) fn cancel(&self) {
        self.0.lock().clear();
    }

    /// Subscribes one address to everything.
    pub(super) fn all(&self, callback_url: &str) {
        for kind in Kind::ALL {
            for event_type in EVENT_TYPES {
                self.put(kind.data_type(), event_type, callback_url);
            }
        }
    }

    fn put(&self, data_type: &str, event_type: &str, callback_url: &str) -> Value {
        let subscription = Subscription {
            id: Uuid::now_v7().to_string(),
            callback_url: callback_url.to_owned(),
            expires_ms: SystemClock.now().as_ms() + LIVES_MS,
        };
        let pair = (data_type.to_owned(), event_type.to_owned());
        let told = told(&pair, &subscription);
        self.0.lock().insert(pair, subscription);
        told
    }
}

fn told((data_type, event_type): &Pair, subscription: &Subscription) -> Value {
    json!({
        "id": subscription.id, "callback_url": subscription.callback_url, "event_type": event_type, "data_type": data_type,
        "expiration_time": Timestamp::from_ms(subscription.expires_ms).to_string(),
    })
}

/// Whether the receiver at `callback_url` knows `token` and gives the challenge back.
pub(super) async fn handshake(client: &Client, callback_url: &str, token: &str) -> bool {
    let challenge = hex::encode(rand::random::<[u8; 16]>());
    let Ok(mut url) = reqwest::Url::parse(callback_url) else { return false };
    url.query_pairs_mut().append_pair("verification_token", token).append_pair("challenge", &challenge);
    let asked = async {
        let response = client.get(url).send().await.ok()?;
        let is_ok = response.status().is_success();
        let answer: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
        Some(is_ok && answer["challenge"] == challenge)
    };
    matches!(tokio::time::timeout(HANDSHAKE_DEADLINE, asked).await, Ok(Some(true)))
}

#[derive(Deserialize)]
struct Wish {
    callback_url: String,
    verification_token: String,
    event_type: String,
    data_type: String,
}

/// `/v2/webhook/subscription`, with the application's credentials in headers.
pub(super) async fn door(
    request: HttpRequest,
    path: web::Path<String>,
    body: web::Bytes,
    cloud: web::Data<Shared>,
) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let client = &cloud.config.oura;
    let answer =
        if header("x-client-id") != Some(&client.id) || header("x-client-secret") != Some(&client.secret) {
            Answer::detail(401, "Unauthorized")
        } else {
            let path = path.trim_matches('/');
            let (renew, id) = match path.strip_prefix("renew/") {
                Some(id) => (true, id),
                None => (false, path),
            };
            match (request.method().as_str(), id) {
                ("POST", "") => create(&cloud, &body).await,
                ("GET", "") => {
                    let all = cloud.subscriptions.0.lock();
                    Answer::ok(all.iter().map(|(pair, subscription)| told(pair, subscription)).collect())
                }
                ("GET", id) if !renew => change(&cloud, id, |_| true),
                ("PUT", id) if renew => change(&cloud, id, |subscription| {
                    subscription.expires_ms = SystemClock.now().as_ms() + LIVES_MS;
                    true
                }),
                ("DELETE", id) if !renew => change(&cloud, id, |_| false),
                _ => Answer::detail(405, "Method Not Allowed"),
            }
        };
    cloud.stats.count(&["requests", "oura", "subscription", &answer.status.to_string()]);
    reply(&answer, Vec::new())
}

/// Looks at one subscription, and ends it if `change` says so.
fn change(cloud: &Shared, id: &str, change: impl FnOnce(&mut Subscription) -> bool) -> Answer {
    let mut all = cloud.subscriptions.0.lock();
    let Some(pair) = all.iter().find(|(_, known)| known.id == id).map(|(pair, _)| pair.clone()) else {
        return Answer::detail(404, "Not Found");
    };
    let Some(mut subscription) = all.remove(&pair) else { return Answer::detail(404, "Not Found") };
    if !change(&mut subscription) {
        return Answer { status: 204, body: Value::Null };
    }
    let answer = Answer::ok(told(&pair, &subscription));
    all.insert(pair, subscription);
    answer
}

async fn create(cloud: &Shared, body: &[u8]) -> Answer {
    let Ok(wish) = serde_json::from_slice::<Wish>(body) else {
        return Answer::detail(422, "callback_url, verification_token, event_type and data_type are wanted");
    };
    let is_known = Kind::ALL.into_iter().any(|kind| kind.data_type() == wish.data_type);
    if !is_known || !EVENT_TYPES.contains(&wish.event_type.as_str()) {
        return Answer::detail(422, "there is no such data_type or event_type");
    }
    if !handshake(&cloud.client, &wish.callback_url, &wish.verification_token).await {
        return Answer::detail(400, "the callback_url did not answer the challenge");
    }
    Answer {
        status: 201,
        body: cloud.subscriptions.put(&wish.data_type, &wish.event_type, &wish.callback_url),
    }
}
