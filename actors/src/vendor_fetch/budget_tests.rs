//! How a fetcher uses its budget, in virtual time: the figures are no matter of the machine.

use std::collections::VecDeque;

use actix::Arbiter;
use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::cognition::thresholds::Thresholds;
use crate::domain::account::{Account, Token, VendorUserId};
use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::{OuraDataType, OuraFetch, Whose};
use crate::domain::ids::{RequestId, UserId};
use crate::domain::time::{MS_PER_DAY, Timestamp};
use crate::event_message;
use crate::kafka_publisher::{KafkaPublisher, Outlet, PublisherParts};
use crate::memory::{ManualClock, MemoryCache, MemoryLog, MemoryOAuth, MemoryStore, MemoryVault, Recorder};
use crate::messages::CommitDelivery;
use crate::ports::Vault as _;
use crate::ports::accounts::{Link, NewTokens};
use crate::ports::fetch_queue::{FetchCounts, NewFetch};
use crate::ports::store::{DeliveryStatus, NewDelivery};
use crate::ports::vendor_api::{ApiAnswer, ApiError};
use crate::supervision::{
    BreakerSpec, ChildSpec, GroupSpec, Observer, Strategy, SupervisionEvent, Supervisor,
};
use crate::token_limits::TokenLimits;
use crate::token_refresh::TokenParts;
use crate::vendor_fetch::schedule::RetryPolicy;

const START: Timestamp = Timestamp::from_ms(1_789_041_600_000);
const ANSWER: Duration = Duration::from_millis(50);

/// A vendor that takes its time and allows so much: when it was asked, and which it refused.
struct Vendors {
    limit: RateLimit,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    at: Vec<Instant>,
    window: VecDeque<Instant>,
    refused: usize,
}

#[async_trait]
impl VendorApi for Vendors {
    async fn get(&self, _: Vendor, request: &ApiRequest, _: &Token) -> Result<ApiAnswer, ApiError> {
        let (now, id) = (Instant::now(), request.path.rsplit('-').next().unwrap().to_owned());
        let (is_allowed, reset) = {
            let seen = &mut *self.seen.lock();
            while seen.window.front().is_some_and(|at| now - *at >= self.limit.window) {
                seen.window.pop_front();
            }
            let is_allowed = seen.window.len() < self.limit.requests as usize;
            if is_allowed {
                seen.at.push(now);
                seen.window.push_back(now);
            } else {
                seen.refused += 1;
            }
            (is_allowed, seen.window.front().map_or(ANSWER, |at| *at + self.limit.window - now))
        };
        sleep(ANSWER).await;
        if !is_allowed {
            return Err(ApiError::RateLimited { retry_after: Some(reset) });
        }
        let at = START.plus_ms(id.parse::<i64>().unwrap_or_default() % 5_000 * -MS_PER_DAY).to_string();
        // A record, and a list of none.
        let body = serde_json::json!({ "id": request.path.rsplit('/').next(), "day": at.split('T').next(),
            "score": 70, "timestamp": at, "data": [] });
        Ok(ApiAnswer { body: Bytes::from(body.to_string()), rest: None })
    }
}

struct Nobody;

impl Observer for Nobody {
    fn on(&self, _: &SupervisionEvent) {}
}

struct Bench {
    store: Arc<MemoryStore>,
    api: Arc<Vendors>,
    root: Supervisor,
    parts: Arc<FetchParts>,
}

/// A fetcher with all that it needs, in this thread alone, whose queue is full from the start.
async fn start(queued: usize, believed: RateLimit, allowed: RateLimit) -> Bench {
    let bench = prepare(queued, believed, allowed).await;
    let parts = Arc::clone(&bench.parts);
    bench.root.start(
        &Arbiter::current(),
        ChildSpec::new("oura", "vendor_fetch", 8, move || VendorFetch::new(Arc::clone(&parts))).self_driven(),
    );
    bench
}

/// The same before it has begun.
async fn prepare(queued: usize, believed: RateLimit, allowed: RateLimit) -> Bench {
    let here = Arbiter::current();
    let spec = || GroupSpec::new(Strategy::OneForOne);
    let root = Supervisor::root(&here, spec(), Nobody);
    let (store, log) = (Arc::new(MemoryStore::default()), Arc::new(MemoryLog::new(1)));
    let (clock, telemetry) = (Arc::new(ManualClock::new(START)), Arc::new(Recorder::default()));
    let api = Arc::new(Vendors { limit: allowed, seen: Mutex::default() });
    let cache = Arc::new(MemoryCache::new(Duration::from_secs(300), 10));
    let oauth = Arc::new(MemoryOAuth::new(Duration::from_secs(3_600)));
    let parts = Arc::new(PublisherParts::new(
        Arc::clone(&store) as _,
        log,
        Arc::clone(&clock) as _,
        Arc::clone(&telemetry) as _,
    ));
    let its = Arc::clone(&parts);
    let publisher = root.start(
        &here,
        ChildSpec::new("publisher", "kafka_publisher", 8, move || KafkaPublisher::new(Arc::clone(&its))),
    );
    let (its, outlet, told) = (Arc::clone(&store), Outlet::new(publisher, parts), Arc::clone(&telemetry));
    let writer = root.start(
        &here,
        ChildSpec::new("writer", "event_writer", 2_000, move || {
            let thresholds = Thresholds::default();
            let encode: crate::ports::store::EncodeEvent =
                Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds));
            let (store, cache, told) = (Arc::clone(&its), Arc::clone(&cache), Arc::clone(&told));
            EventWriter::new(store as _, encode, outlet.clone(), 1_000_000, cache as _, told as _)
        })
        .in_flight(1_000),
    );
    connect_and_ask(&store, &oauth, &writer, queued).await;
    let parts = Arc::new(TokenParts {
        accounts: Arc::clone(&store) as _,
        vault: Arc::new(MemoryVault::default()),
        oauth: oauth as _,
        clock: Arc::clone(&clock) as _,
        telemetry: Arc::clone(&telemetry) as _,
        oura_token: None,
        lease: Duration::from_secs(20),
        limits: TokenLimits::default(),
    });
    let tokens = root.start(
        &here,
        ChildSpec::new("tokens", "token_refresh", 1_000, move || TokenRefresh::new(Arc::clone(&parts)))
            .in_flight(1_000),
    );
    let parts = Arc::new(FetchParts {
        vendor: Vendor::Oura,
        queue: Arc::clone(&store) as _,
        accounts: Arc::clone(&store) as _,
        api: Arc::clone(&api) as _,
        tokens,
        writer,
        clock,
        telemetry,
        masker: Masker::new(b"a mask for tests"),
        breaker: Breaker::new("oura", BreakerSpec::default()),
        rate_limits: vec![believed],
        in_hand_max: IN_HAND_MAX,
        retry: RetryPolicy::default(),
        common: Common::new(Duration::from_secs(300)),
    });
    Bench { store, api, root, parts }
}

async fn connect_and_ask(
    store: &MemoryStore,
    oauth: &MemoryOAuth,
    writer: &ChildRef<EventWriter>,
    queued: usize,
) {
    let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse("A1B2").unwrap() };
    let tokens = NewTokens {
        sealed: MemoryVault::default().seal(&account, &oauth.connect()).unwrap(),
        scope: None,
        obtained_at: START,
        expires_at: None,
    };
    let link = Link { account, user_id: UserId::parse("ann").unwrap(), timezone: None, key_hash: None };
    store.put_link(&link, Some(&tokens)).await.unwrap();
    let fetches = (0..queued).map(|number| {
        let id = format!("r-{number}");
        asked(OuraFetch::Record { data_type: OuraDataType::DailyReadiness, id }, false)
    });
    queue(writer, fetches.collect()).await;
}

fn asked(fetch: OuraFetch, is_backfill: bool) -> NewFetch {
    NewFetch {
        whose: Whose::Vendor(VendorUserId::parse("A1B2").unwrap()),
        fetch: fetch.into(),
        changed_at: START,
        received_at: START,
        request_id: RequestId::generate(),
        is_backfill,
    }
}

async fn queue(writer: &ChildRef<EventWriter>, fetches: Vec<NewFetch>) {
    let delivery = NewDelivery {
        key: NewDelivery::key_of_its_own(),
        device: "oura",
        request_id: RequestId::generate(),
        received_at: START,
        status: DeliveryStatus::Accepted,
        body: "{}".into(),
        drafts: Vec::new(),
        fetches,
        ends: None,
    };
    writer.ask(CommitDelivery(Arc::new(delivery))).await.unwrap().unwrap();
}

impl Bench {
    async fn until_empty(&self) {
        while self.store.count_fetches().await.unwrap().iter().any(|(_, counts)| counts.waiting > 0) {
            sleep(ANSWER).await;
        }
    }
}

#[actix::test]
async fn ten_thousand_that_wait_use_what_is_allowed_and_never_more() {
    let limit = RateLimit { requests: 1_000, window: Duration::from_secs(5) };
    let bench = start(10_000, limit, limit).await;
    tokio::time::pause();
    bench.until_empty().await;
    let (at, refused) = {
        let seen = bench.api.seen.lock();
        (seen.at.clone(), seen.refused)
    };
    assert_eq!((at.len(), refused), (10_000, 0));
    let requests = limit.requests as usize;
    for (first, last) in at.iter().zip(&at[requests..]) {
        assert!(*last - *first >= limit.window, "more than {requests} in a window");
    }
    // A window's requests may be sent at once at the beginning: only what comes after it has to wait.
    let seconds = (*at.last().unwrap() - at[0]).as_secs_f64();
    let used =
        (at.len() - requests) as f64 / seconds / (f64::from(limit.requests) / limit.window.as_secs_f64());
    assert!(used >= 0.965, "{:.1} % in {seconds:.1} s", used * 100.0);
    bench.root.stop().await;
}

#[actix::test]
async fn a_vendor_that_allows_less_than_we_believe_refuses_few() {
    let second = |requests| RateLimit { requests, window: Duration::from_secs(1) };
    let bench = start(300, second(10_000), second(20)).await;
    tokio::time::pause();
    bench.until_empty().await;
    let (given, refused) = {
        let seen = bench.api.seen.lock();
        (seen.at.len(), seen.refused)
    };
    assert_eq!(given, 300);
    // At first it is believed: what fits in hand is sent at once, and a fifth of it is allowed.
    let later = refused.saturating_sub(IN_HAND_MAX);
    assert!(later <= 300 / 3, "{refused} refusals");
    bench.root.stop().await;
}

#[actix::test]
async fn a_poll_that_could_not_be_asked_for_two_hours_is_left_to_the_next_one_and_nothing_else_is() {
    let limit = RateLimit { requests: 1_000, window: Duration::from_secs(5) };
    let bench = prepare(0, limit, limit).await;
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let poll = |number| {
        let (from, to) = (START.plus_ms(number), START.plus_ms(number + 1));
        OuraFetch::HeartRate { from, to, page: None, turned: 0 }
    };
    let record = || OuraFetch::Record { data_type: OuraDataType::DailyReadiness, id: "r-1".to_owned() };
    let moment = Duration::from_millis(1);
    for (number, (job, waited, requests)) in [
        (asked(poll(1), false), hours(2), 1),
        (asked(poll(2), false), hours(2) + moment, 0),
        // Nobody asks for these again.
        (asked(record(), false), hours(2) + moment, 1),
        (asked(poll(3), true), hours(24 * 20), 1),
    ]
    .into_iter()
    .enumerate()
    {
        queue(&bench.parts.writer, vec![job]).await;
        let claim = ClaimFetches {
            vendor: Vendor::Oura,
            holder: bench.parts.common.holder,
            limit: 1,
            lease: LEASE,
            rate_limits: vec![limit],
        };
        let claimed = bench.store.claim_fetches(&claim).await.unwrap().fetches.remove(0);
        let before = bench.api.seen.lock().at.len();
        let claimed = ClaimedFetch { waited, ..claimed };
        Job::new(Arc::clone(&bench.parts), claimed, Instant::now()).run().await;
        let asked = bench.api.seen.lock().at.len() - before;
        assert_eq!(asked, requests, "number {number}");
        // Whether it was asked or not: it has left the queue, and is no dead letter.
        let left = bench.store.count_fetches().await.unwrap();
        assert!(
            left.iter().all(|(_, counts)| *counts == FetchCounts::default()),
            "number {number}: {left:?}"
        );
    }
    bench.root.stop().await;
}
