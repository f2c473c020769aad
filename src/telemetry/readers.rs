//! Readers of `/v1/stream` and `/ws`.

use std::time::Duration;

use actors::domain::ids::RequestId;
use prometheus::{IntCounterVec, IntGaugeVec};
use tracing::{Level, event};

use super::Teller;
use super::metrics::Maker;

/// How a reader is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Sse, Self::WebSocket];

    const fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why a reader's stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderEnd {
    /// It has gone, or has taken nothing for too long.
    Left,
    /// It was cut off: too many messages were before it.
    Behind,
    /// The bridge stops.
    Stopping,
}

impl ReaderEnd {
    const ALL: [Self; 3] = [Self::Left, Self::Behind, Self::Stopping];

    const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Behind => "behind",
            Self::Stopping => "stopping",
        }
    }
}

/// Of readers.
pub(super) struct ReaderMetrics {
    now: IntGaugeVec,
    messages: IntCounterVec,
    ended: IntCounterVec,
}

impl ReaderMetrics {
    /// All at zero, so that a rate sees the first of each.
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let metrics = Self {
            now: make.gauges("stream_readers", &["transport"], "Readers of the streams"),
            messages: make.counters(
                "stream_messages_total",
                &["transport"],
                "Messages that were handed to readers' connections",
            ),
            ended: make.counters(
                "stream_readers_ended_total",
                &["transport", "reason"],
                "Readers whose stream has ended",
            ),
        };
        for transport in Transport::ALL.map(Transport::name) {
            metrics.now.with_label_values(&[transport]);
            metrics.messages.with_label_values(&[transport]);
            for end in ReaderEnd::ALL {
                metrics.ended.with_label_values(&[transport, end.name()]);
            }
        }
        metrics
    }
}

impl Teller {
    /// A reader follows from now on.
    pub fn reader_came(&self, transport: Transport) {
        self.metrics.readers.now.with_label_values(&[transport.name()]).inc();
    }

    /// A reader's connection was handed so many messages.
    pub fn messages_read(&self, transport: Transport, count: usize) {
        self.metrics.readers.messages.with_label_values(&[transport.name()]).inc_by(count as u64);
    }

    /// A reader's stream has ended.
    pub fn reader_left(
        &self,
        request_id: &RequestId,
        transport: Transport,
        end: ReaderEnd,
        duration: Duration,
    ) {
        let (transport, reason, duration_ms) = (transport.name(), end.name(), duration.as_secs_f64() * 1e3);
        self.metrics.readers.now.with_label_values(&[transport]).dec();
        self.metrics.readers.ended.with_label_values(&[transport, reason]).inc();
        match end {
            ReaderEnd::Behind => {
                event!(Level::WARN, %request_id, transport, duration_ms, "a reader was cut off: it is too far behind");
            }
            ReaderEnd::Left | ReaderEnd::Stopping => {
                event!(Level::DEBUG, %request_id, transport, reason, duration_ms, "a reader's stream has ended");
            }
        }
    }
}
