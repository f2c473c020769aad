//! A column is a list, whatever form it has.

use proptest::prelude::*;

use super::*;
use crate::domain::time::{MS_PER_DAY, MS_PER_SECOND, Timestamp, UtcOffset};

/// Mostly what fits into the narrowest form, and now and then what does not, or into none.
fn any_sample() -> impl Strategy<Value = Sample> {
    let usual = (400_000_i64..401_500, 0..3_600_i64, 0..6_000, -18..18_i16);
    let finer = (400_000_i64..401_500, 0..MS_PER_HOUR, 0..400_000, -18..18_i16);
    let any = (any::<i64>(), any::<i32>(), -1_080..=1_080_i16);
    prop_oneof![
        80 => usual.prop_map(|(hour, second, tenths, offset)| Sample {
            at_ms: hour * MS_PER_HOUR + second * MS_PER_SECOND,
            milli: tenths * 100,
            offset_minutes: offset * 60,
        }),
        1 => finer.prop_map(|(hour, within, milli, offset)| Sample {
            at_ms: hour * MS_PER_HOUR + within,
            milli,
            offset_minutes: offset * 60,
        }),
        1 => any.prop_map(|(at_ms, milli, offset_minutes)| Sample { at_ms, milli, offset_minutes }),
    ]
}

proptest! {
    #[test]
    fn a_column_is_a_list(
        samples in prop::collection::vec(any_sample(), 1..60),
        removals in prop::collection::vec((0_usize..60, 0_usize..4), 0..20),
    ) {
        let (mut list, mut column): (Vec<(Sample, bool)>, _) = (Vec::new(), Column::of([]));
        let mut removals = removals.into_iter();
        for (number, sample) in samples.into_iter().enumerate() {
            let hour = sample.clock_hour();
            let place = list.partition_point(|(other, _)| other.clock_hour() < hour);
            prop_assert_eq!(column.count_before(hour.saturating_mul(MS_PER_HOUR)), place);
            if list.get(place).is_some_and(|(same, _)| same.clock_hour() == hour) {
                list[place] = (sample, false);
                column.replace(place, sample);
            } else {
                list.insert(place, (sample, false));
                column.insert(place, sample);
            }
            list[place].1 = number % 3 == 0;
            column.mark(place, number % 3 == 0);
            if number % 3 == 2 && let Some((from, count)) = removals.next() {
                let from = from.min(list.len());
                let places = from..(from + count).min(list.len());
                list.drain(places.clone());
                column.remove(places);
            }
            prop_assert!(column.with_marks() == list);
            let sum: i64 = list.iter().map(|(sample, _)| i64::from(sample.milli)).sum();
            prop_assert_eq!(column.sum_milli(0..column.len()), sum);
            prop_assert!(column == Column::of(list.iter().map(|(sample, _)| *sample)));
        }
        prop_assert_eq!((column.first(), column.last()), (
            list.first().map(|(sample, _)| *sample),
            list.last().map(|(sample, _)| *sample),
        ));
    }
}

/// A sample of most hours of some weeks, by clocks that are moved now and then, up to the hour of the moment and beyond.
fn hours_of_weeks() -> impl Strategy<Value = (Vec<(Sample, bool)>, i64)> {
    let clocks =
        prop::collection::vec((1..400_i64, prop::sample::select(vec![-720, -210, 0, 60, 345, 840])), 1..4);
    let hours = prop::collection::vec((0..10_u8, 0..MS_PER_HOUR, prop::bool::weighted(0.2)), 300..1_400);
    (clocks, hours, 400_000..400_200_i64, -30 * MS_PER_HOUR..3 * MS_PER_HOUR).prop_map(
        |(clocks, hours, first, after)| {
            let mut offsets = clocks
                .iter()
                .cycle()
                .flat_map(|(for_hours, offset)| std::iter::repeat_n(*offset, *for_hours as usize));
            let last_ms = (first + hours.len() as i64) * MS_PER_HOUR;
            let samples = (first..).zip(hours).zip(offsets.by_ref());
            let samples = samples.filter(|((_, (kept, ..)), _)| *kept > 0).map(
                |((hour, (_, within, is_marked)), offset)| {
                    let at_ms = hour * MS_PER_HOUR + within;
                    (Sample { at_ms, milli: 50_000, offset_minutes: offset }, is_marked)
                },
            );
            (samples.collect(), last_ms + after)
        },
    )
}

proptest! {
    #[test]
    fn the_days_that_are_searched_for_are_those_that_a_look_at_every_sample_finds(
        (samples, at_ms) in hours_of_weeks(),
        own_offset in prop::sample::select(vec![-720, 0, 60, 330, 840]),
        what in prop::sample::select(vec![Recurring::HourOfDay, Recurring::Weekday]),
        days in 1..57_i64,
    ) {
        let column = Column::packed(&samples);
        let at = Timestamp::from_ms(at_ms);
        let slot = Slot::of(what, at, UtcOffset::from_minutes(own_offset).expect("an offset"));
        let from_ms = at_ms - days * MS_PER_DAY;
        let places = column.count_before(from_ms + 1)..column.count_before(at_ms + 1);
        let kept = samples.iter().filter(|(sample, _)| from_ms < sample.at_ms && sample.at_ms <= at_ms);
        prop_assert_eq!(places.len(), kept.count());
        let found = of_any_form!(&column.0, table => table.scan(places.clone(), &slot));
        prop_assert_eq!(of_any_form!(&column.0, table => table.search(places.clone(), &slot)), found);
        prop_assert_eq!(column.marked_days(places, &slot), found);
    }
}

/// However long the user is watched, and wherever they travel.
#[test]
fn a_months_hours_take_six_bytes_each_or_eight_if_they_are_finer() {
    for (step_ms, is_narrow) in [(MS_PER_SECOND, true), (1, false)] {
        let mut column = Column::of([]);
        for hour in 0..20_000_i64 {
            let at_ms = hour * MS_PER_HOUR + hour * 7_919 * step_ms % MS_PER_HOUR;
            let milli = 25_000 + (hour * 271 % 1_000) as i32 * 100;
            let sample = Sample { at_ms, milli, offset_minutes: (hour / 500 % 30) as i16 };
            column.insert(column.len(), sample);
            if column.len() > 912 {
                column.remove(0..1);
            }
        }
        let bytes = match &column.0 {
            Form::Narrow(table) if is_narrow => table.rows.capacity() * size_of::<Narrow>(),
            Form::Wide(table) if !is_narrow => table.rows.capacity() * size_of::<Wide>(),
            other => panic!("{other:?}"),
        };
        let each = if is_narrow { 6 } else { 8 };
        assert!(bytes <= (912 + 2 * GROWTH) * each, "{bytes}");
    }
}
