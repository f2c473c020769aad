//! Readers of the streams: each is sent what is its, once and with an id by which it comes back, on every engine.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answers::{ago, refused};
use crate::bridge::{ADMIN_KEY, API_KEY, Bridge};
use crate::streaming::{EventSource, Frame, Socket, Told, last_ids};

fn recovery(user: &str, score: u32) -> Value {
    let at = ago(30);
    json!({
        "device_type": "whoop_band", "user_id": user, "timestamp": at,
        "readings": [{"metric": "recovery_score", "value": score, "unit": "score", "timestamp": at, "confidence": 0.95}],
    })
}

/// Injects one event of each of `count` users: the ids of the events.
async fn inject(bridge: &Bridge, round: usize, count: usize) -> Vec<String> {
    let events: Vec<Value> =
        (0..count).map(|user| recovery(&format!("user-{user}"), 80 + round as u32)).collect();
    let (status, answer) = bridge.inject("", &json!(events)).await;
    assert_eq!((status, &answer["events"]), (200, &json!(count)), "{answer}");
    let ids = answer["event_ids"].as_array().expect("ids").iter();
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

fn event_ids(told: &[Told]) -> BTreeSet<String> {
    told.iter().map(|told| told.data["event_id"].as_str().expect("an id").to_owned()).collect()
}

#[actix_web::test]
async fn a_reader_is_sent_what_comes_as_it_is_on_the_topic_and_nothing_twice() {
    let bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "?type=event", "").await;
    let given: BTreeSet<String> = inject(&bridge, 1, 40).await.into_iter().collect();
    let told = reader.take(40).await;
    assert_eq!(event_ids(&told), given);
    let ids: BTreeSet<&str> = told.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(ids.len(), 40);
    for one in &told {
        let parts: Vec<&str> = one.id.split(':').collect();
        assert!(parts.len() == 3 && parts[0] == "biometric-events", "{}", one.id);
        assert_eq!(one.kind, "event");
    }
    let user = told[0].data["user_id"].as_str().expect("a user").to_owned();
    let mut events = bridge.read(&format!("/v1/users/{user}/events")).await["events"].take();
    let events = events.as_array_mut().expect("events").iter_mut();
    let on_the_topic = events.map(|event| {
        event.as_object_mut().expect("an event").remove("headers");
        event.clone()
    });
    assert!(on_the_topic.collect::<Vec<_>>().contains(&told[0].data), "{:?}", told[0]);
}

#[actix_web::test]
async fn a_mode_switch_comes_to_who_asks_for_it_and_for_whom() {
    let bridge = Bridge::start().await;
    let mut switches = EventSource::open(&bridge, "?type=mode_switch&user_id=%C3%A4%2B1", "").await;
    let mut all = EventSource::open(&bridge, "?user_id=%C3%A4%2B1", "").await;
    bridge.inject("", &recovery("other", 10)).await;
    let (_, answer) = bridge.inject("?wait=applied", &recovery("ä+1", 10)).await;
    let told = switches.next().await.expect("an open stream");
    assert_eq!((told.kind.as_str(), &told.data["user_id"]), ("mode_switch", &json!("ä+1")));
    assert_eq!(told.data["event_id"], answer["event_ids"][0]);
    assert!(told.id.starts_with("neuros-mode-switches:"), "{}", told.id);
    let both = all.take(2).await;
    assert_eq!(both.iter().map(|told| told.kind.as_str()).collect::<Vec<_>>(), ["event", "mode_switch"]);
    assert_eq!(both[1], told);
    let listed = bridge.read("/v1/users/%C3%A4%2B1/mode-switches").await;
    assert_eq!(listed["mode_switches"][0], told.data);
}

#[actix_web::test]
async fn who_comes_back_with_its_last_ids_is_sent_the_rest_and_nothing_again() {
    let bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "?type=event", "").await;
    let mut given: BTreeSet<String> = inject(&bridge, 0, 30).await.into_iter().collect();
    let mut told = reader.take(17).await;
    drop(reader);
    given.extend(inject(&bridge, 1, 30).await);
    let bridge = bridge.restart().await;
    given.extend(inject(&bridge, 2, 30).await);
    let mut reader = EventSource::open(&bridge, "?type=event", &last_ids(&told)).await;
    told.extend(reader.take(73).await);
    assert_eq!(event_ids(&told), given);
    // It goes on with what is new, as if it had never been away.
    given.extend(inject(&bridge, 3, 30).await);
    told.extend(reader.take(30).await);
    assert_eq!(event_ids(&told), given);
    let ids: BTreeSet<&str> = told.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(ids.len(), 120);
}

#[actix_web::test]
async fn one_id_is_enough_for_the_messages_of_one_user_and_type() {
    let bridge = Bridge::start().await;
    let query = "?type=event&user_id=user-3";
    let mut reader = EventSource::open(&bridge, query, "").await;
    let mut rounds = Vec::new();
    for round in 0..6 {
        rounds.push(inject(&bridge, round, 8).await[3].clone());
    }
    let told = reader.take(6).await;
    assert_eq!(
        told.iter().map(|told| &told.data["event_id"]).collect::<Vec<_>>(),
        rounds.iter().collect::<Vec<_>>()
    );
    for from in 0..5 {
        let mut again = EventSource::open(&bridge, query, &told[from].id).await;
        assert_eq!(again.take(5 - from).await, told[from + 1..]);
    }
    let fields = [("Authorization", "Bearer test-api-key")];
    let query = format!("{query}&last_event_id={}", told[3].id);
    let mut socket = Socket::open(&bridge, &query, &fields).await;
    assert_eq!([socket.told().await, socket.told().await], told[4..]);
}

#[actix_web::test]
async fn who_comes_back_to_what_is_no_longer_there_is_told_and_sent_all_that_is() {
    let bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "?type=event&user_id=user-0", "").await;
    inject(&bridge, 0, 1).await;
    let told = reader.take(1).await;
    // Of another log, which reached further.
    let ahead = format!("{}999", told[0].id);
    let mut again = EventSource::open(&bridge, "?type=event&user_id=user-0", &ahead).await;
    let gap = again.next().await.expect("an open stream");
    assert_eq!((gap.kind.as_str(), gap.id.as_str()), ("gap", ""));
    assert_eq!(again.take(1).await, told);
    // And of one with more partitions.
    let beyond = "biometric-events:4294967295:9223372036854775807";
    let mut again = EventSource::open(&bridge, "?type=event&user_id=user-0", beyond).await;
    assert_eq!(again.next().await.expect("an open stream").kind, "gap");
    assert_eq!(again.take(1).await, told);
    let query = format!("?user_id=user-0&last_event_id={ahead}");
    let mut socket = Socket::open(&bridge, &query, &[("Authorization", "Bearer test-api-key")]).await;
    assert_eq!(socket.next().await, Frame::Text(json!({"type": "gap"})));
    assert_eq!(socket.told().await, told[0]);
}

#[actix_web::test]
async fn a_stream_is_opened_by_the_keys_of_the_read_api_alone() {
    let bridge = Bridge::start().await;
    for key in [API_KEY, ADMIN_KEY] {
        let head =
            bridge.request(Method::HEAD, "/v1/stream").bearer_auth(key).send().await.expect("an answer");
        assert_eq!(head.status(), StatusCode::OK);
        let fields = [("Authorization", format!("Bearer {key}"))];
        let socket = Socket::open(&bridge, "", &[(fields[0].0, &fields[0].1)]).await;
        assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
        assert!(!socket.head.to_lowercase().contains("sec-websocket-protocol"), "{}", socket.head);
        let protocol = format!("bearer, {key}");
        let socket = Socket::open(&bridge, "", &[("Sec-WebSocket-Protocol", &protocol)]).await;
        assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
        assert!(socket.head.to_lowercase().contains("sec-websocket-protocol: bearer\r\n"), "{}", socket.head);
    }
    refused(bridge.request(Method::GET, "/v1/stream"), 401, "authentication_error").await;
    refused(
        bridge.request(Method::GET, "/v1/stream?type=x").bearer_auth("wrong"),
        401,
        "authentication_error",
    )
    .await;
    refused(bridge.request(Method::GET, "/ws"), 401, "authentication_error").await;
    // Never a key in a URL.
    let url = format!("/v1/stream?api_key={API_KEY}&access_token={API_KEY}");
    refused(bridge.request(Method::GET, &url), 401, "authentication_error").await;
    for fields in [
        vec![],
        vec![("Sec-WebSocket-Protocol", "bearer, wrong")],
        vec![("Sec-WebSocket-Protocol", "bearer")],
        vec![("Sec-WebSocket-Protocol", "test-api-key")],
        vec![("Sec-WebSocket-Protocol", "chat, test-api-key")],
        vec![("Sec-WebSocket-Protocol", "bearer, test-api-key, more")],
        vec![("Sec-WebSocket-Protocol", "bearer, test-api-key"), ("Authorization", "Bearer wrong")],
    ] {
        let socket = Socket::open(&bridge, "?type=nothing", &fields).await;
        assert!(socket.head.starts_with("HTTP/1.1 401 "), "{fields:?}: {}", socket.head);
        assert!(socket.head.to_lowercase().contains("www-authenticate: bearer\r\n"), "{}", socket.head);
    }
}

#[actix_web::test]
async fn what_cannot_be_followed_is_refused() {
    let bridge = Bridge::start().await;
    for query in [
        "type=all",
        "type=",
        "user_id=",
        "user_id=%20",
        "user_id=%FF",
        "user_id=a&user_id=b",
        "last_event_id=17",
        "last_event_id=neuros-user-state:0:0",
        "last_event_id=biometric-events:0:0,",
    ] {
        let request = bridge.request(Method::GET, &format!("/v1/stream?{query}")).bearer_auth(API_KEY);
        refused(request, 400, "validation_error").await;
    }
    let request = bridge.request(Method::GET, "/v1/stream").bearer_auth(API_KEY).header("Last-Event-ID", "x");
    refused(request, 400, "validation_error").await;
    refused(bridge.request(Method::GET, "/ws").bearer_auth(API_KEY), 400, "validation_error").await;
    refused(bridge.request(Method::POST, "/v1/stream").bearer_auth(API_KEY), 405, "method_not_allowed").await;
    refused(bridge.request(Method::POST, "/ws").bearer_auth(API_KEY), 405, "method_not_allowed").await;
}

#[actix_web::test]
async fn a_websocket_brings_the_same_answers_pings_and_closes_as_it_is_closed() {
    let bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "", "").await;
    let mut socket = Socket::open(&bridge, "", &[("Sec-WebSocket-Protocol", "bearer, test-api-key")]).await;
    let given: BTreeSet<String> = inject(&bridge, 0, 5).await.into_iter().collect();
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(socket.told().await);
    }
    assert_eq!(event_ids(&told), given);
    assert_eq!(reader.take(5).await, told);
    socket.send(0x89, b"are you there").await;
    assert_eq!(socket.next().await, Frame::Pong(b"are you there".to_vec()));
    socket.send(0x81, b"words that nobody listens to").await;
    socket.send(0x88, &3000_u16.to_be_bytes()).await;
    assert_eq!(socket.next().await, Frame::Close(3000));
    assert_eq!(socket.next().await, Frame::End);

    let mut socket = Socket::open(&bridge, "", &[("Sec-WebSocket-Protocol", "bearer, test-api-key")]).await;
    socket.send(0xc1, b"an extension").await;
    assert_eq!((socket.next().await, socket.next().await), (Frame::Close(1002), Frame::End));
}

#[actix_web::test]
async fn streams_end_when_the_bridge_stops_and_do_not_hold_it() {
    let mut bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "", "").await;
    let mut socket = Socket::open(&bridge, "?user_id=u", &[("Authorization", "Bearer test-api-key")]).await;
    let since = std::time::Instant::now();
    bridge.terminate();
    assert_eq!(reader.next().await, None);
    assert_eq!((socket.next().await, socket.next().await), (Frame::Close(1001), Frame::End));
    let (status, lines) = bridge.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(since.elapsed().as_secs() < 20, "{:?}", since.elapsed());
}
