//! What a reader asks for.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actors::domain::ids::UserId;
use actors::domain::message::Topic;
use actors::ports::event_log::LogRecord;
use actors::ports::follow::{FOLLOWED, MessageId, Scope};
use serde::Deserialize;

use crate::http::problem::Problem;
use crate::http::query;
use crate::http::read_api::{invalid, is_utf8};
use crate::settings::STREAM_IDS_MAX;

/// In which a reader tells the last id that it has.
const LAST_EVENT_ID: &str = "last-event-id";

/// `?user_id&type&last_event_id`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    user_id: Option<String>,
    r#type: Option<String>,
    last_event_id: Option<String>,
}

/// What a reader follows, and where it begins.
pub(super) struct Wish {
    pub(super) filter: Filter,
    /// The newest ids that it has; none, and it begins with what is new.
    pub(super) after: Vec<MessageId>,
}

/// Which messages are a reader's.
pub(super) struct Filter {
    pub(super) scope: Scope,
    user: Option<UserId>,
    /// What it has of partitions already.
    seen: BTreeMap<(Topic, u32), i64>,
}

impl Filter {
    /// Whether a message of ours is the reader's.
    pub(super) fn takes(&self, record: &LogRecord) -> bool {
        self.scope.topics.contains(&record.topic)
            && self.user.as_ref().is_none_or(|user| user.as_str() == &*record.key)
            && self.seen.get(&(record.topic, record.partition)).is_none_or(|seen| record.offset > *seen)
    }

    /// What was said to be there and is not: everything comes again.
    pub(super) fn forget_seen(&mut self) {
        self.seen.clear();
    }
}

/// The word for a topic, in `type`.
pub(super) const fn type_of(topic: Topic) -> &'static str {
    match topic {
        Topic::ModeSwitches => "mode_switch",
        _ => "event",
    }
}

/// Reads what a request asks for. `partition`: of a user.
pub(super) fn read(request: &HttpRequest, partition: impl Fn(&str) -> u32) -> Result<Wish, Problem> {
    if !is_utf8(&request.query_string().replace('+', " ")) {
        return Err(invalid(request, "the query string is not UTF-8"));
    }
    let parameters: Parameters = query(request)?;
    let user = parameters
        .user_id
        .as_deref()
        .map(|id| UserId::parse(id).map_err(|error| invalid(request, format!("user_id {error}"))));
    let user = user.transpose()?;
    let topics = match parameters.r#type.as_deref() {
        None => FOLLOWED.to_vec(),
        Some(word) => match FOLLOWED.into_iter().find(|topic| type_of(*topic) == word) {
            Some(topic) => vec![topic],
            None => return Err(invalid(request, "type must be event or mode_switch")),
        },
    };
    let given = match request.headers().get(LAST_EVENT_ID) {
        Some(value) => Some(value.to_str().unwrap_or("?").to_owned()),
        None => parameters.last_event_id,
    };
    // An empty one is what a browser sends that has none.
    let after = match given.as_deref().map(str::trim).filter(|given| !given.is_empty()) {
        None => Vec::new(),
        Some(given) => ids(given).ok_or_else(|| {
            let detail = "Last-Event-ID must be an id of this stream, as biometric-events:3:17, or several of them, \
                          separated by commas";
            invalid(request, detail)
        })?,
    };
    let partition = user.as_ref().map(|user| partition(user.as_str()));
    let seen = after.iter().map(|id| ((id.topic, id.partition), id.offset)).collect();
    Ok(Wish { filter: Filter { scope: Scope { topics, partition }, user, seen }, after })
}

/// At most one of each partition; of several the newest.
fn ids(given: &str) -> Option<Vec<MessageId>> {
    let mut newest = BTreeMap::new();
    for (count, id) in given.split(',').enumerate() {
        let id = MessageId::parse(id.trim()).filter(|_| count < STREAM_IDS_MAX)?;
        let held = newest.entry((id.topic, id.partition)).or_insert(id);
        *held = id.max(*held);
    }
    Some(newest.into_values().collect())
}
