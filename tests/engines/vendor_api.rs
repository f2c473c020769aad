//! The adapter of vendors' APIs against the vendor cloud: what it asks is what the vendors know, and what it brings is
//! what the readers take.

use actors::domain::account::{Token, Vendor};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords};
use actors::domain::ids::UserId;
use actors::domain::time::{MS_PER_DAY, Timestamp, UtcOffset};
use actors::ports::vendor_api::{ApiAnswer, ApiError};
use actors::ports::{OAuth, VendorApi};
use actors::vendors::fetch::{read, request};
use actors::vendors::{Fetched, Owner};
use biometric_bridge::adapters::vendor_http::{HttpOAuth, HttpVendorApi, OAuthClient};
use biometric_bridge::demo::cloud::{Fault, FaultKind, Limit, Limits};
use reqwest::Url;
use serde_json::Value;

use crate::cloud::{START_MS, VendorCloud};

const PERSON: usize = 0;

/// A cloud, its API, and one person's access tokens.
struct Meeting {
    cloud: VendorCloud,
    api: HttpVendorApi,
    tokens: [(Vendor, Token); 2],
}

impl Meeting {
    async fn begin(limits: Limits) -> Self {
        let cloud = VendorCloud::start(3, |config| config.limits = limits);
        let url = |path: &str| -> Url { format!("{}{path}", cloud.url).parse().unwrap() };
        let api = HttpVendorApi::new([(Vendor::Oura, url("")), (Vendor::Whoop, url("/developer"))], 100);
        let client = |vendor: Vendor, path| {
            let secret = Token::new(format!("cloud-{}-secret", vendor.name()));
            let id = format!("cloud-{}-client", vendor.name());
            OAuthClient { vendor, credentials: Some((id, secret)), token_url: url(path) }
        };
        let oauth = HttpOAuth::new(vec![
            client(Vendor::Oura, "/oauth/token"),
            client(Vendor::Whoop, "/oauth/oauth2/token"),
        ]);
        let mut tokens = [Vendor::Oura, Vendor::Whoop].map(|vendor| (vendor, Token::new(String::new())));
        for (vendor, token) in &mut tokens {
            let pair = cloud.grant(vendor.name(), PERSON).await;
            let refresh = Token::new(pair["refresh_token"].as_str().unwrap().to_owned());
            *token = oauth.refresh(*vendor, &refresh).await.unwrap().pair.access;
        }
        Self { cloud, api, tokens }
    }

    async fn get(&self, fetch: &Fetch) -> Result<ApiAnswer, ApiError> {
        let (vendor, token) = self.tokens.iter().find(|(vendor, _)| *vendor == fetch.vendor()).unwrap();
        self.api.get(*vendor, &request(fetch, UtcOffset::default()), token).await
    }

    /// Fetches and reads: what the answer says, and what is made of it.
    async fn fetch(&self, fetch: impl Into<Fetch>) -> (Value, Fetched) {
        let fetch = fetch.into();
        let answer = self.get(&fetch).await.unwrap_or_else(|error| panic!("{fetch:?}: {error}"));
        let now = at(0);
        let owner = Owner {
            account: "an account".to_owned(),
            user_id: UserId::parse("someone").unwrap(),
            zone: None,
            changed_at: now,
            received_at: now,
            fetched_at: now,
            is_backfill: false,
        };
        let fetched = read(&fetch, &answer.body, &owner).unwrap();
        assert_eq!(fetched.rejected.total, 0, "{fetch:?}: {:?}", fetched.rejected);
        (serde_json::from_slice(&answer.body).unwrap(), fetched)
    }
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_ms(START_MS + days * MS_PER_DAY)
}

#[actix_web::test]
async fn ouras_lists_and_single_records_are_fetched_and_read() {
    let meeting = Meeting::begin(Limits::default()).await;
    for data_type in [OuraDataType::Sleep, OuraDataType::DailyReadiness, OuraDataType::Vo2Max] {
        let (mut drafts, mut ids) = (0, Vec::new());
        let mut next =
            Some(Fetch::from(OuraFetch::Days { data_type, from: at(-20), to: at(0), page: None, turned: 0 }));
        while let Some(fetch) = next {
            let (told, fetched) = meeting.fetch(fetch).await;
            drafts += fetched.drafts.len();
            ids.extend(told["data"].as_array().unwrap().iter().map(|record| record["id"].clone()));
            next = fetched.next;
        }
        assert!(drafts > 0, "{}", data_type.name());
        let id = ids[0].as_str().unwrap().to_owned();
        let (told, fetched) = meeting.fetch(OuraFetch::Record { data_type, id: id.clone() }).await;
        // A night is its record and its series.
        let events = if data_type == OuraDataType::Sleep { 2 } else { 1 };
        assert_eq!((told["id"].as_str(), fetched.drafts.len()), (Some(&*id), events), "{}", data_type.name());
    }
    let heart_rate = OuraFetch::HeartRate { from: at(-1), to: at(0), page: None, turned: 0 };
    assert!(!meeting.fetch(heart_rate).await.1.drafts.is_empty());
    let unknown = OuraFetch::Record { data_type: OuraDataType::Sleep, id: "nobody-s".to_owned() };
    assert_eq!(meeting.get(&unknown.into()).await, Err(ApiError::Missing));
}

#[actix_web::test]
async fn whoops_lists_and_single_records_are_fetched_and_read() {
    let meeting = Meeting::begin(Limits::default()).await;
    let mut ids = Vec::new();
    for records in
        [WhoopRecords::Sleeps, WhoopRecords::Recoveries, WhoopRecords::Workouts, WhoopRecords::Cycles]
    {
        let (mut drafts, mut pages) = (0, 0);
        // More than a page of each night's.
        let mut next = Some(Fetch::from(WhoopFetch::Records {
            records,
            from: at(-40),
            to: at(0),
            page: None,
            turned: 0,
        }));
        while let Some(fetch) = next {
            let (told, fetched) = meeting.fetch(fetch).await;
            (drafts, pages) = (drafts + fetched.drafts.len(), pages + 1);
            if records == WhoopRecords::Sleeps {
                ids.extend(told["records"].as_array().unwrap().iter().map(|record| record["id"].clone()));
            }
            next = fetched.next;
        }
        assert!(
            drafts > 0 && (pages > 1 || records == WhoopRecords::Workouts),
            "{records:?}: {drafts}, {pages}"
        );
    }
    // The oldest has its score.
    let id = ids.last().unwrap().as_str().unwrap().to_owned();
    let sleep = WhoopFetch::Activity { kind: WhoopActivity::Sleep, id: id.clone() };
    assert_eq!(meeting.fetch(sleep).await.1.drafts.len(), 1);
    let (_, cycle) = meeting.fetch(WhoopFetch::CycleOfSleep { sleep_id: id }).await;
    assert_eq!(meeting.fetch(cycle.next.unwrap()).await.1.drafts.len(), 1);
    assert_eq!(meeting.fetch(WhoopFetch::Body).await.1.drafts.len(), 1);
    let unknown = WhoopFetch::Recovery { cycle_id: "1".to_owned() };
    assert_eq!(meeting.get(&unknown.into()).await, Err(ApiError::Missing));
}

#[actix_web::test]
async fn what_the_clouds_refuse_is_told_apart() {
    let three = Limit { requests: 3, window: std::time::Duration::from_secs(60) };
    let meeting = Meeting::begin(Limits { oura: three, whoop: three, ..Limits::default() }).await;
    let heart_rate = OuraFetch::HeartRate { from: at(-1), to: at(0), page: None, turned: 0 };
    for fetch in [Fetch::from(heart_rate), WhoopFetch::Body.into()] {
        let vendor = fetch.vendor();
        let stranger = Token::new("nobody-s".to_owned());
        let told = meeting.api.get(vendor, &request(&fetch, UtcOffset::default()), &stranger).await;
        assert_eq!(told, Err(ApiError::Unauthorized));
        let (first, last) = (meeting.get(&fetch).await.unwrap(), meeting.get(&fetch).await.unwrap());
        assert_eq!(
            (first.rest, last.rest.is_some()),
            (None, vendor == Vendor::Whoop),
            "only WHOOP counts down"
        );
        let told = meeting.get(&fetch).await;
        assert!(matches!(told, Err(ApiError::RateLimited { retry_after: Some(_) })), "{vendor:?}: {told:?}");
        meeting.cloud.fault(Fault::new(FaultKind::ServerError)).await;
        let told = meeting.get(&fetch).await;
        // Behind its limit the cloud's failures tell, too, when to come again.
        let failed = matches!(told, Err(ApiError::Unavailable(_) | ApiError::Overloaded { .. }));
        assert!(failed, "{vendor:?}: {told:?}");
        meeting.cloud.heal().await;
    }
    meeting.cloud.stop().await;
}
