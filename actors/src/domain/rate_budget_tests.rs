use proptest::prelude::*;

use super::*;

const START_MS: i64 = 1_789_000_000_000;

fn limit(requests: u32, window_ms: u64) -> RateLimit {
    RateLimit { requests, window: Duration::from_millis(window_ms) }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(START_MS + ms)
}

#[test]
fn a_burst_up_to_the_limit_goes_at_once_and_the_rest_when_the_window_has_passed() {
    let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
    assert_eq!(budget.take(&limits, at(0), 80, false), Given { requests: 80, more_in: None });
    let given = budget.take(&limits, at(10), 80, false);
    assert_eq!(given.requests, 20);
    let more_in = given.more_in.unwrap();
    assert!(more_in > Duration::from_secs(60) && more_in <= Duration::from_millis(60_840), "{more_in:?}");
    let later = at(10 + more_in.as_millis() as i64);
    assert_eq!(budget.take(&limits, later, 80, false), Given { requests: 80, more_in: None });
}

#[test]
fn the_narrowest_limit_decides_and_each_is_counted() {
    let (mut budget, limits) = (RateBudget::default(), [limit(10, 1_000), limit(15, 100_000)]);
    assert_eq!(budget.take(&limits, at(0), 12, false).requests, 10);
    assert_eq!(budget.take(&limits, at(2_000), 12, false).requests, 5);
    let given = budget.take(&limits, at(4_000), 1, false);
    assert_eq!(given.requests, 0);
    assert!(given.more_in.unwrap() > Duration::from_secs(90), "{given:?}");
}

#[test]
fn backfill_leaves_a_tenth_to_what_is_live() {
    let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
    assert_eq!(budget.take(&limits, at(0), 500, true).requests, 90);
    assert_eq!(budget.take(&limits, at(0), 1, true).requests, 0);
    assert_eq!(budget.take(&limits, at(0), 50, false).requests, 10);
}

#[test]
fn what_was_not_sent_is_given_back_once_and_while_it_counts() {
    let (mut budget, limits) = (RateBudget::default(), [limit(3, 1_000), limit(3, 60_000)]);
    assert_eq!(budget.take(&limits, at(0), 3, false).requests, 3);
    budget.give_back(at(15), Duration::from_millis(15));
    assert_eq!(budget.take(&limits, at(20), 3, false).requests, 1);
    budget.give_back(at(25), Duration::from_secs(2));
    assert_eq!(budget.take(&limits, at(30), 3, false).requests, 0, "the short window keeps what is too old");
    assert_eq!(budget.take(&limits, at(5_000), 3, false).requests, 1);
    (0..9).for_each(|_| budget.give_back(at(5_005), Duration::ZERO));
    assert_eq!(budget.take(&limits, at(5_010), 9, false).requests, 3);
}

#[test]
fn a_vendor_that_asks_for_rest_has_it_and_a_shorter_rest_shortens_none() {
    let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
    budget.rest(at(5_000));
    budget.rest(at(1_000));
    let given = budget.take(&limits, at(2_000), 1, false);
    assert_eq!(given, Given { requests: 0, more_in: Some(Duration::from_secs(3)) });
    assert_eq!(budget.take(&limits, at(5_000), 1, false).requests, 1);
}

#[test]
fn a_clock_that_was_set_back_gives_nothing_twice_and_holds_up_nothing_for_long() {
    let (mut budget, limits) = (RateBudget::default(), [limit(100, 60_000)]);
    assert_eq!(budget.take(&limits, at(0), 100, false).requests, 100);
    budget.rest(at(10_000));
    let before = -86_400_000;
    let given = budget.take(&limits, at(before), 1, false);
    assert!(given.requests == 0 && given.more_in.unwrap() < Duration::from_secs(62), "{given:?}");
    assert_eq!(budget.take(&limits, at(before + 62_000), 1, false).requests, 1);
}

#[test]
fn bridges_with_other_limits_keep_each_others_counts() {
    let (mut budget, ours) = (RateBudget::default(), [limit(10, 1_000), limit(15, 86_400_000)]);
    let theirs = [limit(20, 60_000), limit(10, 1_000)];
    assert_eq!(budget.take(&ours, at(0), 10, false).requests, 10);
    assert_eq!(budget.take(&theirs, at(2_000), 10, false).requests, 10);
    assert_eq!(budget.take(&ours, at(4_000), 10, false).requests, 0, "theirs count in our day");
    assert_eq!(budget.take(&theirs, at(4_000), 30, false).requests, 10);
}

#[test]
fn a_request_that_was_late_counts_from_when_it_is_sent() {
    let (mut budget, limits) = (RateBudget::default(), [limit(2, 10_000)]);
    assert_eq!(budget.take(&limits, at(0), 1, false).requests, 1);
    assert_eq!(budget.take(&limits, at(4_000), 1, false).requests, 1);
    assert!(budget.take_one(&limits, at(6_000), Some(Duration::from_millis(2_005))), "the one of 4,000");
    assert_eq!(budget.take(&limits, at(10_200), 2, false).requests, 1, "the one of 0");
    assert_eq!(budget.take(&limits, at(14_500), 2, false).requests, 0);
    assert_eq!(budget.take(&limits, at(16_200), 2, false).requests, 1);
    budget.rest(at(20_000));
    assert!(!budget.take_one(&limits, at(17_000), Some(Duration::from_secs(1))), "it asks for rest");
    assert_eq!(budget.take(&limits, at(20_400), 2, false).requests, 2, "it was given back all the same");
}

#[test]
fn the_stored_form_stays_as_it_is() {
    let mut budget = RateBudget::default();
    budget.take(&[limit(10, 1_000)], at(0), 3, false);
    budget.rest(at(7));
    let stored = serde_json::to_string(&budget).unwrap();
    let want = r#"{"used":[{"window_ms":1000,"slot_ms":4,"slots":[[447250000000,3]]}],"rests_until":"2026-09-10T00:26:40.007Z"}"#;
    assert_eq!(stored, want);
    assert_eq!(serde_json::from_str::<RateBudget>(&stored).unwrap(), budget);
}

#[test]
fn what_an_older_build_has_counted_counts_on() {
    let old =
        r#"{"used":[{"window_ms":1000,"slots":[[178900000000,3],[178900000050,4]]}],"rests_until":null}"#;
    let (mut budget, limits): (RateBudget, _) = (serde_json::from_str(old).unwrap(), [limit(10, 1_000)]);
    assert_eq!(budget.take(&limits, at(510), 9, false).requests, 3);
    assert_eq!(budget.take(&limits, at(1_005), 9, false).requests, 0, "a window and a hundredth");
    assert_eq!(budget.take(&limits, at(1_025), 9, false).requests, 3);
    assert_eq!(budget.take(&limits, at(1_530), 9, false).requests, 7);
    let (mut budget, held): (RateBudget, _) = (serde_json::from_str(old).unwrap(), Duration::from_millis(10));
    budget.give_back(at(508), held);
    assert_eq!(budget.take(&limits, at(510), 9, false).requests, 4);
}

#[test]
fn a_window_of_many_small_slots_stays_small() {
    let (mut budget, limits) = (RateBudget::default(), [limit(100_000, 300_000)]);
    for step in 0..3_000 {
        budget.take(&limits, at(step * 300), 1, false);
    }
    let stored = serde_json::to_string(&budget).unwrap();
    assert!(stored.len() < 6_000, "{} bytes", stored.len());
}

proptest! {
    /// Whatever is asked when, and however long within the slack each request is on its way: no window of the vendor's
    /// holds more than the limit.
    #[test]
    fn no_window_of_the_vendors_holds_more_than_the_limit(
        asks in proptest::collection::vec((0_i64..3_000, 1_u32..40, 0_i64..100, 0_i64..4_000, 0_u8..4), 1..200),
        requests in 1_u32..60,
    ) {
        let (window_ms, mut budget) = (10_000_i64, RateBudget::default());
        let limits = [limit(requests, window_ms as u64)];
        // When what happens to one request that was taken: it is given back, or late.
        let (mut now_ms, mut arrivals, mut later) = (0, Vec::new(), Vec::<(i64, i64, bool)>::new());
        for (pause, wanted, on_its_way, held, what) in asks {
            now_ms += pause;
            later.sort_unstable();
            while later.first().is_some_and(|first| first.0 <= now_ms) {
                let (then_ms, held, is_late) = later.remove(0);
                let held = Duration::from_millis(held.unsigned_abs());
                if !is_late {
                    budget.give_back(at(then_ms), held);
                } else if budget.take_one(&limits, at(then_ms), Some(held)) {
                    arrivals.push(then_ms + on_its_way);
                }
            }
            let given = budget.take(&limits, at(now_ms), wanted, false);
            prop_assert!(given.requests <= wanted);
            prop_assert_eq!(given.more_in.is_none(), given.requests == wanted);
            let set_aside = if what < 2 && given.requests > 0 { 1 } else { 0 };
            later.extend((0..set_aside).map(|_| (now_ms + held, held, what == 0)));
            arrivals.extend((set_aside..given.requests).map(|_| now_ms + on_its_way));
        }
        arrivals.sort_unstable();
        for (first, arrival) in arrivals.iter().enumerate() {
            let held = arrivals[first..].iter().take_while(|other| **other < arrival + window_ms).count();
            prop_assert!(held <= requests as usize, "{} in a window", held);
        }
    }

    /// Somebody who always wants more, and asks when told, gets at least 97 % of what is allowed.
    #[test]
    fn what_is_allowed_is_used(requests in 1_u32..500, window_ms in 1_000_u64..400_000) {
        let (mut budget, limits) = (RateBudget::default(), [limit(requests, window_ms)]);
        let (mut now_ms, mut given_in_all, windows) = (0_i64, 0_u64, 100_u64);
        while now_ms < (windows * window_ms) as i64 {
            let given = budget.take(&limits, at(now_ms), 1_000, false);
            given_in_all += u64::from(given.requests);
            now_ms += given.more_in.unwrap().as_millis() as i64;
        }
        let allowed = windows * u64::from(requests);
        prop_assert!(given_in_all * 100 >= allowed * 97, "{} of {}", given_in_all, allowed);
    }
}
