//! Between our messages and librdkafka's.

use std::sync::Arc;

use actors::domain::message::{HeaderField, Message, Topic};
use actors::ports::event_log::LogRecord;
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};

/// A message that was read from `topic`. Somebody else's may have any key, or none.
pub(super) fn record_of(topic: Topic, message: &BorrowedMessage<'_>) -> LogRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let field = |header: Header<'_, &[u8]>| -> HeaderField {
            (Arc::from(header.key), header.value.unwrap_or_default().to_vec())
        };
        headers.iter().map(field).collect()
    });
    LogRecord {
        topic,
        partition: u32::try_from(message.partition()).unwrap_or_default(),
        offset: message.offset(),
        key: Arc::from(String::from_utf8_lossy(message.key().unwrap_or_default())),
        value: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}

/// The headers of a message, empty values included.
pub(super) fn headers_of(message: &Message) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(message.headers.len());
    message
        .headers
        .iter()
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_slice()) }))
}
