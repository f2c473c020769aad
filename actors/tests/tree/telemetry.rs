//! Telemetry that strikes: a panic in it is a panic of the actor that tells.

use std::sync::Arc;

use actors::memory::Recorder;
use actors::ports::Telemetry;
use actors::ports::telemetry::PipelineEvent;

use crate::bridge::Setup;

struct Striking<F> {
    recorder: Arc<Recorder>,
    strikes: F,
}

impl<F: Fn(&PipelineEvent<'_>) -> bool + Send + Sync + 'static> Telemetry for Striking<F> {
    fn emit(&self, event: PipelineEvent<'_>) {
        assert!(!(self.strikes)(&event), "a fault of the test");
        self.recorder.emit(event);
    }
}

/// A setup in which whoever tells an event of which `strikes` is true dies of it.
pub fn striking(strikes: impl Fn(&PipelineEvent<'_>) -> bool + Send + Sync + 'static) -> Setup {
    let setup = Setup::default();
    let telemetry = Striking { recorder: Arc::clone(&setup.recorder), strikes };
    Setup { telemetry: Some(Arc::new(telemetry)), ..setup }
}
