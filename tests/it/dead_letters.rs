//! `/admin/dlq`: messages that were set aside and fetches that were given up, in one list, and their way back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::cognition::thresholds::Thresholds;
use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::event::{DeviceType, Event, Reading};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, Whose};
use actors::domain::ids::{EventId, RequestId, UserId};
use actors::domain::message::Message;
use actors::domain::metric::Metric;
use actors::domain::rate_budget::RateLimit;
use actors::domain::time::Timestamp;
use actors::memory::StoreCall;
use actors::ports::accounts::Link;
use actors::ports::fetch_queue::{ClaimFetches, FetchFate, NewFetch, PutBack};
use actors::ports::store::{CheckpointBatch, DeadLetter, DeliveryStatus, NewDelivery, StoreError};
use actors::ports::{Accounts, FetchQueue, Store};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answers::{listed, refused, send};
use crate::bridge::{ADMIN_KEY, API_KEY};
use crate::doors::House;

/// As far in the past as the queue in memory, which gives things up by a clock of its own, has them.
const FAILED_MS: i64 = 1_790_000_000_000;

fn house() -> House {
    House::open(&[("ADMIN_API_KEY", ADMIN_KEY), ("API_KEY", API_KEY)])
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

/// A message of the log with an event of this user.
fn message(user_id: &str, number: usize) -> Message {
    let at = Timestamp::from_ms(FAILED_MS - 100_000 + number as i64 * 1_000);
    let reading = Reading::new(Metric::HeartRate, 61.0, at, 0.95);
    let event = Event {
        event_id: EventId::parse(&format!("event {number}")).expect("an id"),
        record_id: format!("record {number}").into(),
        version: 1,
        device_type: DeviceType::AppleHealth,
        user_id: user(user_id),
        timestamp: at,
        received_at: at,
        kind: "sample".into(),
        is_backfill: false,
        deleted: false,
        readings: vec![reading],
    };
    actors::event_message::encode(&event, &RequestId::generate(), &Thresholds::default())
}

/// Sets messages of a user aside, each `seconds` after the beginning.
async fn set_aside(house: &House, user_id: &str, letters: &[(usize, i64)]) {
    let letter = |&(number, seconds): &(usize, i64)| {
        let message = message(user_id, number);
        DeadLetter {
            id: format!("biometric-events:0:{number}").into(),
            original_topic: message.topic,
            place: None,
            error_type: "processing_error",
            error_message: "the event's fold failed twice".to_owned(),
            failed_at: Timestamp::from_ms(FAILED_MS + seconds * 1_000),
            retry_count: 2,
            message,
        }
    };
    let dead_letters = letters.iter().map(letter).collect();
    let batch = CheckpointBatch { dead_letters, ..CheckpointBatch::default() };
    house.store.save_checkpoints(&batch).await.expect("saved");
}

fn oura_id(id: &str) -> Whose {
    Whose::Vendor(VendorUserId::parse(id).expect("an id"))
}

/// Gives fetches of these people up, in this order.
async fn give_up(house: &House, whose: &[Whose]) {
    let at = Timestamp::from_ms(FAILED_MS);
    let fetch = |whose: &Whose| NewFetch {
        whose: whose.clone(),
        fetch: Fetch::from(OuraFetch::Record {
            data_type: OuraDataType::Sleep,
            id: format!("{}", Uuid::now_v7()),
        }),
        changed_at: at,
        received_at: at,
        request_id: RequestId::generate(),
        is_backfill: false,
    };
    let mut key = [0; 32];
    key[..16].copy_from_slice(Uuid::now_v7().as_bytes());
    let delivery = NewDelivery {
        key,
        device: "oura",
        request_id: RequestId::generate(),
        received_at: at,
        status: DeliveryStatus::Accepted,
        body: "{}".into(),
        drafts: Vec::new(),
        fetches: whose.iter().map(fetch).collect(),
        ends: None,
    };
    let encode: actors::ports::store::EncodeEvent = Arc::new(|_, _| message("nobody", 0));
    house.store.commit_deliveries(&[Arc::new(delivery)], &encode).await.expect("committed");
    let (holder, limits) =
        (Uuid::now_v7(), vec![RateLimit { requests: 1_000, window: Duration::from_secs(1) }]);
    let lease = Duration::from_secs(60);
    let claim = ClaimFetches { vendor: Vendor::Oura, holder, limit: 100, lease, rate_limits: limits };
    let claimed = house.store.claim_fetches(&claim).await.expect("claimed").fetches;
    assert_eq!(claimed.len(), whose.len());
    let fate = || FetchFate::GiveUp {
        error_type: "rate_limit_error",
        error_message: "Oura asked for more than an hour".to_owned(),
        attempts: 0,
    };
    let given_up: Vec<PutBack> =
        claimed.into_iter().map(|fetch| PutBack { ids: fetch.ids, holder, fate: fate() }).collect();
    house.store.put_back(&given_up).await.expect("given up");
}

fn list(house: &House, query: &str) -> RequestBuilder {
    house.request(Method::GET, &format!("/admin/dlq{query}")).bearer_auth(ADMIN_KEY)
}

async fn page(house: &House, query: &str) -> Value {
    let answer = send(list(house, query)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn redrive(house: &House, body: &Value) -> RequestBuilder {
    house.request(Method::POST, "/admin/dlq/redrive").bearer_auth(ADMIN_KEY).body(body.to_string())
}

async fn redriven(house: &House, body: &Value) -> Value {
    let answer = send(redrive(house, body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<String> {
    listed(page, "items").iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

#[actix_web::test]
async fn both_kinds_of_dead_letters_are_listed_newest_first_with_masked_users() {
    let house = house();
    assert_eq!(page(&house, "").await, json!({"items": [], "next_cursor": null}));
    let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse("LINKED").expect("an id") };
    let link = Link { account, user_id: user("someone"), timezone: None, key_hash: None };
    house.store.put_link(&link, None).await.expect("linked");
    set_aside(&house, "someone", &[(1, -60)]).await;
    give_up(&house, &[oura_id("LINKED"), oura_id("ALONE"), Whose::User(user("someone"))]).await;
    set_aside(&house, "someone", &[(2, 3_600)]).await;

    let mask = |id: &str| house.doors.masker.mask(&user(id)).to_string();
    let shown = page(&house, "").await;
    let items = listed(&shown, "items");
    let told: Vec<_> = items.iter().map(|item| (item["topic"].as_str(), item["user"].clone())).collect();
    let someone = json!(mask("someone"));
    assert_eq!(
        told,
        [
            (Some("biometric-events"), someone.clone()),
            (Some("fetch/oura"), someone.clone()),
            (Some("fetch/oura"), json!(mask("oura:ALONE"))),
            (Some("fetch/oura"), someone.clone()),
            (Some("biometric-events"), someone.clone()),
        ],
        "{shown}"
    );
    assert_eq!(
        items[0],
        json!({
            "id": "biometric-events:0:2", "topic": "biometric-events", "error_type": "processing_error",
            "error_message": "the event's fold failed twice", "retry_count": 2, "user": someone,
            "failed_at": Timestamp::from_ms(FAILED_MS + 3_600_000),
        })
    );
    assert!(items[1]["id"].as_str().is_some_and(|id| id.starts_with("fetch-")), "{shown}");
    assert_eq!(items[1]["error_type"], "rate_limit_error");
    assert!(!shown.to_string().contains("someone") && !shown.to_string().contains("ALONE"), "{shown}");
    assert!(house.metrics().await.contains("\nauren_dlq_depth 5\n"));

    // Page by page it is the same.
    for limit in 1..=5 {
        let (mut paged, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = page(&house, &query).await;
            assert!(listed(&page, "items").len() <= limit, "{page}");
            paged.extend(listed(&page, "items"));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("?limit={limit}&cursor={cursor}");
        }
        assert_eq!(paged, items, "by {limit}");
    }
}

#[actix_web::test]
async fn what_is_redriven_by_its_id_goes_its_way_and_is_no_dead_letter_any_more() {
    let house = house();
    set_aside(&house, "someone", &[(1, 0), (2, 0)]).await;
    give_up(&house, &[oura_id("A"), oura_id("B")]).await;
    let fetch =
        ids(&page(&house, "").await).into_iter().find(|id| id.starts_with("fetch-")).expect("a fetch");
    let asked = json!({"ids": ["biometric-events:0:2", fetch, "biometric-events:0:9", "fetch-999", "fetch-x", fetch]});
    assert_eq!(redriven(&house, &asked).await, json!({"redriven": 2, "failed": 3}));
    let left = ids(&page(&house, "").await);
    assert!(
        left.len() == 2 && !left.contains(&fetch) && left.contains(&"biometric-events:0:1".to_owned()),
        "{left:?}"
    );
    // The message comes to the log, and from there into the user's state; the fetch is due.
    house.until("applied", |house| house.doors.tree.users.live(&user("someone")).is_some()).await;
    let counts = house.store.count_fetches().await.expect("counts");
    assert_eq!((counts[0].1.waiting, counts[0].1.dead), (1, 1));
    assert_eq!(redriven(&house, &asked).await, json!({"redriven": 0, "failed": 5}));
    let metrics = house.metrics().await;
    assert!(metrics.contains("\nauren_dlq_messages_total{outcome=\"redriven\"} 2\n"), "{metrics}");
    assert!(metrics.contains("\nauren_dlq_depth 2\n"), "{metrics}");
}

#[actix_web::test]
async fn all_are_redriven_at_a_rate_that_is_never_exceeded() {
    let house = house();
    set_aside(&house, "someone", &(0..30).map(|number| (number, 0)).collect::<Vec<_>>()).await;
    give_up(&house, &(0..5).map(|number| oura_id(&number.to_string())).collect::<Vec<_>>()).await;
    let begun = Instant::now();
    assert_eq!(
        redriven(&house, &json!({"all": true, "rate": 20})).await,
        json!({"redriven": 35, "failed": 0})
    );
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(page(&house, "").await["items"], json!([]));
    set_aside(&house, "someone", &(30..60).map(|number| (number, 0)).collect::<Vec<_>>()).await;
    assert_eq!(redriven(&house, &json!({"all": true})).await, json!({"redriven": 30, "failed": 0}));
    assert_eq!(redriven(&house, &json!({"all": true})).await, json!({"redriven": 0, "failed": 0}));
    let applied = |house: &House| {
        let live = house.doors.tree.users.live(&user("someone"));
        live.map(|live| {
            live.state.view(&user("someone"), Timestamp::from_ms(FAILED_MS), &Thresholds::default())
        })
        .map(|view| serde_json::to_value(view).expect("JSON")["state_seq"].clone())
    };
    house.until("all are applied", |house| applied(house) == Some(json!(60))).await;
}

#[actix_web::test]
async fn an_outage_in_the_middle_leaves_the_rest_where_it_is_and_says_so() {
    let house = house();
    set_aside(&house, "someone", &(0..4).map(|number| (number, 0)).collect::<Vec<_>>()).await;
    let down = StoreError::Unavailable("it is away".to_owned());
    house.store.faults().fail(StoreCall::RedriveLetters, 1, down.clone());
    refused(redrive(&house, &json!({"all": true})), 503, "store_unavailable").await;
    house.store.faults().fail(StoreCall::DeadLetters, 1, down.clone());
    refused(list(&house, ""), 503, "store_unavailable").await;
    house.store.faults().script(
        StoreCall::RedriveLetters,
        [actors::memory::Fate::Pass, actors::memory::Fate::Pass, actors::memory::Fate::FailBefore(down)],
    );
    // One at a time.
    assert_eq!(
        redriven(&house, &json!({"all": true, "rate": 15})).await,
        json!({"redriven": 2, "failed": 2})
    );
    assert_eq!(
        ids(&page(&house, "").await),
        ["biometric-events:0:3", "biometric-events:0:2"],
        "the oldest first"
    );
}

#[actix_web::test]
async fn what_cannot_be_understood_redrives_nothing() {
    let house = house();
    set_aside(&house, "someone", &[(1, 0)]).await;
    let many: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    for body in [
        json!({}),
        json!([]),
        json!({"all": false}),
        json!({"ids": "biometric-events:0:1"}),
        json!({"ids": ["biometric-events:0:1"], "all": true}),
        json!({"ids": ["biometric-events:0:1"], "rate": 1}),
        json!({"all": true, "rate": 0}),
        json!({"all": true, "rate": -1}),
        json!({"all": true, "rate": 1.5}),
        json!({"all": true, "rate": 100_001}),
        json!({"all": true, "whatever": 1}),
        json!({"ids": many}),
    ] {
        refused(redrive(&house, &body), 400, "validation_error").await;
    }
    assert_eq!(redriven(&house, &json!({"ids": []})).await, json!({"redriven": 0, "failed": 0}));
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?cursor=x", "?cursor=", "?limit=1&limit=2"] {
        refused(list(&house, query), 400, "validation_error").await;
    }
    for request in [
        house.request(Method::GET, "/admin/dlq"),
        house.request(Method::GET, "/admin/dlq").bearer_auth(API_KEY),
        house.request(Method::POST, "/admin/dlq/redrive").bearer_auth(API_KEY).body(r#"{"all":true}"#),
    ] {
        refused(request, 401, "authentication_error").await;
    }
    let delete = house.request(Method::DELETE, "/admin/dlq").bearer_auth(ADMIN_KEY);
    refused(delete, 405, "method_not_allowed").await;
    assert_eq!(ids(&page(&house, "").await), ["biometric-events:0:1"]);
}
