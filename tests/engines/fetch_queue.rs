//! The queue of fetches, on every store: claims, the budget, and what becomes of what was claimed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopFetch, Whose};
use actors::domain::ids::RequestId;
use actors::domain::rate_budget::RateLimit;
use actors::ports::accounts::{Link, NewTokens};
use actors::ports::fetch_queue::{
    Again, ClaimFetches, ClaimedFetch, FetchCounts, FetchEnd, FetchFate, FetchQueue, NewFetch, PutBack,
};
use actors::ports::store::{Committed, NewDelivery};
use actors::ports::vault::SealedPair;
use actors::ports::{Accounts, Store};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::store::{Handles, at, commit, delivery, on_every_store, user};

/// Longer than a test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

pub(crate) fn of_vendor(id: &str) -> Whose {
    Whose::Vendor(VendorUserId::parse(id).unwrap())
}

/// What is asked about somebody's sleep.
pub(crate) fn sleep(whose: &Whose, id: &str) -> NewFetch {
    let fetch = OuraFetch::Record { data_type: OuraDataType::Sleep, id: id.to_owned() };
    NewFetch {
        whose: whose.clone(),
        fetch: fetch.into(),
        changed_at: at(0),
        received_at: at(0),
        request_id: RequestId::generate(),
        is_backfill: false,
    }
}

fn backfill(whose: &Whose, id: &str) -> NewFetch {
    NewFetch { is_backfill: true, ..sleep(whose, id) }
}

pub(crate) fn asking(
    key: &str,
    fetches: impl IntoIterator<Item = NewFetch>,
    ends: Option<FetchEnd>,
) -> Arc<NewDelivery> {
    let fetches = fetches.into_iter().collect();
    Arc::new(NewDelivery { fetches, ends, ..(*delivery(key, Vec::new())).clone() })
}

/// Commits a delivery that asks for this.
pub(crate) async fn ask(store: &Arc<dyn Store>, key: &str, fetches: impl IntoIterator<Item = NewFetch>) {
    let committed = commit(store, &[asking(key, fetches, None)]).await;
    assert_eq!(committed, [Committed::Stored(Vec::new())]);
}

/// A claim of somebody who has not claimed before.
pub(crate) fn claim(limit: usize) -> ClaimFetches {
    let rate_limits = vec![RateLimit { requests: 1_000, window: Duration::from_secs(3_600) }];
    ClaimFetches { vendor: Vendor::Oura, holder: Uuid::now_v7(), limit, lease: LONG, rate_limits }
}

fn with_limit(requests: u32) -> ClaimFetches {
    let rate_limits = vec![RateLimit { requests, window: Duration::from_secs(3_600) }];
    ClaimFetches { rate_limits, ..claim(100) }
}

pub(crate) async fn take(queue: &Arc<dyn FetchQueue>, claim: &ClaimFetches) -> Vec<ClaimedFetch> {
    queue.claim_fetches(claim).await.unwrap().fetches
}

/// The records that were asked for, in order.
pub(crate) fn records(fetches: &[ClaimedFetch]) -> Vec<&str> {
    let mut records = Vec::new();
    for claimed in fetches {
        match &claimed.job.fetch {
            Fetch::Oura(OuraFetch::Record { id, .. }) => records.push(&**id),
            other => panic!("{other:?}"),
        }
    }
    records
}

pub(crate) fn ids(fetches: &[ClaimedFetch]) -> Vec<i64> {
    fetches.iter().flat_map(|claimed| claimed.ids.clone()).collect()
}

pub(crate) const fn at_once() -> Again {
    Again { delay: Duration::ZERO, attempts: 0, looks: 0 }
}

async fn put_back(queue: &Arc<dyn FetchQueue>, ids: Vec<i64>, holder: Uuid, fate: FetchFate) {
    queue.put_back(&[PutBack { ids, holder, fate }]).await.unwrap();
}

fn give_up() -> FetchFate {
    let error_message = "the vendor has refused it".to_owned();
    FetchFate::GiveUp { error_type: "fetch_failed", error_message, attempts: 7 }
}

fn await_account(until_waited: Duration) -> FetchFate {
    FetchFate::AwaitAccount { until_waited }
}

pub(crate) async fn counts(queue: &Arc<dyn FetchQueue>) -> FetchCounts {
    let counts = queue.count_fetches().await.unwrap();
    counts
        .into_iter()
        .find(|(vendor, _)| *vendor == Vendor::Oura)
        .map(|(_, counts)| counts)
        .unwrap_or_default()
}

fn counted(waiting: u64, awaiting_account: u64, dead: u64) -> FetchCounts {
    FetchCounts { waiting, awaiting_account, dead }
}

async fn put_link(accounts: &Arc<dyn Accounts>, id: &str, user_id: &str, has_tokens: bool) {
    let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse(id).unwrap() };
    let link = Link { account, user_id: user(user_id), timezone: None, key_hash: None };
    let sealed = SealedPair { key_id: "k".into(), access: vec![1], refresh: None };
    let tokens = NewTokens { sealed, scope: None, obtained_at: at(0), expires_at: None };
    accounts.put_link(&link, has_tokens.then_some(&tokens)).await.unwrap();
}

/// Until the store's clock, which shows milliseconds, shows a later time.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

fn is_nearly(told: Option<Duration>, expected: Duration) -> bool {
    told.is_some_and(|told| told <= expected && told > expected - Duration::from_secs(60))
}

async fn live_goes_before_backfill_and_what_has_been_due_longest_first(handles: &Handles) {
    let (one, ann) = (&handles.queues.0, of_vendor("ann"));
    ask(&handles.one, "1", [backfill(&ann, "old 1"), backfill(&ann, "old 2")]).await;
    ask(&handles.one, "2", [sleep(&ann, "a"), sleep(&ann, "b"), sleep(&ann, "c")]).await;
    let first = claim(2);
    let claimed = one.claim_fetches(&first).await.unwrap();
    assert_eq!(records(&claimed.fetches), ["a", "b"]);
    assert_eq!(claimed.next_in, Some(Duration::ZERO), "more is due");
    a_moment().await;
    put_back(one, ids(&claimed.fetches), first.holder, FetchFate::Again(at_once())).await;
    assert_eq!(records(&take(&handles.queues.1, &claim(4)).await), ["c", "a", "b", "old 1"]);
    let last = one.claim_fetches(&claim(4)).await.unwrap();
    assert_eq!(records(&last.fetches), ["old 2"]);
    assert!(is_nearly(last.next_in, LONG), "when the first lease ends: {:?}", last.next_in);
}

async fn a_claim_tells_what_was_asked_for_and_when_to_come_again(handles: &Handles) {
    let (one, ann) = (&handles.queues.0, Whose::User(user("ann")));
    let nothing = one.claim_fetches(&claim(10)).await.unwrap();
    assert_eq!((nothing.fetches.len(), nothing.next_in), (0, None));
    let job = NewFetch { changed_at: at(7), received_at: at(9), is_backfill: true, ..sleep(&ann, "a") };
    let other = NewFetch { fetch: WhoopFetch::Body.into(), ..sleep(&ann, "") };
    ask(&handles.one, "1", [job.clone(), other.clone()]).await;
    let holder = claim(10);
    let claimed = take(&handles.queues.1, &holder).await;
    assert_eq!((claimed.len(), &claimed[0].job), (1, &job), "another vendor's is not in it");
    assert_eq!((claimed[0].attempts, claimed[0].looks), (0, 0));
    assert!(claimed[0].waited < LONG);
    let again = Again { delay: LONG / 2, attempts: 3, looks: 5 };
    put_back(one, ids(&claimed), holder.holder, FetchFate::Again(again)).await;
    let waiting = one.claim_fetches(&claim(10)).await.unwrap();
    assert!(waiting.fetches.is_empty() && is_nearly(waiting.next_in, LONG / 2), "{:?}", waiting.next_in);
    let whoop = ClaimFetches { vendor: Vendor::Whoop, ..claim(10) };
    assert_eq!(take(one, &whoop).await[0].job, other);
    let all = [(Vendor::Oura, counted(1, 0, 0)), (Vendor::Whoop, counted(1, 0, 0))];
    assert_eq!(one.count_fetches().await.unwrap(), all);
}

async fn what_was_tried_before_is_told(handles: &Handles) {
    let (one, first) = (&handles.queues.0, claim(10));
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let claimed = take(one, &first).await;
    let again = Again { delay: Duration::ZERO, attempts: 3, looks: 5 };
    put_back(one, ids(&claimed), first.holder, FetchFate::Again(again)).await;
    let claimed = take(&handles.queues.1, &claim(10)).await;
    assert_eq!((claimed[0].attempts, claimed[0].looks), (3, 5));
}

async fn a_lease_that_has_ended_is_taken_over_and_its_former_holder_changes_nothing(handles: &Handles) {
    let (one, two) = (&handles.queues.0, &handles.queues.1);
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let (dying, heir) = (ClaimFetches { lease: Duration::ZERO, ..claim(10) }, claim(10));
    let claimed = take(one, &dying).await;
    assert_eq!(ids(&take(two, &heir).await), ids(&claimed));
    for fate in [give_up(), await_account(Duration::ZERO), FetchFate::Again(at_once())] {
        put_back(one, ids(&claimed), dying.holder, fate).await;
        assert_eq!(counts(one).await, counted(1, 0, 0));
        assert!(take(one, &dying).await.is_empty(), "it is the heir's");
    }
    one.drop_leases(Vendor::Oura, dying.holder).await.unwrap();
    one.drop_leases(Vendor::Whoop, heir.holder).await.unwrap();
    assert!(take(one, &claim(10)).await.is_empty());
    one.drop_leases(Vendor::Oura, heir.holder).await.unwrap();
    assert_eq!(ids(&take(one, &claim(10)).await), ids(&claimed));
}

async fn a_lease_that_is_extended_in_time_does_not_end(handles: &Handles) {
    let (one, two) = (&handles.queues.0, &handles.queues.1);
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let first = ClaimFetches { lease: Duration::from_millis(1), ..claim(10) };
    let claimed = take(one, &first).await;
    one.extend_leases(&ids(&claimed), first.holder, LONG).await.unwrap();
    one.extend_leases(&ids(&claimed), claim(1).holder, Duration::ZERO).await.unwrap();
    a_moment().await;
    assert!(take(two, &claim(10)).await.is_empty(), "it is the holder's, and another cannot change that");
    one.extend_leases(&ids(&claimed), first.holder, Duration::ZERO).await.unwrap();
    a_moment().await;
    assert_eq!(records(&take(two, &claim(10)).await), ["a"]);
}

async fn of_many_who_claim_at_once_each_row_has_one_holder_and_the_budget_is_kept(handles: &Handles) {
    let fetches = (0..60).map(|number| sleep(&of_vendor(&format!("person {number}")), "a"));
    ask(&handles.one, "1", fetches).await;
    let claimer = async |number: usize| {
        let queue = if number.is_multiple_of(2) { &handles.queues.0 } else { &handles.queues.1 };
        let mut held = Vec::new();
        for _ in 0..4 {
            held.extend(ids(&take(queue, &ClaimFetches { limit: 3, ..with_limit(40) }).await));
        }
        held
    };
    let held: Vec<i64> = join_all((0..8).map(claimer)).await.concat();
    assert_eq!((held.len(), held.iter().collect::<HashSet<_>>().len()), (40, 40));
}

async fn a_request_is_given_out_once_over_all_handles(handles: &Handles) {
    let (one, two, ann) = (&handles.queues.0, &handles.queues.1, of_vendor("ann"));
    let fetches = ["a", "b", "c", "d", "e", "f"].map(|id| sleep(&ann, id));
    ask(&handles.one, "1", fetches).await;
    let limited = with_limit(5);
    assert_eq!(take(one, &ClaimFetches { limit: 2, ..limited.clone() }).await.len(), 2);
    assert!(two.take_request(Vendor::Oura, &limited.rate_limits, None).await.unwrap());
    let rest = two.claim_fetches(&limited).await.unwrap();
    assert_eq!(rest.fetches.len(), 2);
    assert!(rest.next_in > Some(Duration::from_secs(3_500)), "{:?}", rest.next_in);
    assert!(!one.take_request(Vendor::Oura, &limited.rate_limits, None).await.unwrap());
    assert!(
        one.take_request(Vendor::Whoop, &limited.rate_limits, None).await.unwrap(),
        "each vendor has its own"
    );
    assert!(take(one, &limited).await.is_empty());
    assert_eq!(take(one, &with_limit(6)).await.len(), 1, "what was counted stays counted");
}

async fn backfill_leaves_a_part_of_the_budget_to_what_is_live(handles: &Handles) {
    let (one, ann) = (&handles.queues.0, of_vendor("ann"));
    ask(&handles.one, "1", (0..20).map(|number| backfill(&ann, &number.to_string()))).await;
    let claimed = one.claim_fetches(&with_limit(10)).await.unwrap();
    assert_eq!(claimed.fetches.len(), 9);
    assert!(claimed.next_in > Some(Duration::from_secs(3_500)), "nothing that is live waits");
    ask(&handles.one, "2", [sleep(&ann, "a"), sleep(&ann, "b")]).await;
    let claimed = one.claim_fetches(&with_limit(10)).await.unwrap();
    assert_eq!(records(&claimed.fetches), ["a"]);
    assert!(claimed.next_in > Some(Duration::from_secs(3_500)));
}

async fn those_that_ask_the_same_are_one_fetch_and_use_up_one_request(handles: &Handles) {
    let (one, ann) = (&handles.queues.0, of_vendor("ann"));
    let told = |changed, received| NewFetch {
        changed_at: at(changed),
        received_at: at(received),
        ..sleep(&ann, "a")
    };
    ask(&handles.one, "1", [told(5, 30)]).await;
    let first = claim(1);
    let own = take(one, &first).await;
    let again = Again { delay: LONG, attempts: 2, looks: 4 };
    put_back(one, ids(&own), first.holder, FetchFate::Again(again)).await;
    ask(&handles.one, "2", [told(1, 20), told(9, 40)]).await;
    let others = [sleep(&ann, "b"), sleep(&of_vendor("bob"), "a"), backfill(&ann, "a")];
    let by_our_id = sleep(&Whose::User(user("ann")), "a");
    ask(&handles.one, "3", others.into_iter().chain([by_our_id])).await;
    let claimed = take(&handles.queues.1, &with_limit(6)).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.ids.len()).collect::<Vec<_>>(), [3, 1, 1, 1, 1]);
    assert!(claimed[4].job.is_backfill, "history is asked for by itself");
    let merged = &claimed[0];
    assert_eq!(merged.ids[1], ids(&own)[0], "what is not due yet comes with it");
    assert_eq!((merged.job.changed_at, merged.job.received_at), (at(9), at(20)));
    assert_eq!((merged.attempts, merged.looks), (0, 0), "it was asked anew");
    // What is in somebody's hands stays there.
    ask(&handles.one, "4", [told(2, 2)]).await;
    assert!(take(one, &with_limit(6)).await.is_empty(), "six were used up");
    let later = take(one, &with_limit(7)).await;
    assert_eq!((later.len(), later[0].ids.len(), later[0].job.changed_at), (1, 1, at(2)));
}

async fn many_that_ask_the_same_do_not_stand_before_others(handles: &Handles) {
    let ann = of_vendor("ann");
    ask(&handles.one, "1", (0..50).map(|_| sleep(&ann, "a")).chain([sleep(&ann, "b")])).await;
    let claimed = handles.queues.0.claim_fetches(&claim(3)).await.unwrap();
    assert_eq!((records(&claimed.fetches), ids(&claimed.fetches).len()), (vec!["a", "b"], 51));
}

async fn what_awaits_an_account_is_released_by_its_link_whatever_it_was_called(handles: &Handles) {
    let (one, two, all) = (&handles.queues.0, &handles.queues.1, claim(10));
    let [ann, bob] = ["ann at oura", "bob at oura"].map(of_vendor);
    let user_named = |text: &str| Whose::User(user(text));
    let fetches = [
        sleep(&ann, "a"),
        sleep(&user_named("ann"), "b"),
        sleep(&user_named("oura:ann at oura"), "c"),
        sleep(&user_named("ann at oura"), "d"),
        sleep(&bob, "e"),
    ];
    ask(&handles.one, "1", fetches).await;
    let claimed = take(one, &all).await;
    put_back(one, ids(&claimed), all.holder, await_account(LONG)).await;
    assert_eq!(counts(two).await, counted(0, 5, 0));
    let waiting = two.claim_fetches(&claim(10)).await.unwrap();
    assert!(waiting.fetches.is_empty() && is_nearly(waiting.next_in, LONG), "{:?}", waiting.next_in);
    put_link(&handles.accounts.1, "ann at oura", "ann", true).await;
    assert_eq!(counts(one).await, counted(4, 1, 0));
    let again = claim(10);
    let claimed = take(one, &again).await;
    assert_eq!(records(&claimed), ["a", "b", "c", "d"]);
    // Without tokens, too: those that are there may be another user's from now on.
    put_back(one, ids(&claimed), again.holder, await_account(LONG)).await;
    put_link(&handles.accounts.1, "ann at oura", "eve", false).await;
    assert_eq!(records(&take(one, &claim(10)).await), ["a", "c", "d"]);
    assert_eq!(two.release_fetches(Vendor::Whoop, std::slice::from_ref(&bob)).await.unwrap(), 0);
    assert_eq!(two.release_fetches(Vendor::Oura, &[ann, bob]).await.unwrap(), 1);
    assert_eq!(records(&take(one, &claim(10)).await), ["e"]);
}

async fn tokens_that_come_while_a_fetch_is_in_hand_are_not_missed(handles: &Handles) {
    let (one, first) = (&handles.queues.0, claim(10));
    ask(&handles.one, "1", [sleep(&of_vendor("ann at oura"), "a")]).await;
    let claimed = take(one, &first).await;
    put_link(&handles.accounts.1, "ann at oura", "ann", true).await;
    assert!(take(one, &claim(10)).await.is_empty(), "it is in hand all the same");
    put_back(one, ids(&claimed), first.holder, await_account(LONG)).await;
    let second = claim(10);
    assert_eq!(ids(&take(one, &second).await), ids(&claimed));
    // Of the tokens that came before this claim its holder knows.
    put_back(one, ids(&claimed), second.holder, await_account(LONG)).await;
    assert!(take(one, &claim(10)).await.is_empty());
    assert_eq!(counts(one).await, counted(0, 1, 0));
}

async fn tokens_that_somebody_has_saved_release_what_waits_for_them(handles: &Handles) {
    let (one, accounts, first) = (&handles.queues.0, &handles.accounts.0, claim(10));
    put_link(accounts, "ann at oura", "ann", true).await;
    ask(&handles.one, "1", [sleep(&of_vendor("ann at oura"), "a")]).await;
    let claimed = take(one, &first).await;
    let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse("ann at oura").unwrap() };
    let (stored, holder) = (accounts.tokens(&account).await.unwrap().unwrap(), Uuid::now_v7());
    accounts.lease_tokens(&account, holder, LONG).await.unwrap();
    assert!(accounts.mark_for_reconnection(&account, holder, stored.version).await.unwrap());
    put_back(one, ids(&claimed), first.holder, await_account(LONG)).await;
    assert!(take(one, &claim(10)).await.is_empty());
    // Another bridge's refresh had the newer pair, and the store was away when it came.
    assert!(handles.accounts.1.replace_tokens(&account, stored.version, &stored.tokens).await.unwrap());
    assert_eq!(ids(&take(one, &claim(10)).await), ids(&claimed));
}

async fn who_awaits_an_account_is_due_when_the_time_has_come(handles: &Handles) {
    let (one, first, second) = (&handles.queues.0, claim(10), claim(10));
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    let claimed = take(one, &first).await;
    put_back(one, ids(&claimed), first.holder, await_account(Duration::ZERO)).await;
    assert_eq!(counts(one).await, counted(0, 1, 0));
    assert_eq!(ids(&take(&handles.queues.1, &second).await), ids(&claimed));
    assert!(take(one, &claim(10)).await.is_empty());
    put_back(one, ids(&claimed), second.holder, FetchFate::Again(at_once())).await;
    assert_eq!(counts(one).await, counted(1, 0, 0));
}

async fn what_was_given_up_is_listed_by_pages_and_redriven_as_new(handles: &Handles) {
    let (one, two, ann) = (&handles.queues.0, &handles.queues.1, of_vendor("ann"));
    ask(&handles.one, "1", ["a", "b", "c", "d"].map(|id| sleep(&ann, id))).await;
    let (first, second) = (claim(4), claim(3));
    let all = ids(&take(one, &first).await);
    let tried = Again { delay: Duration::ZERO, attempts: 6, looks: 2 };
    put_back(one, all.clone(), first.holder, FetchFate::Again(tried)).await;
    take(one, &second).await;
    put_back(one, all.clone(), second.holder, give_up()).await;
    assert_eq!(counts(two).await, counted(1, 0, 3));
    assert_eq!(ids(&take(one, &claim(10)).await), [all[3]], "what was given up is not claimed");
    let page = two.dead_fetches(None, 2).await.unwrap();
    assert_eq!(page.iter().map(|dead| dead.id).collect::<Vec<_>>(), [all[2], all[1]]);
    let dead = &page[0];
    assert_eq!((dead.whose.as_ref(), dead.fetch.as_ref()), (Some(&ann), Some(&sleep(&ann, "c").fetch)));
    assert_eq!((&*dead.error_type, &*dead.error_message), ("fetch_failed", "the vendor has refused it"));
    assert_eq!((dead.vendor, dead.attempts), (Vendor::Oura, 7), "the last one counts");
    let rest = two.dead_fetches(Some(all[1]), 2).await.unwrap();
    assert_eq!(rest.iter().map(|dead| dead.id).collect::<Vec<_>>(), [all[0]]);
    let driven = two.redrive_fetches(&[all[0], all[2], all[3], i64::MAX]).await.unwrap();
    assert_eq!(driven, [Vendor::Oura; 2]);
    assert!(two.redrive_fetches(&[all[0]]).await.unwrap().is_empty(), "it is no dead letter any more");
    let again = take(one, &claim(10)).await;
    assert_eq!(ids(&again), [all[0], all[2]]);
    assert!(again.iter().all(|claimed| (claimed.attempts, claimed.looks) == (0, 0)));
    assert_eq!(one.dead_fetches(None, 10).await.unwrap().len(), 1);
}

async fn a_request_that_was_not_sent_is_given_out_again(handles: &Handles) {
    let (one, two) = (&handles.queues.0, &handles.queues.1);
    let limits = [RateLimit { requests: 1, window: LONG }];
    assert!(one.take_request(Vendor::Oura, &limits, None).await.unwrap());
    assert!(!two.take_request(Vendor::Oura, &limits, None).await.unwrap());
    two.return_request(Vendor::Whoop, Duration::ZERO).await.unwrap();
    assert!(!two.take_request(Vendor::Oura, &limits, None).await.unwrap());
    two.return_request(Vendor::Oura, Duration::ZERO).await.unwrap();
    assert!(one.take_request(Vendor::Oura, &limits, None).await.unwrap());
    assert!(!one.take_request(Vendor::Oura, &limits, None).await.unwrap());
    // Late, it is counted anew, and only once.
    assert!(two.take_request(Vendor::Oura, &limits, Some(Duration::ZERO)).await.unwrap());
    assert!(!one.take_request(Vendor::Oura, &limits, None).await.unwrap());
}

async fn a_vendor_that_asks_for_rest_is_left_alone(handles: &Handles) {
    let (one, two) = (&handles.queues.0, &handles.queues.1);
    ask(&handles.one, "1", [sleep(&of_vendor("ann"), "a")]).await;
    one.rest_vendor(Vendor::Whoop, LONG).await.unwrap();
    one.rest_vendor(Vendor::Oura, LONG).await.unwrap();
    one.rest_vendor(Vendor::Oura, Duration::ZERO).await.unwrap();
    let resting = two.claim_fetches(&claim(10)).await.unwrap();
    assert!(resting.fetches.is_empty() && is_nearly(resting.next_in, LONG), "{:?}", resting.next_in);
    assert!(!two.take_request(Vendor::Oura, &claim(1).rate_limits, None).await.unwrap());
    assert_eq!(counts(two).await, counted(1, 0, 0));
}

on_every_store! {
    live_goes_before_backfill_and_what_has_been_due_longest_first
    a_claim_tells_what_was_asked_for_and_when_to_come_again
    what_was_tried_before_is_told
    a_lease_that_has_ended_is_taken_over_and_its_former_holder_changes_nothing
    a_lease_that_is_extended_in_time_does_not_end
    of_many_who_claim_at_once_each_row_has_one_holder_and_the_budget_is_kept
    a_request_is_given_out_once_over_all_handles
    a_request_that_was_not_sent_is_given_out_again
    backfill_leaves_a_part_of_the_budget_to_what_is_live
    those_that_ask_the_same_are_one_fetch_and_use_up_one_request
    many_that_ask_the_same_do_not_stand_before_others
    what_awaits_an_account_is_released_by_its_link_whatever_it_was_called
    tokens_that_come_while_a_fetch_is_in_hand_are_not_missed
    tokens_that_somebody_has_saved_release_what_waits_for_them
    who_awaits_an_account_is_due_when_the_time_has_come
    what_was_given_up_is_listed_by_pages_and_redriven_as_new
    a_vendor_that_asks_for_rest_is_left_alone
}
