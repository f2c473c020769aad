//! What every event log promises: in memory, in the SQLite file, and on Kafka.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::domain::message::{Message, Topic, partition_of};
use actors::memory::MemoryLog;
use actors::ports::EventLog;
use actors::ports::event_log::{LogRecord, Places, Polled};
use biometric_bridge::adapters::embedded_log::EmbeddedLog;
use biometric_bridge::adapters::kafka::{KafkaConfig, KafkaLog};
use biometric_bridge::adapters::sqlite_file::SqliteFile;
use biometric_bridge::adapters::sqlite_file::log_table::LogTable;
use futures_util::FutureExt;
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE};

/// Partitions of every log here.
const PARTITIONS: u32 = 3;

/// A log, and what must live as long as it.
struct Engine {
    log: Arc<dyn EventLog>,
    _ground: Box<dyn Any>,
}

async fn memory() -> Engine {
    Engine { log: Arc::new(MemoryLog::new(PARTITIONS)), _ground: Box::new(()) }
}

async fn embedded() -> Engine {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteFile::open(&folder.path().join("bridge.db")).await.expect("a file");
    let table = LogTable::open(&file, PARTITIONS).await.expect("a log").expect("its partitions");
    let log = EmbeddedLog::new(file, table);
    Engine { log: Arc::new(log), _ground: Box::new(folder) }
}

async fn kafka() -> Engine {
    let cluster = Cluster::start(PARTITIONS);
    let config = KafkaConfig::new(cluster.servers.clone(), "contract", PARTITIONS);
    Engine { log: Arc::new(KafkaLog::new(config).expect("a log")), _ground: Box::new(cluster) }
}

macro_rules! on_every_engine {
    ($($promise:ident,)*) => {
        on_every_engine!(@memory: $($promise,)*);
        on_every_engine!(@embedded: $($promise,)*);
        on_every_engine!(@kafka: $($promise,)*);
    };
    (@$engine:ident: $($promise:ident,)*) => {
        mod $engine {
            $(
                #[actix_web::test]
                async fn $promise() {
                    let engine = super::$engine().await;
                    super::$promise(&*engine.log).await;
                    engine.log.leave().await;
                }
            )*
        }
    };
}

on_every_engine! {
    records_of_a_key_keep_their_order_in_one_partition,
    a_poll_at_the_same_places_gives_the_same_records,
    a_place_further_back_is_read_again,
    a_busy_partition_does_not_starve_the_others,
    a_poll_that_waits_is_woken_by_an_append,
    a_poll_that_is_dropped_loses_nothing,
    what_is_gained_is_told_until_it_is_held,
    what_is_not_held_is_not_read,
    the_end_of_a_partition_is_known_once_an_append_has_returned,
    a_tombstone_and_empty_headers_are_kept,
    nothing_to_append_is_no_error,
}

/// The number `number` of user `key`.
pub(crate) fn message(key: &str, number: usize) -> Message {
    Message {
        topic: Topic::BiometricEvents,
        key: key.into(),
        value: number.to_string().into_bytes(),
        headers: vec![("schema".into(), b"biometric-event/1".to_vec())],
    }
}

pub(crate) async fn append(log: &dyn EventLog, messages: Vec<Message>) {
    let refusals = timeout(PATIENCE, log.append(Arc::new(messages))).await.expect("it answers");
    assert_eq!(refusals, Ok(Vec::new()));
}

pub(crate) async fn poll(log: &dyn EventLog, held: &Places, limit: usize) -> Polled {
    timeout(PATIENCE, log.poll(held, limit)).await.expect("something to tell").expect("the log is there")
}

/// Takes over whatever comes, from its begin, until all partitions are held.
pub(crate) async fn hold_all(log: &dyn EventLog) -> Places {
    let mut held = Places::new();
    while held.len() < log.partitions() as usize {
        match poll(log, &held, 1).await {
            Polled::Gained(partitions) => held.extend(partitions.into_iter().map(|partition| (partition, 0))),
            Polled::Lost(partitions) => {
                held.retain(|partition, _| !partitions.contains(partition));
                log.release(&partitions).await.expect("they are released");
            }
            Polled::Records(_) => {}
        }
    }
    held
}

/// Reads on until `count` records have come, moving the places behind them.
pub(crate) async fn read(log: &dyn EventLog, held: &mut Places, count: usize) -> Vec<LogRecord> {
    let mut all = Vec::new();
    while all.len() < count {
        let Polled::Records(records) = poll(log, held, 100).await else { panic!("a change of partitions") };
        for record in &records {
            held.insert(record.partition, record.offset + 1);
        }
        all.extend(records);
    }
    all
}

/// The values of each key, in the order in which they were read.
pub(crate) fn by_key(records: &[LogRecord]) -> BTreeMap<String, Vec<usize>> {
    let mut values: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for record in records {
        let number = String::from_utf8_lossy(&record.value).parse().expect("a number");
        values.entry(record.key.to_string()).or_default().push(number);
    }
    values
}

async fn records_of_a_key_keep_their_order_in_one_partition(log: &dyn EventLog) {
    let keys = ["ada", "ben", "cleo", "dora", "émile"];
    for batch in 0..10 {
        let number = |number: usize| message(keys[number % keys.len()], batch * 20 + number / keys.len());
        append(log, (0..100).map(number).collect()).await;
    }
    let mut held = hold_all(log).await;
    let records = read(log, &mut held, 1_000).await;
    let expected: Vec<usize> = (0..10).flat_map(|batch| (0..20).map(move |n| batch * 20 + n)).collect();
    for (key, values) in by_key(&records) {
        assert_eq!(values, expected, "{key}");
    }
    let mut next: Places = Places::new();
    for record in &records {
        assert_eq!(record.partition, partition_of(&record.key, PARTITIONS));
        let place = next.entry(record.partition).or_default();
        assert!(record.offset >= *place, "{record:?}");
        *place = record.offset + 1;
    }
}

async fn a_poll_at_the_same_places_gives_the_same_records(log: &dyn EventLog) {
    append(log, (0..30).map(|number| message("ada", number)).collect()).await;
    let mut held = hold_all(log).await;
    let first = read(log, &mut held.clone(), 30).await;
    for _ in 0..3 {
        assert_eq!(read(log, &mut held.clone(), 30).await, first);
    }
    // Also from the middle, and after what has come since.
    let partition = partition_of("ada", PARTITIONS);
    held.insert(partition, first[10].offset);
    append(log, vec![message("ada", 30)]).await;
    let rest = read(log, &mut held.clone(), 21).await;
    assert_eq!(rest[..20], first[10..]);
    assert_eq!(rest[20].value, b"30");
}

async fn a_place_further_back_is_read_again(log: &dyn EventLog) {
    append(log, (0..500).map(|number| message(&format!("user-{}", number % 50), number)).collect()).await;
    let begin = hold_all(log).await;
    let mut held = begin.clone();
    let first = read(log, &mut held, 500).await;
    append(log, vec![message("ada", 500)]).await;
    read(log, &mut held, 1).await;
    let again = read(log, &mut begin.clone(), 501).await;
    assert_eq!(by_key(&again[..]).values().map(Vec::len).sum::<usize>(), 501);
    let of = |records: &[LogRecord], partition| -> Vec<LogRecord> {
        records
            .iter()
            .filter(|record| record.partition == partition && record.value != b"500")
            .cloned()
            .collect()
    };
    for partition in 0..PARTITIONS {
        assert_eq!(of(&again, partition), of(&first, partition));
    }
}

async fn a_busy_partition_does_not_starve_the_others(log: &dyn EventLog) {
    let quiet = (0..)
        .map(|number| format!("user-{number}"))
        .find(|key| partition_of(key, PARTITIONS) != partition_of("busy", PARTITIONS));
    let quiet = quiet.expect("there are other partitions");
    append(log, (0..1_000).map(|number| message("busy", number)).collect()).await;
    append(log, vec![message(&quiet, 0)]).await;
    let held = hold_all(log).await;
    let has_both = |records: &[LogRecord]| {
        let keys: BTreeSet<&str> = records.iter().map(|record| &*record.key).collect();
        keys.len() == 2
    };
    // A log that has only begun to fetch may have one of them first; from then on both are in every poll.
    let began = Instant::now();
    while !matches!(poll(log, &held, 10).await, Polled::Records(records) if has_both(&records)) {
        assert!(began.elapsed() < PATIENCE, "the quiet partition is never read");
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        let Polled::Records(records) = poll(log, &held, 10).await else { panic!("a change of partitions") };
        assert!(has_both(&records), "{records:?}");
    }
}

async fn a_poll_that_waits_is_woken_by_an_append(log: &dyn EventLog) {
    let held = hold_all(log).await;
    assert!(log.poll(&held, 10).now_or_never().is_none(), "there is nothing to read");
    let (polled, ()) = tokio::join!(poll(log, &held, 10), append(log, vec![message("ada", 7)]));
    let Polled::Records(records) = polled else { panic!("{polled:?}") };
    assert_eq!(by_key(&records), BTreeMap::from([("ada".to_owned(), vec![7])]));
}

async fn a_poll_that_is_dropped_loses_nothing(log: &dyn EventLog) {
    let mut held = hold_all(log).await;
    append(log, (0..200).map(|number| message("ada", number)).collect()).await;
    // Each is dropped wherever it happens to be.
    for _ in 0..20 {
        let _ = timeout(Duration::from_millis(1), log.poll(&held, 10)).await;
    }
    let records = read(log, &mut held, 200).await;
    assert_eq!(by_key(&records)["ada"], (0..200).collect::<Vec<_>>());
}

async fn what_is_gained_is_told_until_it_is_held(log: &dyn EventLog) {
    append(log, vec![message("ada", 0)]).await;
    let nothing = Places::new();
    let Polled::Gained(first) = poll(log, &nothing, 10).await else { panic!("partitions to begin with") };
    let Polled::Gained(second) = poll(log, &nothing, 10).await else { panic!("the same again") };
    assert!(first.iter().all(|partition| second.contains(partition)), "{first:?} {second:?}");
    // One after the other.
    let mut held = Places::new();
    while held.len() < PARTITIONS as usize {
        let polled = poll(log, &held, 10).await;
        let Polled::Gained(rest) = polled else { panic!("{polled:?} with {held:?}") };
        assert!(rest.iter().all(|partition| !held.contains_key(partition)), "{rest:?} {held:?}");
        held.insert(rest[0], 0);
    }
    assert_eq!(read(log, &mut held, 1).await.len(), 1);
}

async fn what_is_not_held_is_not_read(log: &dyn EventLog) {
    append(log, (0..60).map(|number| message(&format!("user-{number}"), number)).collect()).await;
    let held = hold_all(log).await;
    let others: Places = held.into_iter().filter(|(partition, _)| *partition != 1).collect();
    // It is given up without a word, and so offered again; never read.
    assert_eq!(poll(log, &others, 100).await, Polled::Gained(vec![1]));
}

async fn the_end_of_a_partition_is_known_once_an_append_has_returned(log: &dyn EventLog) {
    let partition = partition_of("ada", PARTITIONS);
    let all: Vec<u32> = (0..PARTITIONS).collect();
    let before = timeout(PATIENCE, log.end_offsets(&all)).await.expect("it answers").expect("ends");
    assert_eq!(before.values().sum::<i64>(), 0);
    for count in 1..=3 {
        append(log, vec![message("ada", 0)]).await;
        let ends = log.end_offsets(&all).await.expect("ends");
        assert_eq!((ends[&partition], ends.values().sum::<i64>()), (count, count));
    }
    assert_eq!(log.end_offsets(&[partition]).await, Ok(Places::from([(partition, 3)])));
    assert_eq!(log.end_offsets(&[]).await, Ok(Places::new()));
}

async fn a_tombstone_and_empty_headers_are_kept(log: &dyn EventLog) {
    let headers = vec![
        ("schema".into(), b"biometric-event/1".to_vec()),
        ("triggers".into(), Vec::new()),
        ("bytes".into(), vec![0, 255, 10]),
        ("triggers".into(), b"twice".to_vec()),
    ];
    let tombstone = Message {
        topic: Topic::BiometricEvents,
        key: "ada".into(),
        value: Vec::new(),
        headers: headers.clone(),
    };
    append(log, vec![tombstone, Message { headers: Vec::new(), ..message("ada", 1) }]).await;
    let mut held = hold_all(log).await;
    let records = read(log, &mut held, 2).await;
    assert_eq!((&records[0].value, &records[0].headers), (&Vec::new(), &headers));
    assert_eq!((&records[1].value, &records[1].headers), (&b"1".to_vec(), &Vec::new()));
    assert_eq!(&*records[0].key, "ada");
}

async fn nothing_to_append_is_no_error(log: &dyn EventLog) {
    append(log, Vec::new()).await;
    assert_eq!(timeout(PATIENCE, log.check()).await, Ok(Ok(())));
}
