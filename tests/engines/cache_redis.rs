//! What Redis alone can do to a bridge, and what it finds there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use actors::domain::event::DeviceType;
use actors::ports::Cache;
use actors::ports::cache::CacheError;
use biometric_bridge::adapters::redis::{CALL_BUDGET, RedisCache, RedisConfig, RedisUrlError};
use tokio::time::Instant;

use crate::cache::{Draft, draft, latest, redis_cache, series, user, written};
use crate::redis_server::{PATIENCE, RedisServer, free_port, until};

const TTL: Duration = Duration::from_secs(300);
/// What a busy machine may take beyond the budget of a call.
const SLACK: Duration = Duration::from_millis(480);

/// Without the 20 ms, which say more about the machine than about what is tested.
fn patient(server: &RedisServer, series_max: usize) -> RedisCache {
    redis_cache(server, TTL, series_max).with_budget(PATIENCE)
}

async fn put(cache: &RedisCache, drafts: &[Draft]) -> Result<(), CacheError> {
    cache.put(&written(drafts)).await
}

fn reason(result: Result<(), CacheError>) -> String {
    match result {
        Err(CacheError::Unavailable(reason)) => reason,
        other => panic!("unavailable was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn other_programs_find_the_keys_of_the_contract() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = redis_cache(&server, TTL, 10).with_budget(PATIENCE);
    let event = draft(&user("oura:50%"), "r", 1_500);
    put(&cache, std::slice::from_ref(&event)).await.expect("put");
    let mut keys: Vec<String> = server.run("KEYS biometrics:*").await;
    keys.sort();
    let prefix = "biometrics:oura%3A50%25";
    let expected = ["latest", "oura_ring:latest", "timeseries"].map(|rest| format!("{prefix}:{rest}"));
    assert_eq!(keys, expected);
    for key in &expected[..2] {
        let value: Vec<u8> = server.run(&format!("GET {key}")).await;
        // The header of a request differs, its value does not.
        assert_eq!(value, event.written().message.value);
        let ttl: u64 = server.run(&format!("TTL {key}")).await;
        assert!((1..=TTL.as_secs()).contains(&ttl), "{ttl}");
    }
    let members: Vec<(String, f64)> = server.run(&format!("ZRANGE {} 0 -1 WITHSCORES", expected[2])).await;
    let member =
        r#"{"event_id":"r-1","timestamp":"2026-01-01T00:00:01.500Z","device_type":"oura_ring","readings":["#;
    assert!(members[0].0.starts_with(member), "{members:?}");
    assert_eq!(members[0].1, 1_767_225_601.5);
}

#[tokio::test]
async fn a_lower_limit_is_reached_a_few_members_at_a_time() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let ann = user("ann");
    let many: Vec<Draft> = (0..100).map(|place| draft(&ann, &place.to_string(), place)).collect();
    put(&patient(&server, 100), &many).await.expect("put");
    let cache = patient(&server, 10);
    let mut held: i64 = 100;
    while held > 10 {
        put(&cache, &[draft(&ann, &format!("then {held}"), 1_000 - held)]).await.expect("put");
        assert_eq!(series(&cache, &ann, 100).await.len(), 10);
        let now: i64 = server.run("ZCARD biometrics:ann:timeseries").await;
        assert!(now < held && now >= held - 4, "from {held} to {now}");
        held = now;
    }
    assert_eq!(held, 10);
    // What it remembers of records shrinks with it: two fields each, and those of the newest events.
    let fields: i64 = server.run("HLEN bridge:ann:known").await;
    assert_eq!(fields, 22);
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_used_once_it_is_there() {
    let Some(server) = RedisServer::optional() else { return };
    let mut server = server.await;
    server.stop();
    let cache = redis_cache(&server, TTL, 10);
    let ann = user("a very secret id");
    let started = Instant::now();
    let refused = put(&cache, &[draft(&ann, "r", 1)]).await;
    assert!(started.elapsed() < CALL_BUDGET + SLACK, "{:?}", started.elapsed());
    assert!(matches!(refused, Err(CacheError::Unavailable(_) | CacheError::Late)), "{refused:?}");
    assert!(!format!("{refused:?}").contains("secret"));
    assert!(cache.check().await.is_err());
    server.start().await;
    until("the cache works", async || put(&cache, &[draft(&ann, "r", 1)]).await.is_ok()).await;
    until("the check is passed", async || cache.check().await.is_ok()).await;
    assert_eq!(latest(&patient(&server, 10), &ann, None).await.as_deref(), Some("r-1"));
}

#[tokio::test]
async fn a_redis_that_is_killed_between_two_puts_is_used_again_when_it_is_back() {
    let Some(server) = RedisServer::optional() else { return };
    let mut server = server.await;
    let cache = patient(&server, 10);
    let ann = user("ann");
    put(&cache, &[draft(&ann, "before", 1)]).await.expect("put");
    server.stop();
    assert!(put(&cache, &[draft(&ann, "while", 2)]).await.is_err());
    server.start().await;
    until("the cache works", async || put(&cache, &[draft(&ann, "after", 3)]).await.is_ok()).await;
    assert_eq!(series(&cache, &ann, 10).await, ["after-1"]);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_costs_its_budget_a_few_times_and_then_nothing() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = redis_cache(&server, TTL, 10);
    let ann = user("ann");
    until("the cache works", async || put(&cache, &[draft(&ann, "r", 1)]).await.is_ok()).await;
    let clients = async || -> usize { server.run::<String>("CLIENT LIST").await.lines().count() };
    let before = clients().await;
    server.pause();
    let started = Instant::now();
    for _ in 0..200 {
        let one = Instant::now();
        assert!(put(&cache, &[draft(&ann, "r", 1)]).await.is_err());
        assert!(one.elapsed() < CALL_BUDGET + SLACK, "{:?}", one.elapsed());
    }
    // Without the rest between failures this would be 4 s.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.go_on();
    until("the cache works", async || put(&cache, &[draft(&ann, "r", 1)]).await.is_ok()).await;
    until("what was tried in between is closed", async || clients().await <= before + 4).await;
}

#[tokio::test]
async fn a_full_redis_says_so_and_is_used_again_when_it_has_room() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = patient(&server, 10);
    let ann = user("ann");
    let _: () = server.run("CONFIG SET maxmemory-policy noeviction").await;
    let _: () = server.run_words(&["SET", "ballast", &"x".repeat(1 << 20)]).await;
    let _: () = server.run("CONFIG SET maxmemory 1mb").await;
    assert_eq!(reason(put(&cache, &[draft(&ann, "r", 1)]).await), "its memory is full");
    assert_eq!(latest(&cache, &ann, None).await, None);
    let _: () = server.run("CONFIG SET maxmemory 0").await;
    assert_eq!(put(&cache, &[draft(&ann, "r", 1)]).await, Ok(()));
}

#[tokio::test]
async fn a_redis_that_was_flushed_with_its_scripts_is_used_as_before() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = patient(&server, 10);
    let ann = user("ann");
    for round in 0..3 {
        let drafts = [draft(&ann, "a", 1), draft(&ann, "b", 2), draft(&user("bob"), "c", 3)];
        assert_eq!(put(&cache, &drafts).await, Ok(()), "round {round}");
        assert_eq!(series(&cache, &ann, 10).await, ["a-1", "b-1"], "round {round}");
        let _: () = server.run("FLUSHALL").await;
        let _: () = server.run("SCRIPT FLUSH").await;
        assert_eq!(series(&cache, &ann, 10).await, [""; 0]);
    }
}

#[tokio::test]
async fn rubbish_under_our_keys_is_absent_and_the_next_event_takes_its_place() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = patient(&server, 10);
    let future = r#"{"event_id":"x","record_id":"x","version":1,"device_type":"oura_ring","user_id":"ann","timestamp":"2999-01-01T00:00:00Z","received_at":"2999-01-01T00:00:00Z"}"#;
    let texts = [
        "rubbish",
        "{}",
        r#"{"timestamp":"2999-01-01T00:00:00Z"}"#,
        "\u{0}",
        "",
        "null",
        future,
        "é\"{[",
        "12",
    ];
    let makers: Vec<Vec<&str>> = texts
        .iter()
        .map(|text| vec!["SET", text])
        .chain([
            vec!["HSET", "f", "v"],
            vec!["HSET", "r:r", "rubbish", "e:r-1", "rubbish"],
            vec!["HSET", "r:r", "99 x y"],
            vec!["HSET", "l", "zzz", "l:oura_ring", "9", "d", "\nr\t99"],
            vec!["RPUSH", "x"],
            vec!["SADD", "x"],
            vec!["ZADD", "1", "x"],
            vec!["XADD", "*", "f", "v"],
            vec!["PFADD", "x"],
        ])
        .collect();
    let suffixes = [
        "biometrics:{}:latest",
        "biometrics:{}:oura_ring:latest",
        "biometrics:{}:timeseries",
        "bridge:{}:known",
    ];
    for (round, maker) in makers.iter().enumerate() {
        let id = format!("ann{round}");
        let ann = user(&id);
        for suffix in suffixes {
            let key = suffix.replace("{}", &id);
            let words: Vec<&str> = [&maker[..1], &[key.as_str()], &maker[1..]].concat();
            let _: deadpool_redis::redis::Value = server.run_words(&words).await;
        }
        assert_eq!(latest(&cache, &ann, None).await, None, "{maker:?}");
        assert_eq!(series(&cache, &ann, 10).await, [""; 0], "{maker:?}");
        assert_eq!(put(&cache, &[draft(&ann, "r", 1)]).await, Ok(()), "{maker:?}");
        for device in [None, Some(DeviceType::OuraRing)] {
            assert_eq!(latest(&cache, &ann, device).await.as_deref(), Some("r-1"), "{maker:?}");
        }
        assert_eq!(series(&cache, &ann, 10).await, ["r-1"], "{maker:?}");
    }
}

#[tokio::test]
async fn a_replica_takes_no_writes_and_says_so() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let cache = patient(&server, 10);
    let ann = user("ann");
    put(&cache, &[draft(&ann, "r", 1)]).await.expect("put");
    let _: () = server.run(&format!("REPLICAOF 127.0.0.1 {}", free_port())).await;
    assert_eq!(reason(put(&cache, &[draft(&ann, "s", 2)]).await), "it is a replica and takes no writes");
    assert_eq!(latest(&cache, &ann, None).await.as_deref(), Some("r-1"));
    let _: () = server.run("REPLICAOF NO ONE").await;
    assert_eq!(put(&cache, &[draft(&ann, "s", 2)]).await, Ok(()));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_repeated() {
    let Some(server) = RedisServer::optional() else { return };
    let server = server.await;
    let _: () = server.run("CONFIG SET requirepass right").await;
    let url = server.url().replace("redis://", "redis://:wr0ng@");
    let config = RedisConfig { url, ttl: TTL, series_max: 10 };
    let cache = RedisCache::new(&config).expect("a URL").with_budget(PATIENCE);
    let told = reason(put(&cache, &[draft(&user("ann"), "r", 1)]).await);
    assert_eq!(told, "it refuses the user or the password");
}

#[tokio::test]
async fn what_is_no_redis_is_unavailable() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    // Ends with the process: it waits for callers that no longer come.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\xff\xfe$-7\r\n*999999\r\n");
        }
    });
    for scheme in ["redis", "rediss"] {
        let config = RedisConfig { url: format!("{scheme}://{address}"), ttl: TTL, series_max: 10 };
        let cache = RedisCache::new(&config).expect("a URL").with_budget(PATIENCE);
        let told = put(&cache, &[draft(&user("ann"), "r", 1)]).await;
        assert!(told.is_err(), "{scheme}");
        assert!(cache.check().await.is_err(), "{scheme}");
    }
}

#[tokio::test]
async fn what_is_no_url_is_refused_without_being_repeated() {
    for url in ["", "127.0.0.1", "http://:secret@127.0.0.1", "redis://:secret@127.0.0.1:99999"] {
        let refused = RedisCache::new(&RedisConfig { url: url.to_owned(), ttl: TTL, series_max: 10 });
        assert_eq!(refused.err(), Some(RedisUrlError), "{url}");
    }
    assert!(!RedisUrlError.to_string().contains("secret"));
}
