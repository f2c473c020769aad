//! `keys rotate`: tokens under a new key, row by row.

use actors::domain::account::{Account, Token, TokenPair, Vendor, VendorUserId};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::ports::accounts::{Link, NewTokens};
use actors::ports::{Accounts, Vault};
use biometric_bridge::adapters::sqlite::SqliteStore;
use biometric_bridge::adapters::sqlite_file::SqliteFile;
use biometric_bridge::adapters::vault::{AesVault, Key};
use biometric_bridge::app::DataDir;
use biometric_bridge::settings::{TokenKey, parse_token_keys};
use serde_json::json;

use crate::Home;

/// More than one page of them.
const ACCOUNTS: usize = 450;

fn keys(names: &[&str]) -> String {
    let key = |name: &&str| {
        let byte = name.bytes().last().expect("a name");
        // 32 times the same byte, in base64.
        let base64 = match byte {
            b'1' => "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=",
            b'2' => "MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=",
            _ => "MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM=",
        };
        format!("{name}:{base64}")
    };
    names.iter().map(key).collect::<Vec<_>>().join(",")
}

fn vault(names: &[&str]) -> AesVault {
    let keys = parse_token_keys(&keys(names)).expect("keys");
    AesVault::new(keys.iter().map(|key: &TokenKey| Key::new(&key.id, key.expose())).collect())
}

fn account(number: usize) -> Account {
    let id = format!("{number:04}");
    Account { vendor: Vendor::Oura, id: VendorUserId::parse(&id).expect("an id") }
}

fn pair(number: usize) -> TokenPair {
    let token = |what: &str| Token::new(format!("test-{what}-{number}"));
    TokenPair { access: token("access"), refresh: (!number.is_multiple_of(3)).then(|| token("refresh")) }
}

/// The store of a home, as long as it is open.
async fn open(home: &Home) -> (DataDir, SqliteFile, SqliteStore) {
    let data_dir = DataDir::open(&home.path().join("data")).expect("a folder");
    let file = SqliteFile::open(&data_dir.database()).await.expect("a file");
    let store = SqliteStore::new(file.clone()).await.expect("a store");
    (data_dir, file, store)
}

async fn fill(home: &Home, numbers: std::ops::Range<usize>, key: &str) {
    let (_data_dir, file, store) = open(home).await;
    let vault = vault(&[key]);
    for number in numbers {
        let account = account(number);
        let sealed = vault.seal(&account, &pair(number)).expect("sealed");
        let (scope, expires_at) = (None, None);
        let tokens = NewTokens { sealed, scope, obtained_at: Timestamp::from_ms(0), expires_at };
        let user_id = UserId::parse("ann").expect("an id");
        let link = Link { account, user_id, timezone: None, key_hash: None };
        store.put_link(&link, Some(&tokens)).await.expect("stored");
    }
    file.close().await;
}

/// Which pair each account has.
async fn versions(home: &Home) -> Vec<i64> {
    let (_data_dir, file, store) = open(home).await;
    let mut versions = Vec::new();
    for number in 0..ACCOUNTS {
        versions.push(store.tokens(&account(number)).await.expect("a row").expect("tokens").version);
    }
    file.close().await;
    versions
}

#[actix_web::test]
async fn all_tokens_are_sealed_with_the_first_key_and_the_old_one_can_go() {
    let home = Home::new();
    fill(&home, 0..ACCOUNTS, "key1").await;
    // As if a rotation had been broken off in the middle.
    fill(&home, 100..150, "key2").await;
    let versions = versions(&home).await;
    let names = keys(&["key2", "key1"]);
    let told = home.run(&["--json", "keys", "rotate"], &[("TOKEN_ENCRYPTION_KEYS", &names)]).json();
    let all = json!({"key_id": "key2", "found": 400, "rotated": 400, "unopened": {}, "left": 0});
    assert_eq!(told, all);
    let (data_dir, file, store) = open(&home).await;
    let new = vault(&["key2"]);
    for (number, version) in versions.into_iter().enumerate() {
        let stored = store.tokens(&account(number)).await.expect("a row").expect("tokens");
        assert_eq!(new.open(&account(number), &stored.tokens.sealed), Ok(pair(number)));
        assert_eq!(stored.version, version, "the same pair");
    }
    file.close().await;
    drop(data_dir);
    let names = keys(&["key2"]);
    let again = home.run(&["keys", "rotate"], &[("TOKEN_ENCRYPTION_KEYS", &names)]);
    let nothing = ["0 of 0 accounts' tokens encrypted anew, with the key key2", "no other key is in use"];
    assert_eq!(again.lines(), nothing);
}

#[actix_web::test]
async fn what_cannot_be_opened_is_told_by_its_key_and_left_as_it_is() {
    let home = Home::new();
    fill(&home, 0..3, "key1").await;
    fill(&home, 3..5, "key3").await;
    let names = keys(&["key2", "key1"]);
    let ran = home.run(&["--json", "keys", "rotate"], &[("TOKEN_ENCRYPTION_KEYS", &names)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(told, json!({"key_id": "key2", "found": 5, "rotated": 3, "unopened": {"key3": 2}, "left": 2}));
    let (_data_dir, file, store) = open(&home).await;
    let stored = store.tokens(&account(4)).await.expect("a row").expect("tokens");
    assert_eq!(vault(&["key3"]).open(&account(4), &stored.tokens.sealed), Ok(pair(4)));
    file.close().await;
}

#[actix_web::test]
async fn beside_a_running_embedded_bridge_nothing_is_written() {
    let home = Home::new();
    fill(&home, 0..1, "key1").await;
    let lock = DataDir::open(&home.path().join("data")).expect("the lock of a running bridge");
    let names = keys(&["key2", "key1"]);
    let ran = home.run(&["keys", "rotate"], &[("TOKEN_ENCRYPTION_KEYS", &names)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("in use by a running bridge"), "{ran:?}");
    drop(lock);
}

#[test]
fn with_postgresql_a_key_must_be_set() {
    let url = ("POSTGRES_URL", "postgres://127.0.0.1:1/nowhere");
    let ran = Home::new().run(&["keys", "rotate"], &[url]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("TOKEN_ENCRYPTION_KEYS"), "{ran:?}");
}
