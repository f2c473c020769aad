//! Reading along with the log, as a member of no group: for readers outside, who see all users on every bridge.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::event_log::{LogError, LogRecord};
use crate::domain::message::Topic;

/// The topics that readers outside follow.
pub const FOLLOWED: [Topic; 2] = [Topic::BiometricEvents, Topic::ModeSwitches];

/// Where a message stands, the same on every bridge: `topic:partition:offset` (contract §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// One of [`FOLLOWED`].
    pub topic: Topic,
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub offset: i64,
}

impl MessageId {
    /// The id of a record.
    pub fn of(record: &LogRecord) -> Self {
        Self { topic: record.topic, partition: record.partition, offset: record.offset }
    }

    /// Reads an id back.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (topic, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
        let topic = Topic::from_name(topic).filter(|topic| FOLLOWED.contains(topic))?;
        // A sign is no digit of ours.
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = is_number(partition) && is_number(offset) && parts.next().is_none();
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        is_id.then_some(Self { topic, partition, offset })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic.name(), self.partition, self.offset)
    }
}

/// The log in lanes, each with an order of its own, and of each the first place that a follower has not read. What a
/// lane is, the log decides; it is the same for all its followers in one process.
pub type Lanes = BTreeMap<u32, i64>;

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Some of [`FOLLOWED`]; records of others do not come.
    pub topics: Vec<Topic>,
    /// Only this partition matters. Records of others may come all the same.
    pub partition: Option<u32>,
}

/// Where a follower begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With what is appended from now on.
    Now,
    /// Behind the earliest of these, the newest that a reader has of each partition. Nothing behind any of them is left
    /// out; some before them may come again. In partitions that none of them names, a log without an order over its
    /// partitions goes by time, and repeats what was appended shortly before.
    After(Vec<MessageId>),
    /// Where another follower of the same scope has left off.
    At(Lanes),
}

/// A follower at its beginning.
pub struct Begun {
    /// It.
    pub follower: Box<dyn Follower>,
    /// Whether nothing is missing that stood behind the beginning that was asked for. If something is, because it has
    /// been deleted by age or the log is another one, the follower begins with the earliest that there is.
    pub is_whole: bool,
}

/// A record, and its place in its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its lane.
    pub lane: u32,
    /// Its place there: never the same twice, and growing.
    pub place: i64,
    /// It.
    pub record: LogRecord,
}

/// Reads along. Every record of its scope comes once, in order within its partition.
#[async_trait]
pub trait Follower: Send {
    /// How far it has come.
    fn lanes(&self) -> &Lanes;

    /// Up to `limit` further records, fewer if they are large; none if nothing has come for a moment. After an error
    /// the same call may work later, and nothing is left out.
    async fn next(&mut self, limit: usize) -> Result<Vec<Followed>, LogError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written_and_nothing_else_is_one() {
        for text in ["biometric-events:0:0", "neuros-mode-switches:11:9223372036854775807"] {
            assert_eq!(MessageId::parse(text).map(|id| id.to_string()).as_deref(), Some(text));
        }
        let wrong = [
            "",
            "biometric-events",
            "biometric-events:1",
            "biometric-events:1:",
            "biometric-events::1",
            "biometric-events:+1:1",
            "biometric-events:1:-1",
            "biometric-events:1:1:1",
            "biometric-events:1:9223372036854775808",
            "biometric-events.dlq:1:1",
            "neuros-user-state:1:1",
            " biometric-events:1:1",
        ];
        for text in wrong {
            assert_eq!(MessageId::parse(text), None, "{text}");
        }
    }
}
