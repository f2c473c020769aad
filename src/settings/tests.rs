//! What is documented is what is read.

use std::collections::BTreeMap;

use super::*;

const EXAMPLE: &str = include_str!("../../.env.example");

/// The variables of `.env.example` with what they are set to there, commented out or not.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let assignments = EXAMPLE.lines().map(|line| line.trim_start_matches('#')).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        is_name.then_some((name, value))
    });
    assignments.collect()
}

#[test]
fn the_example_lists_every_variable_with_its_default_and_no_other() {
    let read: BTreeMap<&str, String> = Settings::variables(Sources::from_pairs([]))
        .into_iter()
        .map(|variable| (variable.name, variable.value))
        .collect();
    let documented: BTreeMap<&str, String> =
        documented().into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    assert_eq!(documented, read);
}

#[test]
fn nothing_configured_is_a_valid_configuration() {
    let settings = Settings::read(Sources::from_pairs([])).expect("defaults that are valid");
    assert_eq!(settings.server.bind_addr.to_string(), "127.0.0.1:8889");
    assert_eq!(settings.intake.slots, 100);
    assert!(settings.healthkit.api_keys.is_empty() && settings.keys.api_key.is_none());
}

#[test]
fn every_mistake_is_told_at_once_and_no_secret_with_it() {
    let pairs = [
        ("MAX_CONCURRENT_WEBHOOKS", "1001"),
        ("BIND_ADDR", "somewhere"),
        ("OURA_ENABLED", "perhaps"),
        ("API_KEY_FILE", "/nowhere/key"),
        ("ADMIN_API_KEY", "test-admin-secret"),
        ("ADMIN_API_KEY_FILE", "/nowhere/else"),
    ];
    let problems = Settings::read(Sources::from_pairs(pairs)).expect_err("mistakes");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for name in ["MAX_CONCURRENT_WEBHOOKS", "BIND_ADDR", "OURA_ENABLED", "API_KEY_FILE", "ADMIN_API_KEY"] {
        assert!(told.iter().any(|line| line.starts_with(&format!("{name}:"))), "{name} in {told:#?}");
    }
    assert!(told.iter().any(|line| line.contains("from 1 to 1000")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("test-admin-secret")), "{told:#?}");
}

#[test]
fn certificates_that_are_not_there_are_a_mistake_where_they_are_needed() {
    let told = |protocol, place| {
        let pairs = [
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
            ("KAFKA_SECURITY_PROTOCOL", protocol),
            ("KAFKA_SSL_CA_LOCATION", place),
        ];
        let problems = Settings::read(Sources::from_pairs(pairs)).err().unwrap_or_default();
        let lines = problems.iter().map(ToString::to_string);
        lines.filter(|line| line.starts_with("KAFKA_SSL_CA_LOCATION:")).collect::<Vec<_>>()
    };
    let missing = told("SSL", "/nowhere/ca.pem");
    assert!(missing.len() == 1 && missing[0].contains("/nowhere/ca.pem"), "{missing:#?}");
    assert_eq!(told("SASL_SSL", "/nowhere/ca.pem").len(), 1);
    assert_eq!(told("PLAINTEXT", "/nowhere/ca.pem"), [""; 0]);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(told("SSL", folder.path().to_str().expect("a path")), [""; 0]);
}

#[test]
fn an_overlay_wins_over_values_and_over_files_that_hold_them() {
    let sources = Sources::from_pairs([("API_KEY_FILE", "/nowhere/key"), ("DATA_DIR", "elsewhere")]);
    let over = [("API_KEY", "test-key"), ("DATA_DIR", "here")];
    let over = over.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(sources.over(over)).expect("settings");
    assert_eq!(settings.data_dir, PathBuf::from("here"));
    assert_eq!(settings.keys.api_key, Some(Secret::new("test-key")));
}

#[test]
fn without_a_key_of_its_own_healthkit_takes_the_signing_secret_as_one() {
    let keys = |pairs: &[(&str, &str)]| {
        let settings = Settings::read(Sources::from_pairs(pairs.iter().copied())).expect("settings");
        settings.healthkit.api_keys.iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>()
    };
    let signing = ("APPLE_HEALTHKIT_SECRET", "signing");
    assert_eq!(keys(&[signing]), ["signing"]);
    assert_eq!(keys(&[signing, ("HEALTHKIT_API_KEY", "a")]), ["a"]);
    assert_eq!(keys(&[("HEALTHKIT_WEBHOOK_SECRET", "b"), ("HEALTHKIT_API_KEY", "a")]), ["a", "b"]);
}

#[test]
fn thresholds_that_are_named_must_be_there_and_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("thresholds.yaml");
    let named = path.to_str().expect("a path");
    let read = || Settings::read(Sources::from_pairs([("BIOMETRIC_CONFIG", named), ("WORKERS", "0")]));
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let missing = told(read().expect_err("a missing file"));
    assert!(missing.iter().any(|line| line.starts_with("BIOMETRIC_CONFIG:")), "{missing:#?}");
    assert_eq!(missing.len(), 2, "every mistake at once: {missing:#?}");
    std::fs::write(&path, "thresholds:\n  hrv_drop: 25\n").expect("a file");
    let wrong = told(read().expect_err("an unknown key"));
    assert!(wrong.iter().any(|line| line.contains("line 2")), "{wrong:#?}");
    std::fs::write(&path, "thresholds:\n  hrv_drop_ms: 20\n").expect("a file");
    let right = Settings::read(Sources::from_pairs([("BIOMETRIC_CONFIG", named)])).expect("settings");
    assert_ne!(right.thresholds.hash(), Thresholds::default().hash());
}
