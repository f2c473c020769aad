//! What is told of it all: typed events become log lines and metrics, here and nowhere else.

mod events;
mod logging;
mod metrics;
mod readers;

pub use events::{Delivery, DeliveryEnd, Teller};
pub use logging::{LogGuard, Sink, end_process, init as init_logging};
pub use metrics::{Gauges, Metrics, SlotCounts};
pub use readers::{ReaderEnd, Transport};
