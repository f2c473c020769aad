//! Terra's door: what comes through it, whose it is, and the copy of its events.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actors::vendors::signing;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{log_read, refused, send};
use crate::bridge::{ADMIN_KEY, Bridge, TERRA_SECRET, answer};

/// The body of vendors.md §5's vector.
const VECTOR: &str = r#"{"type":"daily","user":{"user_id":"0f2c9a44-6d0e-4b3f-a0a5-58b9a1f3c7de","provider":"OURA","reference_id":"user-81"},"data":[{"metadata":{"start_time":"2026-09-09T00:00:00.000000+02:00","end_time":"2026-09-10T00:00:00.000000+02:00","upload_type":1},"distance_data":{"steps":8412}}],"version":"2022-03-16"}"#;
const VECTOR_HEADER: &str =
    "t=1789041600,v1=1d3fef65a00cf17bdff56446838fcac5ecb8de88728c6aba2984ff67a054aded";
const ORDER: &str = "x-terra-ordering-timestamp";
const TRACE: &str = "x-terra-trace-id";

fn daily(user: &Value, day: &str, steps: u32) -> Value {
    json!({
        "type": "daily", "user": user,
        "data": [{"metadata": {"start_time": format!("{day}T00:00:00+00:00")}, "distance_data": {"steps": steps}}],
    })
}

/// The values of a user's steps, as the read API has them.
async fn steps(bridge: &Bridge, user: &str) -> Vec<f64> {
    let events = bridge.read(&format!("/v1/users/{user}/events?metric=steps")).await;
    let events = events["events"].as_array().expect("a list").clone();
    events.iter().map(|event| event["readings"][0]["value"].as_f64().expect("a number")).collect()
}

#[actix_web::test]
async fn terras_own_vector_becomes_an_event_and_its_copy() {
    let vectors =
        [("TERRA_WEBHOOK_SECRET", "terra-signing-secret-71ab"), ("WEBHOOK_TOLERANCE_SECONDS", "4000000000")];
    let bridge = Bridge::start_with(&vectors).await;
    let request = bridge.request(Method::POST, "/webhook/terra").header("terra-signature", VECTOR_HEADER);
    let told = send(request.body(VECTOR)).await.json();
    assert_eq!(
        (&told["status"], &told["events"], &told["readings"]),
        (&json!("processed"), &json!(1), &json!(1))
    );
    assert_eq!((&told["device"], &told["rejected"]), (&json!("terra"), &json!([])));
    let shown = bridge.read("/v1/users/user-81/events").await["events"][0].clone();
    assert_eq!(shown["timestamp"], "2026-09-08T22:00:00Z");
    assert_eq!((&shown["kind"], &shown["device_type"]), (&json!("daily"), &json!("terra")));
    assert_eq!(
        (&shown["headers"]["source"], &shown["headers"]["priority"]),
        (&json!("terra_api"), &json!("MEDIUM"))
    );
    let (events, copies) =
        (log_read(&bridge, "biometric-events"), log_read(&bridge, "terra-biometric-events"));
    assert_eq!((events.len(), copies.len()), (1, 1));
    for same in ["key", "value", "headers"] {
        assert_eq!(events[0][same], copies[0][same], "{same}");
    }
    let node = bridge.get("/actors/devices/terra").await;
    assert_eq!(node.status(), 200);
    let healthkit = json!({"user_id": "u", "samples": [{"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": "2026-09-10T06:00:00Z"}]});
    assert_eq!(bridge.healthkit(&healthkit).await.0, 200);
    assert_eq!(log_read(&bridge, "terra-biometric-events").len(), 1, "others have no copy");
}

#[actix_web::test]
async fn only_what_is_signed_gets_in_and_a_disabled_door_is_none() {
    let bridge = Bridge::start().await;
    let post = || bridge.request(Method::POST, "/webhook/terra").body(VECTOR);
    refused(post(), 401, "authentication_error").await;
    refused(post().header("terra-signature", VECTOR_HEADER), 401, "authentication_error").await;
    refused(bridge.request(Method::GET, "/webhook/terra"), 405, "method_not_allowed").await;
    let python =
        r#"{"user":{"user_id":"user-9"},"ts":"2026-09-10T06:00:00Z","heart_rate_data":{"hrv":45.5}}"#;
    let signature = signing::inline(TERRA_SECRET, python.as_bytes());
    let request = bridge.request(Method::POST, "/webhooks/terra").header("Signature", signature);
    let (status, told) = answer(request.body(python)).await;
    assert_eq!((status, &told["status"]), (200, &json!("processed")));
    assert_eq!(bridge.read("/v1/users/user-9/latest").await["readings"]["hrv"]["value"], 45.5);
    let bridge = Bridge::start_with(&[("TERRA_ENABLED", "false")]).await;
    refused(bridge.request(Method::POST, "/webhook/terra").body(VECTOR), 404, "device_disabled").await;
}

#[actix_web::test]
async fn a_retry_counts_once_and_an_older_copy_changes_nothing() {
    let bridge = Bridge::start().await;
    let user = json!({"user_id": "t-1", "provider": "GARMIN", "reference_id": "user-7"});
    let send = async |trace: &str, order: &str, steps: u32| {
        let (status, told) =
            bridge.terra(&[(TRACE, trace), (ORDER, order)], &daily(&user, "2026-09-09", steps)).await;
        assert_eq!(status, 200, "{told}");
        (told["status"].clone(), told["events"].clone())
    };
    assert_eq!(send("a", "1789041600000", 100).await, (json!("processed"), json!(1)));
    assert_eq!(send("a", "1789041600000", 100).await, (json!("duplicate"), json!(0)));
    assert_eq!(send("b", "1789041700000", 300).await, (json!("processed"), json!(1)));
    assert_eq!(send("c", "1789041650000", 200).await, (json!("processed"), json!(0)));
    assert_eq!(steps(&bridge, "user-7").await, [300.0]);
    let mut gone = daily(&user, "2026-09-09", 1);
    gone["data"][0]["metadata"]["upload_type"] = json!(4);
    let (_, told) = bridge.terra(&[(TRACE, "d"), (ORDER, "1789041800000")], &gone).await;
    assert_eq!((&told["events"], &told["readings"]), (&json!(1), &json!(0)));
    assert_eq!(send("e", "1789041750000", 400).await.1, json!(0));
    assert!(steps(&bridge, "user-7").await.is_empty());
    // Chunks of one history share their reference.
    for (chunk, day) in [("job:chunk:1", "2026-09-01"), ("job:chunk:2", "2026-09-02")] {
        let told = [(TRACE, chunk), ("terra-reference", "job")];
        assert_eq!(bridge.terra(&told, &daily(&user, day, 5)).await.1["events"], 1);
    }
    let events = bridge.read("/v1/users/user-7/events").await;
    assert!(events["events"].as_array().expect("a list").iter().all(|event| event["is_backfill"] == true));
}

#[actix_web::test]
async fn a_new_copy_with_fewer_samples_hides_the_old_ones() {
    let bridge = Bridge::start().await;
    let user = json!({"user_id": "t-1", "provider": "GARMIN", "reference_id": "user-3"});
    let night = |samples: u32| {
        let sample = |second: u32| json!({"timestamp": format!("2026-09-10T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60), "bpm": 50 + second % 9});
        let samples: Vec<Value> = (0..samples).map(sample).collect();
        json!({"type": "sleep", "user": user, "data": [{
            "metadata": {"summary_id": "n", "start_time": "2026-09-10T00:00:00Z", "end_time": "2026-09-10T06:00:00Z", "upload_type": 3},
            "heart_rate_data": {"detailed": {"hr_samples": samples}},
        }]})
    };
    let count = async || {
        let events = bridge.read("/v1/users/user-3/events?limit=1000").await;
        let events = events["events"].as_array().expect("a list").clone();
        (
            events.len(),
            events.iter().map(|event| event["readings"].as_array().expect("a list").len()).sum::<usize>(),
        )
    };
    let (status, told) = bridge.terra(&[(ORDER, "1789041600000")], &night(2_500)).await;
    assert_eq!((status, &told["events"], &told["readings"]), (200, &json!(3), &json!(2_500)), "{told}");
    assert_eq!(count().await, (3, 2_500));
    bridge.terra(&[(ORDER, "1789041700000")], &night(10)).await;
    assert_eq!(count().await, (1, 10));
    bridge.terra(&[(ORDER, "1789041650000")], &night(2_400)).await;
    assert_eq!(count().await, (1, 10));
}

#[actix_web::test]
async fn links_decide_without_a_reference_and_move_with_a_new_id() {
    let bridge = Bridge::start().await;
    let link = async |id: &str, body: &Value| {
        let request = bridge.request(Method::PUT, &format!("/admin/links/terra/{id}"));
        let (status, told) = answer(request.bearer_auth(ADMIN_KEY).body(body.to_string())).await;
        assert_eq!(status, 200, "{told}");
    };
    let of = |id: &str| json!({"user_id": id, "provider": "OURA", "reference_id": ""});
    bridge.terra(&[], &daily(&of("old"), "2026-09-01", 1)).await;
    assert_eq!(steps(&bridge, "terra:old").await, [1.0]);
    link("old", &json!({"user_id": "user-5", "timezone": "Europe/Berlin"})).await;
    bridge.terra(&[], &daily(&of("old"), "2026-09-02", 2)).await;
    // It may come before Terra has told of the new id.
    bridge.terra(&[], &daily(&of("new"), "2026-08-31", 9)).await;
    assert_eq!(steps(&bridge, "terra:new").await, [9.0]);
    let reauth = json!({"type": "user_reauth", "old_user": of("old"), "new_user": of("new")});
    let (status, told) = bridge.terra(&[], &reauth).await;
    assert_eq!(
        (status, &told["status"], &told["reason"]),
        (200, &json!("ignored"), &json!("life cycle handled"))
    );
    bridge.terra(&[], &daily(&of("new"), "2026-09-03", 3)).await;
    bridge.terra(&[], &daily(&of("old"), "2026-09-04", 4)).await;
    assert_eq!(steps(&bridge, "user-5").await, [9.0, 1.0, 2.0, 3.0, 4.0]);
    assert!(steps(&bridge, "terra:new").await.is_empty());
    // The zone moved with the link: Berlin is two hours ahead.
    let mut local = daily(&of("new"), "2026-09-05", 5);
    local["data"][0]["metadata"]["start_time"] = json!("2026-09-05T00:00:00");
    bridge.terra(&[], &local).await;
    let events = bridge.read("/v1/users/user-5/events?from=2026-09-04T12:00:00Z").await;
    assert_eq!(events["events"][0]["timestamp"], "2026-09-04T22:00:00Z");
    // Without a link, what comes next is with what was there.
    bridge.terra(&[], &daily(&of("lone"), "2026-09-01", 6)).await;
    bridge.terra(&[], &json!({"type": "user_reauth", "old_user": of("lone"), "new_user": of("again")})).await;
    bridge.terra(&[], &daily(&of("again"), "2026-09-02", 7)).await;
    assert_eq!(steps(&bridge, "terra:lone").await, [6.0, 7.0]);
}

#[actix_web::test]
async fn what_is_no_data_is_ignored_and_what_cannot_be_read_is_refused_by_its_place() {
    let bridge = Bridge::start().await;
    for kind in
        ["auth", "auth_cancelled", "deauth", "large_request_processing", "healthcheck", "athlete", "dream"]
    {
        let (status, told) = bridge.terra(&[], &json!({"type": kind})).await;
        assert_eq!((status, &told["status"]), (200, &json!("ignored")), "{kind}: {told}");
    }
    let user = json!({"user_id": "t-1", "reference_id": "user-4"});
    let pressures = json!([
        {"timestamp": "2026-09-10T07:00:00Z", "systolic_bp": 70, "diastolic_bp": 110},
        {"timestamp": "2026-09-10T07:01:00Z", "systolic_bp": 120, "diastolic_bp": 80},
    ]);
    let body = json!({"type": "body", "user": user, "data": [
        {"metadata": {"start_time": "2026-09-10T00:00:00Z"}, "blood_pressure_data": {"blood_pressure_samples": pressures}},
        {"metadata": {"start_time": 7}},
    ]});
    let (status, told) = bridge.terra(&[], &body).await;
    assert_eq!((status, &told["readings"], &told["rejected_total"]), (200, &json!(2), &json!(2)), "{told}");
    assert_eq!(told["rejected"][0]["path"], "/data/0/blood_pressure_data/blood_pressure_samples/0");
    assert_eq!(
        (&told["rejected"][1]["index"], &told["rejected"][1]["path"]),
        (&json!(1), &json!("/data/1/metadata/start_time"))
    );
    let nobody = json!({"type": "daily", "user": {"user_id": " "}, "data": [{}]});
    assert_eq!(bridge.terra(&[], &nobody).await.0, 400);
}

/// A storage that has one payload, and what it was asked with.
async fn storage_of(payload: String) -> (String, Arc<Mutex<Vec<(String, bool)>>>, ServerHandle) {
    let asked: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let told = Arc::clone(&asked);
    let server = HttpServer::new(move || {
        let (payload, told) = (payload.clone(), Arc::clone(&told));
        App::new().default_service(web::to(move |request: HttpRequest| {
            let is_ours = request.path() == "/bucket/a%20b.json";
            let has_token = request.headers().contains_key("authorization");
            told.lock().expect("a list").push((request.uri().to_string(), has_token));
            let answer = match is_ours {
                true => HttpResponse::Ok().body(payload.clone()),
                false => HttpResponse::Found().insert_header(("location", "/bucket/a%20b.json")).finish(),
            };
            async move { answer }
        }))
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    (url, asked, handle)
}

#[actix_web::test]
async fn a_large_payload_is_downloaded_from_the_configured_host_and_from_no_other() {
    let user = json!({"user_id": "big", "provider": "OURA", "reference_id": null});
    let mut local = daily(&user, "2026-09-05", 7);
    local["data"][0]["metadata"]["start_time"] = json!("2026-09-05T00:00:00");
    let (url, asked, storage) = storage_of(local.to_string()).await;
    let base = format!("{url}/v2");
    let bridge = Bridge::start_with(&[("TERRA_API_BASE", &base), ("VENDOR_RETRY_BASE_MS", "5")]).await;
    let link = bridge.request(Method::PUT, "/admin/links/terra/big").bearer_auth(ADMIN_KEY);
    let whose = json!({"user_id": "user-6", "timezone": "Europe/Berlin"});
    assert_eq!(answer(link.body(whose.to_string())).await.0, 200);
    let payload =
        |url: &str| json!({"type": "s3_payload", "status": "success", "url": url, "expires_in": 300});

    // Nobody asks another host: it is a dead letter at once, which says what to set and does not tell the address.
    let (elsewhere, asked_elsewhere, other) = storage_of(local.to_string()).await;
    let (status, told) =
        bridge.terra(&[], &payload(&format!("{elsewhere}/bucket/a%20b.json?key=hush"))).await;
    assert_eq!((status, &told["status"]), (202, &json!("accepted")), "{told}");
    let dead = async |bridge: &Bridge| {
        let request = bridge.request(Method::GET, "/admin/dlq").bearer_auth(ADMIN_KEY);
        answer(request).await.1["items"].as_array().expect("a list").clone()
    };
    bridge.until("it was given up", async |bridge| !dead(bridge).await.is_empty()).await;
    let letter = dead(&bridge).await[0].clone();
    let message = letter["error_message"].as_str().expect("a text");
    assert!(message.ends_with("is not on the host of TERRA_API_BASE"), "{letter}");
    assert!(!letter.to_string().contains("hush"), "{letter}");
    let (status, told) = bridge.terra(&[], &payload("ftp://127.0.0.1/a")).await;
    assert_eq!(status, 400, "{told}");
    assert!(told["detail"].as_str().is_some_and(|detail| detail.starts_with("/url")), "{told}");
    let good = payload(&format!("{url}/bucket/a%20b.json?X-Amz-Signature=a%2Fb"));
    let (status, told) = bridge.terra(&[(TRACE, "t")], &good).await;
    assert_eq!((status, &told["status"]), (202, &json!("accepted")), "{told}");
    assert_eq!(bridge.terra(&[(TRACE, "t")], &good).await.1["status"], "duplicate");
    bridge.until("it was downloaded", async |bridge| !steps(bridge, "user-6").await.is_empty()).await;
    let events = bridge.read("/v1/users/user-6/events").await;
    assert_eq!(events["events"][0]["timestamp"], "2026-09-04T22:00:00Z", "by the clock of the user");
    let requests = asked.lock().expect("a list").clone();
    assert_eq!(requests, [("/bucket/a%20b.json?X-Amz-Signature=a%2Fb".to_owned(), false)]);

    // A redirect leads nowhere.
    assert_eq!(bridge.terra(&[], &payload(&format!("{url}/elsewhere"))).await.0, 202);
    bridge.until("it was asked for", async |_| asked.lock().expect("a list").len() > 1).await;
    assert_eq!(bridge.get("/actors/fetch/terra").await.status(), 200);
    let all = asked.lock().expect("a list").clone();
    assert!(all[1..].iter().all(|(path, _)| path == "/elsewhere"), "{all:?}");
    assert_eq!(*asked_elsewhere.lock().expect("a list"), []);
    for storage in [storage, other] {
        storage.stop(false).await;
    }
}

#[actix_web::test]
async fn a_payload_of_a_history_is_history() {
    let user = json!({"user_id": "t-1", "provider": "OURA", "reference_id": "user-8"});
    let (url, _, storage) = storage_of(daily(&user, "2026-09-05", 7).to_string()).await;
    let bridge = Bridge::start_with(&[("TERRA_API_BASE", &url), ("VENDOR_RETRY_BASE_MS", "5")]).await;
    let payload = json!({"type": "s3_payload", "url": format!("{url}/bucket/a%20b.json")});
    assert_eq!(bridge.terra(&[(TRACE, "job:chunk:7")], &payload).await.0, 202);
    bridge.until("it was downloaded", async |bridge| !steps(bridge, "user-8").await.is_empty()).await;
    let events = bridge.read("/v1/users/user-8/events").await;
    assert_eq!(events["events"][0]["is_backfill"], true);
    storage.stop(false).await;
}
