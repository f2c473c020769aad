//! Readers on a log in memory: what process tests would need too much data or time for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::message::{Message, Topic};
use actors::memory::MemoryLog;
use actors::ports::EventLog;
use actors::ports::follow::{Followed, MessageId};

use super::hub::Hub;
use super::query::{self, Wish};
use super::reader::{Next, Reader};
use crate::settings::{
    STREAM_BEHIND_MAX, STREAM_CATCH_UPS_MAX, STREAM_PAGE, STREAM_READERS_MAX, STREAM_RING_MAX_BYTES,
};

const PARTITIONS: u32 = 4;
const LONG: usize = 1 << 20;
/// How long a message may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

fn hub() -> (Arc<Hub>, Arc<MemoryLog>) {
    let log = Arc::new(MemoryLog::new(PARTITIONS));
    let hub = Arc::new(Hub::new(Arc::clone(&log) as _));
    let run = Arc::clone(&hub);
    actix_web::rt::spawn(async move { run.run().await });
    (hub, log)
}

fn wish(query: &str) -> Wish {
    let request = actix_web::test::TestRequest::with_uri(&format!("/v1/stream?{query}")).to_http_request();
    query::read(&request, |_| 0).unwrap()
}

/// Messages of as many users, each of about this length.
async fn append(log: &MemoryLog, count: usize, length: usize) {
    let message = |number: usize| Message {
        topic: Topic::ModeSwitches,
        key: format!("user-{number}").into(),
        value: format!("{{\"text\":\"{}\"}}", "x".repeat(length)).into_bytes(),
        headers: Vec::new(),
    };
    log.append(Arc::new((0..count).map(message).collect())).await.unwrap();
}

async fn take(reader: &mut Reader<'_>, count: usize) -> Vec<Arc<Followed>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match tokio::time::timeout(PATIENCE, reader.next()).await.expect("something comes") {
            Next::Messages(messages) => taken.extend(messages),
            Next::Gap => panic!("nothing is missing"),
        }
    }
    taken
}

fn ids(messages: &[Arc<Followed>]) -> BTreeSet<MessageId> {
    messages.iter().map(|message| MessageId::of(&message.record)).collect()
}

#[actix_web::test]
async fn who_falls_behind_what_is_in_memory_reads_the_rest_from_the_log() {
    let (hub, log) = hub();
    let _seat = hub.seat().unwrap();
    let mut reader = Reader::begin(&hub, wish("")).await.unwrap();
    append(&log, 3, 10).await;
    let mut taken = take(&mut reader, 3).await;
    let count = 2 * STREAM_RING_MAX_BYTES / LONG;
    // Another one keeps up, which shows that all of it has been in memory.
    let _other_seat = hub.seat().unwrap();
    let mut other = Reader::begin(&hub, wish("")).await.unwrap();
    for _ in 0..count {
        append(&log, 1, LONG).await;
        assert_eq!(take(&mut other, 1).await.len(), 1);
    }
    taken.extend(take(&mut reader, count).await);
    append(&log, 2, 10).await;
    taken.extend(take(&mut reader, 2).await);
    assert_eq!((taken.len(), ids(&taken).len()), (count + 5, count + 5));
    assert!(!reader.position().is_behind(&hub));
}

#[actix_web::test]
async fn who_comes_back_is_not_behind_by_what_it_has_missed_though_memory_reaches_back_to_it() {
    let (hub, log) = hub();
    let _seat = hub.seat().unwrap();
    let mut other = Reader::begin(&hub, wish("")).await.unwrap();
    let missed = 3 * STREAM_BEHIND_MAX;
    append(&log, missed + 1, 10).await;
    let first = MessageId::of(&take(&mut other, missed + 1).await[0].record);
    let mut back = Reader::begin(&hub, wish(&format!("last_event_id={first}"))).await.unwrap();
    let taken = take(&mut back, 1).await.len();
    assert!(!back.position().is_behind(&hub));
    assert_eq!(take(&mut back, missed - taken).await.len(), missed - taken);
    // From now on it is as the others.
    append(&log, STREAM_BEHIND_MAX + 1, 10).await;
    take(&mut other, STREAM_BEHIND_MAX + 1).await;
    assert!(back.position().is_behind(&hub));
}

#[actix_web::test]
async fn a_reader_is_behind_by_its_own_messages_alone() {
    let (hub, log) = hub();
    let _seat = hub.seat().unwrap();
    let all = Reader::begin(&hub, wish("")).await.unwrap();
    let one = Reader::begin(&hub, wish("user_id=user-0")).await.unwrap();
    let events = Reader::begin(&hub, wish("type=event")).await.unwrap();
    let mut other = Reader::begin(&hub, wish("")).await.unwrap();
    append(&log, STREAM_BEHIND_MAX, 10).await;
    take(&mut other, STREAM_BEHIND_MAX).await;
    assert!(!all.position().is_behind(&hub));
    append(&log, 1, 10).await;
    take(&mut other, 1).await;
    assert!(all.position().is_behind(&hub));
    for kept in [&one, &events, &other] {
        assert!(!kept.position().is_behind(&hub));
    }
}

#[actix_web::test]
async fn a_reader_of_large_messages_is_behind_by_as_many_though_memory_holds_fewer() {
    let (hub, log) = hub();
    let _seat = hub.seat().unwrap();
    let all = Reader::begin(&hub, wish("")).await.unwrap();
    let one = Reader::begin(&hub, wish("user_id=user-0")).await.unwrap();
    let mut other = Reader::begin(&hub, wish("")).await.unwrap();
    let large = 2 * STREAM_RING_MAX_BYTES / STREAM_BEHIND_MAX;
    append(&log, STREAM_BEHIND_MAX, large).await;
    take(&mut other, STREAM_BEHIND_MAX).await;
    assert!(!all.position().is_behind(&hub));
    append(&log, 1, large).await;
    take(&mut other, 1).await;
    assert!(all.position().is_behind(&hub));
    assert!(!one.position().is_behind(&hub) && !other.position().is_behind(&hub));
}

#[actix_web::test]
async fn places_are_given_back_and_memory_is_kept_only_for_readers() {
    let (hub, log) = hub();
    let seats: Vec<_> = (0..STREAM_READERS_MAX).map(|_| hub.seat().unwrap()).collect();
    assert!(hub.seat().is_none());
    let mut reader = Reader::begin(&hub, wish("")).await.unwrap();
    append(&log, 1, 10).await;
    let taken = take(&mut reader, 1).await;
    drop(seats);
    let _seat = hub.seat().unwrap();
    append(&log, 4, 10).await;
    // The hub has begun anew, and this one goes on where it was.
    let mut again = take(&mut reader, 4).await;
    again.extend(taken);
    assert_eq!(ids(&again).len(), 5);
}

#[actix_web::test]
async fn what_comes_while_the_hub_rests_is_not_left_out_for_who_was_seated_before() {
    let (hub, log) = hub();
    let seat = hub.seat().unwrap();
    let mut reader = Reader::begin(&hub, wish("")).await.unwrap();
    append(&log, 1, 10).await;
    let mut taken = take(&mut reader, 1).await;
    drop(seat);
    let (_, lanes) = hub.now().await.unwrap();
    while hub.reach(&lanes).is_some() {
        tokio::task::yield_now().await;
    }
    append(&log, 2, 10).await;
    let _seat = hub.seat().unwrap();
    hub.now().await.unwrap();
    append(&log, 3, 10).await;
    taken.extend(take(&mut reader, 5).await);
    assert_eq!(ids(&taken).len(), 6);
}

#[actix_web::test]
async fn who_gives_its_turn_back_goes_on_where_it_was() {
    let (hub, log) = hub();
    append(&log, 3 * STREAM_PAGE, 10).await;
    let _seat = hub.seat().unwrap();
    let mut other = Reader::begin(&hub, wish("")).await.unwrap();
    let mut back = Reader::begin(&hub, wish("last_event_id=neuros-mode-switches:0:0")).await.unwrap();
    let mut taken = take(&mut back, 1).await;
    assert_eq!(hub.catch_ups.available_permits(), STREAM_CATCH_UPS_MAX - 1);
    back.give_turn_back();
    assert_eq!(hub.catch_ups.available_permits(), STREAM_CATCH_UPS_MAX);
    append(&log, 1, 10).await;
    take(&mut other, 1).await;
    let rest = 3 * STREAM_PAGE - taken.len();
    taken.extend(take(&mut back, rest).await);
    assert_eq!((taken.len(), ids(&taken).len()), (3 * STREAM_PAGE, 3 * STREAM_PAGE));
}

#[actix_web::test]
async fn what_is_no_json_of_utf_8_is_for_no_reader() {
    let (hub, log) = hub();
    let _seat = hub.seat().unwrap();
    let mut reader = Reader::begin(&hub, wish("")).await.unwrap();
    let values: [&[u8]; 4] = [b"{\"text\":\"\xff\"}", b"", b"{", b"{\"text\":\"\xc3\xa4\"}"];
    let message = |value: &[u8]| Message {
        topic: Topic::ModeSwitches,
        key: "user".into(),
        value: value.to_vec(),
        headers: Vec::new(),
    };
    log.append(Arc::new(values.map(message).to_vec())).await.unwrap();
    assert_eq!(take(&mut reader, 1).await[0].record.value, values[3]);
}
