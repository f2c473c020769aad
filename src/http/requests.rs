//! What every request gets: an id, a line when it is done, and an answer even if its handler panics.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};
use actors::domain::ids::RequestId;
use bytes::Bytes;
use futures_util::FutureExt;

use super::connection::{InHand, Turn};
use super::problem::Problem;
use super::state::Doors;

/// The field in which a request's id comes and goes.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request its id, and tells it and how long the request took. A panic ends its request alone: it is
/// answered 500, and what the request held is given back.
pub(super) async fn with_request_id(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let in_hand = request.conn_data::<Rc<Turn>>().map(Turn::begin);
    let given =
        request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).and_then(RequestId::parse);
    let request_id = given.unwrap_or_else(RequestId::generate);
    request.extensions_mut().insert(request_id.clone());
    let doors = request.app_data::<web::Data<Doors>>().cloned();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let header = HeaderValue::from_str(request_id.as_str());
    // What is half changed when a handler panics goes with its request: handlers share nothing that they change.
    let handled = AssertUnwindSafe(async { next.call(request).await }).catch_unwind().await;
    let done = |status: u16| {
        if let Some(doors) = &doors {
            doors.teller.request_done(&request_id, &route, status, started.elapsed());
        }
    };
    let Ok(answered) = handled else {
        if let Some(doors) = &doors {
            doors.teller.request_panicked(&request_id, &route);
        }
        let problem = Problem::panicked(request_id.clone());
        done(problem.status_code().as_u16());
        let mut response = problem.error_response();
        if let Ok(value) = header {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        return Err(InternalError::from_response(problem, response).into());
    };
    let mut response = answered?;
    if let Ok(value) = header {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    done(response.status().as_u16());
    Ok(response.map_body(|_, body| Answer { body: body.boxed(), _in_hand: in_hand }))
}

/// The body of an answer, whose request is in hand until all of it has been handed on.
struct Answer {
    body: BoxBody,
    _in_hand: Option<InHand>,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
