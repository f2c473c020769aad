//! Points in time as UTC milliseconds, and offsets from UTC.

use std::fmt;

use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds of one second.
pub const MS_PER_SECOND: i64 = 1_000;
/// Milliseconds of one minute.
pub const MS_PER_MINUTE: i64 = 60 * MS_PER_SECOND;
/// Milliseconds of one hour.
pub const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;
/// Milliseconds of one day.
pub const MS_PER_DAY: i64 = 24 * MS_PER_HOUR;

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Its text is RFC 3339 with `Z`, and milliseconds only when they are not zero (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00Z.
const YEAR_0: Timestamp = Timestamp(-62_167_219_200_000);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// This moment and `ms` more (or less, if negative), without overflow.
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with an offset or `Z`; digits beyond milliseconds are cut. A time before the year 0 is none:
    /// RFC 3339 could not write it.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let read = text.parse::<jiff::Timestamp>().ok()?;
        Some(Self(read.as_millisecond())).filter(|at| *at >= YEAR_0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0.div_euclid(MS_PER_SECOND), self.0.rem_euclid(MS_PER_SECOND));
        let Ok(t) = jiff::Timestamp::from_second(seconds) else { return write!(f, "@{}ms", self.0) };
        let dt: civil::DateTime = jiff::tz::Offset::UTC.to_datetime(t);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            dt.year(),
            dt.month(),
            dt.day(),
            dt.hour(),
            dt.minute(),
            dt.second()
        )?;
        if ms != 0 {
            write!(f, ".{ms:03}")?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom("is not an RFC 3339 time with an offset"))
    }
}

/// An offset from UTC in whole minutes, positive to the east; its text is `Z` or `±hh:mm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// From minutes east of UTC; `None` beyond ±18 h.
    pub fn from_minutes(minutes: i32) -> Option<Self> {
        (-1080..=1080).contains(&minutes).then_some(Self(minutes as i16))
    }

    /// Minutes east of UTC.
    pub fn minutes(self) -> i32 {
        i32::from(self.0)
    }

    /// Reads `Z`, `±hh:mm`, `±hhmm` or `±hh`.
    pub fn parse(text: &str) -> Option<Self> {
        if matches!(text, "Z" | "z") {
            return Some(Self(0));
        }
        let (sign, rest) = match text.as_bytes().first()? {
            b'+' => (1, &text[1..]),
            b'-' => (-1, &text[1..]),
            _ => return None,
        };
        let digits: String = match rest.split_once(':') {
            Some((h, m)) if h.len() == 2 && m.len() == 2 => format!("{h}{m}"),
            Some(_) => return None,
            None if rest.len() == 2 => format!("{rest}00"),
            None => rest.to_owned(),
        };
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
        if minutes > 59 {
            return None;
        }
        Self::from_minutes(sign * (hours * 60 + minutes))
    }
}

/// The offset from UTC that a time zone has at a moment, by the zone's IANA name; none for a zone that nobody knows. The
/// rules are compiled in: bare machines have none.
pub fn offset_of_zone(name: &str, at: Timestamp) -> Option<UtcOffset> {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(name).ok()?;
    let at = jiff::Timestamp::from_millisecond(at.as_ms()).ok()?;
    UtcOffset::from_minutes(zone.to_offset(at).seconds() / 60)
}

/// The rules of a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// The zone of this IANA name, by the rules that are compiled in; none for a zone that nobody knows.
    pub fn of_name(name: &str) -> Option<Self> {
        jiff::tz::TimeZoneDatabase::bundled().get(name).ok().map(Self)
    }

    /// When clocks there showed what clocks in UTC show at `shown`, and the offset then (vendors.md §16): of a time that
    /// occurs twice the first, and one that does not exist moves forward.
    pub fn moment_of(&self, shown: Timestamp) -> Option<(Timestamp, UtcOffset)> {
        let shown = jiff::Timestamp::from_millisecond(shown.as_ms()).ok()?;
        let zoned = self.0.to_zoned(jiff::tz::Offset::UTC.to_datetime(shown)).ok()?;
        let offset = UtcOffset::from_minutes(zoned.offset().seconds() / 60)?;
        Some((Timestamp(zoned.timestamp().as_millisecond()), offset))
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("Z");
        }
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", self.0.abs() / 60, self.0.abs() % 60)
    }
}

impl Serialize for UtcOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("is not an offset like +02:00"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_offset_of_its_season() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        let offset = |zone, text| offset_of_zone(zone, at(text)).map(|offset| offset.to_string());
        assert_eq!(offset("Europe/Berlin", "2026-07-01T00:00:00Z").as_deref(), Some("+02:00"));
        assert_eq!(offset("Europe/Berlin", "2026-12-01T00:00:00Z").as_deref(), Some("+01:00"));
        assert_eq!(offset("America/St_Johns", "2026-12-01T00:00:00Z").as_deref(), Some("-03:30"));
        assert_eq!(offset("Nowhere/Atlantis", "2026-12-01T00:00:00Z"), None);
    }

    #[test]
    fn a_local_time_that_occurs_twice_is_the_first_and_one_that_does_not_exist_moves_forward() {
        let zone = Zone::of_name("Europe/Berlin").unwrap();
        let moment = |shown| {
            let (at, offset) = zone.moment_of(Timestamp::parse_rfc3339(shown).unwrap()).unwrap();
            (at.to_string(), offset.to_string())
        };
        let told = |at: &str, offset: &str| (at.to_owned(), offset.to_owned());
        assert_eq!(moment("2026-07-01T08:00:00Z"), told("2026-07-01T06:00:00Z", "+02:00"));
        assert_eq!(moment("2026-10-25T02:30:00Z"), told("2026-10-25T00:30:00Z", "+02:00"));
        assert_eq!(moment("2026-03-29T02:30:00Z"), told("2026-03-29T01:30:00Z", "+02:00"));
        assert_eq!(Zone::of_name("Nowhere/Atlantis"), None);
    }

    #[test]
    fn what_is_read_as_a_time_can_be_written_and_read_back() {
        let ends = ["0000-01-01T00:00:00Z", "9999-12-30T22:00:00.999Z"];
        for text in ends {
            let at = Timestamp::parse_rfc3339(text);
            assert_eq!(at.map(|at| at.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Timestamp::parse_rfc3339(ends[0]), Some(YEAR_0));
        // In UTC both are in a year that has no four digits.
        for text in ["0000-01-01T00:00:00+01:00", "-000001-06-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
