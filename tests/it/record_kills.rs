//! Identity and versions over `kill -9`: windows that overlap and grow, copies of records in any order, deletions, and
//! links made later. Whatever was in flight when the process died, and however often it comes again, the same readings
//! are left as of one calm pass.

use std::collections::BTreeMap;

use actors::domain::time::Timestamp;
use actors::vendors::signing;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answers::{log_read, to_healthkit};
use crate::bridge::{ADMIN_KEY, Bridge, TERRA_SECRET, answer, now_ms};
use crate::cloud::{START_MS, VendorCloud};
use crate::family;
use crate::fetching::{
    PLENTY, QUICK, account, all_events, bridge_at, connect, dead_letters, tell_until_taken,
};

/// Deliveries on their way at once.
const AT_ONCE: usize = 6;
/// How often the process is killed.
const KILLS: usize = 3;
/// Whose it all is.
const USER: &str = "user-81";
/// Terra's id of an account that nobody has named.
const ACCOUNT: &str = "0f2c9a44";

/// The seed that `BRIDGE_SEED` gives, or this test's own.
fn seed(own: u64) -> u64 {
    std::env::var("BRIDGE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(own)
}

/// A delivery, as its sender has it until it is acknowledged.
enum Delivery {
    /// What a phone pushes.
    Phone(Value),
    /// What Terra pushes: when it came about there, and its body.
    Terra(i64, Value),
}

impl Delivery {
    fn request(&self, bridge: &Bridge) -> RequestBuilder {
        match self {
            Self::Phone(body) => to_healthkit(bridge, "").header("X-User-Id", USER).body(body.to_string()),
            Self::Terra(order, body) => {
                let (body, now_s) = (body.to_string(), now_ms() / 1000);
                bridge
                    .request(Method::POST, "/webhook/terra")
                    .header("x-terra-signature", signing::terra(TERRA_SECRET, now_s, body.as_bytes()))
                    .header("x-terra-ordering-timestamp", START_MS + order)
                    .body(body)
            }
        }
    }
}

/// Windows of exports that overlap: the last minute of each still fills. Samples of an app, some of them again.
fn of_phone(dice: &mut StdRng) -> Vec<Delivery> {
    let window = |first: u32, dice: &mut StdRng| {
        let date = |minute: u32| format!("2026-09-10 06:{minute:02}:00 +0200");
        let minutes = || first..first + 15;
        let fills = dice.random_range(1..100);
        let steps = |minute: u32| if minute == first + 14 { fills } else { 100 + minute };
        let steps: Vec<Value> =
            minutes().map(|at| json!({"date": date(at), "qty": steps(at), "source": "Watch"})).collect();
        let rates: Vec<Value> =
            minutes().map(|at| json!({"date": date(at), "Avg": 60 + at, "source": "Watch"})).collect();
        let night = json!([{"date": "2026-09-10 00:00:00 +0200", "totalSleep": 6.0 + f64::from(first) / 60.0,
            "inBed": 8, "sleepStart": "2026-09-09 23:00:00 +0200", "sleepEnd": "2026-09-10 06:30:00 +0200"}]);
        Delivery::Phone(json!({"data": {"metrics": [
            {"name": "step_count", "units": "count", "data": steps},
            {"name": "heart_rate", "units": "bpm", "data": rates},
            {"name": "sleep_analysis", "units": "hr", "data": night},
        ]}}))
    };
    let sample = |second: u32| {
        let at = format!("2026-09-10T09:{:02}:{:02}Z", second / 60, second % 60);
        let uuid = format!("3c6f1f6e-0b0c-4f43-9d1b-{second:012}");
        json!({"uuid": uuid, "type": "heartRate", "value": 60 + second % 40, "unit": "count/min", "timestamp": at})
    };
    let push =
        |from: u32| Delivery::Phone(json!({"samples": (from..from + 600).map(sample).collect::<Vec<_>>()}));
    let windows: Vec<Delivery> = (0..9).map(|window_number| window(window_number * 5, dice)).collect();
    windows.into_iter().chain([0, 300, 600, 900].map(push)).collect()
}

/// Copies of days and of a night, the later ones larger or smaller; some days are deleted, and one comes back.
fn of_terra(user: &Value, dice: &mut StdRng) -> Vec<Delivery> {
    let copy = |kind: &str, order: i64, record: Value| {
        Delivery::Terra(order, json!({"type": kind, "user": user, "data": [record]}))
    };
    let day = |day: u32, order: i64, samples: u32| {
        let date = format!("2026-09-{day:02}");
        let sample = |second: u32| {
            let at = format!("{date}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
            json!({"timestamp": at, "bpm": 60 + order})
        };
        let record = json!({
            "metadata": {"start_time": format!("{date}T00:00:00Z")},
            "distance_data": {"steps": 1_000 * order},
            "heart_rate_data": {"detailed": {"hr_samples": (0..samples).map(sample).collect::<Vec<_>>()}},
        });
        copy("daily", order, record)
    };
    let gone = |day: u32, order: i64| {
        let metadata = json!({"start_time": format!("2026-09-{day:02}T00:00:00Z"), "upload_type": 4});
        copy("daily", order, json!({"metadata": metadata}))
    };
    let night = |order: i64, score: Value| {
        let (start, end) = ("2026-09-09T22:00:00Z", "2026-09-10T06:00:00Z");
        let record = json!({
            "metadata": {"summary_id": "night", "start_time": start, "end_time": end},
            "sleep_durations_data": {"sleep_efficiency": 80 + order}, "data_enrichment": {"sleep_score": score},
        });
        copy("sleep", order, record)
    };
    let mut all = vec![gone(2, 4), gone(3, 3), night(1, json!(79)), night(2, Value::Null)];
    for order in 1..=4 {
        all.extend([1, 2, 3].map(|number| {
            // More than an event holds, every now and then.
            let samples = if dice.random_bool(0.5) { 1_200 } else { 30 };
            day(number, order, samples)
        }));
    }
    // A deletion and a copy of the same moment would leave it to the order of arrival.
    all.retain(|delivery| !is_copy_beside_a_deletion(delivery));
    all
}

fn is_copy_beside_a_deletion(delivery: &Delivery) -> bool {
    let Delivery::Terra(order, body) = delivery else { return false };
    let metadata = &body["data"][0]["metadata"];
    let is_of = |day: &str| metadata["start_time"].as_str().is_some_and(|start| start.starts_with(day));
    let is_beside = (*order == 4 && is_of("2026-09-02")) || (*order == 3 && is_of("2026-09-03"));
    is_beside && metadata["upload_type"].is_null()
}

/// What is shown of a user: how often each reading, with all that is told of it, and of which kind of event.
async fn readings(bridge: &Bridge, user: &str) -> BTreeMap<String, usize> {
    let mut shown = BTreeMap::new();
    for event in all_events(bridge, user).await {
        for reading in event["readings"].as_array().expect("readings") {
            *shown.entry(format!("{} {reading}", event["kind"])).or_default() += 1;
        }
    }
    shown
}

/// The first reading that is not shown as often by both.
fn difference(one: &BTreeMap<String, usize>, other: &BTreeMap<String, usize>) -> Option<String> {
    let keys = one.keys().chain(other.keys());
    let mut differing = keys.filter(|key| one.get(*key) != other.get(*key));
    differing.next().map(|key| format!("{key}: {:?} and {:?} times", one.get(key), other.get(key)))
}

/// A delivery is taken, as new or as known.
async fn taken(bridge: &Bridge, delivery: &Delivery) {
    let (status, told) = answer(delivery.request(bridge)).await;
    assert_eq!(status, 200, "{told}");
}

/// Sends everything, several at once and in the dice's order, to a process that is killed in the midst of it, until all
/// was acknowledged over [`KILLS`] deaths; then everything once more.
async fn sent_through_kills(mut bridge: Bridge, deliveries: &[Delivery], dice: &mut StdRng) -> Bridge {
    let mut is_acknowledged = vec![false; deliveries.len()];
    for _ in 0..KILLS {
        let mut places: Vec<usize> = (0..deliveries.len()).collect();
        // Senders come again with what was not answered, and sometimes with what was.
        places.retain(|place| !is_acknowledged[*place] || dice.random_bool(0.5));
        if places.len() <= AT_ONCE {
            // Something has to be in flight.
            places = (0..deliveries.len()).collect();
        }
        places.shuffle(dice);
        let answers = dice.random_range(1..=places.len() - AT_ONCE);
        let requests: Vec<_> =
            places.into_iter().map(|place| (place, deliveries[place].request(&bridge))).collect();
        let sending = stream::iter(requests).map(async |(place, request)| (place, request.send().await));
        let mut sending = std::pin::pin!(sending.buffer_unordered(AT_ONCE));
        for _ in 0..answers {
            let (place, sent) = sending.next().await.expect("there are more");
            assert_eq!(sent.expect("it lives").status(), 200);
            is_acknowledged[place] = true;
        }
        bridge.kill();
        bridge = bridge.restart().await;
    }
    let mut places: Vec<usize> = (0..deliveries.len()).collect();
    places.shuffle(dice);
    for place in places {
        taken(&bridge, &deliveries[place]).await;
    }
    bridge
}

/// Whatever is shown is told on the log in the end, and under one id one thing only.
async fn assert_told_on_the_log(bridge: &Bridge, user: &str) {
    let key = |user: &Value, id: &Value| format!("{user} {id}");
    let events = all_events(bridge, user).await;
    let all_are_told = async |bridge: &Bridge| {
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        for message in log_read(bridge, "biometric-events") {
            let event = &message["value"];
            let readings = event["readings"].to_string();
            let before = told.insert(key(&message["key"], &event["event_id"]), readings.clone());
            assert!(before.is_none_or(|before| before == readings), "one id, two things");
        }
        events.iter().all(|event| told.contains_key(&key(&event["user_id"], &event["event_id"])))
    };
    bridge.until("all told", all_are_told).await;
}

#[actix_web::test]
async fn pushes_that_come_through_kills_leave_what_a_calm_pass_leaves() {
    let seed = seed(61);
    let mut dice = StdRng::seed_from_u64(seed);
    let user = json!({"user_id": ACCOUNT, "provider": "GARMIN", "reference_id": USER});
    let mut deliveries = of_phone(&mut dice);
    deliveries.extend(of_terra(&user, &mut dice));
    let calm = Bridge::start().await;
    for delivery in &deliveries {
        taken(&calm, delivery).await;
    }
    let expected = readings(&calm, USER).await;
    drop(calm);
    assert!(expected.values().all(|count| *count == 1), "seed {seed}: one pass shows a reading twice");
    let bridge = sent_through_kills(Bridge::start().await, &deliveries, &mut dice).await;
    let left = readings(&bridge, USER).await;
    assert_eq!(difference(&left, &expected), None, "seed {seed}");
    assert_told_on_the_log(&bridge, USER).await;
}

fn link(bridge: &Bridge) -> RequestBuilder {
    let request = bridge.request(Method::PUT, &format!("/admin/links/terra/{ACCOUNT}"));
    request.bearer_auth(ADMIN_KEY).json(&json!({"user_id": USER}))
}

#[actix_web::test]
async fn a_link_made_between_kills_leaves_what_one_made_first_leaves() {
    let seed = seed(62);
    let mut dice = StdRng::seed_from_u64(seed);
    // Nobody's until it is linked.
    let user = json!({"user_id": ACCOUNT, "provider": "GARMIN"});
    let deliveries = of_terra(&user, &mut dice);
    let calm = Bridge::start().await;
    assert_eq!(answer(link(&calm)).await.0, 200);
    for delivery in &deliveries {
        taken(&calm, delivery).await;
    }
    let expected = readings(&calm, USER).await;
    drop(calm);
    assert!(!expected.is_empty());
    let (before, after) = deliveries.split_at(deliveries.len() / 2);
    let bridge = Bridge::start().await;
    for delivery in before {
        taken(&bridge, delivery).await;
    }
    assert!(!readings(&bridge, &format!("terra:{ACCOUNT}")).await.is_empty(), "there is something to move");
    // The link is under way, and newer copies with it, when the process dies.
    let mut bridge = bridge;
    let requests: Vec<_> =
        [link(&bridge)].into_iter().chain(after.iter().map(|delivery| delivery.request(&bridge))).collect();
    let sending = stream::iter(requests).map(async |request| request.send().await.is_ok());
    let mut sending = std::pin::pin!(sending.buffer_unordered(AT_ONCE));
    for _ in 0..dice.random_range(0..=after.len().saturating_sub(AT_ONCE)) {
        sending.next().await.expect("there are more");
    }
    bridge.kill();
    let bridge = bridge.restart().await;
    assert_eq!(answer(link(&bridge)).await.0, 200);
    let bridge = sent_through_kills(bridge, &deliveries, &mut dice).await;
    // What was on its way when the account was linked goes with the next request.
    assert_eq!(answer(link(&bridge)).await.0, 200);
    let left = readings(&bridge, USER).await;
    assert_eq!(difference(&left, &expected), None, "seed {seed}");
    let elsewhere = all_events(&bridge, &format!("terra:{ACCOUNT}")).await;
    assert_eq!(elsewhere, Vec::<Value>::new(), "seed {seed}");
}

/// Ann's last days as Oura tells them now: a document that has changed comes under the same id, as a newer version.
async fn told_now(cloud: &VendorCloud, seconds: u32) -> Vec<(&'static str, Value)> {
    let (id, token) = (account(cloud, "oura", 0).await, cloud.grant("oura", 0).await);
    let token = token["access_token"].as_str().expect("a token");
    let at = Timestamp::from_ms(START_MS + i64::from(seconds) * 1000).to_string();
    let mut told = Vec::new();
    for data_type in ["daily_activity", "sleep", "daily_sleep"] {
        let path = format!("/v2/usercollection/{data_type}?start_date=2026-09-07&end_date=2026-09-11");
        let listed = crate::cloud::json_of(cloud.get(&path, token), reqwest::StatusCode::OK).await;
        for record in listed["data"].as_array().expect("records") {
            let notification = json!({
                "user_id": id, "event_type": "update", "data_type": data_type, "object_id": record["id"],
                "event_time": at,
            });
            told.push(("oura", notification));
        }
    }
    told
}

#[actix_web::test]
async fn a_document_that_changes_while_it_is_fetched_through_kills_ends_as_it_is() {
    let seed = seed(63);
    let mut dice = StdRng::seed_from_u64(seed);
    let cloud = VendorCloud::start(1, |_| {});
    let settings = [QUICK, PLENTY[0], PLENTY[1], ("OURA_POLL_SECONDS", "0")];
    let mut bridge = bridge_at(&cloud, &settings).await;
    connect(&bridge, &cloud, "oura", 0, "ann").await;
    const HOUR_S: u32 = 3_600;
    for hour in 0..=KILLS as u32 {
        let mut told = told_now(&cloud, hour * HOUR_S).await;
        told.shuffle(&mut dice);
        let answers = dice.random_range(1..=told.len());
        for notification in &told[..answers] {
            tell_until_taken(&bridge, notification).await;
        }
        bridge = bridge.restart().await;
        family::pass_leases(&bridge.folder).await;
        // What was not acknowledged comes again, and what was does too.
        for notification in &told {
            tell_until_taken(&bridge, notification).await;
        }
        if hour < KILLS as u32 {
            cloud.forward(HOUR_S).await;
        }
    }
    let last = told_now(&cloud, (KILLS as u32 + 1) * HOUR_S).await;
    let calm = bridge_at(&cloud, &settings).await;
    connect(&calm, &cloud, "oura", 0, "ann").await;
    for notification in &last {
        tell_until_taken(&calm, notification).await;
    }
    calm.until("all are there", async |calm| all_events(calm, "ann").await.len() >= last.len()).await;
    let expected = readings(&calm, "ann").await;
    for notification in &last {
        tell_until_taken(&bridge, notification).await;
    }
    let is_there = async |bridge: &Bridge| difference(&readings(bridge, "ann").await, &expected).is_none();
    bridge.until("as it is now", is_there).await;
    assert!(dead_letters(&bridge).await < 0.5, "seed {seed}");
    cloud.stop().await;
}
