//! Codes and tokens: who may ask for whose records.
//!
//! Oura's and WHOOP's refresh tokens work once: a refresh gives a new pair, and a token that was used is
//! `invalid_grant` from then on. WHOOP's access token dies with it (`vendors.md` §2 and §3).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Vendor;
use super::answers::{Answer, Query};

const CODE_LIVES: Duration = Duration::from_secs(600);
/// The scope without which WHOOP gives no refresh token, and takes none.
const OFFLINE: &str = "offline";
const TOKEN_BYTES: usize = 24;

/// How long access tokens live, in real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A day (`vendors.md` §2).
    pub oura: Duration,
    /// An hour (`vendors.md` §3).
    pub whoop: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { oura: Duration::from_secs(86_400), whoop: Duration::from_secs(3_600) }
    }
}

impl Lifetimes {
    fn of(self, vendor: Vendor) -> Duration {
        if vendor == Vendor::Whoop { self.whoop } else { self.oura }
    }
}

/// One person's account with one vendor, and what may be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) vendor: Vendor,
    pub(super) person: usize,
    pub(super) scope: String,
}

impl Grant {
    fn is_refreshable(&self) -> bool {
        self.vendor != Vendor::Whoop || self.scope.split(' ').any(|scope| scope == OFFLINE)
    }
}

/// All codes and tokens that are good.
#[derive(Debug)]
pub(super) struct Tokens {
    lifetimes: Lifetimes,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// With where they were sent, and until when they are good.
    codes: HashMap<String, (Grant, String, Instant)>,
    access: HashMap<String, (Grant, Instant)>,
    /// With the access token that was given out beside it.
    refresh: HashMap<String, (Grant, String)>,
    /// Whose consent was taken back and not given again.
    revoked: HashSet<(Vendor, usize)>,
}

/// A refusal as OAuth (RFC 6749) writes it, with the status in the body as WHOOP's server does.
pub(super) fn refused(status: u16, error: &str, description: &str) -> Answer {
    let body = json!({"error": error, "error_description": description, "status_code": status});
    Answer { status, body }
}

fn random(what: &str) -> String {
    format!("cloud-{what}-{}", hex::encode(rand::random::<[u8; TOKEN_BYTES]>()))
}

impl Tokens {
    pub(super) fn new(lifetimes: Lifetimes) -> Self {
        Self { lifetimes, known: Mutex::default() }
    }

    /// A code for who has consented, good once, at this address.
    pub(super) fn code(&self, grant: Grant, redirect_uri: &str) -> String {
        let code = random("code");
        let until = Instant::now() + CODE_LIVES;
        self.known.lock().codes.insert(code.clone(), (grant, redirect_uri.to_owned(), until));
        code
    }

    /// A pair of tokens, as the token endpoint tells it.
    pub(super) fn issue(&self, grant: Grant) -> Value {
        issue(&mut self.known.lock(), self.lifetimes, grant)
    }

    /// Whose token it is, while it is good.
    pub(super) fn check(&self, vendor: Vendor, token: &str) -> Option<usize> {
        let known = self.known.lock();
        let (grant, until) = known.access.get(token)?;
        (grant.vendor == vendor && Instant::now() < *until).then_some(grant.person)
    }

    /// Takes everything back that an account has given.
    pub(super) fn revoke(&self, vendor: Vendor, person: usize) {
        let is_other = |grant: &Grant| (grant.vendor, grant.person) != (vendor, person);
        let known = &mut *self.known.lock();
        known.codes.retain(|_, (grant, ..)| is_other(grant));
        known.access.retain(|_, (grant, _)| is_other(grant));
        known.refresh.retain(|_, (grant, _)| is_other(grant));
        known.revoked.insert((vendor, person));
    }

    /// Whether nobody is to be told of this account any more.
    pub(super) fn is_revoked(&self, vendor: Vendor, person: usize) -> bool {
        self.known.lock().revoked.contains(&(vendor, person))
    }

    /// The token endpoint, once the client is known to be ours. Gives back whose refresh it was, for who counts them.
    pub(super) fn exchange(&self, vendor: Vendor, form: &Query) -> (Answer, Option<usize>) {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match field("grant_type") {
            "authorization_code" => (self.redeem(vendor, field("code"), field("redirect_uri")), None),
            "refresh_token" => self.refresh(vendor, field("refresh_token"), field("scope")),
            _ => {
                let description = "grant_type must be authorization_code or refresh_token";
                (refused(400, "unsupported_grant_type", description), None)
            }
        }
    }

    fn redeem(&self, vendor: Vendor, code: &str, redirect_uri: &str) -> Answer {
        let known = &mut *self.known.lock();
        match known.codes.remove(code) {
            Some((grant, sent_to, until))
                if grant.vendor == vendor && sent_to == redirect_uri && Instant::now() < until =>
            {
                Answer::ok(issue(known, self.lifetimes, grant))
            }
            _ => refused(
                400,
                "invalid_grant",
                "the code is unknown, used, too old or for another redirect_uri",
            ),
        }
    }

    fn refresh(&self, vendor: Vendor, token: &str, scope: &str) -> (Answer, Option<usize>) {
        if vendor == Vendor::Whoop && !scope.split(' ').any(|scope| scope == OFFLINE) {
            return (refused(400, "invalid_request", "a refresh must ask for scope=offline"), None);
        }
        let known = &mut *self.known.lock();
        let is_ours = known.refresh.get(token).is_some_and(|(grant, _)| grant.vendor == vendor);
        let Some((grant, access)) = is_ours.then(|| known.refresh.remove(token)).flatten() else {
            return (refused(400, "invalid_grant", "the refresh token is unknown, used or revoked"), None);
        };
        if vendor == Vendor::Whoop {
            known.access.remove(&access);
        }
        let person = grant.person;
        (Answer::ok(issue(known, self.lifetimes, grant)), Some(person))
    }
}

fn issue(known: &mut Known, lifetimes: Lifetimes, grant: Grant) -> Value {
    let lives = lifetimes.of(grant.vendor);
    known.revoked.remove(&(grant.vendor, grant.person));
    let access = random("access");
    known.access.insert(access.clone(), (grant.clone(), Instant::now() + lives));
    let mut told = json!({
        "access_token": access,
        "token_type": "bearer",
        "expires_in": lives.as_secs(),
        "scope": grant.scope,
    });
    if grant.is_refreshable() {
        let refresh = random("refresh");
        told["refresh_token"] = refresh.clone().into();
        known.refresh.insert(refresh, (grant, access));
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn form(fields: &[(&str, &str)]) -> Query {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refresh(tokens: &Tokens, vendor: Vendor, token: &Value, scope: &str) -> Answer {
        let token = token.as_str().unwrap();
        tokens
            .exchange(
                vendor,
                &form(&[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)]),
            )
            .0
    }

    fn grant(vendor: Vendor, scope: &str) -> Grant {
        Grant { vendor, person: 3, scope: scope.to_owned() }
    }

    #[test]
    fn a_refresh_token_works_once_and_only_at_its_vendor() {
        let tokens = Tokens::new(Lifetimes::default());
        for (vendor, other) in [(Vendor::Oura, Vendor::Whoop), (Vendor::Whoop, Vendor::Oura)] {
            let first = tokens.issue(grant(vendor, OFFLINE));
            assert_eq!(refresh(&tokens, other, &first["refresh_token"], OFFLINE).status, 400);
            let second = refresh(&tokens, vendor, &first["refresh_token"], OFFLINE);
            assert_eq!(second.status, 200);
            let again = refresh(&tokens, vendor, &first["refresh_token"], OFFLINE);
            assert_eq!((again.status, &again.body["error"]), (400, &json!("invalid_grant")));
            let old = tokens.check(vendor, first["access_token"].as_str().unwrap());
            assert_eq!(old, if vendor == Vendor::Whoop { None } else { Some(3) });
            assert_eq!(tokens.check(vendor, second.body["access_token"].as_str().unwrap()), Some(3));
            assert_eq!(tokens.check(other, second.body["access_token"].as_str().unwrap()), None);
        }
    }

    #[test]
    fn whoop_gives_and_takes_refresh_tokens_only_with_its_scope() {
        let tokens = Tokens::new(Lifetimes::default());
        assert_eq!(tokens.issue(grant(Vendor::Whoop, "read:sleep"))["refresh_token"], Value::Null);
        let pair = tokens.issue(grant(Vendor::Whoop, "read:sleep offline"));
        let refusal = refresh(&tokens, Vendor::Whoop, &pair["refresh_token"], "");
        assert_eq!((refusal.status, &refusal.body["error"]), (400, &json!("invalid_request")));
        assert_eq!(refresh(&tokens, Vendor::Whoop, &pair["refresh_token"], OFFLINE).status, 200);
    }

    #[test]
    fn what_is_too_old_or_revoked_opens_nothing() {
        let tokens = Tokens::new(Lifetimes { oura: Duration::ZERO, ..Lifetimes::default() });
        let old = tokens.issue(grant(Vendor::Oura, ""));
        assert_eq!(tokens.check(Vendor::Oura, old["access_token"].as_str().unwrap()), None);
        let pair = tokens.issue(grant(Vendor::Whoop, OFFLINE));
        tokens.revoke(Vendor::Whoop, 3);
        assert_eq!(tokens.check(Vendor::Whoop, pair["access_token"].as_str().unwrap()), None);
        assert_eq!(refresh(&tokens, Vendor::Whoop, &pair["refresh_token"], OFFLINE).status, 400);
    }

    #[test]
    fn a_code_works_once_and_at_its_address_alone() {
        let tokens = Tokens::new(Lifetimes::default());
        let redeem = |code: &str, uri: &str| {
            let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", uri)];
            tokens.exchange(Vendor::Oura, &form(&fields)).0.status
        };
        let code = tokens.code(grant(Vendor::Oura, ""), "http://127.0.0.1/back");
        assert_eq!(
            (redeem(&code, "http://127.0.0.1/back"), redeem(&code, "http://127.0.0.1/back")),
            (200, 400)
        );
        let code = tokens.code(grant(Vendor::Oura, ""), "http://127.0.0.1/back");
        assert_eq!(redeem(&code, "http://127.0.0.1/elsewhere"), 400);
    }
}
