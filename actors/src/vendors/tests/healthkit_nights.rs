//! Nights that are told more than once: in part, whole, in any order.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::domain::admission::Known;
use crate::domain::ids::Identity;

const MINUTE_MS: i64 = 60_000;
/// 2026-09-09T20:00:00Z.
const EVENING: Timestamp = Timestamp::from_ms((NOW_S - 16 * 3_600) * 1000);

/// A sample of sleep: who tells of which state (HealthKit's number), from which minute after the evening on, for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slept(&'static str, u8, i64, i64);

fn body(samples: &[Slept]) -> Vec<u8> {
    let at = |minutes: i64| EVENING.plus_ms(minutes * MINUTE_MS).to_string();
    let sample = |Slept(source, state, from, length): &Slept| {
        let (start, end) = (at(*from), at(from + length));
        format!(
            r#"{{"type":"sleepAnalysis","value":{state},"start":"{start}","end":"{end}","source":"{source}"}}"#
        )
    };
    let samples: Vec<String> = samples.iter().map(sample).collect();
    format!(r#"{{"user_id":"u","samples":[{}]}}"#, samples.join(",")).into_bytes()
}

/// The readings that are left of these deliveries, in this order, as every store decides it.
fn left_of(deliveries: &[Vec<Slept>]) -> BTreeMap<Identity, Reading> {
    let (mut known, mut left): (HashMap<Identity, Known>, _) = (HashMap::new(), BTreeMap::new());
    for (seq, samples) in deliveries.iter().enumerate() {
        for draft in events(decode_healthkit(&body(samples))).0 {
            let Some(admitted) = draft.admit(seq as i64, &mut known) else { continue };
            for (identity, now) in admitted.facts {
                let reading = &admitted.event.readings[now.reading.unwrap() as usize];
                left.insert(identity, reading.clone());
            }
        }
    }
    left
}

/// Minutes by metric of the one night that is left.
fn night(deliveries: &[Vec<Slept>]) -> BTreeMap<&'static str, f64> {
    let left = left_of(deliveries).into_values();
    left.filter(|it| it.source.as_deref() == Some("derived")).map(|it| (it.metric.name(), it.value)).collect()
}

#[test]
fn who_tells_more_of_a_night_counts_even_where_less_of_it_was_sleep() {
    // The phone takes the whole night for sleep; the watch, which is asked first, knows better.
    let phone = vec![Slept("iPhone", 1, 60, 480)];
    let watch = [Slept("Watch", 3, 60, 300), Slept("Watch", 2, 360, 60), Slept("Watch", 4, 420, 120)];
    let whole: Vec<Slept> = phone.iter().copied().chain(watch).collect();
    let expected = night(std::slice::from_ref(&whole));
    assert_eq!((expected["total_sleep_minutes"], expected["awake_minutes"]), (420.0, 60.0));
    assert_eq!(night(&[phone.clone(), whole.clone()]), expected);
    assert_eq!(night(&[whole, phone]), expected);
}

#[test]
fn of_parts_the_largest_counts_for_each_sum_that_it_tells() {
    let bed = vec![Slept("iPhone", 0, 0, 540)];
    let (early, late) = (vec![Slept("Watch", 3, 30, 200)], vec![Slept("Watch", 4, 230, 250)]);
    let expected: BTreeMap<&str, f64> = [
        ("total_sleep_minutes", 250.0),
        ("light_sleep_minutes", 0.0),
        ("deep_sleep_minutes", 250.0),
        ("rem_sleep_minutes", 0.0),
        ("awake_minutes", 0.0),
        ("time_in_bed_minutes", 540.0),
    ]
    .into();
    assert_eq!(night(&[bed.clone(), early.clone(), late.clone()]), expected);
    assert_eq!(night(&[late, early, bed]), expected);
}

#[test]
fn of_two_tellings_alike_in_length_one_is_the_newer_whichever_comes_first() {
    let (one, other) = (vec![Slept("Watch", 3, 30, 60)], vec![Slept("Watch", 3, 90, 60)]);
    assert_eq!(left_of(&[one.clone(), other.clone()]), left_of(&[other, one]));
}

fn any_night() -> impl Strategy<Value = Vec<Slept>> {
    let source = prop::sample::select(vec!["Watch", "iPhone", "Ring"]);
    let slept = (source, 0_u8..6, 0_i64..500, 1_i64..200);
    let night =
        prop::collection::vec(slept.prop_map(|(who, what, from, len)| Slept(who, what, from, len)), 1..12);
    // Something in every part of it, so that all of it is one night, and its parts are of the same day.
    night.prop_map(|mut night| {
        night.push(Slept("iPhone", 0, 0, 700));
        night
    })
}

/// A night, and its deliveries: parts of it, and some of them again, in whatever order.
fn any_deliveries() -> impl Strategy<Value = (Vec<Slept>, Vec<Vec<Slept>>)> {
    any_night().prop_flat_map(|night| {
        let part = prop::sample::subsequence(night.clone(), 1..=night.len());
        (Just(night), prop::collection::vec(part, 1..6))
    })
}

proptest! {
    #![proptest_config(fixed_cases(0x6e69_6768))]

    #[test]
    fn whoever_tells_a_night_whole_has_the_last_word((night, mut parts) in any_deliveries()) {
        let expected = left_of(std::slice::from_ref(&night));
        for place in 0..=parts.len() {
            parts.insert(place, night.clone());
            prop_assert_eq!(&left_of(&parts), &expected);
            parts.remove(place);
        }
    }

    #[test]
    fn no_order_and_no_repetition_of_deliveries_changes_what_is_left(
        (parts, again) in any_deliveries()
            .prop_flat_map(|(_, parts)| {
                let twice: Vec<_> = parts.iter().chain(&parts).cloned().collect();
                (Just(parts), Just(twice).prop_shuffle())
            }),
    ) {
        prop_assert_eq!(left_of(&parts), left_of(&again));
    }
}
