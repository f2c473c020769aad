//! From a notification to its data: a bridge beside a vendor cloud that takes its time, with a queue that was full
//! before, and with none.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use actors::domain::message::Topic;
use actors::domain::time::{MS_PER_DAY, Timestamp};
use actors::vendors::signing;
use biometric_bridge::app::LogReader;
use biometric_bridge::demo::cloud::{self, Config, Limit, Limits};
use biometric_bridge::settings::{Settings, Sources};
use biometric_bridge::traffic::{Latencies, plain_client};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::family::Family;
use crate::process::{Cpu, SECRET, Server, folder};
use crate::report::{Results, Row};

/// How long the cloud takes for an answer.
const ANSWER: Duration = Duration::from_millis(50);
/// Notifications that wait when the cloud comes back.
const QUEUED: usize = 10_000;
/// What the cloud allows, and what the bridge is told that it allows: a fifth of Oura's requests, in a sixtieth of its
/// time.
const REQUESTS: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(5);
const RATE_LIMIT: (&str, &str) = ("OURA_RATE_LIMIT", "1000/5");
/// Live notifications, so many a second for so long.
const LIVE_PER_SECOND: u32 = 20;
const LIVE: usize = 600;
/// Whose records they are, and of how many days.
const PEOPLE: usize = 20;
const DAYS: i64 = 390;
/// A record a day of each: in notifications and in paths alike.
const TYPES: [&str; 3] = ["daily_sleep", "daily_readiness", "daily_activity"];
/// Where time stands still in the cloud: 2026-09-10T12:00:00Z.
const START_MS: i64 = 1_789_041_600_000;
const SEED: u64 = 7;
/// Requests to the bridge or the cloud at once.
const AT_ONCE: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the end of the log is looked at: this much is measured besides.
const LOG_LOOK: Duration = Duration::from_millis(2);
const LOG_PAGE: usize = 500;

/// A record that there is to tell of.
#[derive(Clone)]
struct Notice {
    account: String,
    data_type: &'static str,
    record: String,
}

/// A vendor cloud on a thread of its own, which ends with the program.
fn start_cloud(delay: Duration, limits: Limits) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let config = Config { speed: 0.0, delay, limits, ..Config::new(SEED, PEOPLE, START_MS) };
            let (cloud, server) = cloud::serve(config).expect("a free port");
            tell.send(cloud.url()).expect("somebody waits");
            server.await.expect("it serves");
        });
    });
    told.recv().expect("a cloud")
}

fn oura(requests: u32) -> Limits {
    Limits { oura: Limit { requests, window: WINDOW }, ..Limits::default() }
}

/// A client of the bridge and of the cloud.
struct Client {
    http: reqwest::Client,
    cloud: String,
}

impl Client {
    fn new(cloud: String) -> Self {
        Self { http: plain_client().build().expect("a client"), cloud }
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer");
        let (status, body) = (answer.status(), answer.bytes().await.expect("a body"));
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    async fn accounts(&self) -> Vec<String> {
        let people = self.json(self.http.get(format!("{}/people", self.cloud))).await;
        let people = people.as_array().expect("people").iter();
        people.map(|person| person["oura"].as_str().expect("an id").to_owned()).collect()
    }

    async fn grant(&self, person: usize) -> Value {
        let body = json!({"vendor": "oura", "person": person}).to_string();
        self.json(self.http.post(format!("{}/grants", self.cloud)).body(body)).await
    }

    /// A person's records of a type.
    async fn records(&self, token: &str, data_type: &str) -> Vec<String> {
        let day = |back: i64| {
            let text = Timestamp::from_ms(START_MS - back * MS_PER_DAY).to_string();
            text.split('T').next().expect("a date").to_owned()
        };
        let (mut all, mut page) = (Vec::new(), String::new());
        loop {
            let path = format!("?start_date={}&end_date={}{page}", day(DAYS), day(2));
            let url = format!("{}/v2/usercollection/{data_type}{path}", self.cloud);
            let listed = self.json(self.http.get(url).bearer_auth(token)).await;
            let records = listed["data"].as_array().expect("records").iter();
            all.extend(records.filter_map(|record| record["id"].as_str().map(str::to_owned)));
            match listed["next_token"].as_str() {
                Some(next) => page = format!("&next_token={next}"),
                None => return all,
            }
        }
    }

    /// Notices of everybody's records, no two of the same.
    async fn notices(&self) -> Vec<Notice> {
        let mut all = Vec::new();
        for (person, account) in self.accounts().await.into_iter().enumerate() {
            let grant = self.grant(person).await;
            let token = grant["access_token"].as_str().expect("a token");
            for data_type in TYPES {
                let records = self.records(token, data_type).await;
                let notice = |record| Notice { account: account.clone(), data_type, record };
                all.extend(records.into_iter().map(notice));
            }
        }
        all
    }

    /// Links everybody's account.
    async fn connect(&self, bridge: &str) {
        for (person, account) in self.accounts().await.into_iter().enumerate() {
            let grant = self.grant(person).await;
            let body = json!({
                "user_id": format!("user-{person}"), "access_token": grant["access_token"],
                "refresh_token": grant["refresh_token"],
            });
            let url = format!("{bridge}/admin/links/oura/{account}");
            self.json(self.http.put(url).bearer_auth(SECRET).body(body.to_string())).await;
        }
    }

    /// Tells the bridge of a record, as Oura does.
    async fn tell(&self, bridge: &str, notice: &Notice) {
        let body = json!({
            "user_id": notice.account, "event_type": "update", "data_type": notice.data_type,
            "object_id": notice.record, "event_time": Timestamp::from_ms(START_MS).to_string(),
        });
        let (body, now_s) = (body.to_string(), unix_seconds());
        let request = self.http.post(format!("{bridge}/webhook/oura"));
        // By it the event is known again on the log: a request's id goes all the way.
        let request = request.header("x-oura-timestamp", now_s).header("x-request-id", &notice.record);
        let signature = signing::oura(SECRET, now_s, body.as_bytes());
        self.json(request.header("x-oura-signature", signature).body(body)).await;
    }

    /// How many records the cloud has given out, how many requests it refused, and the most in one window.
    async fn served(&self) -> (u64, u64, u64) {
        let stats = self.json(self.http.get(format!("{}/stats", self.cloud))).await;
        let of = |status: &str| stats["requests"]["oura"]["api"][status].as_u64().unwrap_or_default();
        (of("200"), of("429"), stats["busiest_window"]["oura"].as_u64().unwrap_or_default())
    }
}

fn unix_seconds() -> i64 {
    use actors::ports::clock::{Clock as _, SystemClock};
    SystemClock.now().as_ms() / 1_000
}

/// What a bridge is told of its cloud.
fn settings(cloud: &str) -> Vec<(String, String)> {
    let settings = [
        ("OURA_API_BASE", cloud.to_owned()),
        ("OURA_TOKEN_URL", format!("{cloud}/oauth/token")),
        ("OURA_CLIENT_ID", "cloud-oura-client".to_owned()),
        ("OURA_CLIENT_SECRET", "cloud-oura-secret".to_owned()),
        ("TOKEN_ENCRYPTION_KEYS", "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned()),
        (RATE_LIMIT.0, RATE_LIMIT.1.to_owned()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Measures both.
pub(crate) fn run(family: &Family, results: &mut Results) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Another one with the same people tells at once which records there are.
    let lists = Client::new(start_cloud(Duration::ZERO, oura(u32::MAX)));
    let notices = runtime.block_on(lists.notices());
    assert!(notices.len() >= QUEUED + LIVE, "only {} records", notices.len());
    let (queued, live) = (&notices[..QUEUED], &notices[QUEUED..QUEUED + LIVE]);
    let client = Client::new(start_cloud(ANSWER, oura(REQUESTS)));
    let home = folder();

    // Nobody answers there: everything that is told stays in the queue.
    let mut away = settings(&client.cloud);
    away.push(("OURA_API_BASE".to_owned(), "http://127.0.0.1:9".to_owned()));
    let bridge = Server::bridge(home.path(), &away);
    runtime.block_on(client.connect(&bridge.url));
    runtime.block_on(async {
        let telling = stream::iter(queued).map(|notice| client.tell(&bridge.url, notice));
        telling.buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
    });
    bridge.stop();

    let mut bridge = Server::bridge(home.path(), &settings(&client.cloud));
    drain(&runtime, &client, family, &mut bridge, results);
    // What the queue has used of the budget is given again by then.
    thread::sleep(WINDOW * 2);
    let database = home.path().to_owned();
    let mut row = Row::new(&format!("fetches: {LIVE_PER_SECOND} notifications a second, to the log"), 0.0);
    let (latencies, rate) = runtime.block_on(follow(&client, &bridge, &database, live));
    row.rate = rate;
    row.latencies(&latencies);
    results.add(row);
    bridge.stop();
}

/// Waits until all that was queued is fetched and applied, and tells how the budget was used meanwhile.
fn drain(
    runtime: &tokio::runtime::Runtime,
    client: &Client,
    family: &Family,
    bridge: &mut Server,
    results: &mut Results,
) {
    let cpu = Cpu::start(&family.watched(bridge));
    // When the first window's requests had been answered, which may be sent at once, and how many that were.
    let (mut first, mut last) = (None, None);
    bridge.until("through its queue", |_| {
        let (given, ..) = runtime.block_on(client.served());
        if given >= u64::from(REQUESTS) {
            first.get_or_insert_with(|| (Instant::now(), given));
        }
        if given >= QUEUED as u64 {
            last = Some(Instant::now());
        } else {
            thread::park_timeout(LOOK_EVERY);
        }
        last.is_some()
    });
    bridge.until_applied(QUEUED as u64);
    let (given, refused, busiest) = runtime.block_on(client.served());
    let ((first, at_once), last) = (first.expect("it began"), last.expect("it ended"));
    let allowed = f64::from(REQUESTS) / WINDOW.as_secs_f64();
    let steady = (given - at_once) as f64 / last.duration_since(first).as_secs_f64();
    let mut row = Row::new(&format!("fetches: {QUEUED} queued, {RATE} allowed", RATE = RATE_LIMIT.1), steady);
    row.cpu_us = cpu.per_event(given);
    row.refused = refused;
    results.add(row);
    let mut figure = |what: &str, value: String| results.figure(format!("fetches: {what}"), value);
    figure("part of the budget that was used", format!("{:.1} %", steady / allowed * 100.0));
    figure("most requests in any window, as the cloud saw them", format!("{busiest} of {REQUESTS}"));
    figure("answered 429", refused.to_string());
    figure(
        "asked, and applied to states",
        format!("{given}, {}", bridge.metric("kafka_messages_processed_total", "status=\"applied\"")),
    );
}

/// Sends notifications at a steady rate, and looks when what they tell of comes on the log: how much longer than the
/// vendor each takes.
async fn follow(
    client: &Client,
    bridge: &Server,
    home: &std::path::Path,
    live: &[Notice],
) -> (Latencies, f64) {
    let folder = ("DATA_DIR".to_owned(), home.join("data").display().to_string());
    let settings = Settings::read(Sources::from_process().over([folder])).expect("the benchmark's settings");
    let mut reader = LogReader::open(&settings, Topic::BiometricEvents).await.expect("a log");
    reader.begin((0..reader.partitions()).collect(), 0).await.expect("its beginning");
    while !reader.page(LOG_PAGE).await.expect("the log").is_empty() {}
    let (told, mut sent) = mpsc::unbounded_channel();
    let started = Instant::now();
    let sending = async {
        let mut due = tokio::time::interval(Duration::from_secs(1) / LIVE_PER_SECOND);
        for notice in live {
            due.tick().await;
            told.send((notice.record.clone(), Instant::now())).expect("it is read");
            client.tell(&bridge.url, notice).await;
        }
    };
    let reading = async {
        let (mut latencies, mut waiting) = (Latencies::default(), HashMap::new());
        let mut sent_in_all = 0;
        while latencies.len() < LIVE as u64 {
            let records = reader.page(LOG_PAGE).await.expect("the log");
            let now = Instant::now();
            while let Ok((record, at)) = sent.try_recv() {
                waiting.insert(record, at);
                sent_in_all += 1;
            }
            for record in &records {
                let id = record.headers.iter().find(|(name, _)| &**name == "request_id");
                let id = String::from_utf8_lossy(&id.expect("a request").1).into_owned();
                if let Some(at) = waiting.remove(&id) {
                    latencies.record(now.duration_since(at).saturating_sub(ANSWER));
                }
            }
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "{} of {sent_in_all} came",
                latencies.len()
            );
            tokio::time::sleep(LOG_LOOK).await;
        }
        latencies
    };
    let ((), latencies) = tokio::join!(sending, reading);
    (latencies, LIVE as f64 / started.elapsed().as_secs_f64())
}
