//! Links and tokens of accounts, on every store.

use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::time::Timestamp;
use actors::ports::Accounts;
use actors::ports::accounts::{Leased, Link, NewTokens, StoredTokens, TokenState};
use actors::ports::store::StoreError;
use actors::ports::vault::SealedPair;
use futures_util::future::join_all;
use uuid::Uuid;

use crate::store::{Handles, at, on_every_store, user};

/// Longer than a test.
const LONG: Duration = Duration::from_secs(600);

fn account(vendor: Vendor, id: &str) -> Account {
    Account { vendor, id: VendorUserId::parse(id).unwrap() }
}

fn oura(id: &str) -> Account {
    account(Vendor::Oura, id)
}

fn link(account: &Account, user_id: &str) -> Link {
    Link { account: account.clone(), user_id: user(user_id), timezone: None, key_hash: None }
}

/// Tokens that can be told apart, sealed with `key_id`.
fn tokens(key_id: &str, byte: u8) -> NewTokens {
    let sealed = SealedPair { key_id: key_id.into(), access: vec![byte, 0, 0xff], refresh: Some(vec![byte]) };
    let expires_at = Some(Timestamp::from_ms(at(3_600).as_ms() + 1));
    NewTokens { sealed, scope: Some("offline read:sleep".to_owned()), obtained_at: at(0), expires_at }
}

async fn connect(accounts: &Arc<dyn Accounts>, account: &Account, byte: u8) {
    accounts.put_link(&link(account, "ann"), Some(&tokens("k1", byte))).await.unwrap();
}

/// Which pair is stored.
async fn version(accounts: &Arc<dyn Accounts>, account: &Account) -> i64 {
    accounts.tokens(account).await.unwrap().unwrap().version
}

fn taken(leased: Leased) -> StoredTokens {
    match leased {
        Leased::Taken(stored) => stored,
        other => panic!("{other:?} and not taken"),
    }
}

async fn links_are_put_replaced_and_deleted(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let ann = oura("ann at oura");
    assert_eq!(one.link(&ann).await.unwrap(), None);
    let first = Link { timezone: Some("Europe/Berlin".to_owned()), ..link(&ann, "ann") };
    one.put_link(&first, None).await.unwrap();
    assert_eq!(two.link(&ann).await.unwrap(), Some(first));
    let second = Link { key_hash: Some([7; 32]), ..link(&ann, "bob") };
    two.put_link(&second, None).await.unwrap();
    two.put_link(&second, None).await.unwrap();
    assert_eq!(one.link(&ann).await.unwrap(), Some(second));
    assert_eq!(one.link(&account(Vendor::Whoop, "ann at oura")).await.unwrap(), None);
    assert!(one.delete_link(&ann).await.unwrap());
    assert!(!one.delete_link(&ann).await.unwrap());
    assert_eq!(two.link(&ann).await.unwrap(), None);
}

async fn a_key_finds_its_link_and_is_no_others(handles: &Handles) {
    let one = &handles.accounts.0;
    let (ann, bob) = (account(Vendor::HealthKit, "ann"), account(Vendor::HealthKit, "bob"));
    let of = |account, byte| Link { key_hash: Some([byte; 32]), ..link(account, "somebody") };
    one.put_link(&of(&ann, 1), None).await.unwrap();
    one.put_link(&of(&bob, 2), None).await.unwrap();
    assert_eq!(one.link_by_key(&[1; 32]).await.unwrap(), Some(of(&ann, 1)));
    assert_eq!(one.link_by_key(&[3; 32]).await.unwrap(), None);
    let stolen = one.put_link(&of(&bob, 1), Some(&tokens("k1", 1))).await;
    assert!(matches!(stolen, Err(StoreError::Refused(_))), "{stolen:?}");
    assert_eq!(one.link(&bob).await.unwrap(), Some(of(&bob, 2)), "nothing is changed");
    assert_eq!(one.tokens(&bob).await.unwrap(), None, "nor half of it");
    one.put_link(&of(&ann, 4), None).await.unwrap();
    assert_eq!(one.link_by_key(&[1; 32]).await.unwrap(), None, "a new key ends the old one");
}

async fn tokens_come_back_as_they_were_stored(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let ann = oura("ann");
    assert_eq!(one.tokens(&ann).await.unwrap(), None);
    connect(one, &ann, 1).await;
    let (account, state) = (ann.clone(), TokenState::Active);
    let version = version(one, &ann).await;
    let stored = StoredTokens { account, version, state, tokens: tokens("k1", 1) };
    assert_eq!(two.tokens(&ann).await.unwrap(), Some(stored.clone()));
    one.put_link(&link(&ann, "ann"), None).await.unwrap();
    assert_eq!(two.tokens(&ann).await.unwrap(), Some(stored), "a link without tokens leaves them");
    let sealed = SealedPair { key_id: "k2".into(), access: vec![], refresh: None };
    let bare = NewTokens { sealed, scope: None, obtained_at: at(-5), expires_at: None };
    one.put_link(&link(&ann, "ann"), Some(&bare)).await.unwrap();
    let held = two.tokens(&ann).await.unwrap().unwrap();
    assert!(held.version > version, "{} after {version}", held.version);
    assert_eq!(held.tokens, bare);
    assert!(one.delete_link(&ann).await.unwrap());
    assert_eq!(two.tokens(&ann).await.unwrap(), None, "they go with their link");
}

async fn one_of_many_takes_a_lease(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let ann = oura("ann");
    assert_eq!(one.lease_tokens(&ann, Uuid::now_v7(), LONG).await.unwrap(), Leased::Gone);
    connect(one, &ann, 1).await;
    connect(one, &oura("bob"), 2).await;
    let ask = async |number: usize| {
        let accounts = if number.is_multiple_of(2) { one } else { two };
        accounts.lease_tokens(&ann, Uuid::now_v7(), LONG).await.unwrap()
    };
    let answers = join_all((0..20).map(ask)).await;
    let takers = answers.iter().filter(|answer| matches!(answer, Leased::Taken(_))).count();
    let busy = answers.iter().filter(|answer| **answer == Leased::Busy).count();
    assert_eq!((takers, busy), (1, 19));
    let bobs = taken(one.lease_tokens(&oura("bob"), Uuid::now_v7(), LONG).await.unwrap());
    assert_eq!(bobs.tokens, tokens("k1", 2), "a lease is one account's alone");
}

async fn a_lease_is_given_back_by_its_holder_or_ends_by_itself(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let (ann, holder, other) = (oura("ann"), Uuid::now_v7(), Uuid::now_v7());
    connect(one, &ann, 1).await;
    taken(one.lease_tokens(&ann, holder, LONG).await.unwrap());
    two.end_lease(&ann, other, Duration::ZERO).await.unwrap();
    assert_eq!(two.lease_tokens(&ann, other, LONG).await.unwrap(), Leased::Busy, "it was not the other's");
    one.end_lease(&ann, holder, Duration::ZERO).await.unwrap();
    taken(two.lease_tokens(&ann, other, Duration::ZERO).await.unwrap());
    taken(one.lease_tokens(&ann, holder, LONG).await.unwrap());
    one.end_lease(&ann, holder, LONG).await.unwrap();
    let resting = two.lease_tokens(&ann, other, LONG).await.unwrap();
    assert!(matches!(resting, Leased::Resting(rest) if rest > LONG / 2 && rest <= LONG), "{resting:?}");
    connect(one, &ann, 2).await;
    taken(two.lease_tokens(&ann, other, LONG).await.unwrap());
}

async fn a_lease_is_extended_by_its_holder_alone(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let (ann, holder, other) = (oura("ann"), Uuid::now_v7(), Uuid::now_v7());
    assert!(!one.extend_lease(&ann, holder, LONG).await.unwrap(), "there is none");
    connect(one, &ann, 1).await;
    assert!(!one.extend_lease(&ann, holder, LONG).await.unwrap(), "nobody has taken it");
    taken(one.lease_tokens(&ann, holder, Duration::ZERO).await.unwrap());
    assert!(!two.extend_lease(&ann, other, LONG).await.unwrap());
    assert!(one.extend_lease(&ann, holder, LONG).await.unwrap(), "it has ended, and is nobody else's");
    assert_eq!(two.lease_tokens(&ann, other, LONG).await.unwrap(), Leased::Busy);
    assert!(one.extend_lease(&ann, holder, Duration::ZERO).await.unwrap());
    taken(two.lease_tokens(&ann, other, LONG).await.unwrap());
    assert!(!one.extend_lease(&ann, holder, LONG).await.unwrap(), "it is the other's");
    two.end_lease(&ann, other, LONG).await.unwrap();
    assert!(!two.extend_lease(&ann, other, LONG).await.unwrap(), "a rest is nobody's");
}

async fn a_refresh_under_way_changes_nothing_of_a_new_link(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let (ann, holder) = (oura("ann"), Uuid::now_v7());
    for round in 1..=20 {
        connect(one, &ann, 1).await;
        let first = taken(one.lease_tokens(&ann, holder, LONG).await.unwrap()).version;
        assert!(two.delete_link(&ann).await.unwrap());
        connect(two, &ann, 2).await;
        let anew = version(two, &ann).await;
        assert!(anew > first, "round {round}: {anew} after {first}");
        assert!(!one.replace_tokens(&ann, first, &tokens("k1", 3)).await.unwrap(), "round {round}");
        assert!(!one.mark_for_reconnection(&ann, holder, first).await.unwrap(), "round {round}");
        assert!(!one.extend_lease(&ann, holder, LONG).await.unwrap(), "round {round}");
        let held = one.tokens(&ann).await.unwrap().unwrap();
        assert_eq!((held.version, held.state, held.tokens), (anew, TokenState::Active, tokens("k1", 2)));
    }
}

async fn the_links_of_a_user_are_found(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    assert_eq!(one.links_of(&user("ann")).await.unwrap(), []);
    let mut all = [
        link(&account(Vendor::Whoop, "1"), "ann"),
        link(&account(Vendor::EightSleep, "2"), "ann"),
        link(&oura("b"), "ann"),
        Link { timezone: Some("Europe/Berlin".to_owned()), ..link(&oura("a"), "ann") },
    ];
    for link in &all {
        one.put_link(link, None).await.unwrap();
    }
    one.put_link(&link(&oura("c"), "bob"), None).await.unwrap();
    one.put_link(&link(&oura("ann"), "oura:ann"), None).await.unwrap();
    all.sort_by_key(|link| (link.account.vendor.name(), link.account.id.clone()));
    assert_eq!(two.links_of(&user("ann")).await.unwrap(), all);
    two.put_link(&link(&oura("b"), "bob"), None).await.unwrap();
    let of_bob = one.links_of(&user("bob")).await.unwrap();
    assert_eq!(of_bob, [link(&oura("b"), "bob"), link(&oura("c"), "bob")]);
}

async fn a_pair_is_replaced_from_its_version_alone(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let (ann, holder) = (oura("ann"), Uuid::now_v7());
    assert!(!one.replace_tokens(&ann, 0, &tokens("k1", 9)).await.unwrap(), "there is none");
    connect(one, &ann, 1).await;
    taken(one.lease_tokens(&ann, holder, LONG).await.unwrap());
    let first = version(one, &ann).await;
    let replace = async |number: u8| {
        let accounts = if number.is_multiple_of(2) { one } else { two };
        accounts.replace_tokens(&ann, first, &tokens("k1", number)).await.unwrap()
    };
    let replaced = join_all((10..20).map(replace)).await;
    assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1);
    let winner = 10 + replaced.iter().position(|replaced| *replaced).unwrap() as u8;
    let held = two.tokens(&ann).await.unwrap().unwrap();
    assert_eq!((held.version, held.tokens), (first + 1, tokens("k1", winner)));
    taken(two.lease_tokens(&ann, Uuid::now_v7(), LONG).await.unwrap());
}

async fn only_the_holder_marks_an_account_and_a_new_pair_unmarks_it(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    let (ann, holder, other) = (oura("ann"), Uuid::now_v7(), Uuid::now_v7());
    connect(one, &ann, 1).await;
    taken(one.lease_tokens(&ann, holder, LONG).await.unwrap());
    let first = version(one, &ann).await;
    assert!(!two.mark_for_reconnection(&ann, other, first).await.unwrap());
    assert!(!one.mark_for_reconnection(&ann, holder, first - 1).await.unwrap());
    assert_eq!(one.to_reconnect(None, 10).await.unwrap(), []);
    assert!(one.mark_for_reconnection(&ann, holder, first).await.unwrap());
    assert!(!one.mark_for_reconnection(&ann, holder, first).await.unwrap(), "its lease has ended with it");
    let marked = two.tokens(&ann).await.unwrap().unwrap();
    assert_eq!((marked.version, marked.state), (first, TokenState::NeedsReconnection));
    assert_eq!(two.to_reconnect(None, 10).await.unwrap(), [link(&ann, "ann")]);
    // Who was thought dead has written after all.
    assert!(two.replace_tokens(&ann, first, &tokens("k1", 2)).await.unwrap());
    assert_eq!(one.tokens(&ann).await.unwrap().unwrap().state, TokenState::Active);
    assert_eq!(one.to_reconnect(None, 10).await.unwrap(), []);
}

async fn marked_accounts_are_listed_by_pages(handles: &Handles) {
    let one = &handles.accounts.0;
    let mut all = vec![account(Vendor::Whoop, "1"), account(Vendor::EightSleep, "z"), oura("b"), oura("a")];
    for account in &all {
        let holder = Uuid::now_v7();
        connect(one, account, 1).await;
        let version = taken(one.lease_tokens(account, holder, LONG).await.unwrap()).version;
        assert!(one.mark_for_reconnection(account, holder, version).await.unwrap());
    }
    connect(one, &oura("not marked"), 1).await;
    all.sort_by_key(|account| (account.vendor.name(), account.id.clone()));
    let first = one.to_reconnect(None, 3).await.unwrap();
    let all: Vec<Link> = all.iter().map(|account| link(account, "ann")).collect();
    assert_eq!(first, all[..3]);
    let last = first.last().map(|link| &link.account);
    assert_eq!(one.to_reconnect(last, 3).await.unwrap(), all[3..]);
}

async fn accounts_with_tokens_of_use_are_listed_by_pages_of_a_vendor(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    for account in [oura("b"), oura("a"), oura("marked"), account(Vendor::Whoop, "1")] {
        connect(one, &account, 1).await;
    }
    one.put_link(&link(&oura("untokened"), "ann"), None).await.unwrap();
    let (marked, holder) = (oura("marked"), Uuid::now_v7());
    let version = taken(one.lease_tokens(&marked, holder, LONG).await.unwrap()).version;
    assert!(one.mark_for_reconnection(&marked, holder, version).await.unwrap());
    let listed = async |has_common_token, after: Option<&Account>, limit| {
        let links = two.to_poll(Vendor::Oura, has_common_token, after, limit).await.unwrap();
        links.iter().map(|link| link.account.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(false, None, 10).await, ["a", "b"]);
    assert_eq!(listed(true, None, 2).await, ["a", "b"]);
    assert_eq!(listed(true, Some(&oura("b")), 2).await, ["untokened"]);
    assert_eq!(listed(false, Some(&oura("a")), 1).await, ["b"]);
}

async fn pairs_are_resealed_unless_they_have_changed(handles: &Handles) {
    let (one, two) = (&handles.accounts.0, &handles.accounts.1);
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        connect(one, &oura(id), number as u8).await;
    }
    one.put_link(&link(&oura("d"), "dan"), Some(&tokens("k2", 4))).await.unwrap();
    assert_eq!(one.count_sealed_otherwise("k2").await.unwrap(), 3);
    let first = one.sealed_otherwise("k2", None, 2).await.unwrap();
    let second = one.sealed_otherwise("k2", first.last().map(|stored| &stored.account), 2).await.unwrap();
    let ids: Vec<_> = first.iter().chain(&second).map(|stored| stored.account.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let sealed = tokens("k2", 99).sealed;
    assert!(one.reseal(&first[0], &sealed).await.unwrap());
    assert!(!one.reseal(&first[0], &sealed).await.unwrap(), "it is sealed so");
    let held = two.tokens(&oura("a")).await.unwrap().unwrap();
    assert_eq!((held.version, held.tokens.sealed), (first[0].version, sealed.clone()), "no new pair");
    assert!(two.replace_tokens(&oura("b"), first[1].version, &tokens("k1", 50)).await.unwrap());
    assert!(!one.reseal(&first[1], &sealed).await.unwrap(), "it is another pair by now");
    assert_eq!(two.tokens(&oura("b")).await.unwrap().unwrap().tokens, tokens("k1", 50));
    assert_eq!(two.count_sealed_otherwise("k2").await.unwrap(), 2);
}

on_every_store! {
    links_are_put_replaced_and_deleted
    a_key_finds_its_link_and_is_no_others
    tokens_come_back_as_they_were_stored
    one_of_many_takes_a_lease
    a_lease_is_given_back_by_its_holder_or_ends_by_itself
    a_lease_is_extended_by_its_holder_alone
    a_refresh_under_way_changes_nothing_of_a_new_link
    the_links_of_a_user_are_found
    a_pair_is_replaced_from_its_version_alone
    only_the_holder_marks_an_account_and_a_new_pair_unmarks_it
    marked_accounts_are_listed_by_pages
    accounts_with_tokens_of_use_are_listed_by_pages_of_a_vendor
    pairs_are_resealed_unless_they_have_changed
}
