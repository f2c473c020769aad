//! `users`: links told to a running bridge, and accounts that must be connected again.

use std::path::Path;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::ports::Accounts;
use actors::ports::accounts::{Leased, Link, NewTokens};
use actors::ports::vault::SealedPair;
use biometric_bridge::adapters::sqlite::SqliteStore;
use biometric_bridge::adapters::sqlite_file::SqliteFile;
use biometric_bridge::app::DataDir;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::bridge::{ADMIN_KEY, Bridge, PATIENCE, answer};
use crate::{Home, Ran, run};

fn users(bridge: &Bridge, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["users"].iter().chain(arguments).copied().collect();
    run(&bridge.folder, &arguments, &[("BRIDGE_URL", &bridge.url), ("ADMIN_API_KEY", ADMIN_KEY)])
}

/// Marks accounts in the store of a home, in which no bridge runs.
async fn mark(home: &Path, ids: &[&str]) {
    let data_dir = DataDir::open(&home.join("data")).expect("a folder");
    let file = SqliteFile::open(&data_dir.database()).await.expect("a file");
    let store = SqliteStore::new(file.clone()).await.expect("a store");
    for id in ids {
        let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse(id).expect("an id") };
        let user_id = UserId::parse(&format!("{id}'s user")).expect("an id");
        let link = Link { account: account.clone(), user_id, timezone: None, key_hash: None };
        let sealed = SealedPair { key_id: "k".into(), access: vec![1], refresh: Some(vec![2]) };
        let tokens = NewTokens { sealed, scope: None, obtained_at: Timestamp::from_ms(0), expires_at: None };
        store.put_link(&link, Some(&tokens)).await.expect("linked");
        let holder = Uuid::now_v7();
        let leased = store.lease_tokens(&account, holder, PATIENCE).await.expect("a lease");
        let Leased::Taken(stored) = leased else { panic!("{leased:?}") };
        assert!(store.mark_for_reconnection(&account, holder, stored.version).await.expect("marked"));
    }
    file.close().await;
}

#[actix_web::test]
async fn an_account_is_linked_with_tokens_that_never_stand_on_the_command_line() {
    let bridge = Bridge::start().await;
    let write = |name: &str, text: &str| {
        let file = bridge.folder.join(name);
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let (access, refresh) = (write("access", "test-access-token\n"), write("refresh", "test-refresh-token"));
    let ran = users(
        &bridge,
        &[
            "link",
            "oura",
            "A1/B 2",
            "ada",
            "--timezone",
            "Europe/Berlin",
            "--access-token-file",
            &access,
            "--refresh-token-file",
            &refresh,
            "--expires-at",
            "2026-11-21T06:42:11Z",
            "--json",
        ],
    );
    let linked = json!({"vendor": "oura", "vendor_user_id": "A1/B 2", "user_id": "ada", "moved_events": 0});
    assert_eq!(ran.json(), linked);
    let gone = bridge.request(Method::DELETE, "/admin/links/oura/A1%2FB%202").bearer_auth(ADMIN_KEY);
    assert_eq!(gone.send().await.expect("an answer").status(), 204);
    // A key is shown once, and made anew when that is asked for.
    let ran = users(&bridge, &["link", "healthkit", "phone", "ada"]);
    assert!(ran.lines().iter().any(|line| line.contains("hk_")), "{ran:?}");
    let ran = users(&bridge, &["link", "healthkit", "phone", "ada"]);
    assert!(!ran.stdout.contains("hk_") && ran.stdout.contains("--rotate"), "{ran:?}");
    let ran = users(&bridge, &["link", "healthkit", "phone", "ada", "--rotate", "--json"]);
    assert!(ran.json()["key"].as_str().is_some_and(|key| key.starts_with("hk_")), "{ran:?}");
}

#[actix_web::test]
async fn what_cannot_be_linked_is_said_without_the_token() {
    let bridge = Bridge::start().await;
    let file = bridge.folder.join("access");
    std::fs::write(&file, "hush hush").expect("written");
    let file = file.to_str().expect("UTF-8");
    let ran = users(&bridge, &["link", "oura", "A1", "ada", "--access-token-file", file]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("access_token") && !ran.stderr.contains("hush"), "{ran:?}");
    let ran = users(&bridge, &["link", "oura", "A1", "ada", "--access-token-file", "nowhere"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("nowhere"), "{ran:?}");
    let ran = users(&bridge, &["link", "oura", "A1", "ada", "--refresh-token-file", file]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = users(&bridge, &["link", "nobody", "A1", "ada"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("no such vendor"), "{ran:?}");
    let arguments = ["users", "reconnect"];
    let ran = run(&bridge.folder, &arguments, &[("BRIDGE_URL", &bridge.url), ("ADMIN_API_KEY", "wrong")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let ran = Home::new().run(&arguments, &[("BRIDGE_URL", "http://127.0.0.1:1")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("BRIDGE_URL"), "{ran:?}");
}

#[actix_web::test]
async fn accounts_that_must_be_connected_again_are_listed() {
    let home = Home::new();
    mark(home.path(), &["C3", "A1", "B2"]).await;
    let bridge = Bridge::start_in(home.path(), &[]).await;
    let view = |id: &str| {
        let user_id = format!("{id}'s user");
        json!({"vendor": "oura", "vendor_user_id": id, "user_id": user_id, "state": "needs_reconnection"})
    };
    let all = json!({"links": [view("A1"), view("B2"), view("C3")]});
    assert_eq!(users(&bridge, &["reconnect", "--json"]).json(), all);
    let ran = users(&bridge, &["reconnect"]);
    assert!(ran.lines().len() == 4 && ran.stdout.contains("B2's user"), "{ran:?}");
    // By pages.
    let list = async |query: &str| {
        let path = format!("/admin/links?state=needs_reconnection&limit=2{query}");
        let (status, page) = answer(bridge.request(Method::GET, &path).bearer_auth(ADMIN_KEY)).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let first = list("").await;
    assert_eq!(first["links"], json!([view("A1"), view("B2")]));
    let cursor = first["next_cursor"].as_str().expect("another page");
    assert_eq!(list(&format!("&cursor={cursor}")).await, json!({"links": [view("C3")], "next_cursor": null}));
    // Connected again, it is on the list no more.
    std::fs::write(home.path().join("token"), "test-access-token").expect("written");
    let token = home.path().join("token");
    let token = token.to_str().expect("UTF-8");
    let ran = users(&bridge, &["link", "oura", "A1", "A1's user", "--access-token-file", token]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(users(&bridge, &["reconnect", "--json"]).json(), json!({"links": [view("B2"), view("C3")]}));
}
