//! What must be true of the ports when all is over.

use std::collections::{BTreeMap, HashMap, HashSet};

use actors::cognition::fold::fold;
use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::domain::event::Event;
use actors::domain::ids::UserId;
use actors::domain::message::Topic;
use actors::event_message;
use actors::ports::event_log::LogRecord;

use crate::bridge::{Bridge, GROUP, taken_at, user};

pub fn event_of(record: &LogRecord) -> Option<Event> {
    event_message::decode(&record.headers, &record.value).ok()
}

/// The users' events, each at its first appearance on the log.
pub fn first_appearances(bridge: &Bridge) -> BTreeMap<UserId, Vec<Event>> {
    let (mut seen, mut events) = (HashSet::new(), BTreeMap::new());
    bridge.log.read(|topics| {
        for event in topics.records(Topic::BiometricEvents).filter_map(event_of) {
            if seen.insert(event.event_id.clone()) {
                let of_user: &mut Vec<Event> = events.entry(event.user_id.clone()).or_default();
                of_user.push(event);
            }
        }
    });
    events
}

/// The numbers of a user's samples, in the order of their first appearance on the log.
pub fn numbers_on_log(bridge: &Bridge, name: &str) -> Vec<usize> {
    let events = first_appearances(bridge);
    events.get(&user(name)).into_iter().flatten().flat_map(numbers).collect()
}

/// The numbers of a user's samples in the store, in the order of commit.
pub fn numbers_in_store(bridge: &Bridge, name: &str) -> Vec<usize> {
    bridge.store.read(|contents| {
        let of_user = contents.events.iter().filter(|row| row.event.user_id == user(name));
        of_user.flat_map(|row| numbers(&row.event)).collect()
    })
}

fn numbers(event: &Event) -> Vec<usize> {
    let number = |at| (0..).find(|number| taken_at(*number) == at).unwrap();
    event.readings.iter().map(|reading| number(reading.timestamp)).collect()
}

/// Messages of the log that had been on it before.
pub fn repeats_on_log(bridge: &Bridge) -> usize {
    let all = bridge.log.read(|topics| topics.records(Topic::BiometricEvents).filter_map(event_of).count());
    all - first_appearances(bridge).values().map(Vec::len).sum::<usize>()
}

/// The state that folding these events one after the other gives.
pub fn folded(events: &[Event]) -> UserState {
    let thresholds = Thresholds::default();
    let next = |state, event| fold(state, event, &thresholds).state;
    events.iter().fold(UserState::default(), next)
}

/// Each user's state is what a plain fold of the log's first appearances gives, byte for byte.
pub fn assert_states_are_plain_folds(bridge: &Bridge) {
    for (user, events) in first_appearances(bridge) {
        let (state, _) = bridge.state(user.as_str()).expect("a user with events has a state");
        assert_eq!(state.seq(), events.len() as u64, "each event counts once");
        assert!(state.encode() == folded(&events).encode(), "the state is the fold of the log");
    }
}

/// The stored switches are those of a plain fold of the log's first appearances, each once.
pub fn assert_switches_are_those_of_plain_folds(bridge: &Bridge) {
    let thresholds = Thresholds::default();
    let mut expected = HashSet::new();
    for events in first_appearances(bridge).values() {
        let mut state = UserState::default();
        for event in events {
            let folded = fold(state, event, &thresholds);
            state = folded.state;
            expected.extend(folded.switch.map(|switch| switch.switch_id));
        }
    }
    let stored: HashSet<_> = bridge.store.read(|contents| {
        let rows = contents.switches.iter();
        rows.map(|row| row.switch_id.clone()).collect()
    });
    assert!(stored == expected, "{} switches are stored, {} were made", stored.len(), expected.len());
}

/// Every event of the store is on the log and in its user's state, once.
pub fn assert_nothing_is_lost_or_counted_twice(bridge: &Bridge) {
    let events = first_appearances(bridge);
    let on_log: HashMap<_, _> =
        events.values().flatten().map(|event| (event.event_id.clone(), event.clone())).collect();
    bridge.store.read(|contents| {
        let ids: HashSet<_> = contents.events.iter().map(|row| row.event.event_id.clone()).collect();
        assert_eq!(ids.len(), contents.events.len(), "no event is stored twice");
        for row in &contents.events {
            assert_eq!(on_log.get(&row.event.event_id), Some(&row.event), "what is stored is on the log");
        }
        assert_eq!(on_log.len(), contents.events.len(), "nothing is on the log that is not stored");
    });
    assert_states_are_plain_folds(bridge);
}

/// What a stored position has passed, a stored checkpoint or a dead letter holds.
pub fn assert_positions_are_covered(bridge: &Bridge) {
    bridge.store.read(|contents| {
        for ((consumer, partition), position) in &contents.positions {
            assert_eq!(&**consumer, GROUP);
            let records = bridge.log.read(|topics| {
                topics.partition(Topic::BiometricEvents, *partition)[..*position as usize].to_vec()
            });
            for (record, event) in records.iter().filter_map(|record| Some((record, event_of(record)?))) {
                let checkpoint = contents.checkpoints.get(&event.user_id);
                let is_set_aside =
                    contents.dead_letters.values().any(|letter| letter.message.value == record.value);
                assert!(
                    is_set_aside || checkpoint.is_some_and(|held| held.next_offset > record.offset),
                    "the position passed offset {} of partition {partition} and no checkpoint has it",
                    record.offset,
                );
            }
        }
    });
}
