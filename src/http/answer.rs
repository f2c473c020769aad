//! What a delivery that was taken in is answered.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actors::domain::delivery::Rejections;
use actors::domain::ids::{MaskedUserId, RequestId};
use actors::ports::store::Receipt;

/// A successful answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) word: &'static str,
    /// New events.
    pub(super) events: usize,
    /// New readings.
    pub(super) readings: usize,
    pub(super) rejected: Rejections,
    pub(super) reason: Option<&'static str>,
    pub(super) user: Option<MaskedUserId>,
}

impl Answer {
    pub(super) fn new(status: StatusCode, word: &'static str) -> Self {
        let rejected = Rejections::default();
        Self { status, word, events: 0, readings: 0, rejected, reason: None, user: None }
    }

    pub(super) fn ignored(reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::new(StatusCode::OK, "ignored") }
    }

    /// Counts what was new.
    pub(super) fn count(&mut self, receipts: &[Receipt]) {
        for receipt in receipts.iter().filter(|receipt| receipt.is_new) {
            self.events += 1;
            self.readings += receipt.readings;
        }
    }

    pub(super) fn response(&self, device: &str, request_id: &RequestId) -> HttpResponse {
        let mut body = serde_json::json!({
            "status": self.word,
            "device": device,
            "events": self.events,
            "readings": self.readings,
            "rejected": self.rejected.listed,
            "rejected_total": self.rejected.total,
            "request_id": request_id.as_str(),
        });
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        HttpResponse::build(self.status).json(body)
    }
}
