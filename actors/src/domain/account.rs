//! A person's account with a vendor, and the tokens that open it.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::ids::{IdError, UserId};

/// Whose account it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named as they call themselves")]
pub enum Vendor {
    Oura,
    Whoop,
    HealthKit,
    Terra,
    Garmin,
    Fitbit,
    Google,
    Withings,
    Polar,
    Strava,
    EightSleep,
}

impl Vendor {
    /// Every vendor (contract §1, Webhooks).
    pub const ALL: [Self; 11] = [
        Self::Oura,
        Self::Whoop,
        Self::HealthKit,
        Self::Terra,
        Self::Garmin,
        Self::Fitbit,
        Self::Google,
        Self::Withings,
        Self::Polar,
        Self::Strava,
        Self::EightSleep,
    ];

    /// The word in paths, rows and labels: the same as its device's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oura => "oura",
            Self::Whoop => "whoop",
            Self::HealthKit => "healthkit",
            Self::Terra => "terra",
            Self::Garmin => "garmin",
            Self::Fitbit => "fitbit",
            Self::Google => "google",
            Self::Withings => "withings",
            Self::Polar => "polar",
            Self::Strava => "strava",
            Self::EightSleep => "eight_sleep",
        }
    }

    /// The vendor of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.name() == name)
    }
}

/// A vendor's own id of a person, under the rules of all ids (contract §1). As personal as ours: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VendorUserId(Arc<str>);

impl VendorUserId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`IdError`], as for ids of ours.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        UserId::parse(text)?;
        Ok(Self(text.into()))
    }

    /// The id itself, for keys, requests and storage; never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VendorUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VendorUserId(<hidden>)")
    }
}

/// An account with a vendor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// With whom.
    pub vendor: Vendor,
    /// Whose, in the vendor's words.
    pub id: VendorUserId,
}

/// An access or refresh token. It is overwritten when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes a token.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The token itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<hidden>)")
    }
}

/// What a vendor gives out together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// Opens the vendor's API.
    pub access: Token,
    /// Gets the next pair; none of an account whose token cannot be refreshed.
    pub refresh: Option<Token>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_is_found_by_its_name() {
        for vendor in Vendor::ALL {
            assert_eq!(Vendor::parse(vendor.name()), Some(vendor));
        }
        assert_eq!(Vendor::parse("Oura"), None);
    }

    #[test]
    fn neither_an_account_nor_its_tokens_are_shown() {
        let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse("a-person").unwrap() };
        let token = |text: &str| Token::new(text.to_owned());
        let pair = TokenPair { access: token("test-access"), refresh: Some(token("test-refresh")) };
        let shown = format!("{account:?} {pair:?}");
        assert!(!shown.contains("person") && !shown.contains("test-"), "{shown}");
    }
}
