//! Times as vendors and apps write them.
//!
//! Apple's devices format times with the phone's own settings, so one field comes in many forms; those below were
//! all seen (vendors.md §4a). A time that is refused fails its sample, never the batch.

use jiff::civil;
use jiff::tz::Offset;
use serde_json::value::RawValue;

use super::json;
use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, Timestamp, UtcOffset};

/// 2000-01-01T00:00:00Z. Whoever sends Apple's reference time (seconds since 2001) as unix time lands before it.
const EARLIEST: Timestamp = Timestamp::from_ms(946_684_800_000);

/// How far a clock may be ahead of the delivery.
const AHEAD_MAX_MS: i64 = MS_PER_DAY;

/// Epoch numbers from here on are milliseconds: as seconds they would lie beyond the year 5000.
const EPOCH_MS_MIN: f64 = 1e11;

/// 2001-01-01T00:00:00Z, from which Apple's own dates count seconds.
const APPLE_EPOCH: Timestamp = Timestamp::from_ms(978_307_200_000);

/// 2014-01-01T00:00:00Z. There was no HealthKit before, so a number that stands for less was not meant as Apple's.
const HEALTHKIT_EARLIEST: Timestamp = Timestamp::from_ms(1_388_534_400_000);

/// Why a text or number is not a time that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeError {
    #[error("a string or a number was expected")]
    OtherType,
    #[error("is not a time: RFC 3339, `2026-09-10 06:42:11 +0200` or unix time in s or ms is accepted")]
    Form,
    #[error("is before the year 2000: unix time counts from 1970, Apple's reference time from 2001")]
    BeforeYear2000,
    #[error("is more than 24 h after the delivery")]
    Ahead,
}

/// A point in time, and the user's offset from UTC where the text told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// `Z` tells a point in time and nothing of where the user is.
    pub(super) utc_offset: Option<UtcOffset>,
}

impl Moment {
    /// Reads a JSON value: a text, or unix time as a number.
    pub(super) fn from_json(raw: &RawValue, received_at: Timestamp) -> Result<Self, TimeError> {
        match json::number(raw) {
            Ok(number) => Self::from_unix(number, received_at),
            Err(_) => Self::from_text(&json::text(raw).map_err(|_| TimeError::OtherType)?, received_at),
        }
    }

    /// As [`Moment::from_json`], of an app for Apple's devices: seconds that would lie before the year 2000 as unix time
    /// count from 2001, as Swift's dates do, where that makes a time since there has been HealthKit.
    pub(super) fn from_app(raw: &RawValue, received_at: Timestamp) -> Result<Self, TimeError> {
        let moment = Self::from_json(raw, received_at);
        if moment != Err(TimeError::BeforeYear2000) {
            return moment;
        }
        let text = || json::text(raw).ok()?.trim().parse().ok();
        let seconds = json::number(raw).ok().or_else(text).filter(|number: &f64| number.abs() < EPOCH_MS_MIN);
        let since_2001 = seconds.map(|seconds| APPLE_EPOCH.plus_ms((seconds * 1000.0).round() as i64));
        let found = since_2001.filter(|at| *at >= HEALTHKIT_EARLIEST);
        found.map_or(moment, |at| Self { at, utc_offset: None }.check(received_at).or(moment))
    }

    /// Reads a text; without an offset it is UTC.
    pub(super) fn from_text(text: &str, received_at: Timestamp) -> Result<Self, TimeError> {
        let text = text.trim();
        let moment = match text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            true => Self::unix(text.parse().map_err(|_| TimeError::Form)?),
            false => read_civil(text).ok_or(TimeError::Form)?,
        };
        moment.check(received_at)
    }

    /// Reads unix time in seconds (with fractions) or milliseconds.
    pub(super) fn from_unix(number: f64, received_at: Timestamp) -> Result<Self, TimeError> {
        Self::unix(number).check(received_at)
    }

    fn unix(number: f64) -> Self {
        let ms = if number < EPOCH_MS_MIN { number * MS_PER_SECOND as f64 } else { number };
        // A float beyond the integers' range becomes the nearest of them, and is refused by the check.
        Self { at: Timestamp::from_ms(ms.round() as i64), utc_offset: None }
    }

    /// Refuses what cannot be: nothing is older than wearables, or comes from after tomorrow.
    pub(super) fn check(self, received_at: Timestamp) -> Result<Self, TimeError> {
        if self.at < EARLIEST {
            return Err(TimeError::BeforeYear2000);
        }
        if self.at > received_at.plus_ms(AHEAD_MAX_MS) {
            return Err(TimeError::Ahead);
        }
        Ok(self)
    }
}

/// Whether a text tells a date or a time of day without an offset: as the user's clock showed it.
pub(super) fn is_local(text: &str) -> bool {
    let text = text.trim();
    let is_unix = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let time = text.get(10..).unwrap_or_default();
    !is_unix && !time.contains(['+', '-', 'Z', 'z', 'U', 'G'])
}

/// Whether a text tells a day and no time of it.
pub(super) fn is_day(text: &str) -> bool {
    let mut rest = Cursor(text.trim());
    read_date(&mut rest).is_some() && rest.0.is_empty()
}

/// `date [T|space] time [am|pm] [offset]`, or a date alone, which is its midnight.
fn read_civil(text: &str) -> Option<Moment> {
    let mut rest = Cursor(text);
    let midnight_ms = read_date(&mut rest)?;
    let (time_ms, utc_offset, offset_ms) = if rest.0.is_empty() {
        (0, None, 0)
    } else {
        (rest.eat(&['T', 't']) || rest.skip_spaces()).then_some(())?;
        let time_ms = read_time(&mut rest)?;
        rest.skip_spaces();
        let (utc_offset, offset_ms) = read_offset(rest.0)?;
        (time_ms, utc_offset, offset_ms)
    };
    Some(Moment { at: Timestamp::from_ms(midnight_ms + time_ms - offset_ms), utc_offset })
}

fn read_date(rest: &mut Cursor<'_>) -> Option<i64> {
    let year = rest.digits(4, 4)?;
    rest.eat(&['-']).then_some(())?;
    let month = rest.digits(2, 2)?;
    rest.eat(&['-']).then_some(())?;
    let day = rest.digits(2, 2)?;
    let date = civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    Some(Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_millisecond())
}

/// Milliseconds since midnight. `24:00:00` is the next midnight; a leap second is the second before it.
fn read_time(rest: &mut Cursor<'_>) -> Option<i64> {
    let hour = rest.digits(1, 2)?;
    rest.eat(&[':']).then_some(())?;
    let minute = rest.digits(2, 2)?;
    let (mut second, mut ms) = (0, 0);
    if rest.eat(&[':']) {
        second = rest.digits(2, 2)?;
        if rest.eat(&['.']) {
            ms = rest.fraction_ms()?;
        }
    }
    rest.skip_spaces();
    let hour = match rest.meridiem() {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(Meridiem::Am) => hour % 12,
        Some(Meridiem::Pm) => hour % 12 + 12,
    };
    let is_next_midnight = hour == 24 && minute == 0 && second == 0 && ms == 0;
    if (hour > 23 && !is_next_midnight) || minute > 59 || second > 60 {
        return None;
    }
    Some(hour * MS_PER_HOUR + minute * MS_PER_MINUTE + second.min(59) * MS_PER_SECOND + ms)
}

/// What the text tells of the user's offset, and the milliseconds to subtract.
fn read_offset(text: &str) -> Option<(Option<UtcOffset>, i64)> {
    // `-00:00` is RFC 3339's "offset unknown".
    if matches!(text, "" | "Z" | "z" | "UTC" | "GMT" | "-00:00" | "-0000") {
        return Some((None, 0));
    }
    let offset = UtcOffset::parse(text)?;
    Some((Some(offset), i64::from(offset.minutes()) * MS_PER_MINUTE))
}

enum Meridiem {
    Am,
    Pm,
}

/// What is left to read of a text.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn eat(&mut self, any_of: &[char]) -> bool {
        let rest = self.0.strip_prefix(any_of);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// iOS 17 writes a narrow no-break space (U+202F) before `am`; `char::is_whitespace` knows it.
    fn skip_spaces(&mut self) -> bool {
        let rest = self.0.trim_start();
        let skipped = rest.len() < self.0.len();
        self.0 = rest;
        skipped
    }

    /// Between `min` and `max` digits, and no further ones.
    fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let len = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if !(min..=max).contains(&len) {
            return None;
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        digits.parse().ok()
    }

    /// Digits after the point; those beyond milliseconds are cut.
    fn fraction_ms(&mut self) -> Option<i64> {
        let len = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        let ms = digits.bytes().chain([b'0', b'0']).take(3).fold(0, |ms, b| ms * 10 + i64::from(b - b'0'));
        (len > 0).then_some(ms)
    }

    /// `am` or `PM`; phones in other languages write `a.m.` and `p. m.`
    fn meridiem(&mut self) -> Option<Meridiem> {
        let meridiem = match self.0.bytes().next()? {
            b'a' | b'A' => Meridiem::Am,
            b'p' | b'P' => Meridiem::Pm,
            _ => return None,
        };
        let rest = &self.0[1..];
        let dotted = rest.strip_prefix('.').map(str::trim_start);
        let rest = dotted.unwrap_or(rest).strip_prefix(['m', 'M'])?;
        self.0 = rest.strip_prefix('.').filter(|_| dotted.is_some()).unwrap_or(rest);
        Some(meridiem)
    }
}
