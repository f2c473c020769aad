//! Events as JSON: from the log, and from the hands of an operator.

use std::collections::HashMap;
use std::sync::Arc;

use actors::domain::admission::Facts;
use actors::domain::message::HeaderField;
use actors::event_message::{self, DecodeMessageError, SCHEMA};

use super::Reached;
use super::readings::{self, NOW};
use super::states;

/// The value of a message of the topic: what is read is in range, can be written again, and can be folded.
pub fn event_message(data: &[u8]) -> Reached {
    let schema = |value: &str| -> [HeaderField; 1] { [(Arc::from("schema"), value.as_bytes().to_vec())] };
    let headers = schema(SCHEMA);
    for foreign in [&[][..], &schema(&format!("{SCHEMA}0"))] {
        assert_eq!(event_message::decode(foreign, data), Err(DecodeMessageError::Foreign));
    }
    let decoded = event_message::decode(&headers, data);
    assert_eq!(decoded, event_message::decode(&headers, data), "the same bytes are read in one way");
    match decoded {
        Ok(event) => {
            readings::check_user(&event.user_id);
            readings::check_event(&event);
            states::check_fold(Default::default(), &event);
            "event"
        }
        Err(DecodeMessageError::Broken { line, column }) => {
            assert!(line >= 1 && column >= 1, "line {line}, column {column}");
            "broken"
        }
        Err(DecodeMessageError::Foreign) => panic!("the header was ours"),
    }
}

/// The body of an injection: what is taken reaches the log and comes back from it.
pub fn injection(data: &[u8]) -> Reached {
    let (drafts, rejected) = match actors::injection::decode(data, NOW) {
        Ok(decoded) => decoded,
        Err(error) => return readings::check_error(&error),
    };
    readings::check_rejections(&rejected);
    let mut known = HashMap::new();
    for (seq, draft) in (1..).zip(drafts.iter().cloned()) {
        let Facts::Record { readings, .. } = &draft.facts else { panic!("an injected event is a record") };
        assert_eq!(readings.is_empty(), draft.deleted);
        if let Some(admitted) = draft.admit(seq, &mut known) {
            readings::check_event(&admitted.event);
        }
    }
    match (drafts.is_empty(), rejected.total) {
        (true, _) => "no_events",
        (false, 0) => "events",
        (false, _) => "some_events",
    }
}
