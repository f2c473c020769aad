//! `vendor-cloud`: webhooks as the vendors send them, to a real bridge and to a receiver that looks closely.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actors::domain::time::{MS_PER_DAY, MS_PER_HOUR};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use biometric_bridge::demo::cloud::{Config, Fault, FaultKind, Vendor};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::bridge::{Bridge, HEALTHKIT_KEY, OURA_SECRET, OURA_TOKEN, PATIENCE, WHOOP_SECRET, now_ms};
use crate::cloud::{VendorCloud, json_of};

/// Written out here, so that it is not the cloud's code that says what is right.
fn hmac(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[derive(Debug, Clone)]
struct Seen {
    path: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Gives every challenge back, and answers every webhook alike.
struct Receiver {
    url: String,
    handle: ServerHandle,
    state: web::Data<(Mutex<Vec<Seen>>, u16)>,
}

impl Receiver {
    fn start(status: u16) -> Self {
        let state = web::Data::new((Mutex::default(), status));
        let data = state.clone();
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(receive)));
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", server.addrs()[0]);
        let running = server.run();
        let handle = running.handle();
        actix_web::rt::spawn(running);
        Self { url, handle, state }
    }

    fn seen(&self) -> Vec<Seen> {
        self.state.0.lock().clone()
    }
}

async fn receive(
    request: HttpRequest,
    body: web::Bytes,
    state: web::Data<(Mutex<Vec<Seen>>, u16)>,
) -> HttpResponse {
    if request.method() == "GET" {
        let challenge = request.query_string().rsplit("challenge=").next().expect("a challenge");
        return HttpResponse::Ok().json(json!({"challenge": challenge}));
    }
    let field =
        |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
            (name.to_string(), value.to_str().expect("text").to_owned())
        };
    let fields = request.headers().iter().map(field).collect();
    state.0.lock().push(Seen { path: request.path().to_owned(), fields, body: body.to_vec() });
    HttpResponse::build(StatusCode::from_u16(state.1).expect("a status")).finish()
}

/// The last `days` in a few seconds, told to `url`.
fn hurried(people: usize, url: &str, days: i64, change: impl FnOnce(&mut Config)) -> VendorCloud {
    VendorCloud::start(people, |config| {
        config.start_ms = now_ms() - days * MS_PER_DAY;
        config.speed = 50_000.0;
        config.target = Some(url.to_owned());
        config.keys.oura = OURA_SECRET.to_owned();
        config.keys.oura_verification_token = OURA_TOKEN.to_owned();
        config.keys.whoop = WHOOP_SECRET.to_owned();
        config.keys.healthkit = HEALTHKIT_KEY.to_owned();
        change(config);
    })
}

async fn until(cloud: &VendorCloud, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        let mut looks = 0;
        loop {
            let stats = cloud.stats().await;
            // Twice in a row: one look may fall between the end of a delivery and the beginning of its repetition.
            looks = if holds(&stats) { looks + 1 } else { 0 };
            if looks == 2 {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(stats) => stats,
        Err(_) => panic!("not {what}: {}", cloud.stats().await),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Whether simulated time has come to now, and everything that was sent is answered.
fn is_over(stats: &Value, vendors: &[&str]) -> bool {
    let caught_up = stats["simulated_time_ms"].as_i64().expect("a time") > now_ms() - MS_PER_HOUR / 60;
    let is_done = |vendor: &&str| {
        let told = &stats["webhooks"][*vendor];
        number(&told["deliveries"]) == number(&told["accepted"]) + number(&told["given_up"])
    };
    caught_up && vendors.iter().all(is_done)
}

#[actix_web::test]
async fn what_the_cloud_signs_a_bridge_believes_and_its_readings_can_be_read() {
    let bridge = Bridge::start().await;
    let cloud = hurried(2, &bridge.url, 3, |config| {
        config.vendors = vec![Vendor::Oura, Vendor::Whoop, Vendor::HealthKit];
    });
    let vendors = ["oura", "whoop", "healthkit"];
    let stats = until(&cloud, "over", |stats| is_over(stats, &vendors)).await;
    for vendor in vendors {
        let told = &stats["webhooks"][vendor];
        assert!(number(&told["accepted"]) > if vendor == "whoop" { 10 } else { 100 }, "{stats}");
        // WHOOP waits a second: on a slow machine some come unanswered first.
        assert_eq!(told["refused"], Value::Null, "{stats}");
    }
    assert_eq!(stats["webhooks"]["oura"]["handshakes"], 1);
    let latest = bridge.read("/v1/users/cloud-0007-1/latest").await;
    assert!(latest.to_string().contains("heart_rate"), "{latest}");
    cloud.stop().await;
}

#[actix_web::test]
async fn duplicates_change_nothing_and_a_wrong_clock_is_refused_until_it_is_right_again() {
    let bridge = Bridge::start().await;
    let cloud = hurried(1, &bridge.url, 3, |config| {
        config.vendors = vec![Vendor::Oura];
        config.faults =
            vec![Fault { share: 0.3, ..Fault::new(FaultKind::ClockSkew) }, Fault::new(FaultKind::Duplicate)];
    });
    let stats = until(&cloud, "over", |stats| is_over(stats, &["oura"])).await;
    let told = &stats["webhooks"]["oura"];
    assert_eq!(told["refused"]["401"], stats["faults"]["clock_skew"], "{stats}");
    assert!(number(&told["refused"]["401"]) > 10, "{stats}");
    assert_eq!(number(&told["accepted"]), 2 * number(&stats["faults"]["duplicate"]), "{stats}");
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    let known =
        r#"webhook_events_failed_total{device_type="oura_ring",error_type="duplicate_event",source="oura"}"#;
    let known = metrics.lines().find_map(|line| line.strip_prefix(known)).expect("a counter");
    assert_eq!(known.trim(), stats["faults"]["duplicate"].to_string());
    cloud.stop().await;
}

#[actix_web::test]
async fn every_vendor_signs_and_tells_as_it_does() {
    let receiver = Receiver::start(202);
    let cloud = hurried(2, &receiver.url, 3, |_| {});
    until(&cloud, "over", |stats| is_over(stats, &["oura", "whoop", "healthkit", "terra"])).await;
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seen in receiver.seen() {
        let field = |name: &str| seen.fields.get(name).map(String::as_str).unwrap_or_default();
        let (body, kind) = (seen.json(), seen.path.trim_start_matches("/webhook/"));
        let told = match kind {
            "oura" => {
                let expected = hmac(OURA_SECRET, &[field("x-oura-timestamp").as_bytes(), &seen.body]);
                assert_eq!(field("x-oura-signature"), hex::encode_upper(expected));
                assert!(body["event_time"].as_str().expect("a time").ends_with("+00:00"));
                format!(
                    "{} {}",
                    body["event_type"].as_str().expect("text"),
                    body["data_type"].as_str().expect("text")
                )
            }
            "whoop" => {
                let timestamp = field("x-whoop-signature-timestamp");
                assert_eq!(timestamp.len(), 13, "milliseconds");
                let expected = hmac(WHOOP_SECRET, &[timestamp.as_bytes(), &seen.body]);
                assert_eq!(field("x-whoop-signature"), STANDARD.encode(expected));
                assert!(body["user_id"].is_i64() && body["trace_id"].is_string());
                body["type"].as_str().expect("text").to_owned()
            }
            "terra" => {
                let (time, signature) = field("terra-signature").split_once(",v1=").expect("two parts");
                let time = time.strip_prefix("t=").expect("a time");
                let expected = hmac("cloud-terra-secret", &[time.as_bytes(), b".", &seen.body]);
                assert_eq!(signature, hex::encode(expected));
                assert!(!field("x-terra-trace-id").is_empty() && !body["data"][0].is_null());
                body["type"].as_str().expect("text").to_owned()
            }
            "healthkit" => {
                assert_eq!(field("authorization"), format!("Bearer {HEALTHKIT_KEY}"));
                assert!(!body["samples"].as_array().expect("samples").is_empty());
                "samples".to_owned()
            }
            other => panic!("{other}"),
        };
        types.entry(kind.to_owned()).or_default().insert(told);
    }
    for kind in ["sleep", "daily_sleep", "daily_readiness", "daily_spo2", "daily_stress", "daily_activity"] {
        assert!(types["oura"].contains(&format!("create {kind}")), "{kind}: {types:?}");
    }
    assert!(types["oura"].contains("update daily_activity"));
    assert!(types["whoop"].is_superset(&["sleep.updated", "recovery.updated"].map(str::to_owned).into()));
    assert!(types["terra"].is_superset(&["sleep", "daily"].map(str::to_owned).into()));
    cloud.stop().await;
    receiver.handle.stop(false).await;
}

#[actix_web::test]
async fn what_is_refused_is_tried_as_often_as_the_vendor_does_and_410_ends_ouras_subscriptions() {
    let receiver = Receiver::start(500);
    let cloud = hurried(1, &receiver.url, 2, |config| config.vendors = vec![Vendor::Whoop]);
    let over =
        |stats: &Value| is_over(stats, &["whoop"]) && number(&stats["webhooks"]["whoop"]["given_up"]) > 0;
    let stats = until(&cloud, "over", over).await;
    let mut attempts: BTreeMap<String, u64> = BTreeMap::new();
    for seen in receiver.seen() {
        *attempts.entry(seen.json()["trace_id"].to_string()).or_default() += 1;
    }
    assert!(attempts.values().all(|count| *count == 6), "one and five more: {attempts:?}");
    assert_eq!(stats["webhooks"]["whoop"]["given_up"], attempts.len());
    cloud.stop().await;
    receiver.handle.stop(false).await;

    let receiver = Receiver::start(410);
    let cloud = hurried(1, &receiver.url, 2, |config| config.vendors = vec![Vendor::Oura]);
    let told = |stats: &Value| {
        let caught_up = stats["simulated_time_ms"].as_i64().expect("a time") > now_ms() - 60_000;
        caught_up && number(&stats["webhooks"]["oura"]["cancelled"]) > 0
    };
    until(&cloud, "cancelled", told).await;
    let headers = [("x-client-id", "cloud-oura-client"), ("x-client-secret", "cloud-oura-secret")];
    let list = headers.into_iter().fold(
        cloud.client.get(format!("{}/v2/webhook/subscription", cloud.url)),
        |request, (name, value)| request.header(name, value),
    );
    assert_eq!(json_of(list, reqwest::StatusCode::OK).await, json!([]));
    cloud.stop().await;
    receiver.handle.stop(false).await;
}

#[actix_web::test]
async fn what_is_held_back_comes_after_what_is_newer_and_none_is_lost() {
    let receiver = Receiver::start(200);
    let cloud = hurried(1, &receiver.url, 3, |config| {
        config.vendors = vec![Vendor::Oura];
        config.faults = vec![Fault { share: 0.3, ..Fault::new(FaultKind::OutOfOrder) }];
    });
    let stats = until(&cloud, "over", |stats| is_over(stats, &["oura"])).await;
    let seen = receiver.seen();
    let times: Vec<String> = seen.iter().map(|seen| seen.json()["event_time"].to_string()).collect();
    assert!(times.windows(2).any(|pair| pair[0] > pair[1]), "{times:?}");
    let bodies: BTreeSet<&Vec<u8>> = seen.iter().map(|seen| &seen.body).collect();
    assert_eq!(bodies.len(), seen.len());
    assert_eq!(stats["webhooks"]["oura"]["accepted"], seen.len());
    cloud.stop().await;
    receiver.handle.stop(false).await;
}

#[actix_web::test]
async fn time_that_is_put_forward_tells_what_happened_meanwhile_once() {
    let receiver = Receiver::start(200);
    let cloud = VendorCloud::start(1, |config| {
        config.target = Some(receiver.url.clone());
        config.vendors = vec![Vendor::Whoop];
    });
    for day in 1..=3_u64 {
        cloud.forward(86_400).await;
        // A sleep and its recovery, each when it is there and when it is scored.
        until(&cloud, "told", |stats| number(&stats["webhooks"]["whoop"]["accepted"]) >= 4 * day).await;
    }
    let seen = receiver.seen();
    let distinct: BTreeSet<&Vec<u8>> = seen.iter().map(|seen| &seen.body).collect();
    assert_eq!(distinct.len(), seen.len());
    cloud.stop().await;
    receiver.handle.stop(false).await;
}

#[actix_web::test]
async fn a_subscription_of_ouras_begins_with_a_handshake() {
    let bridge = Bridge::start().await;
    let cloud = VendorCloud::start(1, |_| {});
    let address = format!("{}/v2/webhook/subscription", cloud.url);
    let wish = |token: &str| {
        let body = json!({
            "callback_url": format!("{}/webhook/oura", bridge.url), "verification_token": token,
            "event_type": "update", "data_type": "daily_sleep",
        });
        let request = cloud.client.post(&address).header("x-client-id", "cloud-oura-client");
        request.header("x-client-secret", "cloud-oura-secret").body(body.to_string())
    };
    json_of(wish("a wrong token"), reqwest::StatusCode::BAD_REQUEST).await;
    let made = json_of(wish(OURA_TOKEN), reqwest::StatusCode::CREATED).await;
    let renew = cloud.client.put(format!("{address}/renew/{}", made["id"].as_str().expect("an id")));
    let renew =
        renew.header("x-client-id", "cloud-oura-client").header("x-client-secret", "cloud-oura-secret");
    assert_eq!(json_of(renew, reqwest::StatusCode::OK).await["data_type"], "daily_sleep");
    json_of(cloud.client.get(&address), reqwest::StatusCode::UNAUTHORIZED).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn who_has_subscribed_to_one_thing_is_told_of_it_alone() {
    let receiver = Receiver::start(200);
    let cloud = VendorCloud::start(2, |_| {});
    let wish = json!({
        "callback_url": format!("{}/callback", receiver.url), "verification_token": "test-token",
        "event_type": "create", "data_type": "daily_sleep",
    });
    let request = cloud.client.post(format!("{}/v2/webhook/subscription", cloud.url));
    let request =
        request.header("x-client-id", "cloud-oura-client").header("x-client-secret", "cloud-oura-secret");
    json_of(request.body(wish.to_string()), reqwest::StatusCode::CREATED).await;
    cloud.forward(86_400).await;
    until(&cloud, "told", |stats| number(&stats["webhooks"]["oura"]["accepted"]) == 2).await;
    for seen in receiver.seen() {
        let told = seen.json();
        assert_eq!(seen.path, "/callback");
        assert_eq!((&told["event_type"], &told["data_type"]), (&json!("create"), &json!("daily_sleep")));
    }
    cloud.stop().await;
    receiver.handle.stop(false).await;
}
