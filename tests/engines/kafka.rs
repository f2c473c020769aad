//! What Kafka adds to the contract of the log: brokers that go and come back, refuse, or hold something else than
//! they should; and members that share partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actors::domain::message::{Message, partition_of};
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, Places, Polled, Refusal};
use biometric_bridge::adapters::kafka::{KafkaConfig, KafkaLog, TOPICS, TopicOutcome, create_topics};
use rdkafka::Message as _;
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE, header};
use crate::event_log::{append, by_key, hold_all, message, poll, read};

const EVENTS: &str = "biometric-events";

/// The mock cluster lets every rebalance take a second less than this.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

fn config(cluster: &Cluster, partitions: u32) -> KafkaConfig {
    let config = KafkaConfig::new(cluster.servers.clone(), "bridges", partitions);
    KafkaConfig { session_timeout: SESSION_TIMEOUT, ..config }
}

fn log(cluster: &Cluster, partitions: u32) -> KafkaLog {
    KafkaLog::new(config(cluster, partitions)).expect("a log")
}

fn numbers(key: &str, from: usize, to: usize) -> Vec<Message> {
    (from..to).map(|number| message(key, number)).collect()
}

/// The numbers of the messages of one key on the cluster, in their order, and without what came twice.
fn first_appearances(cluster: &Cluster, count: usize) -> Vec<usize> {
    let number = |value: &[u8]| String::from_utf8_lossy(value).parse::<usize>().expect("a number");
    let records = cluster.read(EVENTS, count);
    let mut seen = BTreeSet::new();
    let all = records.iter().map(|record| number(record.payload().expect("a value")));
    all.filter(|number| seen.insert(*number)).collect()
}

/// Appends until it is done, as the publisher does. Tells how often it had to begin again.
async fn append_until_done(log: &KafkaLog, messages: &[Message]) -> usize {
    let messages = Arc::new(messages.to_vec());
    let began = Instant::now();
    for failures in 0.. {
        match log.append(Arc::clone(&messages)).await {
            Ok(refusals) => {
                assert_eq!(refusals, []);
                return failures;
            }
            Err(LogError::Unavailable(_)) => assert!(began.elapsed() < PATIENCE),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("it is done or it is not")
}

#[actix_web::test]
async fn a_message_arrives_on_its_topic_with_key_headers_and_partition() {
    let cluster = Cluster::start(4);
    let log = log(&cluster, 4);
    let sent = Message {
        headers: vec![("priority".into(), b"HIGH".to_vec()), ("triggers".into(), Vec::new())],
        ..message("ada", 1)
    };
    append(&log, vec![sent.clone(), Message { topic: actors::domain::message::Topic::DeadLetters, ..sent }])
        .await;
    for topic in [EVENTS, "biometric-events.dlq"] {
        let record = &cluster.read(topic, 1)[0];
        assert_eq!((record.key(), record.payload()), (Some(&b"ada"[..]), Some(&b"1"[..])));
        assert_eq!(u32::try_from(record.partition()), Ok(partition_of("ada", 4)));
        assert_eq!(header(record, "priority"), Some(&b"HIGH"[..]));
        assert_eq!(header(record, "triggers"), Some(&[][..]));
    }
}

#[actix_web::test]
async fn a_broker_that_goes_away_for_a_while_costs_neither_messages_nor_their_order() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 100)).await;
    cluster.down();
    let messages = numbers("ada", 100, 300);
    let back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.up();
        Instant::now()
    };
    let (_, up) = tokio::join!(append_until_done(&log, &messages), back);
    assert!(up.elapsed() < Duration::from_secs(15), "it took {:?} to recover", up.elapsed());
    append(&log, numbers("ada", 300, 400)).await;
    assert_eq!(first_appearances(&cluster, 400), (0..400).collect::<Vec<_>>());
}

#[actix_web::test]
async fn errors_that_pass_are_waited_out_without_a_word() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 1)).await;
    let errors = &[
        Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Answer::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    cluster.fail(Request::Produce, errors);
    append(&log, numbers("ada", 1, 200)).await;
    assert_eq!(first_appearances(&cluster, 200), (0..200).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_producer_that_fails_for_good_is_replaced_at_the_next_append() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 10)).await;
    cluster.fail(Request::Produce, &[Answer::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    let failed = timeout(PATIENCE, log.append(Arc::new(numbers("ada", 10, 20)))).await.expect("it answers");
    assert!(matches!(failed, Err(LogError::Unavailable(_))), "{failed:?}");
    let began = Instant::now();
    append(&log, numbers("ada", 10, 20)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(first_appearances(&cluster, 20), (0..20).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_right_that_is_missing_is_no_refusal_and_nothing_overtakes_what_waits_for_it() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 1)).await;
    cluster.fail(Request::Produce, &[Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let messages = Arc::new(numbers("ada", 1, 100));
    let failed = timeout(PATIENCE, log.append(Arc::clone(&messages))).await.expect("it answers");
    assert!(matches!(failed, Err(LogError::Unavailable(_))), "{failed:?}");
    append(&log, messages.to_vec()).await;
    assert_eq!(first_appearances(&cluster, 100), (0..100).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_message_that_is_too_large_is_given_back_and_its_neighbours_arrive() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    let mut messages = numbers("ada", 0, 5);
    messages[2].value = vec![b'x'; 2 << 20];
    let refusals = log.append(Arc::new(messages)).await.expect("the log is there");
    let [Refusal { index: 2, reason }] = &refusals[..] else { panic!("{refusals:?}") };
    assert!(reason.contains("too large") && !reason.contains("xx"), "{reason}");
    assert_eq!(first_appearances(&cluster, 4), [0, 1, 3, 4]);
}

#[actix_web::test]
async fn of_a_batch_that_the_broker_refuses_only_what_it_refuses_alone_is_given_back() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 1)).await;
    // The batch, and then its first message alone.
    let invalid = Answer::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.tell(move |mock| mock.request_errors(Request::Produce, &[invalid, invalid]));
    let refusals = log.append(Arc::new(numbers("ada", 1, 4))).await.expect("the log is there");
    assert_eq!(refusals.iter().map(|refusal| refusal.index).collect::<Vec<_>>(), [0]);
    assert_eq!(first_appearances(&cluster, 3), [0, 2, 3]);
}

#[actix_web::test]
async fn a_bridge_starts_without_brokers_and_goes_on_by_itself() {
    let cluster = Cluster::start(2);
    cluster.down();
    let log = log(&cluster, 2);
    let began = Instant::now();
    assert!(matches!(log.check().await, Err(LogError::Unavailable(_))));
    assert!(matches!(log.end_offsets(&[0]).await, Err(LogError::Unavailable(_))));
    assert!(matches!(log.append(Arc::new(numbers("ada", 0, 1))).await, Err(LogError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    cluster.up();
    append_until_done(&log, &numbers("ada", 0, 10)).await;
    while timeout(PATIENCE, log.check()).await.expect("it answers").is_err() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut held = Places::new();
    while held.len() < 2 {
        match log.poll(&held, 1).await {
            Ok(Polled::Gained(partitions)) => held.extend(partitions.iter().map(|partition| (*partition, 0))),
            Ok(_) | Err(LogError::Unavailable(_)) => assert!(began.elapsed() < PATIENCE),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(by_key(&read(&log, &mut held, 10).await)["ada"], (0..10).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_topic_with_another_number_of_partitions_is_a_damage_that_a_person_must_mend() {
    let cluster = Cluster::start(6);
    let log = log(&cluster, 12);
    let outcomes = [
        log.append(Arc::new(numbers("ada", 0, 1))).await.map(drop),
        log.check().await,
        log.check_partitions(PATIENCE).await,
    ];
    for outcome in outcomes {
        let Err(LogError::Damaged(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.starts_with("KAFKA_PARTITIONS is 12") && text.contains("has 6 partitions"), "{text}");
    }
}

#[actix_web::test]
async fn a_topic_that_is_missing_is_named() {
    let cluster = Cluster::without_topics();
    let log = log(&cluster, 2);
    for outcome in [log.append(Arc::new(numbers("ada", 0, 1))).await.map(drop), log.check().await] {
        let Err(LogError::Unavailable(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains("the topic biometric-events does not exist"), "{text}");
    }
    assert_eq!(log.check_partitions(PATIENCE).await, Ok(()));
}

#[actix_web::test]
async fn topics_that_are_there_are_left_alone_and_another_number_of_partitions_is_told() {
    let cluster = Cluster::start(2);
    let outcomes = create_topics(&config(&cluster, 2)).await;
    assert_eq!(outcomes, TOPICS.map(|topic| (topic, TopicOutcome::Exists)));
    let outcomes = create_topics(&config(&cluster, 3)).await;
    assert_eq!(outcomes, TOPICS.map(|topic| (topic, TopicOutcome::Differs { held: 2 })));
}

#[actix_web::test]
async fn a_place_that_the_log_no_longer_has_goes_to_the_earliest_and_never_to_the_latest() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 50)).await;
    hold_all(&log).await;
    let mut held = Places::from([(0, 1_000)]);
    let records = read(&log, &mut held, 50).await;
    assert_eq!(by_key(&records)["ada"], (0..50).collect::<Vec<_>>());
    append(&log, numbers("ada", 50, 60)).await;
    assert_eq!(by_key(&read(&log, &mut held, 10).await)["ada"], (50..60).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_log_that_has_gone_back_behind_a_place_is_told_as_damaged_for_as_long_as_that_place_is_asked_for() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    append(&log, numbers("ada", 0, 20)).await;
    hold_all(&log).await;
    for place in [1_000, 1_000] {
        assert!(matches!(poll(&log, &Places::from([(0, place)]), 10).await, Polled::Records(_)));
        let checked = log.check().await;
        assert!(
            matches!(&checked, Err(LogError::Damaged(text)) if text.contains("made anew")),
            "{checked:?}"
        );
    }
    assert!(matches!(poll(&log, &Places::from([(0, 10)]), 10).await, Polled::Records(_)));
    assert_eq!(log.check().await, Ok(()));
}

#[actix_web::test]
async fn what_somebody_else_has_written_comes_through_whatever_it_is() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    cluster.write(EVENTS, 0, None, Some(b"no key"));
    cluster.write(EVENTS, 0, Some(&[0xff, 0xfe]), Some(&[0xff]));
    cluster.write(EVENTS, 0, Some(b"ada"), None);
    let mut held = hold_all(&log).await;
    let records = read(&log, &mut held, 3).await;
    assert_eq!((&*records[0].key, &records[0].value[..]), ("", &b"no key"[..]));
    assert_eq!((&*records[1].key, &records[1].value[..]), ("\u{fffd}\u{fffd}", &[0xff][..]));
    assert_eq!((&*records[2].key, &records[2].value[..]), ("ada", &[][..]));
    assert!(records.iter().all(|record| record.headers.is_empty()));
}

#[actix_web::test]
async fn a_member_that_does_nothing_holds_back_what_it_fetches_and_then_reads_all_of_it() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    // More than the buffer takes.
    let count = 24_000;
    for from in (0..count).step_by(6_000) {
        append(&log, numbers("ada", from, from + 6_000)).await;
    }
    let begin = hold_all(&log).await;
    for _ in 0..50 {
        let first = read(&log, &mut begin.clone(), 1).await;
        assert_eq!(first[0].offset, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut held = begin;
    assert_eq!(by_key(&read(&log, &mut held, count).await)["ada"], (0..count).collect::<Vec<_>>());
}

#[actix_web::test]
async fn leaving_ends_promptly_also_without_brokers() {
    let cluster = Cluster::start(1);
    let log = log(&cluster, 1);
    let held = hold_all(&log).await;
    cluster.down();
    let began = Instant::now();
    log.leave().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(matches!(log.poll(&held, 1).await, Err(LogError::Unavailable(_))));
    // Once more is no harm, nor is it for who never joined.
    log.leave().await;
    KafkaLog::new(config(&cluster, 1)).expect("a log").leave().await;
}

/// What a poll tells, passing over what it complains of meanwhile.
async fn told(log: &KafkaLog, held: &Places) -> Polled {
    let began = Instant::now();
    loop {
        match timeout(PATIENCE, log.poll(held, 10)).await.expect("something to tell") {
            Ok(polled) => return polled,
            Err(LogError::Unavailable(_)) => assert!(began.elapsed() < PATIENCE),
            Err(error) => panic!("{error}"),
        }
    }
}

#[actix_web::test]
async fn a_member_whose_session_ends_without_brokers_loses_its_partitions_and_gains_them_when_they_are_back()
{
    let cluster = Cluster::start(2);
    let log = log(&cluster, 2);
    append(&log, numbers("ada", 0, 5)).await;
    let mut held = hold_all(&log).await;
    read(&log, &mut held, 5).await;
    cluster.down();
    assert_eq!(told(&log, &held).await, Polled::Lost(vec![0, 1]));
    // Not waited for any longer, and still to be released.
    cluster.up();
    assert_eq!(told(&log, &held).await, Polled::Lost(vec![0, 1]));
    log.release(&[0, 1]).await.expect("they are released");
    let mut regained = Places::new();
    while regained.len() < 2 {
        let Polled::Gained(partitions) = told(&log, &regained).await else { panic!("something else") };
        regained.extend(partitions.iter().map(|partition| (*partition, held[partition])));
    }
    append_until_done(&log, &numbers("ada", 5, 10)).await;
    assert_eq!(by_key(&read(&log, &mut regained, 5).await)["ada"], (5..10).collect::<Vec<_>>());
}

/// What members have in common: a store of places, and a view of who holds and has read what.
#[derive(Default)]
struct Board {
    holders: Mutex<BTreeMap<u32, usize>>,
    places: Mutex<Places>,
    read: Mutex<BTreeSet<(u32, i64)>>,
}

impl Board {
    fn shares(&self) -> Vec<usize> {
        let holders = self.holders.lock().expect("no panic");
        let members: BTreeSet<usize> = holders.values().copied().collect();
        members.iter().map(|member| holders.values().filter(|holder| *holder == member).count()).collect()
    }

    async fn until(&self, shares: &[usize]) {
        let began = Instant::now();
        while self.shares() != shares {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.shares());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn forget(&self, member: usize, partitions: &[u32]) {
        let mut holders = self.holders.lock().expect("no panic");
        for partition in partitions {
            assert_eq!(holders.remove(partition), Some(member), "of {partition}");
        }
    }
}

/// A member that takes over and hands over as the consumer does, until it is told to stop.
async fn member(number: usize, log: KafkaLog, board: Arc<Board>, mut stop: watch::Receiver<bool>) {
    let mut held = Places::new();
    loop {
        let polled = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            polled = log.poll(&held, 50) => polled.expect("the log is there"),
        };
        match polled {
            Polled::Gained(partitions) => {
                for partition in partitions {
                    let before = board.holders.lock().expect("no panic").insert(partition, number);
                    assert_eq!(before, None, "{partition} has another holder");
                    let place = board.places.lock().expect("no panic").get(&partition).copied();
                    held.insert(partition, place.unwrap_or_default());
                }
            }
            Polled::Lost(partitions) => {
                held.retain(|partition, _| !partitions.contains(partition));
                board.forget(number, &partitions);
                log.release(&partitions).await.expect("they are released");
            }
            Polled::Records(records) => {
                for record in records {
                    let is_new =
                        board.read.lock().expect("no panic").insert((record.partition, record.offset));
                    assert!(is_new, "{record:?} was read twice");
                    held.insert(record.partition, record.offset + 1);
                    board.places.lock().expect("no panic").insert(record.partition, record.offset + 1);
                }
            }
        }
    }
    board.forget(number, &held.keys().copied().collect::<Vec<_>>());
    log.leave().await;
}

#[actix_web::test]
async fn members_share_the_partitions_and_hand_them_over_as_they_come_and_go() {
    const PARTITIONS: u32 = 6;
    let cluster = Cluster::start(PARTITIONS);
    let board = Arc::new(Board::default());
    let join = |number| {
        let (stop, stopped) = watch::channel(false);
        let member = member(number, log(&cluster, PARTITIONS), Arc::clone(&board), stopped);
        (stop, actix_web::rt::spawn(member))
    };
    let producer = log(&cluster, PARTITIONS);
    let mut sent = 0;
    let mut send = async || {
        let keys = (sent..sent + 300).map(|number| message(&format!("user-{}", number % 40), number));
        append(&producer, keys.collect()).await;
        sent += 300;
    };
    let first = join(1);
    board.until(&[6]).await;
    send().await;
    let second = join(2);
    board.until(&[3, 3]).await;
    send().await;
    let third = join(3);
    board.until(&[2, 2, 2]).await;
    send().await;
    second.0.send_replace(true);
    second.1.await.expect("it leaves");
    board.until(&[3, 3]).await;
    send().await;
    let began = Instant::now();
    while board.read.lock().expect("no panic").len() < sent {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (stop, member) in [first, third] {
        stop.send_replace(true);
        member.await.expect("it leaves");
    }
}

#[actix_web::test]
async fn a_member_that_does_not_release_is_waited_for_so_long_and_no_longer() {
    let cluster = Cluster::start(2);
    let slow = log(&cluster, 2);
    assert_eq!(slow.hand_over_limit(), SESSION_TIMEOUT / 2);
    let mut held = hold_all(&slow).await;
    let other = log(&cluster, 2);
    let gained = async {
        let polled = poll(&other, &Places::new(), 1).await;
        (polled, Instant::now())
    };
    let lost = async {
        let polled = poll(&slow, &held, 1).await;
        (polled, Instant::now())
    };
    let ((gained, gained_at), (lost, lost_at)) = tokio::join!(gained, lost);
    let Polled::Lost(partitions) = lost else { panic!("{lost:?}") };
    assert_eq!(gained, Polled::Gained(partitions.clone()));
    let waited = gained_at - lost_at;
    assert!(waited >= SESSION_TIMEOUT / 2, "it was not waited for: {waited:?}");
    assert!(waited < Duration::from_secs(20), "it was waited for too long: {waited:?}");
    // It hears of the loss until it releases, whatever it believes; and if it all comes back then, it is told anew.
    assert_eq!(poll(&slow, &held, 1).await, Polled::Lost(partitions.clone()));
    other.leave().await;
    assert_eq!(poll(&slow, &held, 1).await, Polled::Lost(partitions.clone()));
    held.retain(|partition, _| !partitions.contains(partition));
    slow.release(&partitions).await.expect("they are released");
    assert_eq!(poll(&slow, &held, 1).await, Polled::Gained(partitions));
}
