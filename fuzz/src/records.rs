//! Records of vendors' APIs: what an answer turns into, whatever question it answers.

use actors::domain::admission::{EventDraft, Facts};
use actors::domain::event::Reading;
use actors::domain::fetch::Fetch;
use actors::domain::ids::UserId;
use actors::domain::time::UtcOffset;
use actors::vendors::{Owner, fetch};

use super::Reached;
use super::readings::{self, NOW};

/// The first line is the question, as it is stored; what follows is the answer to it.
pub fn vendor_records(data: &[u8]) -> Reached {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (question, answer) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(question) = serde_json::from_slice::<Fetch>(question) else { return "no_question" };
    let asked = fetch::request(&question, UtcOffset::default());
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    assert!(asked.path.starts_with('/') && asked.path.bytes().all(is_safe), "{}", asked.path);

    let owner = Owner {
        account: "A1B2C3D4E5".to_owned(),
        user_id: UserId::parse("user-81").expect("an id"),
        zone: None,
        changed_at: NOW,
        received_at: NOW,
        fetched_at: NOW,
        is_backfill: false,
    };
    let fetched = match fetch::read(&question, answer, &owner) {
        Ok(fetched) => fetched,
        Err(error) => return readings::check_error(&error),
    };
    readings::check_rejections(&fetched.rejected);
    fetched.drafts.iter().for_each(check_draft);
    assert_ne!(fetched.next.as_ref(), Some(&question), "no answer leads back to its question");
    match fetched.drafts.as_slice() {
        [draft, ..] if draft.deleted => "deleted",
        [_, ..] => "events",
        [] if fetched.is_pending => "pending",
        [] if fetched.next.is_some() => "next",
        [] if fetched.rejected.total > 0 => "no_events",
        [] => "nothing",
    }
}

fn check_draft(draft: &EventDraft) {
    let held: Vec<&Reading> = match &draft.facts {
        Facts::Record { readings, .. } | Facts::Part { readings, .. } => readings.iter().collect(),
        Facts::Readings(facts) => facts.iter().map(|fact| &fact.reading).collect(),
    };
    assert_eq!(held.is_empty(), draft.deleted, "what is not deleted holds something");
    for reading in held {
        readings::check_reading(reading);
        readings::check_times(reading);
    }
    let admitted = draft.clone().admit(1, &mut Default::default()).expect("it is the first of its kind");
    readings::check_event(&admitted.event);
}
