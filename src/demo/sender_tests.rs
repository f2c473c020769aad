#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actors::vendors::signing;
use parking_lot::Mutex;

use super::*;

/// A request as the fake bridge saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// A bridge that answers what it is told, and 200 `processed` after that.
struct Bridge {
    target: Target,
    handle: ServerHandle,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Script = VecDeque<(u16, Option<&'static str>, &'static str)>;

async fn answer(
    request: HttpRequest,
    body: web::Bytes,
    seen: web::Data<Arc<Mutex<Vec<Seen>>>>,
    script: web::Data<Mutex<Script>>,
    arrived: web::Data<watch::Sender<usize>>,
) -> HttpResponse {
    let headers = request.headers().iter();
    seen.lock().push(Seen {
        path: request.path().to_owned(),
        headers: headers.map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    arrived.send_modify(|n| *n += 1);
    let (status, retry_after, outcome) = script.lock().pop_front().unwrap_or((200, None, "processed"));
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
    retry_after.map(|seconds| response.insert_header(("retry-after", seconds)));
    response.json(serde_json::json!({"status": outcome}))
}

impl Bridge {
    fn start(script: impl Into<Script>, arrived: watch::Sender<usize>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), script, arrived)
    }

    fn start_at(address: SocketAddr, script: impl Into<Script>, arrived: watch::Sender<usize>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let data = (
            web::Data::new(seen.clone()),
            web::Data::new(Mutex::new(script.into())),
            web::Data::new(arrived),
        );
        let server = HttpServer::new(move || {
            let app = App::new().app_data(data.0.clone()).app_data(data.1.clone()).app_data(data.2.clone());
            app.default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals().bind(address).unwrap();
        let target = Target { base_url: format!("http://{}/base/", server.addrs()[0]), secrets: secrets() };
        let running = server.run();
        let handle = running.handle();
        actix_rt::spawn(running);
        Self { target, handle, seen }
    }
}

fn secrets() -> Secrets {
    [("OURA_WEBHOOK_SECRET", "oura-secret"), ("HEALTHKIT_API_KEY", "healthkit-key")].into_iter().collect()
}

fn delivery(person: usize, kind: Kind, body: &str) -> Delivery {
    Delivery { due_ms: 0, person, kind, body: body.as_bytes().to_vec(), readings: 3 }
}

/// A pace under which all that is due at 0 is due at once.
fn at_once() -> Pace {
    Pace::new(1_789_041_600_000, 1.0)
}

fn never_stopped() -> (watch::Sender<bool>, watch::Receiver<bool>) {
    watch::channel(false)
}

#[actix_web::test]
async fn each_kind_is_signed_in_its_own_way() {
    let bridge = Bridge::start([], watch::channel(0).0);
    let (_run, stop) = never_stopped();
    let kinds = [Kind::HealthKit, Kind::OuraReading, Kind::OuraNotification];
    let deliveries = kinds.map(|kind| delivery(0, kind, "{}")).into_iter();
    let summary = send(bridge.target.clone(), deliveries, at_once(), stop).await.unwrap();
    assert_eq!((summary.answered, summary.accepted, summary.readings), (3, 3, 9));
    let seen = bridge.seen.lock().clone();
    let [healthkit, inline, native] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(healthkit.path, "/base/webhook/healthkit");
    assert_eq!(healthkit.headers["authorization"], "Bearer healthkit-key");
    assert_eq!(inline.path, "/base/webhook/oura");
    assert_eq!(inline.headers["signature"], signing::inline("oura-secret", b"{}"));
    let timestamp = &native.headers["x-oura-timestamp"];
    assert!(now_s().abs_diff(timestamp.parse().unwrap()) < 60);
    assert_eq!(
        native.headers["x-oura-signature"],
        signing::oura("oura-secret", timestamp.parse().unwrap(), b"{}")
    );
    assert!(!native.headers.contains_key("signature"));
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn a_503_is_sent_again_and_nothing_of_that_person_overtakes_it() {
    let script: Script = [(503, Some("1"), "busy"), (503, None, "busy"), (200, None, "processed")].into();
    let bridge = Bridge::start(script, watch::channel(0).0);
    let (_run, stop) = never_stopped();
    let deliveries = ["1", "2", "3"].map(|body| delivery(4, Kind::OuraReading, body)).into_iter();
    let started = Instant::now();
    let summary = send(bridge.target.clone(), deliveries, at_once(), stop).await.unwrap();
    let bodies: Vec<_> = bridge.seen.lock().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies, ["1", "1", "1", "2", "3"]);
    assert_eq!((summary.accepted, summary.retries, summary.unanswered), (3, 2, 0));
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not obeyed");
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn answers_are_counted_by_what_they_say() {
    let script = [
        (200, None, "processed"),
        (200, None, "duplicate"),
        (401, None, ""),
        (400, None, ""),
        (401, None, ""),
    ];
    let bridge = Bridge::start(script, watch::channel(0).0);
    let (_run, stop) = never_stopped();
    let deliveries = (0..5).map(|_| delivery(1, Kind::HealthKit, "{}"));
    let summary = send(bridge.target.clone(), deliveries, at_once(), stop).await.unwrap();
    assert_eq!((summary.answered, summary.accepted, summary.duplicates), (5, 1, 1));
    assert_eq!(summary.refused, BTreeMap::from([(400, 1), (401, 2)]));
    assert_eq!(summary.people, BTreeSet::from([1]));
    assert!(summary.p50().unwrap() <= summary.p99().unwrap());
    let told = summary.to_string();
    assert!(told.contains("accepted as new    1 (3 readings of 1 people)"), "{told}");
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn one_delivery_in_fifty_is_sent_twice() {
    let bridge = Bridge::start([], watch::channel(0).0);
    let (_run, stop) = never_stopped();
    let deliveries = (0..2 * REPEAT_EVERY).map(|n| delivery(0, Kind::OuraReading, &n.to_string()));
    let summary = send(bridge.target.clone(), deliveries, at_once(), stop).await.unwrap();
    assert_eq!(summary.answered, 2 * REPEAT_EVERY + 2);
    let bodies: Vec<_> = bridge.seen.lock().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies.iter().filter(|body| *body == "49").count(), 2);
    assert_eq!(bodies.iter().filter(|body| *body == "99").count(), 2);
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn stopping_ends_an_endless_sender_that_is_waiting_to_try_again() {
    let (arrived, mut arrivals) = watch::channel(0);
    let script: Script = (0..1000).map(|_| (503, Some("3600"), "busy")).collect();
    let bridge = Bridge::start(script, arrived);
    let (run, stop) = never_stopped();
    let endless = (0..).map(|person| delivery(person, Kind::HealthKit, "{}"));
    let stopper = async {
        arrivals.wait_for(|n| *n >= LANES).await.unwrap();
        run.send(true).unwrap();
    };
    let (summary, ()) = join(send(bridge.target.clone(), endless, at_once(), stop), stopper).await;
    let summary = summary.unwrap();
    assert_eq!((summary.answered, summary.retries), (0, 0));
    assert!(summary.unanswered >= LANES as u64, "{summary:?}");
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn stopping_ends_a_sender_that_waits_for_something_to_become_due() {
    let bridge = Bridge::start([], watch::channel(0).0);
    let (run, stop) = never_stopped();
    let far_ahead = Delivery { due_ms: i64::MAX / 2, ..delivery(0, Kind::HealthKit, "{}") };
    drop(run);
    let summary = send(bridge.target.clone(), [far_ahead].into_iter(), at_once(), stop).await.unwrap();
    assert_eq!(summary, Summary::default());
    bridge.handle.stop(false).await;
}

#[actix_web::test]
async fn a_bridge_that_is_down_is_waited_for() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Target { base_url: format!("http://{address}"), secrets: secrets() };
    let (_run, stop) = never_stopped();
    let sending = send(target, std::iter::once(delivery(0, Kind::OuraReading, "{}")), at_once(), stop);
    let restarting = async {
        // Takes one connection and hangs up on it, as a bridge that is killed does.
        drop(listener.accept().await.unwrap());
        drop(listener);
        Bridge::start_at(address, [], watch::channel(0).0)
    };
    let (summary, bridge) = join(sending, restarting).await;
    let summary = summary.unwrap();
    assert_eq!((summary.accepted, summary.unanswered), (1, 0));
    assert!(summary.retries >= 1);
    bridge.handle.stop(false).await;
}
