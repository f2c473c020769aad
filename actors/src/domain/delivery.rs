//! A webhook on its way in: as it arrived, as it was verified, and as what it turned out to hold.

use std::collections::BTreeSet;

use serde::Serialize;

use super::account::VendorUserId;
use super::admission::EventDraft;
use super::fetch::FetchPlan;
use super::ids::{IdError, UserId};

/// What one header field holds. Signed fields must occur once and be text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header<'a> {
    /// The field is absent.
    Missing,
    /// It occurs once and is UTF-8: an id in a field is any text.
    One(&'a str),
    /// It occurs more than once.
    Repeated,
    /// It holds bytes that are not UTF-8.
    NotText,
}

/// The header fields of a request, looked up without regard to case.
pub trait Headers {
    /// The field of this lower-case name.
    fn get(&self, name: &str) -> Header<'_>;
}

/// Why a delivery was not believed. Everybody outside gets the same 401; the variant is for the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The device has no secret configured, so nothing can be believed.
    #[error("no secret is configured for this device")]
    NoSecret,
    /// No signature or key at all.
    #[error("the signature or key is missing")]
    Missing,
    /// A signed field occurs twice, has the wrong length or alphabet, or is not text.
    #[error("the signature or key is malformed")]
    Malformed,
    /// It is well-formed, and not ours.
    #[error("the signature or key does not match")]
    Mismatch,
    /// Signed longer ago than the tolerance.
    #[error("the signed timestamp is too old")]
    Stale,
    /// Signed further ahead than the tolerance.
    #[error("the signed timestamp is in the future")]
    Future,
}

impl VerifyError {
    /// The value of the label `outcome` in `webhook_signatures_total`.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale",
            Self::Future => "future",
        }
    }
}

/// Whose words the body speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The vendor's own payload; its user ids are the vendor's.
    Vendor,
    /// The Python system's payload (`Signature` header); its user ids are ours.
    Inline,
}

/// One sample or field that was refused, while the rest of its delivery was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Position over all the body's samples in document order, from 0.
    pub index: usize,
    /// JSON Pointer (RFC 6901) to the offending value.
    pub path: String,
    /// Always `validation_error` today; an `error_type` of the contract.
    pub error_type: &'static str,
    /// What was wrong and what is accepted; never the value itself.
    pub detail: String,
}

/// What was refused in a delivery: the first hundred by name, all by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    /// At most [`Rejections::LISTED_MAX`] of them.
    pub listed: Vec<Rejection>,
    /// How many there were.
    pub total: usize,
}

impl Rejections {
    /// How many are listed by name (contract §1).
    pub const LISTED_MAX: usize = 100;

    /// Counts a rejection, and lists it while there is room.
    pub fn push(&mut self, index: usize, path: String, detail: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(Rejection {
                index,
                path,
                error_type: "validation_error",
                detail: detail.into(),
            });
        }
    }
}

/// What a verified delivery holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// Data. The list of drafts is empty when every sample was refused.
    Events {
        /// One per user, source and kind, with at most 1,000 readings each.
        drafts: Vec<EventDraft>,
        /// What was refused.
        rejected: Rejections,
    },
    /// A notification without data, which has still to be fetched.
    Notification {
        /// Whose, in our ids (`{vendor}:{vendor_user_id}` without a link).
        user_id: UserId,
        /// Whether its body tells it from the next one of its kind. One that does not, comes again to the byte
        /// whenever there is something new.
        is_dated: bool,
        /// What to fetch. The same body gives the same plan again, whenever it is decoded with the same time of
        /// arrival.
        plan: FetchPlan,
    },
    /// Data in which times tell no offset: they are as the user's clock showed them.
    LocalTimes {
        /// Whose clock, by the vendor's id of the account.
        account: VendorUserId,
        /// What it holds if nobody knows the user's zone, and UTC stands in. Decoded again with that zone it is right.
        as_utc: Box<Decoded>,
    },
    /// The same of users of ours, whom the body itself names.
    LocalToUsers {
        /// Whose clocks.
        users: BTreeSet<UserId>,
        /// As of [`Decoded::LocalTimes`].
        as_utc: Box<Decoded>,
    },
    /// The vendor knows an account by another id from now on.
    AccountMoved {
        /// Until now.
        from: VendorUserId,
        /// From now on. Its link is the old one's.
        to: VendorUserId,
        /// Whose it is if the old one has no link, where the vendor says that.
        user_id: Option<UserId>,
        /// What was done, for the answer.
        reason: &'static str,
    },
    /// Nothing for us; not stored.
    Ignored {
        /// Why, for the answer; it names no data.
        reason: &'static str,
    },
}

/// Why a verified delivery could not be read at all (400; its bytes go to quarantine).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON. Lines and columns count from 1; the body's words are not repeated.
    #[error("the body is not valid JSON: {what} at line {line}, column {column}")]
    NotJson {
        /// `syntax`, `unexpected end`, `not UTF-8`, `nested too deeply` …
        what: &'static str,
        /// Counting from 1.
        line: usize,
        /// Counting from 1.
        column: usize,
    },
    /// JSON of another shape than any that this device sends.
    #[error("{}: {detail}", if path.is_empty() { "the body" } else { path })]
    Shape {
        /// JSON Pointer to the place (empty for the whole body), or the header's name.
        path: String,
        /// What was expected there.
        detail: String,
    },
    /// The user's id is missing or is no id.
    #[error("{path}: the user id {error}")]
    UserId {
        /// JSON Pointer to the id, or the header's or parameter's name.
        path: &'static str,
        /// What is wrong with it.
        error: IdError,
    },
    /// No user id in the body, the key, `X-User-Id` or `?user_id=`.
    #[error("{0}")]
    NoUser(&'static str),
    /// Two user ids that differ.
    #[error("two different user ids were given: one delivery names one user in all places")]
    UsersDiffer,
    /// A single record in which nothing usable was left.
    #[error("nothing usable in the record: {}", summary(.0))]
    NothingUsable(Rejections),
}

fn summary(rejected: &Rejections) -> String {
    let told = |path: &str, detail: &str| match path {
        // The record itself.
        "" => detail.to_owned(),
        _ => format!("{path} {detail}"),
    };
    rejected.listed.iter().take(3).map(|r| told(&r.path, &r.detail)).collect::<Vec<_>>().join("; ")
}
