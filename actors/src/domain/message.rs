//! Messages of the event log: topics, keys, headers.

use std::borrow::Cow;
use std::sync::Arc;

/// A topic of the event log (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Normalised events, keyed by user.
    BiometricEvents,
    /// What could not be delivered or applied.
    DeadLetters,
    /// Changes of a user's cognitive mode.
    ModeSwitches,
    /// The newest state per user, compacted.
    UserState,
    /// Terra's events once more, as the Python system had them; nothing of ours reads it.
    TerraEvents,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] =
        [Self::BiometricEvents, Self::DeadLetters, Self::ModeSwitches, Self::UserState, Self::TerraEvents];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BiometricEvents => "biometric-events",
            Self::DeadLetters => "biometric-events.dlq",
            Self::ModeSwitches => "neuros-mode-switches",
            Self::UserState => "neuros-user-state",
            Self::TerraEvents => "terra-biometric-events",
        }
    }

    /// The topic of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// One header: its name, and its value as bytes.
pub type HeaderField = (Arc<str>, Vec<u8>);

/// A message before the log has given it an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// The user's id: all messages of one user are in one partition, in order.
    pub key: Arc<str>,
    /// JSON; empty for a tombstone.
    pub value: Vec<u8>,
    /// In the order in which they are sent.
    pub headers: Vec<HeaderField>,
}

/// The header by which an event's message says through whom it came, and the word for Terra (contract §3).
pub const TERRA_SOURCE: (&str, &str) = ("source", "terra_api");

/// The messages of new events, each of Terra's followed by its copy for Terra's own topic. Both leave in one transaction,
/// so that neither is lost without the other, and each topic has a user's events in the same order.
pub fn with_copies<'m>(messages: impl Iterator<Item = &'m Message>) -> Vec<Cow<'m, Message>> {
    let with_copy = |message: &'m Message| {
        let (name, word) = TERRA_SOURCE;
        let is_copied =
            message.topic == Topic::BiometricEvents && header(&message.headers, name) == Some(word);
        let copy = is_copied.then(|| Cow::Owned(Message { topic: Topic::TerraEvents, ..message.clone() }));
        std::iter::once(Cow::Borrowed(message)).chain(copy)
    };
    messages.flat_map(with_copy).collect()
}

/// A header's value as text, if it is there and is UTF-8.
pub fn header<'a>(headers: &'a [HeaderField], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(field, _)| &**field == name)?;
    std::str::from_utf8(value).ok()
}

/// The partition of `key` among `partitions`: CRC-32, as librdkafka's `consistent` partitioner has it.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    crc32fast::hash(key.as_bytes()) % partitions.max(1)
}
