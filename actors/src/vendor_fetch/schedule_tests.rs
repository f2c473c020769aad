use super::*;
use crate::domain::fetch::{Fetch, WhoopFetch, Whose};
use crate::domain::ids::{RequestId, UserId};
use crate::domain::time::Timestamp;
use crate::ports::fetch_queue::NewFetch;

const MS: Duration = Duration::from_millis(1);

fn claimed(attempts: u32, looks: u32, waited: Duration) -> ClaimedFetch {
    let now = Timestamp::from_ms(1_789_041_600_000);
    let job = NewFetch {
        whose: Whose::User(UserId::parse("user-81").unwrap()),
        fetch: Fetch::Whoop(WhoopFetch::Body),
        changed_at: now,
        received_at: now,
        request_id: RequestId::generate(),
        is_backfill: false,
    };
    ClaimedFetch { ids: vec![1], job, attempts, looks, waited }
}

fn again(fate: FetchFate) -> Again {
    match fate {
        FetchFate::Again(again) => again,
        other => panic!("{other:?}"),
    }
}

fn given_up(fate: FetchFate) -> &'static str {
    match fate {
        FetchFate::GiveUp { error_type, .. } => error_type,
        other => panic!("{other:?}"),
    }
}

#[test]
fn delays_after_failures_double_up_to_five_minutes_and_the_last_try_is_the_last() {
    let policy = RetryPolicy::default();
    let failed = || Setback::Failed("down".to_owned());
    let wanted = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    for (failures, seconds) in wanted.into_iter().enumerate() {
        let Again { delay, attempts, looks } =
            again(policy.fate(&claimed(failures as u32, 3, Duration::ZERO), failed()));
        let (low, high) = (900 * seconds * MS, (1_100 * seconds * MS).min(300 * 1_000 * MS));
        assert!((low..=high).contains(&delay), "after {failures}: {delay:?}");
        assert_eq!((attempts, looks), (failures as u32 + 1, 3));
    }
    assert_eq!(given_up(policy.fate(&claimed(11, 0, Duration::ZERO), failed())), "wearable_api_error");
    let ours = Setback::Crashed("a panic".to_owned());
    assert_eq!(given_up(policy.fate(&claimed(11, 0, Duration::ZERO), ours)), "processing_error");
}

#[test]
fn what_is_not_there_yet_is_looked_for_again_ever_more_seldom_and_uses_up_no_attempt() {
    let policy = RetryPolicy::default();
    for (looks, minutes) in [1, 2, 5, 15, 30, 60, 60, 60].into_iter().enumerate() {
        let seen = again(policy.fate(&claimed(4, looks as u32, HOUR), Setback::Pending));
        assert_eq!(seen, Again { delay: minutes * MINUTE, attempts: 4, looks: looks as u32 + 1 });
    }
    let nearly = |patience: Duration| claimed(0, 30, patience - MS);
    let enough = |patience: Duration| claimed(0, 30, patience);
    again(policy.fate(&nearly(DAY), Setback::Missing));
    assert_eq!(given_up(policy.fate(&enough(DAY), Setback::Missing)), "wearable_api_error");
    again(policy.fate(&nearly(2 * DAY), Setback::Pending));
    assert_eq!(given_up(policy.fate(&enough(2 * DAY), Setback::Pending)), "wearable_api_error");
    assert_eq!(policy.look_again(&enough(2 * DAY)), None);
}

#[test]
fn all_of_it_is_scaled_by_the_base_delay() {
    let policy = RetryPolicy { base: 10 * MS, attempts: 2 };
    assert_eq!(again(policy.fate(&claimed(0, 1, Duration::ZERO), Setback::Missing)).delay, 1_200 * MS);
    let delay = again(policy.fate(&claimed(0, 0, Duration::ZERO), Setback::Failed("down".to_owned()))).delay;
    assert!((9 * MS..=11 * MS).contains(&delay), "{delay:?}");
    assert_eq!(policy.rest(None), 600 * MS);
    let missing = claimed(0, 9, policy.scaled(DAY));
    assert_eq!(given_up(policy.fate(&missing, Setback::Missing)), "wearable_api_error");
}

#[test]
fn patience_that_a_vendor_asks_for_is_obeyed_up_to_an_hour_and_uses_up_no_attempt() {
    let policy = RetryPolicy::default();
    let (fetch, hour) = (claimed(7, 2, Duration::ZERO), HOUR);
    let unchanged = Again { delay: hour, attempts: 7, looks: 2 };
    assert_eq!(again(policy.fate(&fetch, Setback::RateLimited(hour))), unchanged);
    assert_eq!(given_up(policy.fate(&fetch, Setback::RateLimited(hour + MS))), "rate_limit_error");
    assert_eq!(RetryPolicy::obeyed(2 * hour), hour);
    assert_eq!(policy.rest(Some(5 * MINUTE)), 5 * MINUTE);
    assert_eq!(policy.rest(Some(Duration::ZERO)), policy.base, "never at once");
    let overloaded = again(policy.fate(&fetch, Setback::Overloaded(2 * hour)));
    assert_eq!((overloaded.delay, overloaded.attempts), (hour, 8));
    assert_eq!(again(policy.fate(&fetch, Setback::NotNow(MINUTE))).attempts, 7);
}

#[test]
fn a_fetch_waits_thirty_days_for_its_account() {
    let policy = RetryPolicy::default();
    let wait = FetchFate::AwaitAccount { until_waited: 30 * DAY };
    assert_eq!(policy.fate(&claimed(0, 0, 30 * DAY - MS), Setback::NoAccount), wait);
    assert_eq!(given_up(policy.fate(&claimed(0, 0, 30 * DAY), Setback::NoAccount)), "authentication_error");
    assert_eq!(
        given_up(policy.fate(&claimed(0, 0, MS), Setback::Refused("422".to_owned()))),
        "wearable_api_error"
    );
}
