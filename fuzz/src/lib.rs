//! What every verifier and decoder promises for every input: one plain function a target.
//!
//! libFuzzer's programs in `fuzz_targets/` call them under `make soak`; `actors/tests/fuzz_corpora.rs` compiles the
//! same files and replays everything that is committed under `seeds/` and `regressions/`, without cargo-fuzz, in
//! `make test`. A target panics where a promise is broken, and else names what the input reached: so the replay can
//! tell that the committed inputs still get to where they are meant to get.

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this is test code, public only for the programs of the fuzzer"
)]

mod events;
mod healthkit;
mod hmac;
mod oura;
mod readings;
mod records;
mod request;
mod samples;
mod states;
mod timestamps;
mod whoop;

pub use events::{event_message, injection};
pub use healthkit::{healthkit, healthkit_verify};
pub use oura::{oura_handshake, oura_inline, oura_notification, oura_verify};
pub use records::vendor_records;
pub use samples::healthkit_samples;
pub use states::{user_state, user_state_folds};
pub use timestamps::timestamps;
pub use whoop::{whoop_inline, whoop_notification};

/// What an input reached, in one word: `events`, `mismatch`, `not_json`.
pub type Reached = &'static str;

/// A function that holds a promise against an input.
pub struct Target {
    /// The name of the function, of its program, and of its folders of inputs.
    pub name: &'static str,
    /// Panics if the promise is broken.
    pub run: fn(&[u8]) -> Reached,
    /// What the committed inputs reach together: with less, the target would look at less than it seems to.
    pub reaches: &'static [Reached],
}

/// Every target there is.
pub const TARGETS: &[Target] = &[
    Target {
        name: "oura_verify",
        run: oura_verify,
        reaches: &["vendor", "inline", "no_secret", "missing", "malformed", "mismatch", "stale", "future"],
    },
    Target { name: "oura_handshake", run: oura_handshake, reaches: &["answered", "refused"] },
    Target {
        name: "healthkit_verify",
        run: healthkit_verify,
        reaches: &[
            "events",
            "users_differ",
            "user_id",
            "no_user",
            "shape",
            "no_secret",
            "missing",
            "malformed",
            "mismatch",
        ],
    },
    Target {
        name: "oura_notification",
        run: oura_notification,
        reaches: &["notification", "deleted", "ignored", "not_json", "shape", "user_id", "no_user"],
    },
    Target {
        name: "oura_inline",
        run: oura_inline,
        reaches: &[
            "events",
            "some_events",
            "notification",
            "ignored",
            "not_json",
            "shape",
            "user_id",
            "no_user",
            "nothing_usable",
        ],
    },
    Target {
        name: "whoop_notification",
        run: whoop_notification,
        reaches: &["notification", "deleted", "ignored", "not_json", "shape", "user_id", "no_user"],
    },
    Target {
        name: "whoop_inline",
        run: whoop_inline,
        reaches: &[
            "events",
            "some_events",
            "notification",
            "ignored",
            "not_json",
            "shape",
            "user_id",
            "no_user",
            "nothing_usable",
        ],
    },
    Target {
        name: "vendor_records",
        run: vendor_records,
        reaches: &[
            "events",
            "deleted",
            "pending",
            "next",
            "no_events",
            "nothing",
            "shape",
            "not_json",
            "no_question",
        ],
    },
    Target {
        name: "healthkit",
        run: healthkit,
        reaches: &[
            "events",
            "some_events",
            "no_events",
            "ignored",
            "not_json",
            "shape",
            "user_id",
            "no_user",
        ],
    },
    Target {
        name: "healthkit_samples",
        run: healthkit_samples,
        reaches: &["events", "some_events", "no_events", "ignored"],
    },
    Target {
        name: "timestamps",
        run: timestamps,
        reaches: &["both", "ours", "rfc_3339", "neither", "not_text"],
    },
    Target { name: "event_message", run: event_message, reaches: &["event", "broken"] },
    Target {
        name: "injection",
        run: injection,
        reaches: &["events", "some_events", "no_events", "not_json", "shape", "nothing_usable"],
    },
    Target { name: "user_state", run: user_state, reaches: &["state", "empty", "newer", "damaged"] },
    Target { name: "user_state_folds", run: user_state_folds, reaches: &["switched", "folded", "nothing"] },
];
