//! Brokers that cannot be reached: why, and which setting to look at, is told wherever the log is asked.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actors::domain::message::Topic;
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, Places};
use biometric_bridge::adapters::kafka::{KafkaConfig, KafkaLog, KafkaReader, create_topics};

use crate::event_log::message;

/// What every door to the log says of brokers that cannot be reached.
async fn complaints(config: KafkaConfig) -> Vec<String> {
    let log = KafkaLog::new(config.clone()).expect("a log");
    let text = |error: LogError| error.to_string();
    let mut told = vec![
        log.check().await.map_err(text).expect_err("nobody is there"),
        log.check_partitions(Duration::from_secs(1)).await.map_err(text).expect_err("nobody is there"),
        log.append(Arc::new(vec![message("ada", 1)])).await.map_err(text).expect_err("nobody is there"),
        log.poll(&Places::new(), 1).await.map_err(text).expect_err("nobody is there"),
        KafkaReader::open(&config, Topic::BiometricEvents).await.map(drop).map_err(text).expect_err("nobody"),
    ];
    for (topic, outcome) in create_topics(&config).await {
        told.push(outcome.complaint(topic.name, config.partitions).expect("a complaint"));
    }
    told
}

fn config(servers: &str) -> KafkaConfig {
    KafkaConfig::new(servers, "bridges", 2)
}

#[actix_web::test]
async fn a_broker_that_is_not_there_is_told_by_its_address() {
    // Freed at once: nobody listens there.
    let address =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    for told in complaints(config(&address)).await {
        assert!(told.contains(&address) && told.contains("Connection refused"), "{told}");
        assert!(!told.contains("after "), "{told}");
    }
}

#[actix_web::test]
async fn a_name_that_nobody_knows_is_told() {
    for told in complaints(config("no-such-host.invalid:9092")).await {
        assert!(told.contains("resolve 'no-such-host.invalid:9092'"), "{told}");
    }
}

#[actix_web::test]
async fn who_hangs_up_on_plain_text_is_told_with_the_variable_that_may_be_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // As a listener for TLS does, and one for logins.
    thread::spawn(move || listener.incoming().for_each(drop));
    for told in complaints(config(&address)).await {
        assert!(told.contains(&address) && told.contains("KAFKA_SECURITY_PROTOCOL"), "{told}");
    }
}

#[cfg(feature = "kafka-tls")]
#[actix_web::test]
async fn who_does_not_speak_tls_is_told_with_the_variable_that_may_be_wrong() {
    let cluster = crate::cluster::Cluster::start(2);
    let config = KafkaConfig { security_protocol: Some("SSL".to_owned()), ..config(&cluster.servers) };
    for told in complaints(config).await {
        assert!(told.contains("KAFKA_SECURITY_PROTOCOL"), "{told}");
    }
}

#[cfg(feature = "kafka-tls")]
#[actix_web::test]
async fn a_file_that_holds_no_certificates_is_told_with_its_variable() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let config = KafkaConfig {
        security_protocol: Some("SSL".to_owned()),
        ssl_ca_location: Some(file.path().display().to_string()),
        ..config("127.0.0.1:9092")
    };
    let Err(error) = KafkaLog::new(config) else { panic!("it was taken") };
    assert!(error.to_string().contains("KAFKA_SSL_CA_LOCATION"), "{error}");
}
