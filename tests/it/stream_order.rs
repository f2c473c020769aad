//! What the embedded log promises its readers beyond the others: one order over all partitions, in which one id says all.
//! And readers that do not read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::answers::ago;
use crate::bridge::{API_KEY, Bridge};
use crate::streaming::{EventSource, Told};

/// `count` events of as many users, each with so many readings.
fn events(count: usize, readings: usize, unit: &str) -> Value {
    let at = ago(30);
    let reading = |number: usize| json!({"metric": "heart_rate", "value": 60 + number % 20, "unit": "bpm", "timestamp": at, "confidence": 0.9});
    let readings: Vec<Value> = (0..readings).map(reading).collect();
    let event = |user: usize| {
        json!({
            "device_type": "whoop_band", "user_id": format!("user-{unit}-{user}"), "timestamp": at, "readings": readings,
        })
    };
    (0..count).map(event).collect()
}

async fn inject(bridge: &Bridge, events: &Value) -> Vec<String> {
    let (status, answer) = bridge.inject("", events).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")), "{answer}");
    let ids = answer["event_ids"].as_array().expect("ids").iter();
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

fn event_ids(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.data["event_id"].as_str().expect("an id")).collect()
}

#[actix_web::test]
async fn one_id_is_enough_for_the_messages_of_all_users() {
    let bridge = Bridge::start().await;
    // What was there before is no news.
    inject(&bridge, &events(3, 1, "before")).await;
    let mut reader = EventSource::open(&bridge, "", "").await;
    for round in ["a", "b", "c"] {
        inject(&bridge, &events(20, 1, round)).await;
    }
    let told = reader.take(60).await;
    let bridge = bridge.restart().await;
    for from in [0, 1, 19, 20, 37, 58] {
        let mut again = EventSource::open(&bridge, "", &told[from].id).await;
        assert_eq!(again.take(59 - from).await, told[from + 1..], "from {from}");
    }
    let mut reader = EventSource::open(&bridge, "", &told[59].id).await;
    let given = inject(&bridge, &events(5, 1, "d")).await;
    let told = reader.take(5).await;
    assert_eq!(
        event_ids(&told).into_iter().collect::<BTreeSet<_>>(),
        given.iter().map(String::as_str).collect()
    );
}

#[actix_web::test]
async fn who_reads_nothing_is_cut_off_and_who_reads_gets_all_in_time() {
    let bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "", "").await;
    let _idle = idle(&bridge).await;
    has(&bridge, "auren_stream_readers{transport=\"sse\"} 2").await;
    // More than the system holds for a connection, and then more messages than a reader may be behind.
    let injecting = async {
        let mut given = inject(&bridge, &events(45, 1_000, "big")).await;
        for round in 0..3 {
            given.extend(inject(&bridge, &events(600, 1, &format!("small-{round}"))).await);
        }
        given
    };
    // Who reads does so meanwhile, or might be too far behind itself.
    let (given, told) = tokio::join!(injecting, reader.take(45 + 3 * 600));
    assert_eq!(
        event_ids(&told).into_iter().collect::<BTreeSet<_>>(),
        given.iter().map(String::as_str).collect()
    );
    has(&bridge, "auren_stream_readers_ended_total{reason=\"behind\",transport=\"sse\"} 1").await;
    has(&bridge, "auren_stream_readers{transport=\"sse\"} 1").await;
    let given = inject(&bridge, &events(1, 1, "later")).await;
    assert_eq!(event_ids(&reader.take(1).await), [given[0].as_str()]);
}

#[actix_web::test]
async fn who_reads_nothing_does_not_hold_the_stop() {
    let mut bridge = Bridge::start().await;
    let mut reader = EventSource::open(&bridge, "", "").await;
    let _idle = idle(&bridge).await;
    has(&bridge, "auren_stream_readers{transport=\"sse\"} 2").await;
    let count = inject(&bridge, &events(45, 1_000, "big")).await.len();
    reader.take(count).await;
    let since = Instant::now();
    bridge.terminate();
    let (status, lines) = bridge.wait();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    // Else it would be given up when it has taken nothing for 10 s.
    assert!(since.elapsed() < Duration::from_secs(7), "{:?}", since.elapsed());
}

/// A reader that reads nothing.
async fn idle(bridge: &Bridge) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let address = bridge.url.strip_prefix("http://").and_then(|address| address.parse().ok());
    let mut stream = socket.connect(address.expect("an address")).await.expect("a connection");
    let head = format!("GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    stream
}

async fn has(bridge: &Bridge, line: &str) {
    let told = async |bridge: &Bridge| {
        let text = bridge.get("/metrics").await.text().await.expect("text");
        text.lines().any(|told| told == line)
    };
    bridge.until(line, told).await;
}
