//! What librdkafka says beside the results of calls. These only tell that no broker can be reached; why, it says once
//! and aside.

use std::sync::Arc;

use actors::ports::event_log::LogError;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

/// librdkafka's settings as its texts name them, and the variables that people set.
const NAMES: [(&str, &str); 6] = [
    ("ssl.ca.location", "KAFKA_SSL_CA_LOCATION"),
    ("security.protocol", "KAFKA_SECURITY_PROTOCOL"),
    ("sasl.mechanisms", "KAFKA_SASL_MECHANISM"),
    ("sasl.mechanism", "KAFKA_SASL_MECHANISM"),
    ("sasl.username", "KAFKA_SASL_USERNAME"),
    ("sasl.password", "KAFKA_SASL_PASSWORD"),
];
/// What it puts behind its reasons: how long the connection was in which state …
const SINCE: &str = " (after ";
/// … and which state is that of TLS's handshake.
const HANDSHAKE: &str = "SSL_HANDSHAKE";
/// Its words for a broker that does not speak what we speak, or has just ended.
const HUNG_UP: &str = "Disconnected";
/// Its words for a certificate that is not the right one.
const UNTRUSTED: &str = "certificate verify failed";
/// What it calls connections that failed. A broker that hangs up is told so, and is no error to it.
const FAILURE: &str = "FAIL";
/// Before its reasons it may name its thread, in brackets.
const THREAD_END: &str = "]: ";

/// The context of a client: it keeps the last reason why a broker could not be reached. All of librdkafka's other words
/// are in the results of calls as well.
#[derive(Debug, Clone, Default)]
pub(super) struct Ear {
    last: Arc<Mutex<Option<String>>>,
}

impl Ear {
    /// The brokers have answered: what was heard before is no reason of a later failure.
    pub(super) fn forget(&self) {
        *self.last.lock() = None;
    }

    /// The last reason, if there is one since the brokers have answered.
    pub(super) fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }

    /// Why a call failed, for people.
    pub(super) fn reason(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(code) if is_of_connections(code) => self.last().unwrap_or_else(|| code.to_string()),
            Some(code) => code.to_string(),
            None => created(error),
        }
    }

    /// The same as the log's error.
    pub(super) fn unavailable(&self, error: &KafkaError) -> LogError {
        LogError::Unavailable(self.reason(error))
    }

    fn hear(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        *self.last.lock() = Some(explained(code, reason));
    }
}

/// Why a client could not be made, for people.
pub(super) fn created(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientCreation(reason) => translated(reason),
        other => other.to_string(),
    }
}

fn is_of_connections(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::Authentication
    )
}

/// The reason, and what to look at.
fn explained(code: Option<RDKafkaErrorCode>, reason: &str) -> String {
    let (text, state) = reason.rsplit_once(SINCE).unwrap_or((reason, ""));
    let text = translated(text);
    if text.contains(UNTRUSTED) {
        // It says the same of a certificate of another host.
        return format!("{text}, and that the certificate names this host");
    }
    let advice = match code {
        Some(RDKafkaErrorCode::Authentication) => {
            "check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        }
        _ if text.contains(HUNG_UP) => "check KAFKA_SECURITY_PROTOCOL, if the broker runs",
        _ if state.contains(HANDSHAKE) => "check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION",
        _ => return text,
    };
    if text.contains("KAFKA_") { text } else { format!("{text}: {advice}") }
}

fn translated(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == FAILURE {
            self.hear(None, text.split_once(THREAD_END).map_or(text, |(_, text)| text));
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // `AllBrokersDown` follows upon the reason.
        let code = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::AllBrokersDown);
        if code.is_some_and(is_of_connections) {
            self.hear(code, reason);
        }
    }
}

impl ConsumerContext for Ear {}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka says them of a real Kafka.
    #[test]
    fn a_reason_is_told_with_the_variables_to_look_at() {
        let told = |code, reason: &str| {
            let ear = Ear::default();
            ear.error(KafkaError::Global(code), reason);
            ear.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
            ear.reason(&KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure))
        };
        let untrusted = told(
            RDKafkaErrorCode::SSL,
            "ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker \
             certificate could not be verified, verify that ssl.ca.location is correctly configured (after 4ms in \
             state SSL_HANDSHAKE)",
        );
        assert!(
            untrusted.contains("KAFKA_SSL_CA_LOCATION") && untrusted.contains("names this host"),
            "{untrusted}"
        );
        let denied = told(
            RDKafkaErrorCode::Authentication,
            "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed (after 99ms in state AUTH_REQ)",
        );
        assert!(denied.ends_with("KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"), "{denied}");
        let refused = "h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        let told = told(
            RDKafkaErrorCode::BrokerTransportFailure,
            &format!("{refused} (after 0ms in state CONNECT)"),
        );
        assert_eq!(told, refused);
    }

    #[test]
    fn what_was_heard_before_the_brokers_answered_explains_nothing() {
        let ear = Ear::default();
        ear.log(RDKafkaLogLevel::Info, "FAIL", "[thrd:h:1/bootstrap]: h:1/bootstrap: Disconnected");
        assert!(ear.last().is_some_and(|text| text.starts_with("h:1/bootstrap: Disconnected")));
        ear.forget();
        let late = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        assert_eq!(ear.reason(&late), RDKafkaErrorCode::OperationTimedOut.to_string());
        ear.log(RDKafkaLogLevel::Info, "CONNECT", "[thrd:h:1/bootstrap]: h:1/bootstrap: Connecting");
        assert_eq!(ear.last(), None);
    }
}
