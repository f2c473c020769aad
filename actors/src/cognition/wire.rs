//! How a state's parts are stored: compact, and independent of how the same types look in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::domain::ids::EventId;
use crate::domain::metric::Metric;
use crate::domain::time::{Timestamp, UtcOffset};

/// A time as its milliseconds.
pub(super) mod timestamp {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        at.as_ms().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_ms)
    }
}

/// A time, or none, as its milliseconds.
pub(super) mod optional_timestamp {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_ms).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(Timestamp::from_ms))
    }
}

/// An event's id in few bytes: 16 for a UUID, text for any other that was injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ShortEventId {
    Uuid([u8; 16]),
    Text(EventId),
}

impl From<&EventId> for ShortEventId {
    fn from(id: &EventId) -> Self {
        match Uuid::try_parse(id.as_str()) {
            Ok(uuid) if uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == id.as_str() => {
                Self::Uuid(uuid.into_bytes())
            }
            _ => Self::Text(id.clone()),
        }
    }
}

impl ShortEventId {
    pub(super) fn to_id(&self) -> EventId {
        match self {
            Self::Uuid(bytes) => EventId::of_uuid(Uuid::from_bytes(*bytes)),
            Self::Text(id) => id.clone(),
        }
    }
}

pub(super) mod event_id {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
        ShortEventId::from(id).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventId, D::Error> {
        Ok(ShortEventId::deserialize(deserializer)?.to_id())
    }
}

pub(super) mod optional_event_id {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(id: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.as_ref().map(ShortEventId::from).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<EventId>, D::Error> {
        Ok(Option::<ShortEventId>::deserialize(deserializer)?.map(|id| id.to_id()))
    }
}

/// An offset from UTC, or none, as its minutes.
pub(super) mod optional_offset {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        offset: &Option<UtcOffset>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        offset.map(UtcOffset::minutes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UtcOffset>, D::Error> {
        Ok(Option::<i32>::deserialize(deserializer)?.and_then(UtcOffset::from_minutes))
    }
}

/// A metric by its name: the catalogue may be put in another order.
pub(super) mod metric {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(metric.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        Metric::from_name(name).ok_or_else(|| serde::de::Error::custom("unknown metric"))
    }
}

/// Hashes, eight bytes each: they do not compress.
pub(super) mod hashes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(hashes: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Ok(bytes
            .chunks_exact(8)
            .map(|chunk| {
                let mut hash = [0; 8];
                hash.copy_from_slice(chunk);
                u64::from_le_bytes(hash)
            })
            .collect())
    }
}
