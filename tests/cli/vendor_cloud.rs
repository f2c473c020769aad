//! `vendor-cloud`: OAuth, pages, limits and faults, as a client of the vendors meets them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use biometric_bridge::demo::cloud::{Fault, FaultKind, Route, Vendor};
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use crate::Home;
use crate::bridge::program;
use crate::cloud::{VendorCloud, json_of};

/// The command as a process of its own; killed when it goes out of scope.
struct Command {
    child: Child,
    told: Value,
    _home: Home,
}

impl Command {
    fn start(arguments: &[&str]) -> Self {
        let home = Home::new();
        let arguments: Vec<&str> =
            ["vendor-cloud", "--json", "--listen", "127.0.0.1:0"].iter().chain(arguments).copied().collect();
        let mut child =
            program(home.path(), &arguments, &[]).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line of text");
        Self { child, told: serde_json::from_str(&line).expect("JSON"), _home: home }
    }

    fn cloud(&self) -> VendorCloud {
        VendorCloud::at(self.told["address"].as_str().expect("an address").to_owned())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What somebody's browser is sent back with.
async fn consent(cloud: &VendorCloud, path: &str, vendor: &str, scope: &str) -> Url {
    let mut url = Url::parse(&format!("{}{path}", cloud.url)).expect("a URL");
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &format!("cloud-{vendor}-client"))
        .append_pair("redirect_uri", "http://127.0.0.1:1/back?to=us")
        .append_pair("scope", scope)
        .append_pair("state", "a state of ours")
        .append_pair("person", "2");
    let response = cloud.client.get(url).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::FOUND);
    let location = response.headers()["location"].to_str().expect("text");
    Url::parse(location).expect("a URL")
}

#[actix_web::test]
async fn consent_gives_a_code_a_code_tokens_and_each_refresh_token_works_once() {
    let command =
        Command::start(&["--seed", "7", "--people", "3", "--start", "2026-09-10T12:00:00Z", "--speed", "0"]);
    let cloud = command.cloud();
    for (vendor, authorize) in [("oura", "/oauth/authorize"), ("whoop", "/oauth/oauth2/auth")] {
        let back = consent(&cloud, authorize, vendor, "read offline").await;
        let pairs: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let find = |name: &str| &pairs.iter().find(|(known, _)| known == name).expect("a parameter").1;
        assert_eq!((find("to").as_str(), find("state").as_str()), ("us", "a state of ours"));
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", find("code")),
            ("redirect_uri", "http://127.0.0.1:1/back?to=us"),
        ];
        let (status, pair) = cloud.token(vendor, &fields).await;
        assert_eq!(status, StatusCode::OK, "{pair}");
        assert_eq!(pair["expires_in"], if vendor == "whoop" { 3_600 } else { 86_400 });

        let refresh = |token: String| {
            let cloud = &cloud;
            async move {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.as_str()),
                    ("scope", "offline"),
                ];
                cloud.token(vendor, &fields).await
            }
        };
        let (status, next) = refresh(text(&pair["refresh_token"]).to_owned()).await;
        assert_eq!(status, StatusCode::OK, "{next}");
        let (status, refusal) = refresh(text(&pair["refresh_token"]).to_owned()).await;
        assert_eq!((status, text(&refusal["error"])), (StatusCode::BAD_REQUEST, "invalid_grant"));
        let (status, _) = refresh(text(&next["refresh_token"]).to_owned()).await;
        assert_eq!(status, StatusCode::OK);

        let stats = cloud.stats().await;
        let people = json_of(cloud.client.get(format!("{}/people", cloud.url)), StatusCode::OK).await;
        let account = people[2][vendor].as_str().map_or_else(|| people[2][vendor].to_string(), str::to_owned);
        assert_eq!(stats["refreshes"][vendor][&account], 2, "{stats}");
        assert_eq!(stats["refused_refreshes"][vendor], 1, "{stats}");
    }
    let fields = [("grant_type", "refresh_token"), ("refresh_token", "whatever")];
    let (status, refusal) = cloud.token("whoop", &fields).await;
    assert_eq!((status, text(&refusal["error"])), (StatusCode::BAD_REQUEST, "invalid_request"), "no scope");
}

/// Every record of a collection, page by page: from the command, over HTTP.
async fn all(cloud: &VendorCloud, token: &str, path: &str, list: &str, parameter: &str) -> Vec<Value> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = next.map_or_else(String::new, |next| format!("&{parameter}={next}"));
        let answer = json_of(cloud.get(&format!("{path}{page}"), token), StatusCode::OK).await;
        found.extend(answer[list].as_array().expect("a list").iter().cloned());
        match answer["next_token"].as_str() {
            Some(token) => next = Some(token.to_owned()),
            None => return found,
        }
    }
}

async fn records(command: &Command) -> Vec<Vec<Value>> {
    let cloud = command.cloud();
    let (oura, whoop) = (cloud.grant("oura", 1).await, cloud.grant("whoop", 1).await);
    let (oura, whoop) = (text(&oura["access_token"]), text(&whoop["access_token"]));
    let mut told = Vec::new();
    for kind in
        ["sleep", "daily_sleep", "daily_readiness", "daily_activity", "daily_spo2", "daily_stress", "workout"]
    {
        let path = format!("/v2/usercollection/{kind}?start_date=2026-08-01&end_date=2026-09-05");
        told.push(all(&cloud, oura, &path, "data", "next_token").await);
    }
    for kind in ["activity/sleep", "recovery", "cycle", "activity/workout"] {
        let path =
            format!("/developer/v2/{kind}?start=2026-08-01T00:00:00Z&end=2026-09-05T00:00:00Z&limit=25");
        told.push(all(&cloud, whoop, &path, "records", "nextToken").await);
    }
    told
}

#[actix_web::test]
async fn the_same_seed_has_the_same_records_and_their_pages_add_up() {
    let start =
        |seed: &str| Command::start(&["--seed", seed, "--people", "3", "--start", "2026-09-10T12:00:00Z"]);
    let told = records(&start("7")).await;
    assert_eq!(told[..3].iter().map(Vec::len).collect::<Vec<_>>(), [36, 36, 36], "one a day, over two pages");
    for list in &told {
        let distinct: BTreeSet<String> = list.iter().map(Value::to_string).collect();
        assert_eq!(distinct.len(), list.len());
        assert!(!list.is_empty());
    }
    assert_eq!(told, records(&start("7")).await);
    assert_ne!(told, records(&start("8")).await);
}

#[actix_web::test]
async fn what_is_too_much_is_429_with_the_vendors_own_fields() {
    let cloud = VendorCloud::start(2, |config| {
        config.limits.oura.requests = 3;
        config.limits.whoop.requests = 3;
    });
    for (vendor, path) in
        [("oura", "/v2/usercollection/personal_info"), ("whoop", "/developer/v2/user/profile/basic")]
    {
        let pair = cloud.grant(vendor, 0).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let response = cloud.get(path, text(&pair["access_token"])).send().await.expect("an answer");
            statuses.push(response.status().as_u16());
            let field = |name: &str| {
                response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
            };
            match (vendor, response.status()) {
                ("oura", StatusCode::TOO_MANY_REQUESTS) => assert!(field("retry-after").is_some()),
                ("oura", _) => assert_eq!(field("retry-after"), None),
                _ => {
                    assert_eq!(field("retry-after"), None);
                    assert!(field("x-ratelimit-limit").expect("a limit").contains("3;window=60"));
                    let reset: u64 = field("x-ratelimit-reset").expect("a time").parse().expect("seconds");
                    assert!((1..=60).contains(&reset));
                }
            }
        }
        assert_eq!(statuses, [200, 200, 200, 429], "{vendor}");
    }
    assert_eq!(cloud.stats().await["requests"]["whoop"]["api"], json!({"200": 3, "429": 1}));
    cloud.stop().await;
}

#[actix_web::test]
async fn who_has_no_good_token_reads_nothing() {
    let cloud = VendorCloud::start(2, |_| {});
    let oura = "/v2/usercollection/personal_info";
    let whoop = "/developer/v2/user/profile/basic";
    let pair = cloud.grant("whoop", 0).await;
    let token = text(&pair["access_token"]);
    json_of(cloud.get(oura, token), StatusCode::UNAUTHORIZED).await;
    json_of(cloud.get(whoop, token), StatusCode::OK).await;
    json_of(cloud.get(whoop, "cloud-access-guessed"), StatusCode::UNAUTHORIZED).await;
    let revoke = cloud.client.delete(format!("{}/developer/v2/user/access", cloud.url)).bearer_auth(token);
    assert_eq!(revoke.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
    json_of(cloud.get(whoop, token), StatusCode::UNAUTHORIZED).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn each_fault_is_seen_counted_and_over_when_it_is_taken_away() {
    let cloud = VendorCloud::start(2, |_| {});
    let pair = cloud.grant("oura", 0).await;
    let path = "/v2/usercollection/daily_sleep?start_date=2026-08-01&end_date=2026-08-20";
    let ask = async || {
        let response = cloud.get(path, text(&pair["access_token"])).send().await.expect("an answer");
        let (status, limited) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        let is_json = serde_json::from_str::<Value>(&response.text().await.expect("a body")).is_ok();
        (status, limited, is_json)
    };
    let of = |kind| Fault { vendor: Some(Vendor::Oura), route: Some(Route::Api), ..Fault::new(kind) };
    for (kind, expected) in [
        (FaultKind::RateLimit, (429, true, true)),
        (FaultKind::ServerError, (500, false, true)),
        (FaultKind::BrokenJson, (200, false, false)),
        (FaultKind::TimeOut, (504, false, true)),
        (FaultKind::SlowBody, (200, false, true)),
    ] {
        cloud.fault(Fault { hold_seconds: Some(0.5), ..of(kind) }).await;
        let since = std::time::Instant::now();
        assert_eq!(ask().await, expected, "{kind:?}");
        if matches!(kind, FaultKind::TimeOut | FaultKind::SlowBody) {
            assert!(since.elapsed().as_secs_f64() >= 0.5, "{kind:?}");
        }
        assert_eq!(cloud.stats().await["faults"][kind.name()], 1);
        cloud.heal().await;
        assert_eq!(ask().await, (200, false, true), "after {kind:?}");
    }
    let fields = [("grant_type", "refresh_token"), ("refresh_token", text(&pair["refresh_token"]))];
    cloud.fault(of(FaultKind::ServerError)).await;
    assert_eq!(cloud.token("oura", &fields).await.0, StatusCode::OK, "of the API alone");
    let wrong =
        cloud.client.post(format!("{}/faults", cloud.url)).body(r#"{"kind": "server_error", "share": 2}"#);
    assert!(text(&json_of(wrong, StatusCode::BAD_REQUEST).await["error"]).contains("share"));
    cloud.stop().await;
}

#[actix_web::test]
async fn as_time_is_put_forward_a_night_is_told_pending_and_then_scored() {
    let cloud = VendorCloud::start(1, |config| config.limits.whoop.requests = 10_000);
    let pair = cloud.grant("whoop", 0).await;
    let newest = async || {
        let request = cloud.get("/developer/v2/activity/sleep?limit=1", text(&pair["access_token"]));
        json_of(request, StatusCode::OK).await["records"][0].clone()
    };
    let known = newest().await;
    let mut steps = 0;
    let pending = loop {
        cloud.forward(240).await;
        steps += 1;
        match newest().await {
            night if night["id"] != known["id"] => break night,
            _ => assert!(steps < 24 * 15, "no night in a day"),
        }
    };
    assert_eq!((text(&pending["score_state"]), pending.get("score")), ("PENDING_SCORE", None));
    cloud.forward(600).await;
    let later = newest().await;
    assert_eq!(later["id"], pending["id"]);
    assert_ne!(text(&later["score_state"]), "PENDING_SCORE");
    assert!(text(&later["updated_at"]) > text(&pending["updated_at"]));
    cloud.stop().await;
}

#[actix_web::test]
async fn sigterm_ends_the_command_well() {
    let mut command = Command::start(&["--people", "1"]);
    let pid = command.child.id().to_string();
    let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(command.child.wait().expect("an end").code(), Some(0));
}
