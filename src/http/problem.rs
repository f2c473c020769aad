//! Refusals that talk to people and to programs: `application/problem+json` (RFC 9457), as the contract has them.

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use actors::domain::ids::RequestId;

use super::admission::NoRoom;
use crate::settings::RETRY_AFTER_SECONDS;

/// What kind of refusal; the last part of `type`, and `error_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorType {
    ValidationError,
    AuthenticationError,
    BackPressure,
    StoreUnavailable,
    DeviceDisabled,
    PayloadTooLarge,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
    RequestTimeout,
    Conflict,
    ProcessingError,
    InternalError,
}

impl ErrorType {
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
        Self::ValidationError,
        Self::AuthenticationError,
        Self::BackPressure,
        Self::StoreUnavailable,
        Self::DeviceDisabled,
        Self::PayloadTooLarge,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::RequestTimeout,
        Self::Conflict,
        Self::ProcessingError,
        Self::InternalError,
    ];

    /// The contract's word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ValidationError => "validation_error",
            Self::AuthenticationError => "authentication_error",
            Self::BackPressure => "back_pressure",
            Self::StoreUnavailable => "store_unavailable",
            Self::DeviceDisabled => "device_disabled",
            Self::PayloadTooLarge => "payload_too_large",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RequestTimeout => "request_timeout",
            Self::Conflict => "conflict",
            Self::ProcessingError => "processing_error",
            Self::InternalError => "internal_error",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::ValidationError => "The request cannot be read",
            Self::AuthenticationError => "The signature or key is not valid",
            Self::BackPressure => "Too much at once",
            Self::StoreUnavailable => "The store is unavailable",
            Self::DeviceDisabled => "This device is switched off",
            Self::PayloadTooLarge => "The body is too large",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "This method is not allowed here",
            Self::UnsupportedMediaType => "This type of content is not read here",
            Self::RequestTimeout => "The body came too slowly",
            Self::Conflict => "This cannot be done as things are",
            Self::ProcessingError => "The delivery could not be processed",
            Self::InternalError => "Something is wrong on our side",
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::ValidationError => StatusCode::BAD_REQUEST,
            Self::AuthenticationError => StatusCode::UNAUTHORIZED,
            Self::BackPressure | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeviceDisabled | Self::NotFound => StatusCode::NOT_FOUND,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::ProcessingError | Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// What kind.
    pub error_type: ErrorType,
    detail: String,
    request_id: RequestId,
    allow: Option<&'static str>,
}

impl Problem {
    /// A refusal of `request`. `detail` says what was wrong, where, and what to do; never an id, a secret or a value.
    pub(super) fn new(request: &HttpRequest, error_type: ErrorType, detail: impl Into<String>) -> Self {
        let request_id = request_id(request);
        Self { error_type, detail: detail.into(), request_id, allow: None }
    }

    /// 503: there is no room for it now.
    pub(super) fn no_room(request: &HttpRequest, error: NoRoom) -> Self {
        Self::new(request, ErrorType::BackPressure, format!("{error}: try again"))
    }

    /// 503: shutdown has begun.
    pub(super) fn stopping(request: &HttpRequest) -> Self {
        Self::new(request, ErrorType::BackPressure, "the bridge is stopping: try again")
    }

    /// 500: a handler panicked. Of the panic nothing is told: its text may hold what was worked on.
    pub(super) fn panicked(request_id: RequestId) -> Self {
        let detail =
            "the request could not be handled, by no fault of its own: its id is in the log".to_owned();
        Self { error_type: ErrorType::InternalError, detail, request_id, allow: None }
    }

    /// 405 with what is allowed.
    pub(super) fn method_not_allowed(request: &HttpRequest, allow: &'static str) -> Self {
        let problem = Self::new(request, ErrorType::MethodNotAllowed, format!("use {allow}"));
        Self { allow: Some(allow), ..problem }
    }
}

/// The request's id, as the middleware gave it.
pub(super) fn request_id(request: &HttpRequest) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::generate)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type.name(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.error_type.status()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let body = serde_json::json!({
            "type": format!("urn:biometric-bridge:{}", self.error_type.name()),
            "title": self.error_type.title(),
            "status": status.as_u16(),
            "detail": self.detail,
            "error_type": self.error_type.name(),
            "request_id": self.request_id.as_str(),
        });
        response.content_type("application/problem+json").body(body.to_string())
    }
}
