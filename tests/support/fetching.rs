//! Fetches in tests: people of a vendor cloud, notifications of their records, and what has arrived of them.

use std::collections::BTreeMap;

use actors::domain::time::Timestamp;
use biometric_bridge::demo::cloud::{Fault, FaultKind, Route, Vendor};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answers::listed;
use crate::bridge::{ADMIN_KEY, Bridge, answer, now_ms};
use crate::cloud::{START_MS, VendorCloud, json_of};

/// A second becomes 5 ms, a minute 300 ms.
pub(crate) const QUICK: (&str, &str) = ("VENDOR_RETRY_BASE_MS", "5");
/// More than any test here asks.
pub(crate) const PLENTY: [(&str, &str); 2] =
    [("OURA_RATE_LIMIT", "100000/60"), ("WHOOP_RATE_LIMIT", "100000/60")];
/// How far back records are asked for, unless a test wants more of them.
const DAYS: i64 = 12;

/// The settings by which a bridge finds a cloud.
pub(crate) fn settings(cloud: &VendorCloud) -> Vec<(String, String)> {
    let url = &cloud.url;
    let own = [
        ("OURA_API_BASE", url.clone()),
        ("WHOOP_API_BASE", format!("{url}/developer")),
        ("OURA_TOKEN_URL", format!("{url}/oauth/token")),
        ("WHOOP_TOKEN_URL", format!("{url}/oauth/oauth2/token")),
        ("OURA_CLIENT_ID", "cloud-oura-client".to_owned()),
        ("OURA_CLIENT_SECRET", "cloud-oura-secret".to_owned()),
        ("WHOOP_CLIENT_ID", "cloud-whoop-client".to_owned()),
        ("WHOOP_CLIENT_SECRET", "cloud-whoop-secret".to_owned()),
        ("TOKEN_ENCRYPTION_KEYS", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
    ];
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) async fn bridge_at(cloud: &VendorCloud, more: &[(&str, &str)]) -> Bridge {
    let own = settings(cloud);
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Bridge::start_with(&[&own[..], more].concat()).await
}

/// A person of the cloud, as the vendor knows them.
pub(crate) async fn account(cloud: &VendorCloud, vendor: &str, person: usize) -> String {
    let people = json_of(cloud.client.get(format!("{}/people", cloud.url)), StatusCode::OK).await;
    let id = &people[person][vendor];
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Links a person's account to a user of ours, with tokens of the cloud; gives the account's id.
pub(crate) async fn connect(
    bridge: &Bridge,
    cloud: &VendorCloud,
    vendor: &str,
    person: usize,
    user: &str,
) -> String {
    connect_until(bridge, cloud, (vendor, person), user, None).await
}

/// The same with an access token that has ended: the first fetch refreshes it.
pub(crate) async fn connect_stale(
    bridge: &Bridge,
    cloud: &VendorCloud,
    vendor: &str,
    person: usize,
    user: &str,
) -> String {
    let ended = Timestamp::from_ms(now_ms() - 60_000).to_string();
    connect_until(bridge, cloud, (vendor, person), user, Some(ended)).await
}

async fn connect_until(
    bridge: &Bridge,
    cloud: &VendorCloud,
    (vendor, person): (&str, usize),
    user: &str,
    expires_at: Option<String>,
) -> String {
    let id = account(cloud, vendor, person).await;
    let grant = cloud.grant(vendor, person).await;
    let mut body = json!({
        "user_id": user, "access_token": grant["access_token"], "refresh_token": grant["refresh_token"],
    });
    if let Some(expires_at) = expires_at {
        body["expires_at"] = json!(expires_at);
    }
    let path = format!("/admin/links/{vendor}/{id}");
    let request = bridge.request(Method::PUT, &path).bearer_auth(ADMIN_KEY).body(body.to_string());
    let (status, put) = answer(request).await;
    assert_eq!(status, 200, "{put}");
    id
}

/// Days that are over, so that everything in them is computed.
fn span(days: i64) -> (String, String) {
    let day = |back: i64| {
        Timestamp::from_ms(START_MS - back * 86_400_000)
            .to_string()
            .split('T')
            .next()
            .expect("a date")
            .to_owned()
    };
    (day(days), day(2))
}

/// The ids of a person's records of a type, as the cloud's API lists them.
async fn oura_ids(cloud: &VendorCloud, token: &str, data_type: &str, days: i64) -> Vec<String> {
    let (from, to) = span(days);
    let (mut ids, mut page) = (Vec::new(), String::new());
    loop {
        let path = format!("/v2/usercollection/{data_type}?start_date={from}&end_date={to}{page}");
        let listed = json_of(cloud.get(&path, token), StatusCode::OK).await;
        let records = listed["data"].as_array().expect("records");
        ids.extend(records.iter().filter_map(|record| record["id"].as_str().map(str::to_owned)));
        match listed["next_token"].as_str() {
            Some(next) => page = format!("&next_token={next}"),
            None => return ids,
        }
    }
}

async fn whoop_ids(cloud: &VendorCloud, token: &str, path: &str, id: &str) -> Vec<String> {
    let (from, to) = span(DAYS);
    let (mut ids, mut page) = (Vec::new(), String::new());
    loop {
        let path = format!("/developer/v2/{path}?start={from}T00:00:00Z&end={to}T00:00:00Z&limit=25{page}");
        let listed = json_of(cloud.get(&path, token), StatusCode::OK).await;
        let scored = listed["records"].as_array().expect("records").iter();
        let scored = scored.filter(|record| record["score_state"] == "SCORED");
        ids.extend(scored.filter_map(|record| record[id].as_str().map(str::to_owned)));
        match listed["next_token"].as_str() {
            Some(next) => page = format!("&nextToken={next}"),
            None => return ids,
        }
    }
}

/// Oura's types that hold metrics: in notifications, and in paths.
const OURA_TYPES: [(&str, &str); 10] = [
    ("sleep", "sleep"),
    ("daily_sleep", "daily_sleep"),
    ("daily_readiness", "daily_readiness"),
    ("daily_activity", "daily_activity"),
    ("daily_spo2", "daily_spo2"),
    ("daily_stress", "daily_stress"),
    ("daily_resilience", "daily_resilience"),
    ("daily_cardiovascular_age", "daily_cardiovascular_age"),
    ("vo2_max", "vO2_max"),
    ("workout", "workout"),
];
/// WHOOP's collections, the notification of each, and which id is in it.
const WHOOP_TYPES: [(&str, &str, &str); 3] = [
    ("activity/sleep", "sleep.updated", "id"),
    ("recovery", "recovery.updated", "sleep_id"),
    ("activity/workout", "workout.updated", "id"),
];

fn oura_notification(id: &str, data_type: &str, object_id: &str) -> Value {
    json!({
        "user_id": id, "event_type": "update", "data_type": data_type, "object_id": object_id,
        "event_time": Timestamp::from_ms(START_MS).to_string(),
    })
}

fn whoop_notification(id: &str, kind: &str, object_id: &str) -> Value {
    let user_id = id.parse::<i64>().expect("a number");
    json!({"user_id": user_id, "id": object_id, "type": kind, "trace_id": format!("{kind}-{object_id}")})
}

/// A notification of every record of a person's of late.
pub(crate) async fn notifications(cloud: &VendorCloud, person: usize) -> Vec<(&'static str, Value)> {
    let mut all = of_oura(cloud, person, DAYS).await;
    all.extend(of_whoop(cloud, person).await);
    all
}

/// Of those at Oura, of so many days.
pub(crate) async fn of_oura(cloud: &VendorCloud, person: usize, days: i64) -> Vec<(&'static str, Value)> {
    let (id, token) = (account(cloud, "oura", person).await, token_of(cloud, "oura", person).await);
    let mut all = Vec::new();
    for (data_type, path) in OURA_TYPES {
        for object_id in oura_ids(cloud, &token, path, days).await {
            all.push(("oura", oura_notification(&id, data_type, &object_id)));
        }
    }
    all
}

/// Of those at WHOOP.
pub(crate) async fn of_whoop(cloud: &VendorCloud, person: usize) -> Vec<(&'static str, Value)> {
    let (account, token) = (account(cloud, "whoop", person).await, token_of(cloud, "whoop", person).await);
    let mut all = Vec::new();
    for (path, kind, id) in WHOOP_TYPES {
        for object_id in whoop_ids(cloud, &token, path, id).await {
            all.push(("whoop", whoop_notification(&account, kind, &object_id)));
        }
    }
    all
}

async fn token_of(cloud: &VendorCloud, vendor: &str, person: usize) -> String {
    cloud.grant(vendor, person).await["access_token"].as_str().expect("a token").to_owned()
}

pub(crate) async fn tell(bridge: &Bridge, (vendor, body): &(&'static str, Value)) {
    let (status, told) = if *vendor == "oura" { bridge.oura(body).await } else { bridge.whoop(body).await };
    assert_eq!((status, told["status"].as_str()), (202, Some("accepted")), "{told}");
}

/// The same as a vendor does it, who comes again when the bridge is busy.
pub(crate) async fn tell_until_taken(bridge: &Bridge, (vendor, body): &(&'static str, Value)) {
    let taken = async |bridge: &Bridge| {
        let (status, told) =
            if *vendor == "oura" { bridge.oura(body).await } else { bridge.whoop(body).await };
        assert!(matches!(status, 200 | 202 | 503), "{told}");
        status != 503
    };
    bridge.until("it was taken", taken).await;
}

/// All of a user's events, however many pages they are, but the series of nights: one for each record.
pub(crate) async fn all_events(bridge: &Bridge, user: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bridge.read(&format!("/v1/users/{user}/events?limit=1000{cursor}")).await;
        let is_series = |event: &Value| event["kind"] == "sample" && event["is_backfill"] == true;
        all.extend(listed(&page, "events").into_iter().filter(|event| !is_series(event)));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

pub(crate) fn kinds(events: &[Value]) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    events.iter().for_each(|event| *kinds.entry(event["kind"].as_str().expect("a kind")).or_default() += 1);
    kinds
}

pub(crate) async fn dead_letters(bridge: &Bridge) -> f64 {
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    let line = metrics.lines().find_map(|line| line.strip_prefix("auren_dlq_depth "));
    line.expect("the metric").parse().expect("a number")
}

/// A bridge to which a person's accounts at both vendors are linked as one user.
pub(crate) async fn connected(
    cloud: &VendorCloud,
    person: usize,
    user: &str,
    more: &[(&str, &str)],
) -> Bridge {
    let bridge = bridge_at(cloud, &[&[QUICK, PLENTY[0], PLENTY[1]], more].concat()).await;
    connect(&bridge, cloud, "oura", person, user).await;
    connect(&bridge, cloud, "whoop", person, user).await;
    bridge
}

/// Makes a fault, as `POST /faults` takes it.
pub(crate) async fn fault(cloud: &VendorCloud, fault: Value) {
    cloud.fault(serde_json::from_value::<Fault>(fault).expect("a fault")).await;
}

/// A fault of requests for records.
pub(crate) async fn storm(cloud: &VendorCloud, kind: FaultKind, share: f64, vendor: Option<Vendor>) {
    fault(cloud, json!({"kind": kind.name(), "share": share, "route": Route::Api, "vendor": vendor})).await;
}

/// Every event is there once, and nothing was given up.
pub(crate) async fn until_arrived(bridge: &Bridge, user: &str, count: usize) {
    bridge.until("all are there", async |bridge| all_events(bridge, user).await.len() >= count).await;
    let all = all_events(bridge, user).await;
    assert_eq!(all.len(), count, "{:?}", kinds(&all));
    assert!(dead_letters(bridge).await < 0.5);
}
