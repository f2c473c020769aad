//! The kinds of deliveries: where each goes, and how it is signed. Another device is a variant here.

use std::collections::BTreeMap;
use std::fmt;

use actors::vendors::signing;

/// What kind of delivery it is; each is signed in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An app's push of HealthKit samples, under a bearer key.
    HealthKit,
    /// A ring's reading in the inline format, signed in the header `Signature`.
    OuraReading,
    /// Oura's own notification, signed in `x-oura-signature`.
    OuraNotification,
}

/// A kind cannot be sent without the setting that holds its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not set: deliveries are signed with it")]
pub struct MissingSecret(pub &'static str);

impl Kind {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::HealthKit, Self::OuraReading, Self::OuraNotification];

    /// The last segment of the webhook's path.
    pub const fn device(self) -> &'static str {
        match self {
            Self::HealthKit => "healthkit",
            Self::OuraReading | Self::OuraNotification => "oura",
        }
    }

    /// Tells it from the other kinds of its device, in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HealthKit => "healthkit",
            Self::OuraReading => "oura_inline",
            Self::OuraNotification => "oura",
        }
    }

    /// The setting that holds what it is signed with.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::HealthKit => "HEALTHKIT_API_KEY",
            Self::OuraReading | Self::OuraNotification => "OURA_WEBHOOK_SECRET",
        }
    }

    /// The header fields under which the bridge believes `body`. `now_s`: Unix seconds; a signature is made when it is
    /// sent, whatever time the body speaks of.
    ///
    /// # Errors
    /// There is no secret to sign it with.
    pub fn sign(
        self,
        secrets: &Secrets,
        body: &[u8],
        now_s: i64,
    ) -> Result<Vec<(&'static str, String)>, MissingSecret> {
        let secret = secrets.get(self)?;
        Ok(match self {
            Self::HealthKit => vec![("authorization", format!("Bearer {secret}"))],
            Self::OuraReading => vec![("signature", signing::inline(secret, body))],
            Self::OuraNotification => vec![
                ("x-oura-timestamp", now_s.to_string()),
                ("x-oura-signature", signing::oura(secret, now_s, body)),
            ],
        })
    }
}

/// What deliveries are signed with, by setting.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// The secret that a delivery of this kind is signed with.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, kind: Kind) -> Result<&str, MissingSecret> {
        self.0.get(kind.setting()).map(String::as_str).ok_or(MissingSecret(kind.setting()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(secrets: I) -> Self {
        Self(secrets.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets(of {:?})", self.0.keys().collect::<Vec<_>>())
    }
}
