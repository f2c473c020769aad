//! A vendor cloud for tests: on a free port, spoken to over HTTP.

use biometric_bridge::demo::cloud::{self, Cloud, Config, Fault};
use biometric_bridge::traffic::plain_client;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::bridge::PATIENCE;

/// 2026-09-10T12:00:00Z: where simulated time stands in tests.
pub(crate) const START_MS: i64 = 1_789_041_600_000;

/// A cloud in this process. It ends with the test's runtime.
pub(crate) struct VendorCloud {
    /// Its base address.
    pub(crate) url: String,
    pub(crate) client: Client,
    cloud: Option<Cloud>,
}

impl VendorCloud {
    /// Starts one in which time stands still at [`START_MS`], changed by `change`.
    pub(crate) fn start(people: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { speed: 0.0, ..Config::new(7, people, START_MS) };
        change(&mut config);
        let (cloud, server) = cloud::serve(config).expect("a free port");
        actix_web::rt::spawn(server);
        Self { cloud: None, ..Self::at(cloud.url()) }.with(cloud)
    }

    /// One that runs there already.
    pub(crate) fn at(url: String) -> Self {
        let no_redirects = reqwest::redirect::Policy::none();
        // The cloud ends connections that lie idle, perhaps just when the next request is sent on one.
        let client = plain_client().redirect(no_redirects).timeout(PATIENCE).pool_max_idle_per_host(0);
        Self { url, client: client.build().expect("an HTTP client"), cloud: None }
    }

    fn with(mut self, cloud: Cloud) -> Self {
        self.cloud = Some(cloud);
        self
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        if let Some(cloud) = self.cloud.take() {
            cloud.stop().await;
        }
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(token)
    }

    /// A pair of tokens without the way over a browser.
    pub(crate) async fn grant(&self, vendor: &str, person: usize) -> Value {
        let asked = json!({"vendor": vendor, "person": person});
        let request = self.client.post(format!("{}/grants", self.url)).body(asked.to_string());
        json_of(request, StatusCode::OK).await
    }

    /// Puts simulated time forward.
    pub(crate) async fn forward(&self, seconds: u32) {
        let body = json!({"forward_seconds": seconds}).to_string();
        json_of(self.client.post(format!("{}/clock", self.url)).body(body), StatusCode::OK).await;
    }

    /// Adds a fault.
    pub(crate) async fn fault(&self, fault: Fault) {
        let body = serde_json::to_string(&fault).expect("JSON");
        json_of(self.client.post(format!("{}/faults", self.url)).body(body), StatusCode::OK).await;
    }

    /// Takes all faults away.
    pub(crate) async fn heal(&self) {
        json_of(self.client.delete(format!("{}/faults", self.url)), StatusCode::OK).await;
    }

    /// What was served and sent.
    pub(crate) async fn stats(&self) -> Value {
        json_of(self.client.get(format!("{}/stats", self.url)), StatusCode::OK).await
    }

    /// A request to a token endpoint with the cloud's own client: status and answer.
    pub(crate) async fn token(&self, vendor: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let (id, secret) = (format!("cloud-{vendor}-client"), format!("cloud-{vendor}-secret"));
        let path = if vendor == "whoop" { "/oauth/oauth2/token" } else { "/oauth/token" };
        let mut url = reqwest::Url::parse("http://form.test").expect("a URL");
        url.query_pairs_mut()
            .extend_pairs(fields)
            .append_pair("client_id", &id)
            .append_pair("client_secret", &secret);
        let form = url.query().expect("a query").to_owned();
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.expect("JSON"))
    }
}

/// Sends a request that is answered `expected`: its JSON.
pub(crate) async fn json_of(request: RequestBuilder, expected: StatusCode) -> Value {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let body = response.text().await.expect("a body");
    assert_eq!(status, expected, "{body}");
    serde_json::from_str(&body).expect("JSON")
}
