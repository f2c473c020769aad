//! Access tokens: one refresh an account, over all bridges, whatever dies in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::{Account, Token, TokenPair, Vendor, VendorUserId};
use actors::memory::{Fate, Held, MemoryOAuth, MemoryVault, Moment, OAuthCall, StoreCall};
use actors::messages::{AccessToken, GiveToken, TokenError};
use actors::ports::accounts::{Leased, Link, NewTokens, TokenState};
use actors::ports::store::StoreError;
use actors::ports::telemetry::RefreshOutcome;
use actors::ports::vendor_api::OAuthError;
use actors::ports::{Accounts as _, Clock as _, Vault as _};
use actors::supervision::Fault;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::bridge::{Bridge, Setup, user, within};

const HOUR: Duration = Duration::from_secs(3_600);
/// Short enough to be waited for, long enough for a busy machine to refresh in.
const SHORT_LEASE: Duration = Duration::from_millis(400);

/// A bridge and the vendors' server behind it.
fn start(token_lease: Duration) -> (Bridge, Arc<MemoryOAuth>) {
    let oauth = Arc::new(MemoryOAuth::new(HOUR));
    let setup = Setup { oauth: Arc::clone(&oauth), token_lease, ..Setup::default() };
    (Bridge::with(setup), oauth)
}

/// Stores a person's tokens, of which the access token has so many milliseconds left of an hour.
async fn store(bridge: &Bridge, id: &str, pair: &TokenPair, left_ms: i64) -> Account {
    let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse(id).unwrap() };
    put(bridge, &account, pair, left_ms).await;
    account
}

async fn put(bridge: &Bridge, account: &Account, pair: &TokenPair, left_ms: i64) {
    let (account_of_link, now) = (account.clone(), bridge.clock.now());
    let link = Link { account: account_of_link, user_id: user("ann"), timezone: None, key_hash: None };
    let tokens = NewTokens {
        sealed: MemoryVault::default().seal(account, pair).unwrap(),
        scope: None,
        obtained_at: now.plus_ms(left_ms - 3_600_000),
        expires_at: Some(now.plus_ms(left_ms)),
    };
    bridge.store.put_link(&link, Some(&tokens)).await.unwrap();
}

async fn expired(bridge: &Bridge, oauth: &MemoryOAuth, id: &str) -> Account {
    store(bridge, id, &oauth.connect(), -1).await
}

/// Which pair is stored.
async fn version(bridge: &Bridge, account: &Account) -> i64 {
    bridge.store.tokens(account).await.unwrap().unwrap().version
}

/// The accounts that are marked for reconnection.
async fn marked(bridge: &Bridge) -> Vec<Account> {
    bridge.store.to_reconnect(None, 10).await.unwrap().into_iter().map(|link| link.account).collect()
}

async fn ask(bridge: &Bridge, account: &Account, refused: Option<i64>) -> Result<AccessToken, TokenError> {
    let message = GiveToken { account: account.clone(), refused };
    within("a token", bridge.tree.tokens.ask(message)).await.unwrap()
}

fn away() -> StoreError {
    StoreError::Unavailable("a fault of the test".to_owned())
}

fn refreshes(bridge: &Bridge, outcome: RefreshOutcome) -> usize {
    bridge.recorder.tally().refreshes.get(&outcome).copied().unwrap_or_default()
}

#[actix::test]
async fn a_good_token_is_given_without_asking_the_vendor() {
    let (bridge, oauth) = start(HOUR);
    let pair = oauth.connect();
    let account = store(&bridge, "ann", &pair, 600_000).await;
    let given = ask(&bridge, &account, None).await.unwrap();
    let held = version(&bridge, &account).await;
    assert_eq!((given.token, given.version, oauth.calls()), (pair.access, held, 0));
    let unknown = Account { vendor: Vendor::Whoop, ..account };
    assert_eq!(ask(&bridge, &unknown, None).await, Err(TokenError::NoTokens));
}

#[actix::test]
async fn five_hundred_callers_of_two_bridges_make_one_refresh() {
    let (one, oauth) = start(HOUR);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::Before);
    let callers = (0..500).map(|number| ask(if number % 2 == 0 { &one } else { &two }, &account, None));
    let release = async {
        held.reached().await;
        held.release();
    };
    let (given, ()) = tokio::join!(join_all(callers), release);
    assert_eq!(oauth.calls(), 1);
    let first = given[0].clone().unwrap();
    assert!(oauth.opens(&first.token));
    assert!(given.iter().all(|given| given.as_ref() == Ok(&first)));
    let refreshed = [&one, &two].map(|bridge| refreshes(bridge, RefreshOutcome::Refreshed));
    assert_eq!(refreshed.iter().sum::<usize>(), 1);
    assert_eq!(ask(&two, &account, None).await.unwrap(), first);
    assert_eq!(oauth.calls(), 1);
}

#[actix::test]
async fn accounts_do_not_wait_for_each_other() {
    let (bridge, oauth) = start(HOUR);
    let (ann, bob) = (expired(&bridge, &oauth, "ann").await, expired(&bridge, &oauth, "bob").await);
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::Before);
    let asking = ask(&bridge, &ann, None);
    let others = async {
        held.reached().await;
        let given = ask(&bridge, &bob, None).await.unwrap();
        held.release();
        given
    };
    let (anns, bobs) = tokio::join!(asking, others);
    assert!(oauth.opens(&anns.unwrap().token) && oauth.opens(&bobs.token));
}

#[actix::test]
async fn a_token_that_ends_soon_is_refreshed_before_it_does() {
    let (bridge, oauth) = start(HOUR);
    let account = store(&bridge, "ann", &oauth.connect(), 59_000).await;
    let first = version(&bridge, &account).await;
    assert_eq!(ask(&bridge, &account, None).await.unwrap().version, first + 1);
    let stored = bridge.store.tokens(&account).await.unwrap().unwrap();
    assert_eq!(stored.tokens.expires_at, Some(bridge.clock.now().plus_ms(3_600_000)));
    bridge.clock.advance_ms(3_500_000);
    assert_eq!(ask(&bridge, &account, None).await.unwrap().version, first + 1);
    bridge.clock.advance_ms(50_000);
    assert_eq!(ask(&bridge, &account, None).await.unwrap().version, first + 2);
    assert_eq!(oauth.calls(), 2);
}

#[actix::test]
async fn a_401_makes_one_forced_refresh_however_many_had_it() {
    let (bridge, oauth) = start(HOUR);
    let pair = oauth.connect();
    let account = store(&bridge, "ann", &pair, 3_000_000).await;
    let first = version(&bridge, &account).await;
    let given = join_all((0..50).map(|_| ask(&bridge, &account, Some(first)))).await;
    assert!(given.iter().all(|given| given.as_ref().is_ok_and(|given| given.version == first + 1)));
    assert_eq!(oauth.calls(), 1);
    let late = ask(&bridge, &account, Some(first)).await.unwrap();
    assert_eq!((late.version, oauth.calls()), (first + 1, 1), "the newer one has not been refused");
}

#[actix::test]
async fn a_rotation_by_another_bridge_explains_a_first_400() {
    let (one, oauth) = start(SHORT_LEASE);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    // The first bridge asks, cannot extend its lease, and is answered when the second one has refreshed.
    one.store.faults().fail(StoreCall::ExtendLease, 1_000, away());
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::Before);
    let stalled = ask(&one, &account, None);
    let meanwhile = async {
        held.reached().await;
        let given = ask(&two, &account, None).await.unwrap();
        held.release();
        given
    };
    let (late, given) = tokio::join!(stalled, meanwhile);
    assert_eq!(late.unwrap(), given, "it has found what the other has stored");
    assert_eq!(oauth.calls(), 2, "and was told 400 before");
    assert!(oauth.opens(&given.token));
    assert_eq!(marked(&one).await, []);
}

#[actix::test]
async fn a_bridge_that_wakes_up_without_its_lease_does_not_ask() {
    let (one, oauth) = start(SHORT_LEASE);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    // It stands still with the lease, until that has ended and the second one has refreshed.
    let mut held = one.store.faults().hold(StoreCall::LeaseTokens, Moment::After);
    let stalled = ask(&one, &account, None);
    let meanwhile = async {
        held.reached().await;
        let given = ask(&two, &account, None).await.unwrap();
        held.release();
        given
    };
    let (late, given) = tokio::join!(stalled, meanwhile);
    assert_eq!((late.unwrap(), oauth.calls()), (given, 1));
}

#[actix::test]
async fn a_vendor_that_takes_longer_than_the_lease_is_waited_for_and_asked_once() {
    let (one, oauth) = start(SHORT_LEASE);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::After);
    let asking = ask(&one, &account, None);
    let others = async {
        held.reached().await;
        let mut extended = Vec::new();
        for _ in 0..6 {
            extended.push(one.store.faults().hold(StoreCall::ExtendLease, Moment::After));
        }
        // Six thirds: the lease that was taken first has ended long ago.
        for mut extended in extended {
            within("the lease is extended", extended.reached()).await;
            let busy = two.store.lease_tokens(&account, Uuid::now_v7(), HOUR).await.unwrap();
            assert_eq!(busy, Leased::Busy);
        }
        held.release();
    };
    let (given, ()) = tokio::join!(asking, others);
    assert!(oauth.opens(&given.unwrap().token));
    assert_eq!((oauth.calls(), marked(&one).await), (1, vec![]));
}

#[actix::test]
async fn a_pair_that_comes_after_the_lease_is_stored_all_the_same() {
    let (one, oauth) = start(SHORT_LEASE);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::After);
    let mut extending = one.store.faults().hold(StoreCall::ExtendLease, Moment::Before);
    let late = async {
        within("the question", held.reached()).await;
        within("an extension", extending.reached()).await;
        // The other takes it as soon as it has ended, and does nothing more.
        let other = Uuid::now_v7();
        while two.store.lease_tokens(&account, other, HOUR).await.unwrap() == Leased::Busy {
            tokio::task::yield_now().await;
        }
        extending.release();
        held.release();
    };
    let (given, ()) = tokio::join!(ask(&one, &account, None), late);
    let given = given.unwrap();
    assert!(oauth.opens(&given.token));
    assert_eq!((given.version, oauth.calls()), (version(&two, &account).await, 1));
}

#[actix::test]
async fn a_refresh_under_way_does_not_touch_an_account_that_was_connected_anew() {
    let (bridge, oauth) = start(HOUR);
    let account = expired(&bridge, &oauth, "ann").await;
    let mut held = oauth.faults().hold(OAuthCall::Refresh, Moment::After);
    let anew = oauth.connect();
    let connecting = async {
        held.reached().await;
        assert!(bridge.store.delete_link(&account).await.unwrap());
        store(&bridge, "ann", &anew, 3_000_000).await;
        held.release();
    };
    let (given, ()) = tokio::join!(ask(&bridge, &account, None), connecting);
    assert_eq!(given.unwrap().token, anew.access, "it has found the new one");
    assert_eq!(ask(&bridge, &account, None).await.unwrap().token, anew.access);
}

#[actix::test]
async fn a_crash_before_the_vendor_is_asked_only_delays_the_next_caller() {
    let (one, oauth) = start(SHORT_LEASE);
    let account = expired(&one, &oauth, "ann").await;
    let mut held = one.store.faults().hold(StoreCall::LeaseTokens, Moment::After);
    let two = one.beside();
    let killed = async {
        held.reached().await;
        one.die();
    };
    let (lost, ()) = tokio::join!(ask(&one, &account, None), killed);
    assert!(matches!(lost, Err(TokenError::Store(_))), "{lost:?}");
    let given = ask(&two, &account, None).await.unwrap();
    assert!(oauth.opens(&given.token));
    assert_eq!(oauth.calls(), 1);
}

#[actix::test]
async fn a_crash_with_the_new_pair_marks_that_account_at_the_next_call_and_asks_no_more() {
    let (one, oauth) = start(SHORT_LEASE);
    let (ann, bob) = (expired(&one, &oauth, "ann").await, expired(&one, &oauth, "bob").await);
    let two = one.beside();
    let mut held = one.store.faults().hold(StoreCall::ReplaceTokens, Moment::Before);
    let message = GiveToken { account: ann.clone(), refused: None };
    one.tree.tokens.tell(message).await.unwrap();
    within("the vendor's answer", held.reached()).await;
    assert_eq!(oauth.calls(), 1);
    one.die();
    assert_eq!(ask(&two, &ann, None).await, Err(TokenError::NeedsReconnection));
    assert_eq!(oauth.calls(), 2);
    let again = join_all((0..100).map(|_| ask(&two, &ann, None))).await;
    assert!(again.iter().all(|given| *given == Err(TokenError::NeedsReconnection)));
    assert_eq!(oauth.calls(), 2, "nobody asks the vendor again");
    assert_eq!(marked(&two).await, std::slice::from_ref(&ann));
    assert_eq!(refreshes(&two, RefreshOutcome::Reconnect), 1);
    assert!(ask(&two, &bob, None).await.is_ok(), "no other account is touched");
    // Connected again, it is as good as new.
    store(&two, "ann", &oauth.connect(), 3_000_000).await;
    assert!(oauth.opens(&ask(&two, &ann, None).await.unwrap().token));
}

#[actix::test]
async fn the_actor_dies_with_the_new_pair_and_the_account_goes_on() {
    let (bridge, oauth) = start(HOUR);
    let account = expired(&bridge, &oauth, "ann").await;
    let mut held = bridge.store.faults().hold(StoreCall::ReplaceTokens, Moment::Before);
    let asked = ask(&bridge, &account, None);
    let dying = async {
        within("the vendor's answer", held.reached()).await;
        bridge.tree.tokens.inject(Fault::Panic).unwrap();
        // Somebody else's question is the message at which it dies.
        bridge.tree.tokens.tell(GiveToken { account: account.clone(), refused: None }).await.unwrap();
        while bridge.tree.tokens.snapshot().restarts == 0 {
            tokio::task::yield_now().await;
        }
        held.release();
    };
    let (given, ()) = tokio::join!(asked, dying);
    assert!(oauth.opens(&given.unwrap().token));
    assert_eq!(oauth.calls(), 1, "the pair was not lost with the actor");
    assert_eq!(marked(&bridge).await, []);
}

#[actix::test]
async fn a_consent_that_was_taken_back_marks_the_account() {
    let (bridge, oauth) = start(HOUR);
    let pair = oauth.connect();
    let account = store(&bridge, "ann", &pair, 3_000_000).await;
    oauth.revoke(&pair);
    let first = version(&bridge, &account).await;
    assert_eq!(ask(&bridge, &account, Some(first)).await, Err(TokenError::NeedsReconnection));
    let stored = bridge.store.tokens(&account).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.version), (TokenState::NeedsReconnection, first));
}

#[actix::test]
async fn a_token_that_cannot_be_refreshed_is_given_until_it_ends() {
    let (bridge, oauth) = start(HOUR);
    let pair = TokenPair { access: Token::new("test-access".to_owned()), refresh: None };
    let account = store(&bridge, "ann", &pair, 600_000).await;
    assert_eq!(ask(&bridge, &account, None).await.unwrap().token, pair.access);
    bridge.clock.advance_ms(599_999);
    assert_eq!(ask(&bridge, &account, None).await.unwrap().token, pair.access);
    assert_eq!(marked(&bridge).await, []);
    bridge.clock.advance_ms(1);
    assert_eq!(ask(&bridge, &account, None).await, Err(TokenError::NeedsReconnection));
    assert_eq!(oauth.calls(), 0);
}

#[actix::test]
async fn a_new_pair_is_held_until_the_store_takes_it() {
    let (bridge, oauth) = start(HOUR);
    let account = expired(&bridge, &oauth, "ann").await;
    let first = version(&bridge, &account).await;
    let fates = [Fate::FailBefore(away()), Fate::FailBefore(away()), Fate::FailAfter(away())];
    bridge.store.faults().script(StoreCall::ReplaceTokens, fates);
    let given = ask(&bridge, &account, None).await.unwrap();
    assert_eq!((given.version, oauth.calls()), (first + 1, 1));
    assert!(oauth.opens(&given.token));
    assert_eq!(bridge.store.faults().failed_calls(), 3);
}

#[actix::test]
async fn a_vendor_that_is_away_is_left_alone_about_the_account() {
    let (one, oauth) = start(HOUR);
    let two = one.beside();
    let account = expired(&one, &oauth, "ann").await;
    oauth.faults().fail(OAuthCall::Refresh, 1, OAuthError::Unavailable("it answers 503".to_owned()));
    let first = ask(&one, &account, None).await;
    assert!(matches!(&first, Err(TokenError::Vendor { retry_in, .. }) if !retry_in.is_zero()), "{first:?}");
    for bridge in [&one, &two] {
        let again = join_all((0..20).map(|_| ask(bridge, &account, None))).await;
        assert!(again.iter().all(|given| matches!(given, Err(TokenError::Vendor { .. }))));
    }
    assert_eq!(oauth.calls(), 1);
    assert_eq!(marked(&one).await, []);
}

#[actix::test]
async fn a_vendors_patience_is_kept_and_what_is_still_good_is_given_meanwhile() {
    let (bridge, oauth) = start(HOUR);
    let pair = oauth.connect();
    let account = store(&bridge, "ann", &pair, 30_000).await;
    let retry_after = Some(Duration::from_secs(900));
    oauth.faults().fail(OAuthCall::Refresh, 1, OAuthError::RateLimited { retry_after });
    for _ in 0..3 {
        assert_eq!(ask(&bridge, &account, None).await.unwrap().token, pair.access);
    }
    assert_eq!(oauth.calls(), 1);
    bridge.clock.advance_ms(30_000);
    let ended = ask(&bridge, &account, None).await;
    let left =
        |retry_in: Duration| retry_in > Duration::from_secs(600) && retry_in <= Duration::from_secs(900);
    assert!(matches!(&ended, Err(TokenError::Vendor { retry_in, .. }) if left(*retry_in)), "{ended:?}");
}

#[actix::test]
async fn a_vendor_that_limits_refreshes_is_left_alone_about_every_account() {
    let (bridge, oauth) = start(HOUR);
    let people = ["ann", "bob", "cem", "dan"];
    let accounts = join_all(people.map(|id| expired(&bridge, &oauth, id))).await;
    let elsewhere = Account { vendor: Vendor::Whoop, ..accounts[0].clone() };
    put(&bridge, &elsewhere, &oauth.connect(), -1).await;
    let retry_after = Some(Duration::from_secs(900));
    oauth.faults().fail(OAuthCall::Refresh, 1, OAuthError::RateLimited { retry_after });
    let first = ask(&bridge, &accounts[0], None).await;
    assert!(matches!(first, Err(TokenError::Vendor { .. })), "{first:?}");
    for account in &accounts {
        let given = ask(&bridge, account, None).await;
        let left = |retry_in: Duration| retry_in > Duration::from_secs(600);
        assert!(matches!(&given, Err(TokenError::Vendor { retry_in, .. }) if left(*retry_in)), "{given:?}");
    }
    assert_eq!(oauth.calls(), 1, "nobody else has asked");
    assert!(ask(&bridge, &elsewhere, None).await.is_ok(), "another vendor has said nothing");
}

#[actix::test]
async fn a_vendor_that_is_down_is_left_alone_about_every_account() {
    let (bridge, oauth) = start(HOUR);
    let mut accounts = Vec::new();
    for id in ["ann", "bob", "cem"] {
        accounts.push(expired(&bridge, &oauth, id).await);
    }
    oauth.faults().fail(OAuthCall::Refresh, 2, OAuthError::Unavailable("it answers 503".to_owned()));
    for account in &accounts {
        let given = ask(&bridge, account, None).await;
        assert!(matches!(given, Err(TokenError::Vendor { .. })), "{given:?}");
    }
    assert_eq!(oauth.calls(), 2, "the third was not tried");
}

#[actix::test]
async fn callers_behind_a_store_that_does_not_answer_do_not_pile_up_in_it() {
    let (bridge, oauth) = start(HOUR);
    let people = join_all(["ann", "bob", "cem"].map(|id| expired(&bridge, &oauth, id))).await;
    let mut held = [0, 1].map(|_| bridge.store.faults().hold(StoreCall::Tokens, Moment::Before));
    let third = async {
        for held in &mut held {
            within("a look-up", held.reached()).await;
        }
        let told = ask(&bridge, &people[2], None).await;
        held.into_iter().for_each(Held::release);
        told
    };
    let (one, two, third) =
        tokio::join!(ask(&bridge, &people[0], None), ask(&bridge, &people[1], None), third);
    assert!(one.is_ok() && two.is_ok());
    assert!(matches!(third, Err(TokenError::Store(StoreError::Unavailable(_)))), "{third:?}");
    assert!(ask(&bridge, &people[2], None).await.is_ok(), "there is room again");
}
