//! What is told of it all: typed events become log lines and metrics, here and nowhere else.

mod events;
mod logging;
mod metrics;

pub use events::{Delivery, DeliveryEnd, Teller};
pub use logging::{LogGuard, Sink, init as init_logging};
pub use metrics::{Gauges, Metrics, SlotCounts};
