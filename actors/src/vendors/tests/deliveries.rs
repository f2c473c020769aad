//! What a store is left with after deliveries in any order, any number of times.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::domain::admission::Known;
use crate::domain::ids::Identity;

/// The readings that are visible after these deliveries, each a second after the one before.
fn visible(bodies: &[String]) -> BTreeMap<(Identity, i64), String> {
    let (mut known, mut events, mut hidden): (HashMap<Identity, Known>, Vec<_>, Vec<_>) = Default::default();
    for body in bodies {
        let at = NOW.plus_ms(1000 * events.len() as i64);
        let headers = fields([("x-api-key", HEALTHKIT_KEY), ("x-user-id", "u")]);
        let device = healthkit_device();
        let verified = verify_for(&device, &headers, None, body).unwrap();
        let Ok(Decoded::Events { drafts, .. }) = device.decode(&verified, at) else { continue };
        for draft in drafts {
            let Some(admitted) = draft.admit(events.len() as i64, &mut known) else { continue };
            hidden.extend(admitted.superseded.iter().map(|known| (known.event_seq, known.reading)));
            events.push(admitted.event);
        }
    }
    let newest = known.into_iter().filter(|(_, known)| !hidden.contains(&(known.event_seq, known.reading)));
    newest
        .map(|(identity, known)| {
            let reading = &events[known.event_seq as usize].readings[known.reading.unwrap() as usize];
            ((identity, known.version), serde_json::to_string(reading).unwrap())
        })
        .collect()
}

/// Hours and minutes of one night and the days around it, in steps that often meet.
fn any_time() -> impl Strategy<Value = String> {
    (0_i64..144).prop_map(|step| Timestamp::from_ms((NOW_S - 86_400 + step * 600) * 1000).to_string())
}

fn any_source() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Apple Watch", "iPhone", "Ring"])
}

/// A sample of an app: sleep, or what an instant or an interval holds. Its id, if it has one, stands for all of it.
fn any_sample() -> impl Strategy<Value = String> {
    let sleep = (0_u8..7, any_time(), any_time(), any_source()).prop_map(|(state, start, end, source)| {
        format!(r#"{{"type":"sleepAnalysis","value":{state},"startDate":"{start}","endDate":"{end}","source":"{source}"}}"#)
    });
    let kind = prop::sample::select(vec![
        "heartRate",
        "stepCount",
        "bodyMass",
        "oxygenSaturation",
        "mindfulSession",
        "nothing",
    ]);
    let quantity = (kind, 0_u8..120, any_time(), any_time(), any_source()).prop_map(|(kind, value, start, end, source)| {
        format!(r#"{{"type":"{kind}","value":{value},"startDate":"{start}","endDate":"{end}","source":"{source}"}}"#)
    });
    let with_id = (50_u8..90, any_time(), any_source()).prop_map(|(value, at, source)| {
        format!(r#"{{"uuid":"{value}-{at}-{source}","type":"heartRate","value":{value},"timestamp":"{at}","source":"{source}"}}"#)
    });
    prop_oneof![4 => sleep, 3 => quantity, 1 => with_id]
}

fn app_delivery() -> impl Strategy<Value = String> {
    prop::collection::vec(any_sample(), 1..12)
        .prop_map(|samples| format!(r#"{{"samples":[{}]}}"#, samples.join(",")))
}

/// Totals that grow, as Health Auto Export sends them in overlapping windows.
fn export_delivery() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "step_count",
        "active_energy",
        "walking_running_distance",
        "flights_climbed",
    ]);
    let point = (0_u8..4, 0_u16..2000, any_source()).prop_map(|(minute, qty, source)| {
        format!(r#"{{"date":"2026-09-10 06:0{minute}:00 +0200","qty":{qty},"source":"{source}"}}"#)
    });
    let night = (0_u8..20, 0_u8..20, 0_u8..20).prop_map(|(core, deep, rem)| {
        let hours = |quarters: u8| f64::from(quarters) / 4.0;
        format!(
            r#"{{"name":"sleep_analysis","units":"hr","data":[{{"date":"2026-09-10 00:00:00 +0200","core":{},"deep":{},"rem":{},"asleep":0,"source":"Watch"}}]}}"#,
            hours(core), hours(deep), hours(rem)
        )
    });
    let metric = (name, prop::collection::vec(point, 1..5))
        .prop_map(|(name, points)| format!(r#"{{"name":"{name}","data":[{}]}}"#, points.join(",")));
    prop::collection::vec(prop_oneof![3 => metric, 1 => night], 1..5)
        .prop_map(|metrics| format!(r#"{{"data":{{"metrics":[{}]}}}}"#, metrics.join(",")))
}

proptest! {
    #![proptest_config(fixed_cases(0x6f72_6465))]

    #[test]
    fn deliveries_in_any_order_and_number_leave_the_same_readings(
        (deliveries, again) in prop::collection::vec(prop_oneof![app_delivery(), export_delivery()], 1..7)
            .prop_flat_map(|deliveries| {
                let all = deliveries.len();
                let again = [deliveries.clone(), deliveries.clone()].concat();
                (Just(deliveries), Just(again).prop_shuffle().prop_map(move |mut again| {
                    // At least each once, and some of them twice.
                    again.truncate(all + all / 2);
                    again
                }))
            }),
    ) {
        let again = [again, deliveries.iter().rev().cloned().collect()].concat();
        prop_assert_eq!(visible(&deliveries), visible(&again));
    }

    #[test]
    fn a_window_that_comes_again_unchanged_holds_nothing_new(qty in 40_u8..90) {
        let body = format!(
            r#"{{"data":{{"metrics":[{{"name":"heart_rate","units":"bpm","data":[{{"date":"2026-09-10 06:00:00 +0200","Avg":{qty}}}]}}]}}}}"#
        );
        let wider = body.replace("]}]", r#",{"date":"2026-09-10 06:01:00 +0200","Avg":61}]}]"#);
        let changed = body.replace(&qty.to_string(), "95");
        let first = visible(std::slice::from_ref(&body));
        let later = visible(&[body.clone(), wider, body.clone()]);
        prop_assert!(first.iter().all(|(fact, reading)| later.get(fact) == Some(reading)));
        prop_assert_eq!(later.len(), 2);
        let newest = visible(&[body, changed]);
        prop_assert_eq!(newest.len(), 1);
        prop_assert!(newest.values().all(|reading| reading.contains("95")));
    }
}
