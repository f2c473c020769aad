//! From a notification to its data: retries, patience, breakers, accounts that are missing, and whatever dies meanwhile.

use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, TerraFetch, WhoopFetch, Whose};
use actors::domain::ids::RequestId;
use actors::domain::rate_budget::RateLimit;
use actors::memory::{
    ApiCall, MemoryOAuth, MemoryVault, MemoryVendorApi, Moment, OAuthCall, Reply, StoreCall,
};
use actors::messages::{CommitDelivery, FetchesQueued};
use actors::ports::accounts::{Link, NewTokens};
use actors::ports::fetch_queue::{FetchCounts, NewFetch};
use actors::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use actors::ports::vendor_api::{ApiAnswer, ApiError, OAuthError};
use actors::ports::{Accounts as _, Clock as _, FetchQueue as _, Vault as _};
use actors::supervision::{BreakerState, Fault};
use actors::vendor_fetch::RetryPolicy;

use crate::bridge::{Bridge, Setup, user, within};

const MS: Duration = Duration::from_millis(1);
/// A thousandth of what it is in production: a second becomes a millisecond, a minute 60 ms.
const QUICK: RetryPolicy = RetryPolicy { base: MS, attempts: 12 };

struct Cloud {
    bridge: Bridge,
    api: Arc<MemoryVendorApi>,
    oauth: Arc<MemoryOAuth>,
}

fn start() -> Cloud {
    with(Setup { vendor_retry: QUICK, ..Setup::default() })
}

fn with(setup: Setup) -> Cloud {
    let oauth = Arc::new(MemoryOAuth::new(Duration::from_secs(3_600)));
    let api = Arc::new(MemoryVendorApi::behind(Arc::clone(&oauth)));
    let setup = Setup { oauth: Arc::clone(&oauth), api: Arc::clone(&api), ..setup };
    Cloud { bridge: Bridge::with(setup), api, oauth }
}

impl Cloud {
    /// Links an account to a user of ours of the same name, and gives it tokens.
    async fn connect(&self, vendor: Vendor, name: &str) {
        self.connect_as(vendor, name, name, 3_600_000).await;
    }

    /// The same to any user, with an access token that ends in so many milliseconds.
    async fn connect_as(&self, vendor: Vendor, name: &str, who: &str, left_ms: i64) {
        let account = Account { vendor, id: VendorUserId::parse(name).unwrap() };
        let now = self.bridge.clock.now();
        let tokens = NewTokens {
            sealed: MemoryVault::default().seal(&account, &self.oauth.connect()).unwrap(),
            scope: None,
            obtained_at: now,
            expires_at: Some(now.plus_ms(left_ms)),
        };
        let link = Link { account, user_id: user(who), timezone: None, key_hash: None };
        self.bridge.store.put_link(&link, Some(&tokens)).await.unwrap();
        self.bridge.tree.fetchers[&vendor].try_tell(FetchesQueued).unwrap();
    }

    /// Takes notifications in, as a device's handler does.
    async fn notify(&self, fetches: Vec<NewFetch>) {
        let vendor = fetches[0].fetch.vendor();
        let delivery = NewDelivery {
            key: NewDelivery::key_of_its_own(),
            device: vendor.name(),
            request_id: RequestId::generate(),
            received_at: self.bridge.clock.now(),
            status: DeliveryStatus::Accepted,
            body: "{}".into(),
            drafts: Vec::new(),
            fetches,
            ends: None,
        };
        let committed = self.bridge.tree.writer.ask(CommitDelivery(Arc::new(delivery))).await.unwrap();
        assert_eq!(committed, Ok(Committed::Stored(Vec::new())));
        self.bridge.tree.fetchers[&vendor].try_tell(FetchesQueued).unwrap();
    }

    fn asked_of(&self, whose: &str, fetch: impl Into<Fetch>) -> NewFetch {
        let now = self.bridge.clock.now();
        NewFetch {
            whose: Whose::Vendor(VendorUserId::parse(whose).unwrap()),
            fetch: fetch.into(),
            changed_at: now,
            received_at: now,
            request_id: RequestId::generate(),
            is_backfill: false,
        }
    }

    async fn counts(&self, vendor: Vendor) -> FetchCounts {
        let counts = self.bridge.store.count_fetches().await.unwrap();
        counts.into_iter().find(|(other, _)| *other == vendor).map(|(_, counts)| counts).unwrap_or_default()
    }

    /// Waits until so many events of a user are stored.
    async fn until_events(&self, name: &str, count: usize) {
        let who = user(name);
        self.bridge
            .until("its data", |bridge| {
                bridge.store.read(|contents| {
                    contents.events.iter().filter(|row| row.event.user_id == who).count() == count
                })
            })
            .await;
    }

    /// Waits until nothing of a vendor is in the queue but what was given up.
    async fn until_done(&self, vendor: Vendor) {
        let wait = async {
            let mut changes = self.bridge.store.changes();
            while self.counts(vendor).await.waiting > 0 {
                changes.changed().await.unwrap();
            }
        };
        within("an empty queue", wait).await;
    }
}

fn readiness(id: &str) -> OuraFetch {
    OuraFetch::Record { data_type: OuraDataType::DailyReadiness, id: id.to_owned() }
}

fn readiness_path(id: &str) -> String {
    format!("/v2/usercollection/daily_readiness/{id}")
}

/// A day of its own for each of our ids: of two summaries of one day only the newer one counts.
fn readiness_body(id: &str, score: u32) -> Reply {
    let number = id.bytes().fold(0, |sum, byte| (sum * 7 + u32::from(byte)) % 28) + 1;
    let day = format!("2026-02-{number:02}");
    let timestamp = format!("{day}T00:00:00+00:00");
    let body = serde_json::json!({ "id": id, "day": day, "score": score, "timestamp": timestamp });
    Reply::with(body.to_string())
}

fn down() -> ApiError {
    ApiError::Unavailable("it answers 503".to_owned())
}

const SLEEP_ID: &str = "3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10";

fn whoop_sleep(score_state: &str) -> Reply {
    let body = serde_json::json!({
        "id": SLEEP_ID, "cycle_id": 93_845, "user_id": 456_789, "created_at": "2026-03-02T05:20:00.000Z",
        "updated_at": "2026-03-02T05:30:00.000Z", "start": "2026-03-01T21:10:00.000Z",
        "end": "2026-03-02T05:10:00.000Z", "timezone_offset": "+02:00", "nap": false, "score_state": score_state,
        "score": { "respiratory_rate": 16.1 },
    });
    Reply::with(body.to_string())
}

fn whoop_recovery() -> Reply {
    let body = serde_json::json!({
        "cycle_id": 93_845, "sleep_id": SLEEP_ID, "user_id": 456_789, "created_at": "2026-03-02T05:25:00.000Z",
        "updated_at": "2026-03-02T05:31:00.000Z", "score_state": "SCORED",
        "score": { "recovery_score": 44, "resting_heart_rate": 64, "hrv_rmssd_milli": 31.8 },
    });
    Reply::with(body.to_string())
}

fn recovery() -> WhoopFetch {
    WhoopFetch::CycleOfSleep { sleep_id: SLEEP_ID.to_owned() }
}

const SLEEP_PATH: &str = "/v2/activity/sleep/3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10";
const RECOVERY_PATH: &str = "/v2/cycle/93845/recovery";

#[actix::test]
async fn a_recovery_is_fetched_by_way_of_its_sleep_and_comes_to_its_users_state() {
    let cloud = start();
    cloud.connect(Vendor::Whoop, "ann").await;
    cloud.api.put(SLEEP_PATH, whoop_sleep("SCORED"));
    cloud.api.put(RECOVERY_PATH, whoop_recovery());
    cloud.notify(vec![cloud.asked_of("ann", recovery())]).await;
    cloud.until_events("ann", 1).await;
    cloud.bridge.settle().await;
    assert!(cloud.bridge.state_seq("ann") > 0, "it was folded");
    assert_eq!(cloud.api.asked(), [SLEEP_PATH, RECOVERY_PATH]);
    assert_eq!(cloud.counts(Vendor::Whoop).await, FetchCounts::default());
}

#[actix::test]
async fn a_vendor_that_fails_is_asked_again_and_what_fails_for_good_is_a_dead_letter_alone() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.put(&readiness_path("good"), readiness_body("good", 70));
    cloud.api.script(&readiness_path("good"), [down().into(), Reply::with("{\"id\":"), down().into()]);
    cloud.api.put(&readiness_path("worse"), ApiError::Refused { status: 422 }.into());
    cloud.notify(vec![cloud.asked_of("ann", readiness("worse"))]).await;
    cloud.notify(vec![cloud.asked_of("ann", readiness("good"))]).await;
    cloud.until_events("ann", 1).await;
    cloud.until_done(Vendor::Oura).await;
    assert_eq!(cloud.counts(Vendor::Oura).await, FetchCounts { dead: 1, ..FetchCounts::default() });
    let dead = cloud.bridge.store.dead_fetches(None, 10).await.unwrap();
    assert_eq!((dead[0].error_type.as_str(), dead[0].attempts), ("wearable_api_error", 0));
    assert_eq!(cloud.api.calls(), 5);

    // What is mended is redriven.
    cloud.api.put(&readiness_path("worse"), readiness_body("worse", 71));
    assert_eq!(cloud.bridge.store.redrive_fetches(&[dead[0].id]).await.unwrap(), [Vendor::Oura]);
    cloud.bridge.tree.fetchers[&Vendor::Oura].try_tell(FetchesQueued).unwrap();
    cloud.until_events("ann", 2).await;
}

#[actix::test]
async fn after_the_last_attempt_a_fetch_is_a_dead_letter() {
    let cloud = with(Setup { vendor_retry: RetryPolicy { base: MS, attempts: 3 }, ..Setup::default() });
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.put(&readiness_path("a"), down().into());
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.bridge.until("it is given up", |bridge| !bridge.recorder.tally().given_up.is_empty()).await;
    cloud.until_done(Vendor::Oura).await;
    let dead = cloud.bridge.store.dead_fetches(None, 10).await.unwrap();
    assert_eq!(dead[0].error_type, "wearable_api_error");
    assert!(dead[0].error_message.contains("tried 3 times") && dead[0].error_message.contains("503"));
    assert_eq!(dead[0].attempts, 3);
    assert_eq!(cloud.api.calls(), 3);
}

#[actix::test]
async fn an_address_that_has_expired_is_a_dead_letter_at_once_that_says_what_to_do() {
    let (api, oauth) = (Arc::<MemoryVendorApi>::default(), Arc::new(MemoryOAuth::new(MS)));
    let rate_limits = [(Vendor::Terra, Vec::new())].into();
    let setup = Setup { vendor_retry: QUICK, api: Arc::clone(&api), rate_limits, ..Setup::default() };
    let cloud = Cloud { bridge: Bridge::with(setup), api, oauth };
    let address =
        |name: &str, signed: &str| format!("/{name}?X-Amz-Date={signed}&X-Amz-Expires=300&X-Amz-Signature=s");
    let day = |steps: u32| {
        let metadata = serde_json::json!({"start_time": "2026-02-01T00:00:00Z"});
        let data = serde_json::json!([{"metadata": metadata, "distance_data": {"steps": steps}}]);
        let user = serde_json::json!({"user_id": "t", "reference_id": "ann"});
        Reply::with(serde_json::json!({"type": "daily", "user": user, "data": data}).to_string())
    };
    let denied = || ApiError::Refused { status: 403 };
    let [over, gone, told, good] = [
        address("over", "20200101T000000Z"),
        address("gone", "20200101T000000Z"),
        address("told", "20990101T000000Z"),
        address("good", "20990101T000000Z"),
    ];
    cloud.api.put(&over, denied().into());
    cloud.api.put(&told, ApiError::Expired.into());
    // Denied, too, is what its storage has not taken up yet.
    cloud.api.script(&good, [denied().into(), ApiError::Missing.into()]);
    cloud.api.put(&good, day(9));
    for address in [over, gone, told, good] {
        cloud.notify(vec![cloud.asked_of("payload", TerraFetch::Payload { address })]).await;
    }
    cloud.until_events("ann", 1).await;
    cloud.until_done(Vendor::Terra).await;
    let dead = cloud.bridge.store.dead_fetches(None, 10).await.unwrap();
    assert_eq!((dead.len(), cloud.api.calls()), (3, 6));
    for letter in dead {
        assert_eq!((letter.error_type.as_str(), letter.attempts), ("wearable_api_error", 0));
        let message = letter.error_message;
        assert!(message.contains("has expired") && message.contains("to_webhook=true"), "{message}");
        assert!(!message.contains("X-Amz"), "{message}");
    }
}

#[actix::test]
async fn a_record_that_is_not_there_or_not_computed_yet_is_looked_for_again() {
    let cloud = start();
    cloud.connect(Vendor::Whoop, "ann").await;
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.script(SLEEP_PATH, [whoop_sleep("PENDING_SCORE"), whoop_sleep("PENDING_SCORE")]);
    cloud.api.put(SLEEP_PATH, whoop_sleep("SCORED"));
    let kind = actors::domain::fetch::WhoopActivity::Sleep;
    cloud.notify(vec![cloud.asked_of("ann", WhoopFetch::Activity { kind, id: SLEEP_ID.to_owned() })]).await;
    cloud.api.script(&readiness_path("late"), [ApiError::Missing.into()]);
    cloud.api.put(&readiness_path("late"), readiness_body("late", 60));
    cloud.notify(vec![cloud.asked_of("ann", readiness("late"))]).await;
    cloud.until_events("ann", 2).await;
    assert_eq!(cloud.api.calls(), 5);
    assert_eq!(cloud.bridge.recorder.tally().given_up.len(), 0);
}

#[actix::test]
async fn a_429_lets_the_vendor_rest_and_nobody_else_and_uses_up_no_attempt() {
    let cloud = with(Setup { vendor_retry: RetryPolicy { base: MS, attempts: 1 }, ..Setup::default() });
    cloud.connect(Vendor::Whoop, "ann").await;
    cloud.connect(Vendor::Oura, "bob").await;
    let rest = 700 * MS;
    let limited = || ApiError::RateLimited { retry_after: Some(rest) };
    cloud.api.script(SLEEP_PATH, [limited().into()]);
    cloud.api.put(SLEEP_PATH, whoop_sleep("SCORED"));
    cloud.api.put(RECOVERY_PATH, whoop_recovery());
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    let begun = tokio::time::Instant::now();
    cloud.notify(vec![cloud.asked_of("ann", recovery())]).await;
    cloud.bridge.until("the 429", |bridge| !bridge.recorder.tally().put_back.is_empty()).await;
    cloud.notify(vec![cloud.asked_of("ann", WhoopFetch::Body)]).await;
    cloud.notify(vec![cloud.asked_of("bob", readiness("a"))]).await;
    cloud.until_events("bob", 1).await;
    assert_eq!(cloud.api.calls(), 2, "nothing of the resting vendor is asked");
    cloud.until_events("ann", 1).await;
    assert!(begun.elapsed() >= rest, "{:?}", begun.elapsed());
    let state = cloud.bridge.tree.fetchers[&Vendor::Whoop].snapshot().breaker.unwrap().state;
    assert_eq!(state, BreakerState::Closed, "a 429 is no failure");
}

#[actix::test]
async fn what_is_in_hand_when_a_vendor_asks_for_rest_is_not_sent_before_it_is_over() {
    let rate_limits =
        [(Vendor::Oura, vec![RateLimit { requests: 4, window: Duration::from_secs(3_600) }])].into();
    let cloud = with(Setup { vendor_retry: QUICK, rate_limits, ..Setup::default() });
    let rest = 700 * MS;
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.connect(Vendor::Oura, "bob").await;
    let limited = ApiError::RateLimited { retry_after: Some(rest) };
    cloud.api.script(&readiness_path("a"), [limited.into()]);
    for id in ["a", "b"] {
        cloud.api.put(&readiness_path(id), readiness_body(id, 80));
    }
    // It has been claimed, and does not get as far as its request.
    let mut held = cloud.bridge.store.faults().hold(StoreCall::Tokens, Moment::After);
    cloud.notify(vec![cloud.asked_of("bob", readiness("b"))]).await;
    held.reached().await;
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.bridge.until("the 429", |bridge| !bridge.recorder.tally().put_back.is_empty()).await;
    let begun = tokio::time::Instant::now();
    held.release();
    cloud.until_events("bob", 1).await;
    cloud.until_events("ann", 1).await;
    assert!(begun.elapsed() >= rest - 100 * MS, "{:?}", begun.elapsed());
    assert_eq!(cloud.api.calls(), 3);
    // What was not sent was given back: of four requests three were.
    cloud.api.put(&readiness_path("c"), readiness_body("c", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("c"))]).await;
    cloud.until_events("ann", 2).await;
}

#[actix::test]
async fn a_list_that_never_ends_is_a_dead_letter() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    let now = cloud.bridge.clock.now();
    let (data_type, page) = (OuraDataType::DailyReadiness, Some("n".to_owned()));
    let page = OuraFetch::Days { data_type, from: now, to: now, page, turned: 498 };
    let more = |token: &str| Reply::with(format!(r#"{{"data":[],"next_token":"{token}"}}"#));
    cloud.api.script("/v2/usercollection/daily_readiness", [more("o"), more("p")]);
    cloud.notify(vec![cloud.asked_of("ann", page)]).await;
    cloud.bridge.until("it is given up", |bridge| !bridge.recorder.tally().given_up.is_empty()).await;
    cloud.until_done(Vendor::Oura).await;
    let dead = cloud.bridge.store.dead_fetches(None, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].error_type.as_str()), (1, "wearable_api_error"));
    assert!(dead[0].error_message.contains("500 pages"), "{}", dead[0].error_message);
    assert_eq!(cloud.api.calls(), 2);
}

#[actix::test]
async fn a_record_has_one_identity_with_everybodys_token_and_with_its_accounts_own() {
    let oauth = Arc::new(MemoryOAuth::new(Duration::from_secs(3_600)));
    let api = Arc::new(MemoryVendorApi::behind(Arc::clone(&oauth)));
    let setup = Setup { oura_token: Some(oauth.connect().access), vendor_retry: QUICK, ..Setup::default() };
    let setup = Setup { oauth: Arc::clone(&oauth), api: Arc::clone(&api), ..setup };
    let cloud = Cloud { bridge: Bridge::with(setup), api, oauth };
    cloud.api.put("/v2/usercollection/personal_info", Reply::with(r#"{"id":"A1B2"}"#));
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.api.put(&readiness_path("b"), readiness_body("b", 80));
    let named =
        |id: &str| NewFetch { whose: Whose::User(user("ann")), ..cloud.asked_of("A1B2", readiness(id)) };
    cloud.notify(vec![named("a"), named("b")]).await;
    cloud.until_events("ann", 2).await;
    let asked = cloud.api.asked();
    let owner = asked.iter().filter(|target| target.ends_with("personal_info")).count();
    assert_eq!(owner, 1, "once for all: {asked:?}");
    // Once it is linked, the account itself tells of the record, changed since.
    cloud.connect_as(Vendor::Oura, "A1B2", "ann", 3_600_000).await;
    let newer = cloud.asked_of("A1B2", readiness("a"));
    let newer = NewFetch { changed_at: newer.changed_at.plus_ms(1_000), ..newer };
    cloud.notify(vec![newer]).await;
    cloud.until_events("ann", 3).await;
    let records = cloud.bridge.store.read(|contents| {
        contents
            .events
            .iter()
            .map(|row| row.event.record_id.clone())
            .collect::<std::collections::HashSet<_>>()
    });
    assert_eq!(records.len(), 2, "the newer version is of the record that was there");
}

#[actix::test]
async fn patience_beyond_an_hour_is_not_had() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    let limited = ApiError::RateLimited { retry_after: Some(Duration::from_secs(3_601)) };
    cloud.api.put(&readiness_path("a"), limited.into());
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.bridge.until("it is given up", |bridge| !bridge.recorder.tally().given_up.is_empty()).await;
    cloud.until_done(Vendor::Oura).await;
    let dead = cloud.bridge.store.dead_fetches(None, 10).await.unwrap();
    assert_eq!(dead[0].error_type, "rate_limit_error");
    assert!(dead[0].error_message.contains("rate limit too long"), "{}", dead[0].error_message);
}

#[actix::test]
async fn a_refused_token_is_refreshed_once_and_the_request_repeated_once() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.script(&readiness_path("a"), [ApiError::Unauthorized.into()]);
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.until_events("ann", 1).await;
    assert_eq!((cloud.api.calls(), cloud.oauth.calls()), (2, 1));

    // One that is refused again has failed, as everything that goes on for ever would.
    cloud.api.script(&readiness_path("b"), [ApiError::Unauthorized.into(), ApiError::Unauthorized.into()]);
    cloud.api.put(&readiness_path("b"), readiness_body("b", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("b"))]).await;
    cloud.until_events("ann", 2).await;
    assert_eq!((cloud.api.calls(), cloud.oauth.calls()), (5, 2));
}

#[actix::test]
async fn what_nobody_has_connected_waits_for_its_account_and_for_nothing_else() {
    let cloud = start();
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    let of_python = NewFetch { whose: Whose::User(user("ann")), ..cloud.asked_of("ann", readiness("a")) };
    cloud.notify(vec![of_python]).await;
    let wait = async {
        let mut changes = cloud.bridge.store.changes();
        while cloud.counts(Vendor::Oura).await.awaiting_account < 2 {
            changes.changed().await.unwrap();
        }
    };
    within("both wait", wait).await;
    assert_eq!(cloud.api.calls(), 0);
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.until_events("ann", 1).await;
    cloud.until_done(Vendor::Oura).await;
    assert_eq!(cloud.counts(Vendor::Oura).await, FetchCounts::default());
}

#[actix::test]
async fn a_link_that_is_made_in_the_middle_of_a_fetch_says_whose_its_data_is() {
    let cloud = start();
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    // The first look for tokens sees none, and is told so when there are some.
    let mut held = cloud.bridge.store.faults().hold(StoreCall::Tokens, Moment::After);
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    held.reached().await;
    cloud.connect(Vendor::Oura, "ann").await;
    held.release();
    cloud.until_events("ann", 1).await;
}

#[actix::test]
async fn data_is_of_the_user_to_whom_the_account_is_linked_when_it_is_stored() {
    let cloud = start();
    cloud.connect_as(Vendor::Oura, "ann", "ann", 3_600_000).await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    let mut held = cloud.api.faults().hold(ApiCall::Get, Moment::After);
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    held.reached().await;
    cloud.connect_as(Vendor::Oura, "ann", "eve", 3_600_000).await;
    held.release();
    cloud.until_events("eve", 1).await;
}

#[actix::test]
async fn an_id_of_before_there_were_links_opens_nobody_elses_account() {
    let cloud = start();
    cloud.connect_as(Vendor::Oura, "A1B2", "eve", 3_600_000).await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    let named = |name: &str, id: &str| NewFetch {
        whose: Whose::User(user(name)),
        ..cloud.asked_of("nobody", readiness(id))
    };
    // By its own name it is that account, whoever has it; by a user's name it is that user's, who has none.
    cloud.notify(vec![named("oura:A1B2", "a"), named("A1B2", "b")]).await;
    cloud.until_events("eve", 1).await;
    let wait = async {
        let mut changes = cloud.bridge.store.changes();
        while cloud.counts(Vendor::Oura).await.awaiting_account < 1 {
            changes.changed().await.unwrap();
        }
    };
    within("the other waits", wait).await;
    assert_eq!(cloud.api.asked(), [readiness_path("a")]);
}

#[actix::test]
async fn tokens_that_cannot_be_had_now_use_up_no_attempt() {
    let cloud = with(Setup { vendor_retry: RetryPolicy { base: MS, attempts: 1 }, ..Setup::default() });
    cloud.connect_as(Vendor::Oura, "ann", "ann", -1).await;
    let busy = OAuthError::RateLimited { retry_after: None };
    cloud.oauth.faults().fail(OAuthCall::Refresh, 1, busy);
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.bridge.until("it waits", |bridge| !bridge.recorder.tally().put_back.is_empty()).await;
    let tally = cloud.bridge.recorder.tally();
    assert!(tally.put_back.contains_key("it cannot be asked now") && tally.given_up.is_empty(), "{tally:?}");
}

#[actix::test]
async fn those_who_are_not_connected_use_up_nothing_of_the_budget() {
    let rate_limits =
        [(Vendor::Oura, vec![RateLimit { requests: 1, window: Duration::from_secs(3_600) }])].into();
    let cloud = with(Setup { vendor_retry: QUICK, rate_limits, ..Setup::default() });
    for number in 0..3 {
        cloud.notify(vec![cloud.asked_of(&format!("nobody-{number}"), readiness("a"))]).await;
    }
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.until_events("ann", 1).await;
}

#[actix::test]
async fn a_breaker_opens_for_one_vendor_and_its_fetches_wait_without_using_up_attempts() {
    let cloud = with(Setup { vendor_retry: RetryPolicy { base: MS, attempts: 6 }, ..Setup::default() });
    cloud.connect(Vendor::Whoop, "ann").await;
    cloud.connect(Vendor::Oura, "bob").await;
    cloud.api.put(SLEEP_PATH, down().into());
    cloud.notify(vec![cloud.asked_of("ann", recovery())]).await;
    let breaker = |bridge: &Bridge| bridge.tree.fetchers[&Vendor::Whoop].snapshot().breaker.unwrap().state;
    cloud.bridge.until("it is open", |bridge| breaker(bridge) == BreakerState::Open).await;
    assert_eq!(cloud.api.calls(), 5, "five failures in a row");
    cloud.notify(vec![cloud.asked_of("ann", WhoopFetch::Body)]).await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.notify(vec![cloud.asked_of("bob", readiness("a"))]).await;
    cloud.until_events("bob", 1).await;
    assert_eq!(cloud.api.calls(), 6);

    // It works again, and somebody closes the breaker rather than to wait a minute.
    cloud.api.put(SLEEP_PATH, whoop_sleep("SCORED"));
    cloud.api.put(RECOVERY_PATH, whoop_recovery());
    cloud.bridge.tree.root.breakers().iter().for_each(|breaker| breaker.reset());
    cloud.until_events("ann", 1).await;
    assert!(!cloud.bridge.recorder.tally().given_up.contains_key("wearable_api_error"));
}

#[actix::test]
async fn the_same_question_is_asked_once_for_all_who_have_it() {
    let cloud = start();
    let question = cloud.asked_of("ann", readiness("a"));
    cloud.notify(vec![question.clone(); 5]).await;
    cloud.notify(vec![question.clone(); 5]).await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.until_events("ann", 1).await;
    cloud.until_done(Vendor::Oura).await;
    cloud.bridge.until("it is told", |bridge| bridge.recorder.tally().fetched > 0).await;
    let asked = cloud.api.calls();
    assert!((1..=2).contains(&asked), "{asked} requests for ten questions");

    // Of the same version the answer is known; of a newer one it is not.
    cloud.notify(vec![question.clone()]).await;
    cloud.until_done(Vendor::Oura).await;
    assert_eq!(cloud.api.calls(), asked);
    let newer = NewFetch { changed_at: question.changed_at.plus_ms(1), ..question };
    cloud.notify(vec![newer]).await;
    cloud.until_done(Vendor::Oura).await;
    assert_eq!(cloud.api.calls(), asked + 1);
}

#[actix::test]
async fn a_fetcher_that_dies_with_fetches_in_hand_goes_on_with_them_at_once() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    let mut held = cloud.api.faults().hold(ApiCall::Get, Moment::Before);
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    held.reached().await;
    cloud.bridge.tree.fetchers[&Vendor::Oura].inject(Fault::Panic).unwrap();
    cloud.bridge.tree.fetchers[&Vendor::Oura].try_tell(FetchesQueued).unwrap();
    cloud.bridge.until("it lives again", |bridge| bridge.lives.restarts("fetch/oura") == 1).await;
    cloud.until_events("ann", 1).await;
    held.release();
}

#[actix::test]
async fn a_store_that_is_away_at_the_commit_does_not_cost_another_request() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    let mut held = cloud.api.faults().hold(ApiCall::Get, Moment::After);
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    held.reached().await;
    let away = || StoreError::Unavailable("a restart".to_owned());
    cloud.bridge.store.faults().fail(StoreCall::CommitDeliveries, 3, away());
    held.release();
    cloud.until_events("ann", 1).await;
    cloud.until_done(Vendor::Oura).await;
    assert_eq!(cloud.api.calls(), 1);
}

#[actix::test]
async fn an_answer_that_cannot_be_read_is_a_failed_attempt() {
    let cloud = start();
    cloud.connect(Vendor::Oura, "ann").await;
    let rest = ApiAnswer { body: "[]".into(), rest: Some(5 * MS) };
    cloud.api.script(&readiness_path("a"), [Reply::Now(Ok(rest))]);
    cloud.api.put(&readiness_path("a"), readiness_body("a", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("a"))]).await;
    cloud.until_events("ann", 1).await;
    assert_eq!(cloud.api.calls(), 2);
}

#[actix::test]
async fn a_budget_is_kept_and_what_is_live_goes_before_history() {
    let limit = RateLimit { requests: 10, window: Duration::from_secs(60) };
    let rate_limits = [(Vendor::Oura, vec![limit])].into();
    let cloud = with(Setup { vendor_retry: QUICK, rate_limits, ..Setup::default() });
    for number in 0..12 {
        let id = format!("r{number}");
        cloud.api.put(&readiness_path(&id), readiness_body(&id, 80));
    }
    let history = (0..8).map(|number| {
        let fetch = cloud.asked_of("ann", readiness(&format!("r{number}")));
        NewFetch { is_backfill: true, ..fetch }
    });
    let live = (8..12).map(|number| cloud.asked_of("ann", readiness(&format!("r{number}"))));
    let all: Vec<NewFetch> = history.chain(live).collect();
    cloud.connect(Vendor::Oura, "ann").await;
    cloud.notify(all).await;
    cloud.bridge.until("what the budget allows", |bridge| bridge.recorder.tally().fetched == 9).await;
    let asked = cloud.api.asked();
    assert!((8..12).all(|number| asked.contains(&readiness_path(&format!("r{number}")))), "all that is live");
    assert_eq!(cloud.counts(Vendor::Oura).await.waiting, 3, "a tenth of the budget is left to what is live");
    cloud.api.put(&readiness_path("now"), readiness_body("now", 80));
    cloud.notify(vec![cloud.asked_of("ann", readiness("now"))]).await;
    cloud.bridge.until("the live one", |bridge| bridge.recorder.tally().fetched == 10).await;
    assert_eq!(cloud.api.calls(), 10);
}
