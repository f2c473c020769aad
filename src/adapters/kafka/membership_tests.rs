//! What polls and the thread tell each other, without a broker.

use std::sync::Arc;

use actors::domain::message::Topic;
use futures_util::FutureExt;

use super::*;

fn record(partition: u32, offset: i64) -> LogRecord {
    LogRecord {
        topic: Topic::BiometricEvents,
        partition,
        offset,
        key: Arc::from("ada"),
        value: vec![0; 100],
        headers: Vec::new(),
    }
}

fn poll(membership: &Membership, held: &[(u32, i64)]) -> Option<Result<Polled, LogError>> {
    membership.poll(&held.iter().copied().collect(), 100).now_or_never()
}

/// The places of what a poll gives.
fn offsets(membership: &Membership, held: &[(u32, i64)]) -> Vec<i64> {
    match poll(membership, held) {
        Some(Ok(Polled::Records(records))) => records.iter().map(|record| record.offset).collect(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn gained(partitions: &[u32]) -> Option<Result<Polled, LogError>> {
    Some(Ok(Polled::Gained(partitions.to_vec())))
}

fn lost(partitions: &[u32]) -> Option<Result<Polled, LogError>> {
    Some(Ok(Polled::Lost(partitions.to_vec())))
}

fn steps(membership: &Membership) -> Vec<Step> {
    membership.steps(Instant::now())
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A member that holds partition 3 and fetches it from `place`.
fn holding(place: i64) -> Membership {
    let membership = Membership::default();
    membership.grant(&[3]);
    assert_eq!(poll(&membership, &[]), gained(&[3]));
    assert_eq!(poll(&membership, &[(3, place)]), None);
    assert_eq!(steps(&membership), [Step::Assign { partition: 3, place }]);
    membership.begun(3, place);
    assert_eq!(steps(&membership), []);
    membership
}

#[test]
fn fetching_begins_where_the_member_says() {
    let membership = holding(40);
    membership.push(vec![record(3, 40), record(3, 41), record(9, 7)]);
    assert_eq!(offsets(&membership, &[(3, 40)]), [40, 41]);
    assert_eq!(offsets(&membership, &[(3, 41)]), [41]);
    assert_eq!(offsets(&membership, &[(3, 42)]), [0; 0]);
}

#[test]
fn a_place_outside_of_the_buffer_is_fetched_anew() {
    let membership = holding(40);
    membership.push((40..50).map(|offset| record(3, offset)).collect());
    assert_eq!(offsets(&membership, &[(3, 45)]).len(), 5);
    for place in [44, 51] {
        assert_eq!(offsets(&membership, &[(3, place)]), [0; 0]);
        assert_eq!(steps(&membership), [Step::Seek { partition: 3, place }]);
        // What comes from before the seek does not count.
        membership.push(vec![record(3, 50)]);
        membership.begun(3, place);
        membership.push(vec![record(3, place)]);
        assert_eq!(offsets(&membership, &[(3, place)]), [place]);
    }
}

#[test]
fn a_place_that_the_log_does_not_have_goes_to_the_earliest() {
    let membership = holding(1_000);
    membership.push(vec![record(3, 5), record(3, 6)]);
    // Also when it is asked for again, and until the member has moved on.
    for _ in 0..2 {
        assert_eq!(offsets(&membership, &[(3, 1_000)]), [5, 6]);
    }
    assert_eq!(offsets(&membership, &[(3, 6)]), [6]);
    assert_eq!(offsets(&membership, &[(3, 1_000)]), [0; 0]);
    assert_eq!(steps(&membership), [Step::Seek { partition: 3, place: 1_000 }]);
}

#[test]
fn a_log_that_goes_back_while_it_is_read_is_asked_for_the_members_place_again() {
    let membership = holding(40);
    membership.push(vec![record(3, 40), record(3, 41)]);
    assert_eq!(offsets(&membership, &[(3, 41)]), [41]);
    membership.push(vec![record(3, 0)]);
    assert_eq!(offsets(&membership, &[(3, 41)]), [0; 0]);
    assert_eq!(steps(&membership), [Step::Seek { partition: 3, place: 41 }]);
}

#[test]
fn a_revocation_waits_for_the_release_and_no_longer_than_its_deadline() {
    let membership = holding(0);
    membership.revoke(&[3], later());
    assert_eq!(poll(&membership, &[(3, 0)]), lost(&[3]));
    assert_eq!(steps(&membership), []);
    assert_eq!(membership.steps(later()), [Step::Unassign(vec![3])]);

    let membership = holding(0);
    membership.revoke(&[3], later());
    membership.release(&[3]);
    assert_eq!(steps(&membership), [Step::Unassign(vec![3])]);
    assert_eq!(poll(&membership, &[]), None);
}

#[test]
fn what_was_not_released_in_time_is_lost_before_it_is_gained_again() {
    let membership = holding(0);
    membership.revoke(&[3], Instant::now());
    assert_eq!(steps(&membership), [Step::Unassign(vec![3])]);
    membership.grant(&[3]);
    // Whatever the member believes, until it releases.
    assert_eq!(poll(&membership, &[(3, 0)]), lost(&[3]));
    assert_eq!(poll(&membership, &[]), lost(&[3]));
    membership.release(&[3]);
    assert_eq!(poll(&membership, &[]), gained(&[3]));
}

#[test]
fn what_was_offered_and_never_held_is_waited_for_by_nobody() {
    let membership = Membership::default();
    membership.grant(&[3]);
    assert_eq!(poll(&membership, &[]), gained(&[3]));
    membership.revoke(&[3], later());
    assert_eq!(steps(&membership), [Step::Unassign(vec![])]);
    // The member had begun to take it over, and hears that it is gone; also if it has come back by then.
    assert_eq!(poll(&membership, &[(3, 0)]), lost(&[3]));
    membership.grant(&[3]);
    assert_eq!(poll(&membership, &[(3, 0)]), lost(&[3]));
    membership.release(&[3]);
    assert_eq!(poll(&membership, &[]), gained(&[3]));
}

#[test]
fn a_full_buffer_pauses_its_partition_and_one_that_drains_resumes_it() {
    let membership = holding(0);
    let count = i64::try_from(BUFFER_RECORDS_MAX).expect("a small number");
    membership.push((0..count).map(|offset| record(3, offset)).collect());
    assert_eq!(steps(&membership), [Step::Pause(vec![3])]);
    assert_eq!(steps(&membership), []);
    assert_eq!(offsets(&membership, &[(3, count / 2 - 1)]).len(), 100);
    assert_eq!(steps(&membership), []);
    assert_eq!(offsets(&membership, &[(3, count / 2)]).len(), 100);
    assert_eq!(steps(&membership), [Step::Resume(vec![3])]);
    // By its bytes as well.
    let large = LogRecord { value: vec![0; BUFFER_BYTES_MAX], ..record(3, count) };
    membership.push(vec![large]);
    assert_eq!(steps(&membership), [Step::Pause(vec![3])]);
    // One that is sent elsewhere is resumed before.
    assert_eq!(offsets(&membership, &[(3, 0)]), [0; 0]);
    assert_eq!(steps(&membership), [Step::Resume(vec![3]), Step::Seek { partition: 3, place: 0 }]);
}

#[test]
fn a_poll_gives_no_more_than_its_limit_and_every_partition_its_turn() {
    let membership = Membership::default();
    let partitions: Vec<u32> = (0..10).collect();
    let held: Places = partitions.iter().map(|partition| (*partition, 0)).collect();
    membership.grant(&partitions);
    let _ = membership.poll(&Places::new(), 1).now_or_never();
    let _ = membership.poll(&held, 1).now_or_never();
    for &partition in &partitions {
        membership.begun(partition, 0);
        membership.push((0..5).map(|offset| record(partition, offset)).collect());
    }
    let mut first = Vec::new();
    for _ in 0..10 {
        let polled = membership.poll(&held, 3).now_or_never();
        let Some(Ok(Polled::Records(records))) = polled else { panic!("{polled:?}") };
        assert_eq!(records.len(), 3);
        first.push(records[0].partition);
    }
    first.sort_unstable();
    assert_eq!(first, partitions);
}

#[test]
fn an_error_is_told_once_and_after_what_is_there() {
    let membership = holding(0);
    let error = LogError::Unavailable("all brokers are down".to_owned());
    membership.fail(error.clone());
    membership.push(vec![record(3, 0)]);
    assert_eq!(offsets(&membership, &[(3, 0)]), [0]);
    assert_eq!(poll(&membership, &[(3, 1)]), Some(Err(error)));
    assert_eq!(poll(&membership, &[(3, 1)]), None);
}

#[test]
fn who_has_left_polls_in_vain() {
    let membership = holding(0);
    membership.leave();
    assert!(matches!(poll(&membership, &[(3, 0)]), Some(Err(LogError::Unavailable(_)))));
}
