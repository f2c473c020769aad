//! Events as commands.

use std::time::Duration;

use actors::domain::cached::SeriesMember;
use actors::domain::event::Event;
use actors::domain::time::{MS_PER_SECOND, Timestamp};
use actors::ports::store::WrittenEvent;
use deadpool_redis::redis::{Cmd, Pipeline, Script};

use super::keys;

const KEYS_LEN: usize = 4;
const SOURCE: &str = include_str!("put.lua");

/// The script that takes an event in, with what is the same for all events.
pub(super) struct PutScript {
    script: Script,
    ttl_s: u64,
    series_max: usize,
}

impl PutScript {
    pub(super) fn new(ttl: Duration, series_max: usize) -> Self {
        Self { script: Script::new(SOURCE), ttl_s: ttl.as_secs().max(1), series_max: series_max.max(1) }
    }

    /// One command an event. The first one brings the script, so that the others can call it by its hash.
    pub(super) fn commands(&self, events: &[&WrittenEvent]) -> Pipeline {
        let mut commands = Pipeline::with_capacity(events.len());
        for (place, written) in events.iter().enumerate() {
            let mut command = Cmd::new();
            match place {
                0 => command.arg("EVAL").arg(SOURCE),
                _ => command.arg("EVALSHA").arg(self.script.get_hash()),
            };
            self.arguments(&mut command, written);
            commands.add_command(command);
        }
        commands
    }

    fn arguments(&self, command: &mut Cmd, WrittenEvent { event, message }: &WrittenEvent) {
        let user = &event.user_id;
        command.arg(KEYS_LEN);
        command.arg(keys::latest(user, None)).arg(keys::latest(user, Some(event.device_type)));
        command.arg(keys::series(user)).arg(keys::known(user));
        let event_id = in_json(event.event_id.as_str());
        let newness = format!("{} {} {event_id}", with_ms(event.timestamp), with_ms(event.received_at));
        command.arg(event_id).arg(in_json(&event.record_id)).arg(sortable(event.version)).arg(newness);
        command.arg(seconds(event.timestamp)).arg(member(event)).arg(message.value.as_slice());
        command.arg(self.ttl_s).arg(self.series_max).arg(event.device_type.name());
    }
}

/// Empty for a deletion.
fn member(event: &Event) -> Vec<u8> {
    if event.deleted {
        return Vec::new();
    }
    // Plain data always becomes JSON.
    serde_json::to_vec(&SeriesMember::of(event)).unwrap_or_default()
}

/// A text as it stands between its quotes.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Compares as text as the number does.
fn sortable(version: i64) -> String {
    format!("{:020}", (version as u64) ^ (1 << 63))
}

/// RFC 3339 without `Z`, always with milliseconds.
fn with_ms(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    match at.as_ms().rem_euclid(MS_PER_SECOND) {
        0 => format!("{text}.000"),
        _ => text.to_owned(),
    }
}

fn seconds(at: Timestamp) -> String {
    (at.as_ms() as f64 / MS_PER_SECOND as f64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_times_sort_as_text_as_they_do_as_numbers() {
        let versions = [i64::MIN, -5, -1, 0, 1, 9, 10, i64::MAX].map(sortable);
        assert!(versions.is_sorted() && versions.iter().all(|text| text.len() == 20), "{versions:?}");
        let times = [-1, 0, 1, 500, 999, 1_000, 1_767_225_600_000].map(|ms| with_ms(Timestamp::from_ms(ms)));
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(seconds(Timestamp::from_ms(1_767_225_600_500)), "1767225600.5");
    }
}
