//! A Kafka cluster inside the test's own process: librdkafka's mock, on loopback. It speaks the protocol, and can be
//! told to fail; nothing on it is durable, and it keeps at most 5 MiB a partition.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// Longer than anything that is waited for takes on a slow machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Every topic of contract §3.
const TOPICS: [&str; 6] = [
    "biometric-events",
    "biometric-events.dlq",
    "neuros-mode-switches",
    "neuros-user-state",
    "terra-biometric-events",
    "biometric-sources",
];

type Mock = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Mock) + Send>;

/// One broker. It lives on a thread of its own, so that any test may hold it, and goes when this does.
pub(crate) struct Cluster {
    /// `KAFKA_BOOTSTRAP_SERVERS`.
    pub(crate) servers: String,
    orders: Sender<Order>,
}

impl Cluster {
    /// A cluster with all topics of ours, of so many partitions.
    pub(crate) fn start(partitions: u32) -> Self {
        let cluster = Self::without_topics();
        let partitions = i32::try_from(partitions).expect("a small number");
        cluster.tell(move |mock| {
            for topic in TOPICS {
                mock.create_topic(topic, partitions, 1).expect("a topic");
            }
        });
        cluster
    }

    /// A cluster that has no topics.
    pub(crate) fn without_topics() -> Self {
        let (orders, inbox): (Sender<Order>, Receiver<Order>) = channel();
        let (started, servers) = channel();
        thread::spawn(move || {
            let mock = MockCluster::new(1).expect("a mock cluster");
            started.send(mock.bootstrap_servers()).expect("the test waits for it");
            while let Ok(order) = inbox.recv() {
                order(&mock);
            }
        });
        Self { servers: servers.recv().expect("the cluster starts"), orders }
    }

    /// Has it do something, and waits until it is done.
    pub(crate) fn tell(&self, order: impl FnOnce(&Mock) + Send + 'static) {
        let (done, wait) = channel();
        let order: Order = Box::new(move |mock| {
            order(mock);
            done.send(()).expect("the test waits for it");
        });
        self.orders.send(order).expect("the cluster lives");
        wait.recv().expect("the cluster obeys");
    }

    /// Cuts all connections, and takes no new ones.
    pub(crate) fn down(&self) {
        self.tell(|mock| mock.broker_down(-1).expect("a broker"));
    }

    /// Takes connections again.
    pub(crate) fn up(&self) {
        self.tell(|mock| mock.broker_up(-1).expect("a broker"));
    }

    /// The next requests of this kind are answered with these errors.
    pub(crate) fn fail(&self, request: RDKafkaApiKey, errors: &'static [RDKafkaRespErr]) {
        self.tell(move |mock| mock.request_errors(request, errors));
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.servers);
        client
    }

    /// The first `count` records of a topic, as any other program reads them: in order within each partition.
    pub(crate) fn read(&self, topic: &'static str, count: usize) -> Vec<OwnedMessage> {
        let mut client = self.client();
        client.set("group.id", "a-test-that-reads").set("enable.auto.commit", "false");
        let consumer = BaseConsumer::from_config(&client).expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (mut records, began) = (Vec::new(), Instant::now());
        while records.len() < count {
            assert!(began.elapsed() < PATIENCE, "{} of {count} records", records.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                records.push(message.detach());
            }
        }
        records
    }

    /// Puts a message on a topic that is not ours.
    pub(crate) fn write(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let producer: BaseProducer = BaseProducer::from_config(&self.client()).expect("a producer");
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition);
        (record.key, record.payload) = (key, value);
        producer.send(record).map_err(|(error, _)| error).expect("it is taken");
        producer.flush(PATIENCE).expect("it is acknowledged");
    }
}

/// The values of a message's header, in order.
pub(crate) fn header<'m>(message: &'m OwnedMessage, name: &str) -> Option<&'m [u8]> {
    message.headers()?.iter().find(|header| header.key == name)?.value
}
