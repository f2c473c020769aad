//! From a notification to its data, through the real HTTP client and a vendor cloud: every type of event, storms, and
//! whatever dies meanwhile.

use std::collections::BTreeMap;

use actors::domain::time::Timestamp;
use biometric_bridge::demo::cloud::{Fault, FaultKind, Route, Vendor};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answers::{events, listed};
use crate::bridge::{ADMIN_KEY, Bridge, answer};
use crate::cloud::{START_MS, VendorCloud, json_of};

/// A second becomes 5 ms, a minute 300 ms.
const QUICK: (&str, &str) = ("VENDOR_RETRY_BASE_MS", "5");
/// More than any test here asks.
const PLENTY: [(&str, &str); 2] = [("OURA_RATE_LIMIT", "100000/60"), ("WHOOP_RATE_LIMIT", "100000/60")];
/// How far back records are asked for.
const DAYS: i64 = 12;

/// The settings by which a bridge finds a cloud.
fn settings(cloud: &VendorCloud) -> Vec<(String, String)> {
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

async fn bridge_at(cloud: &VendorCloud, more: &[(&str, &str)]) -> Bridge {
    let own = settings(cloud);
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Bridge::start_with(&[&own[..], more].concat()).await
}

/// A person of the cloud, as the vendor knows them.
async fn account(cloud: &VendorCloud, vendor: &str, person: usize) -> String {
    let people = json_of(cloud.client.get(format!("{}/people", cloud.url)), StatusCode::OK).await;
    let id = &people[person][vendor];
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// Links a person's account to a user of ours, with tokens of the cloud; gives the account's id.
async fn connect(bridge: &Bridge, cloud: &VendorCloud, vendor: &str, person: usize, user: &str) -> String {
    let id = account(cloud, vendor, person).await;
    let grant = cloud.grant(vendor, person).await;
    let body = json!({
        "user_id": user, "access_token": grant["access_token"], "refresh_token": grant["refresh_token"],
    });
    let path = format!("/admin/links/{vendor}/{id}");
    let request = bridge.request(Method::PUT, &path).bearer_auth(ADMIN_KEY).body(body.to_string());
    let (status, put) = answer(request).await;
    assert_eq!(status, 200, "{put}");
    id
}

/// Days that are over, so that everything in them is computed.
fn span() -> (String, String) {
    let day = |back: i64| {
        Timestamp::from_ms(START_MS - back * 86_400_000)
            .to_string()
            .split('T')
            .next()
            .expect("a date")
            .to_owned()
    };
    (day(DAYS), day(2))
}

/// The ids of a person's records of a type, as the cloud's API lists them.
async fn oura_ids(cloud: &VendorCloud, token: &str, data_type: &str) -> Vec<String> {
    let (from, to) = span();
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
    let (from, to) = span();
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

/// A notification of every record of a person's.
async fn notifications(cloud: &VendorCloud, person: usize) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    let [oura, whoop] = [account(cloud, "oura", person).await, account(cloud, "whoop", person).await];
    let token = token_of(cloud, "oura", person).await;
    for (data_type, path) in OURA_TYPES {
        for object_id in oura_ids(cloud, &token, path).await {
            all.push(("oura", oura_notification(&oura, data_type, &object_id)));
        }
    }
    let token = token_of(cloud, "whoop", person).await;
    for (path, kind, id) in WHOOP_TYPES {
        for id in whoop_ids(cloud, &token, path, id).await {
            all.push(("whoop", whoop_notification(&whoop, kind, &id)));
        }
    }
    all
}

async fn token_of(cloud: &VendorCloud, vendor: &str, person: usize) -> String {
    cloud.grant(vendor, person).await["access_token"].as_str().expect("a token").to_owned()
}

async fn tell(bridge: &Bridge, (vendor, body): &(&'static str, Value)) {
    let (status, told) = if *vendor == "oura" { bridge.oura(body).await } else { bridge.whoop(body).await };
    assert_eq!((status, told["status"].as_str()), (202, Some("accepted")), "{told}");
}

/// All of a user's events, however many pages they are.
async fn all_events(bridge: &Bridge, user: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bridge.read(&format!("/v1/users/{user}/events?limit=1000{cursor}")).await;
        all.extend(listed(&page, "events").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn kinds(events: &[Value]) -> BTreeMap<&str, usize> {
    let mut kinds = BTreeMap::new();
    events.iter().for_each(|event| *kinds.entry(event["kind"].as_str().expect("a kind")).or_default() += 1);
    kinds
}

async fn dead_letters(bridge: &Bridge) -> f64 {
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    let line = metrics.lines().find_map(|line| line.strip_prefix("auren_dlq_depth "));
    line.expect("the metric").parse().expect("a number")
}

/// A bridge to which a person's accounts at both vendors are linked as one user.
async fn connected(cloud: &VendorCloud, person: usize, user: &str, more: &[(&str, &str)]) -> Bridge {
    let bridge = bridge_at(cloud, &[&[QUICK, PLENTY[0], PLENTY[1]], more].concat()).await;
    connect(&bridge, cloud, "oura", person, user).await;
    connect(&bridge, cloud, "whoop", person, user).await;
    bridge
}

async fn storm(cloud: &VendorCloud, kind: FaultKind, share: f64, vendor: Option<Vendor>) {
    let fault = json!({"kind": kind.name(), "share": share, "route": Route::Api, "vendor": vendor});
    cloud.fault(serde_json::from_value::<Fault>(fault).expect("a fault")).await;
}

async fn until_arrived(bridge: &Bridge, user: &str, count: usize) {
    bridge.until("all are there", async |bridge| all_events(bridge, user).await.len() >= count).await;
    let all = all_events(bridge, user).await;
    assert_eq!(all.len(), count, "{:?}", kinds(&all));
    assert!(dead_letters(bridge).await < 0.5);
}

#[actix_web::test]
async fn every_type_of_event_becomes_its_data_of_its_user() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "ann", all.len()).await;
    let stored = all_events(&bridge, "ann").await;
    for kind in ["sleep", "readiness", "activity", "spo2", "stress", "recovery", "workout"] {
        assert!(stored.iter().any(|event| event["kind"] == kind), "{kind} among {:?}", kinds(&stored));
    }
    let oura = account(&cloud, "oura", 0).await;
    assert!(events(&bridge, &format!("oura:{oura}")).await.is_empty(), "the link decides whose it is");
    let has_mode = async |bridge: &Bridge| bridge.read("/v1/users/ann/state").await["mode"].is_string();
    bridge.until("it was folded", has_mode).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn through_storms_of_every_kind_everything_arrives_in_the_end() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 1, "bob", &[("VENDOR_RETRY_ATTEMPTS", "100")]).await;
    let all = notifications(&cloud, 1).await;
    // Fewer failures than open a breaker, which is another test's.
    storm(&cloud, FaultKind::ServerError, 0.1, None).await;
    storm(&cloud, FaultKind::BrokenJson, 0.1, None).await;
    storm(&cloud, FaultKind::RateLimit, 0.02, None).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "bob", all.len()).await;
    let stats = cloud.stats().await;
    for kind in ["server_error", "broken_json"] {
        assert!(stats["faults"][kind].as_u64().is_some_and(|count| count > 0), "{stats}");
    }
    cloud.stop().await;
}

#[actix_web::test]
async fn a_full_queue_outlives_kill_9_and_is_fetched_by_the_next_process() {
    let cloud = VendorCloud::start(2, |config| config.delay = std::time::Duration::from_millis(30));
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    // In the middle of it: some are stored, some are on their way.
    bridge.until("the first", async |bridge| !events(bridge, "ann").await.is_empty()).await;
    let bridge = bridge.restart().await;
    until_arrived(&bridge, "ann", all.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn a_vendor_that_is_down_opens_its_breaker_and_the_other_does_not_notice() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[("VENDOR_RETRY_ATTEMPTS", "6")]).await;
    let all = notifications(&cloud, 0).await;
    storm(&cloud, FaultKind::ServerError, 1.0, Some(Vendor::Whoop)).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    let of_oura = all.iter().filter(|(vendor, _)| *vendor == "oura").count();
    bridge.until("all of Oura", async |bridge| all_events(bridge, "ann").await.len() == of_oura).await;
    let state = async |bridge: &Bridge| {
        let node: Value = bridge.get("/actors/fetch/whoop").await.json().await.expect("JSON");
        node["breaker"]["state"].as_str().expect("a breaker").to_owned()
    };
    bridge.until("it is open", async |bridge| state(bridge).await == "open").await;
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    for line in
        [r#"auren_circuit_breaker_state{name="whoop"} 2"#, r#"auren_circuit_breaker_state{name="oura"} 0"#]
    {
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    }
    // Mended, and an operator closes it: nothing was given up meanwhile.
    cloud.heal().await;
    let reset = bridge.request(Method::POST, "/admin/breakers/whoop/reset").bearer_auth(ADMIN_KEY);
    assert_eq!(answer(reset).await.0, 202);
    until_arrived(&bridge, "ann", all.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn what_comes_before_its_account_waits_for_it() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = bridge_at(&cloud, &[QUICK, PLENTY[0], PLENTY[1]]).await;
    let all = notifications(&cloud, 1).await;
    let of_oura: Vec<_> = all.iter().filter(|(vendor, _)| *vendor == "oura").take(5).collect();
    for notification in &of_oura {
        tell(&bridge, notification).await;
    }
    let bridge = bridge.restart().await;
    connect(&bridge, &cloud, "oura", 1, "bob").await;
    until_arrived(&bridge, "bob", of_oura.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn a_deletion_takes_the_record_away_and_a_late_answer_does_not_bring_it_back() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    let workouts = all.iter().filter(|(_, body)| body["data_type"] == "workout").take(2);
    let workouts: Vec<Value> = workouts.map(|(_, body)| body.clone()).collect();
    for workout in &workouts {
        tell(&bridge, &("oura", workout.clone())).await;
    }
    until_arrived(&bridge, "ann", workouts.len()).await;
    let mut deletion = workouts[0].clone();
    deletion["event_type"] = json!("delete");
    deletion["event_time"] = json!(Timestamp::from_ms(START_MS + 1_000).to_string());
    let (status, told) = bridge.oura(&deletion).await;
    assert_eq!((status, told["status"].as_str()), (200, Some("processed")), "{told}");
    assert_eq!(all_events(&bridge, "ann").await.len(), workouts.len() - 1, "of the linked user");
    // An update of before comes again, with other bytes: its answer is older than the deletion.
    let mut again = workouts[0].clone();
    again["trace"] = json!("another");
    tell(&bridge, &("oura", again)).await;
    let asked = async |_: &Bridge| {
        let stats = cloud.stats().await;
        stats["requests"]["oura"]["api"]["200"].as_u64().is_some_and(|count| count > 0)
    };
    bridge.until("it was asked", asked).await;
    assert_eq!(all_events(&bridge, "ann").await.len(), workouts.len() - 1);
    cloud.stop().await;
}

#[actix_web::test]
async fn the_python_systems_notifications_fetch_for_users_of_ours() {
    let cloud = VendorCloud::start(2, |config| config.start_ms = crate::bridge::now_ms());
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let told = bridge.oura_inline(&json!({"event_type": "sleep.updated", "user_id": "ann"})).await;
    assert_eq!((told.0, told.1["status"].as_str()), (202, Some("accepted")), "{}", told.1);
    let has = async |bridge: &Bridge| {
        let all = all_events(bridge, "ann").await;
        kinds(&all).get("sleep").is_some_and(|count| *count >= 2)
    };
    bridge.until("the night and its summary", has).await;
    cloud.stop().await;
}
