//! Every form of time that was seen, and those that are refused.

use super::NOW;
use crate::domain::time::{MS_PER_DAY, Timestamp, UtcOffset};
use crate::vendors::timestamp::{Moment, TimeError};

fn read(text: &str) -> Result<(String, Option<i32>), TimeError> {
    let moment = Moment::from_text(text, NOW)?;
    Ok((moment.at.to_string(), moment.utc_offset.map(UtcOffset::minutes)))
}

#[test]
fn every_form_that_was_seen_is_read() {
    let cases = [
        ("2026-09-10T06:42:11Z", "2026-09-10T06:42:11Z", None),
        ("2026-09-10t06:42:11z", "2026-09-10T06:42:11Z", None),
        ("  2026-09-10T06:42:11Z ", "2026-09-10T06:42:11Z", None),
        ("2026-09-10T06:42:11.123Z", "2026-09-10T06:42:11.123Z", None),
        ("2026-09-10T06:42:11.1Z", "2026-09-10T06:42:11.100Z", None),
        ("2026-09-10T06:42:11.123999999999Z", "2026-09-10T06:42:11.123Z", None),
        ("2026-09-10T06:42:11+02:00", "2026-09-10T04:42:11Z", Some(120)),
        ("2026-09-10T06:42:11+0200", "2026-09-10T04:42:11Z", Some(120)),
        ("2026-09-10T06:42:11+02", "2026-09-10T04:42:11Z", Some(120)),
        ("2026-09-10T06:42:11.5-09:30", "2026-09-10T16:12:11.500Z", Some(-570)),
        ("2026-09-10T06:42:11+00:00", "2026-09-10T06:42:11Z", Some(0)),
        ("2026-09-10T06:42:11-00:00", "2026-09-10T06:42:11Z", None),
        ("2026-09-10T06:42:11", "2026-09-10T06:42:11Z", None),
        ("2026-09-10T06:42Z", "2026-09-10T06:42:00Z", None),
        ("2024-02-06 14:30:00 -0800", "2024-02-06T22:30:00Z", Some(-480)),
        ("2024-02-06 14:30:00", "2024-02-06T14:30:00Z", None),
        ("2024-09-21 7:57:00 am +1000", "2024-09-20T21:57:00Z", Some(600)),
        ("2024-09-21 7:57:00\u{202f}am +1000", "2024-09-20T21:57:00Z", Some(600)),
        ("2024-09-21 7:57:00\u{202f}PM +1000", "2024-09-21T09:57:00Z", Some(600)),
        ("2024-09-21 7:57:00\u{a0}pm", "2024-09-21T19:57:00Z", None),
        ("2024-09-21 12:00:00 am", "2024-09-21T00:00:00Z", None),
        ("2024-09-21 12:00:00 PM", "2024-09-21T12:00:00Z", None),
        ("2024-09-21 7:57:00\u{202f}a.m. -0400", "2024-09-21T11:57:00Z", Some(-240)),
        ("2024-09-21 7:57:00 P.M. +0000", "2024-09-21T19:57:00Z", Some(0)),
        ("2024-09-21 7:57:00\u{a0}p.\u{a0}m. +0200", "2024-09-21T17:57:00Z", Some(120)),
        ("2024-09-21 11:59:59 pm +0000", "2024-09-21T23:59:59Z", Some(0)),
        ("1789020131", "2026-09-10T06:02:11Z", None),
        ("1789020131.25", "2026-09-10T06:02:11.250Z", None),
        ("1789020131123", "2026-09-10T06:02:11.123Z", None),
        ("2026-09-10", "2026-09-10T00:00:00Z", None),
        ("2024-02-29", "2024-02-29T00:00:00Z", None),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00Z", None),
        ("2026-09-09T24:00:00Z", "2026-09-10T00:00:00Z", None),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z", None),
    ];
    for (text, utc, offset) in cases {
        assert_eq!(read(text), Ok((utc.to_owned(), offset)), "{text:?}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    let texts = [
        "",
        ".",
        "1.2.3",
        "now",
        "NaN",
        "inf",
        "-1789020131",
        "1.7e9",
        "١٧٨٩٠٢٠١٣١",
        "2026-9-10T06:42:11Z",
        "26-09-10T06:42:11Z",
        "02026-09-10T06:42:11Z",
        "2026-09-10T",
        "2026-09-10T06",
        "2026-09-10X06:42:11Z",
        "2026-09-10T06:42:11.Z",
        "2026-09-10T06:42:11 CEST",
        "2026-09-10T06:42:11+2",
        "2026-09-10T06:42:11+19:00",
        "2026-09-10T06:42:11+02:60",
        "2026-09-10T06:42:11+é",
        "2026-09-10T06:42:11ZZ",
        "2026-09-10T24:00:01Z",
        "2026-09-10T25:00:00Z",
        "2026-09-10T06:60:00Z",
        "2026-09-10T06:42:61Z",
        "2026-13-10T06:42:11Z",
        "2026-02-29T06:42:11Z",
        "2026-00-10T06:42:11Z",
        "2024-09-21 13:57:00 am",
        "2024-09-21 0:57:00 pm",
        "2024-09-21 7:57:00 xm",
        "2024-09-21 7:57:00 p",
        "2024-09-21 7:57:00 a.",
        "2024-09-21 7:57:00 a m",
        "2024-09-21 13:57:00 p.m.",
        "2024-09-21 7:57:00 é",
        "20\u{202f}24-09-21",
    ];
    for text in texts {
        assert_eq!(read(text), Err(TimeError::Form), "{text:?}");
    }
}

#[test]
fn a_time_before_2000_or_over_a_day_ahead_is_refused() {
    let last_ms = NOW.plus_ms(MS_PER_DAY);
    let from_text = |t: Timestamp| Moment::from_text(&t.to_string(), NOW);
    assert_eq!(from_text(last_ms).unwrap().at, last_ms);
    assert_eq!(from_text(last_ms.plus_ms(1)), Err(TimeError::Ahead));
    assert_eq!(read("1999-12-31T23:59:59.999Z"), Err(TimeError::BeforeYear2000));
    assert_eq!(read("2026"), Err(TimeError::BeforeYear2000));
    // 2026-09-10T06:02:11Z as seconds since 2001-01-01, as Swift's default coding writes dates.
    assert_eq!(Moment::from_unix(810_712_931.0, NOW), Err(TimeError::BeforeYear2000));
    for number in [f64::NEG_INFINITY, -1.0, 0.0, 9.4e11] {
        assert_eq!(Moment::from_unix(number, NOW), Err(TimeError::BeforeYear2000), "{number}");
    }
    for number in [2e9, 1.789e15, 1.789e18, 1e300, f64::INFINITY] {
        assert_eq!(Moment::from_unix(number, NOW), Err(TimeError::Ahead), "{number}");
    }
}
