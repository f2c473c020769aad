//! What an operator is told at start.

use crate::adapters::vault::key_file_is_open;
use crate::settings::Settings;

/// What works less than an operator may expect, each said once at start and in `/health`.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.oura.enabled && settings.oura.webhook_secret.is_none() {
        warnings.push("OURA_WEBHOOK_SECRET is not set: every Oura delivery is answered 401".to_owned());
    }
    if settings.oura.enabled && settings.oura.verification_token.is_none() {
        warnings.push("OURA_VERIFICATION_TOKEN is not set: Oura's handshake is answered 401".to_owned());
    }
    if settings.whoop.enabled && settings.whoop.webhook_secret.is_none() {
        warnings.push("WHOOP_WEBHOOK_SECRET is not set: every WHOOP delivery is answered 401".to_owned());
    }
    if settings.terra.enabled && settings.terra.webhook_secret.is_none() {
        warnings.push("TERRA_WEBHOOK_SECRET is not set: every Terra delivery is answered 401".to_owned());
    }
    if settings.healthkit.enabled && settings.healthkit.api_keys.is_empty() {
        let opened = "only keys bound by /admin/links open HealthKit's webhook";
        warnings.push(format!("HEALTHKIT_API_KEY is not set: {opened}"));
    }
    let alone = match (&settings.postgres, &settings.kafka) {
        (Some(_), None) => {
            Some("POSTGRES_URL is set and KAFKA_BOOTSTRAP_SERVERS is not: the log is in DATA_DIR")
        }
        (None, Some(_)) => {
            Some("KAFKA_BOOTSTRAP_SERVERS is set and POSTGRES_URL is not: the store is in DATA_DIR")
        }
        _ => None,
    };
    warnings.extend(alone.map(|alone| format!("{alone}; run no second bridge beside this one")));
    if settings.postgres.is_some() && settings.token_keys.is_empty() {
        let text = "TOKEN_ENCRYPTION_KEYS is not set: no vendor's token can be stored or opened, and /admin/links \
            answers 503 to those that bring one";
        warnings.push(text.to_owned());
    }
    if settings.postgres.is_none() && key_file_is_open(&settings.data_dir) {
        let text = "token_keys in DATA_DIR is open to other users of this machine: chmod 600 it, and rotate the key if \
            they may have read it";
        warnings.push(text.to_owned());
    }
    if settings.keys.api_key.is_none() {
        warnings.push("API_KEY is not set: no such key opens /v1".to_owned());
    }
    if settings.keys.admin_api_key.is_none() {
        warnings.push("ADMIN_API_KEY is not set: /admin is answered 401".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::settings::Sources;

    fn told(settings: &[(&str, &str)]) -> String {
        warnings(&Settings::read(Sources::from_pairs(settings.iter().copied())).unwrap()).join("\n")
    }

    #[test]
    fn without_a_key_of_all_the_keys_of_one_user_still_open_healthkit() {
        let told = told(&[]);
        assert!(told.contains("HEALTHKIT_API_KEY is not set: only keys bound by /admin/links"), "{told}");
        assert!(!told.contains("every HealthKit delivery"), "{told}");
    }

    #[test]
    fn a_database_without_keys_for_tokens_is_told_of() {
        let postgres = ("POSTGRES_URL", "postgres://127.0.0.1:1/nowhere");
        let of_keys =
            |told: &str| told.lines().any(|line| line.starts_with("TOKEN_ENCRYPTION_KEYS is not set"));
        assert!(of_keys(&told(&[postgres])));
        let key = crate::settings::TokenKey::random().to_text();
        assert!(!of_keys(&told(&[postgres, ("TOKEN_ENCRYPTION_KEYS", &key)])));
        assert!(!of_keys(&told(&[])), "there one is made");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let (file, data_dir) = (folder.path().join("token_keys"), folder.path().to_str().unwrap());
        write(&file, "a key").unwrap();
        for (mode, is_told) in [(0o600, false), (0o644, true)] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let told = told(&[("DATA_DIR", data_dir)]);
            assert_eq!(told.contains("chmod 600"), is_told, "{told}");
        }
    }
}
