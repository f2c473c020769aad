//! Events that go from one user to another: which of them in one transaction, and what becomes of each.

use std::collections::BTreeMap;

use actors::domain::admission::Known;
use actors::domain::event::Event;
use actors::domain::ids::{Identity, RequestId, UserId};
use actors::domain::message::{Message, header};
use actors::ports::store::{EncodeEvent, StoreError};

use super::newest::Newest;
use super::{damaged, damaged_json, decode_headers, encode_headers, visible_part};

/// Events of one transaction hold no more than this, save one alone: of ordinary events, some 20,000 readings.
const VALUES_MAX_BYTES: i64 = 4 << 20;

/// What moves next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The numbers of the events.
    pub(crate) seqs: Vec<i64>,
    /// Whether there is more.
    pub(crate) has_more: bool,
}

/// Chooses among the oldest events, each with the bytes of its value; one more than `limit` tells that there are more.
pub(crate) fn choose(oldest: &[(i64, i64)], limit: usize) -> Chosen {
    let mut bytes = 0;
    let fits = |(_, size): &&(i64, i64)| {
        bytes += size;
        bytes <= VALUES_MAX_BYTES
    };
    let fitting = oldest.iter().take(limit).take_while(fits).count();
    let chosen = fitting.max(1).min(oldest.len());
    let seqs = oldest[..chosen].iter().map(|(seq, _)| *seq).collect();
    Chosen { seqs, has_more: chosen < oldest.len() }
}

/// An event's row as it lies there.
pub(crate) struct HeldEvent {
    pub(crate) seq: i64,
    /// Places of readings.
    pub(crate) hidden: Vec<u32>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<u8>,
}

/// What it becomes.
pub(crate) struct MovedEvent {
    pub(crate) seq: i64,
    /// The whole event: later versions find its readings by their places.
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<u8>,
    /// What goes to the log: without what is hidden, which newer versions may have told already.
    pub(crate) message: Message,
    visible: Event,
}

/// Gives events to another user, and puts them in the order of their times, in which they go out.
pub(crate) fn give(
    held: Vec<HeldEvent>,
    to: &UserId,
    encode: &EncodeEvent,
) -> Result<Vec<MovedEvent>, StoreError> {
    let mut moved =
        held.into_iter().map(|held| give_one(&held, to, encode)).collect::<Result<Vec<_>, _>>()?;
    moved.sort_by(|one, two| {
        let place = |moved: &'_ MovedEvent| (moved.visible.timestamp, moved.visible.event_id.clone());
        place(one).cmp(&place(two))
    });
    Ok(moved)
}

fn give_one(held: &HeldEvent, to: &UserId, encode: &EncodeEvent) -> Result<MovedEvent, StoreError> {
    let headers = decode_headers(&held.headers)?;
    let request_id = header(&headers, "request_id").and_then(RequestId::parse);
    let request_id = request_id.ok_or_else(|| damaged("an event without a request id"))?;
    let mut event: Event = serde_json::from_slice(&held.value).map_err(|error| damaged_json(&error))?;
    event.user_id = to.clone();
    event.is_backfill = true;
    let whole = encode(&event, &request_id);
    let visible = visible_part(&whole.value, &held.hidden)?;
    let message = encode(&visible, &request_id);
    let headers = encode_headers(&whole.headers)?;
    Ok(MovedEvent { seq: held.seq, value: whole.value, headers, message, visible })
}

/// The newest readings that have moved.
pub(crate) fn newest(moved: &[MovedEvent]) -> Newest {
    Newest::of(moved.iter().map(|moved| (moved.seq, &moved.visible)))
}

/// By which moved events are known when somebody sends them again as those of the user that they had: facts, in order.
pub(crate) fn guards(moved: &[MovedEvent]) -> BTreeMap<Identity, Known> {
    let guard = |moved: &MovedEvent| {
        let known = Known { version: 0, event_seq: moved.seq, reading: None };
        (Identity::of_event_id(&moved.visible.event_id), known)
    };
    moved.iter().map(guard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_move_at_once_as_fit_and_at_least_one() {
        let seqs = |oldest: &[(i64, i64)], limit| {
            let Chosen { seqs, has_more } = choose(oldest, limit);
            (seqs, has_more)
        };
        assert_eq!(seqs(&[], 2), (vec![], false));
        assert_eq!(seqs(&[(7, 10), (3, 10)], 2), (vec![7, 3], false));
        assert_eq!(seqs(&[(7, 10), (3, 10), (4, 10)], 2), (vec![7, 3], true));
        let half = VALUES_MAX_BYTES / 2;
        assert_eq!(seqs(&[(7, half), (3, half), (4, 1)], 9), (vec![7, 3], true));
        assert_eq!(seqs(&[(7, 3 * half), (3, 1)], 9), (vec![7], true));
    }
}
