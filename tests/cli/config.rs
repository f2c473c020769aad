//! `config check`: what is in force, or every mistake at once.

use serde_json::{Value, json};

use crate::{Home, Ran};

const CHECK: &[&str] = &["config", "check"];

fn check_json(home: &Home, variables: &[(&str, &str)]) -> Value {
    home.run(&["--json", "config", "check"], variables).json()
}

fn assert_refused(ran: &Ran, told: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for word in told {
        assert!(ran.stderr.contains(word), "nothing is said of {word}: {ran:?}");
    }
}

#[test]
fn settings_in_order_are_shown_without_their_secrets() {
    let variables =
        [("API_KEY", "hush-1"), ("OURA_WEBHOOK_SECRET", "hush-2"), ("MAX_CONCURRENT_WEBHOOKS", "7")];
    let ran = Home::new().run(CHECK, &variables);
    let lines = ran.lines();
    for line in [
        "MAX_CONCURRENT_WEBHOOKS=7",
        "WEBHOOK_QUEUE_MAX=1000",
        "API_KEY=<set>",
        "OURA_WEBHOOK_SECRET=<set>",
        "ADMIN_API_KEY=<not set>",
    ] {
        assert!(lines.contains(&line), "{line} is missing: {lines:?}");
    }
    assert!(lines.last().is_some_and(|line| line.starts_with("The settings are in order")), "{lines:?}");
    assert!(!ran.stdout.contains("hush"), "a secret is shown");

    let checked = check_json(&Home::new(), &variables);
    assert_eq!(checked["ok"], true);
    assert_eq!(checked["settings"]["MAX_CONCURRENT_WEBHOOKS"], "7");
    assert_eq!(checked["settings"]["API_KEY"], "<set>");
    assert_eq!(checked["thresholds_hash"].as_str().map(str::len), Some(12), "{checked}");
}

#[test]
fn every_mistake_is_listed_at_once_with_its_variable_and_what_is_allowed() {
    let mistakes = [
        ("BIND_ADDR", "somewhere", "an address and port"),
        ("BASE_PATH", "/bridge/", "without a slash at its end"),
        ("WORKERS", "257", "from 1 to 256"),
        ("METRICS_PORT", "0", "from 1 to 65535"),
        ("SHUTDOWN_TIMEOUT_SECONDS", "0", "from 1 to 3600"),
        ("MAX_CONCURRENT_WEBHOOKS", "1001", "from 1 to 1000"),
        ("WEBHOOK_QUEUE_MAX", "-1", "from 0 to 100000"),
        ("HEALTHKIT_CONCURRENT", "0", "from 1 to 1000"),
        ("CHECKPOINT_INTERVAL_SECONDS", "half-a-minute", "a whole number from 1"),
        ("KAFKA_PARTITIONS", "1.5", "from 1 to 1000"),
        ("OURA_ENABLED", "perhaps", "true or false"),
        ("LOG_LEVEL", "LOUD", "TRACE, DEBUG, INFO, WARN, ERROR"),
        ("METRICS_NAMESPACE", "9lives", "not begin with a digit"),
        ("API_KEY_FILE", "no-such-file", "cannot be read"),
        ("BIOMETRIC_CONFIG", "no-such-file.yaml", "cannot be read"),
        ("POSTGRES_URL", "mysql://bridge:hush@db/bridge", "begins with postgres://"),
        ("POSTGRES_SCHEMA", "Bridge-1", "small letters"),
        ("PG_POOL_MIN_SIZE", "21", "not be more than PG_POOL_MAX_SIZE"),
        ("REDIS_URL", "http://:hush@cache", "begins with redis://"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "as host:port"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "SASL_SSL"),
    ];
    let variables: Vec<_> = mistakes.iter().map(|(name, value, _)| (*name, *value)).collect();
    let home = Home::new();
    for arguments in [CHECK, &["serve"], &["migrate", "status"]] {
        let ran = home.run(arguments, &variables);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for (name, _, allowed) in mistakes {
            let told = ran.stderr.lines().find(|line| line.contains(&format!(" {name}: ")));
            assert!(told.is_some_and(|line| line.contains(allowed)), "{arguments:?}, {name}: {told:?}");
        }
        assert_eq!(ran.stderr.lines().count(), mistakes.len(), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hush"), "a secret is shown: {}", ran.stderr);
    }
    let ran = home.run(&["--json", "config", "check"], &variables);
    let told: Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!((ran.code, told["errors"].as_array().map(Vec::len)), (Some(2), Some(mistakes.len())));
    assert!(!home.path().join("data").exists(), "a bridge that does not start makes no folder");
}

#[test]
fn the_bounds_of_a_range_are_allowed_and_what_lies_beyond_is_not() {
    for (name, low, high) in [
        ("MAX_CONCURRENT_WEBHOOKS", 1, 1_000),
        ("HEALTHKIT_CONCURRENT", 1, 1_000),
        ("WORKERS", 1, 256),
        ("KAFKA_PARTITIONS", 1, 1_000),
        ("SHUTDOWN_TIMEOUT_SECONDS", 1, 3_600),
        ("METRICS_PORT", 1, 65_535),
    ] {
        for (value, code) in [(low - 1, 2), (low, 0), (high, 0), (high + 1, 2)] {
            let ran = Home::new().run(CHECK, &[(name, &value.to_string())]);
            assert_eq!(ran.code, Some(code), "{name}={value}: {ran:?}");
        }
    }
}

#[test]
fn the_environment_goes_over_dotenv_over_the_file_over_the_defaults() {
    let home = Home::new();
    let names = ["WEBHOOK_QUEUE_MAX", "WEBHOOK_QUEUE_WAIT_MS", "MAX_CONCURRENT_WEBHOOKS", "KAFKA_PARTITIONS"];
    let in_force = |variables: &[(&str, &str)]| {
        let checked = check_json(&home, variables);
        names.map(|name| checked["settings"][name].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(in_force(&[]), ["1000", "1000", "100", "12"]);
    home.write(
        "config/bridge.toml",
        "WEBHOOK_QUEUE_MAX = 1\nWEBHOOK_QUEUE_WAIT_MS = 1\nMAX_CONCURRENT_WEBHOOKS = \"1\"\n",
    );
    assert_eq!(in_force(&[]), ["1", "1", "1", "12"]);
    home.write(".env", "# what this host needs\nWEBHOOK_QUEUE_MAX=2\nWEBHOOK_QUEUE_WAIT_MS=\"2\"\n");
    assert_eq!(in_force(&[]), ["2", "2", "1", "12"]);
    assert_eq!(in_force(&[("WEBHOOK_QUEUE_MAX", "3")]), ["3", "2", "1", "12"]);
}

#[test]
fn an_empty_variable_counts_as_not_set_and_what_is_shown_is_what_is_in_force() {
    let home = Home::new();
    home.write(".env", "WEBHOOK_QUEUE_MAX=2\nAPI_KEY=hush\n");
    let checked = check_json(&home, &[("WEBHOOK_QUEUE_MAX", ""), ("API_KEY", ""), ("LOG_LEVEL", "")]);
    let settings = &checked["settings"];
    assert_eq!(settings["WEBHOOK_QUEUE_MAX"], "2");
    assert_eq!(settings["API_KEY"], "<set>");
    assert_eq!(settings["LOG_LEVEL"], "INFO");
}

#[test]
fn a_file_that_cannot_be_read_as_settings_is_named_and_not_repeated() {
    let home = Home::new();
    home.write(".env", "API_KEY=fine\nthis line holds hush\n");
    let ran = home.run(CHECK, &[]);
    assert_refused(&ran, &[".env"]);
    assert!(!ran.stderr.contains("hush"), "{ran:?}");

    let home = Home::new();
    home.write("config/bridge.toml", "WORKERS = 2\nAPI_KEY = hush\n");
    let ran = home.run(CHECK, &[]);
    assert_refused(&ran, &["config/bridge.toml", "line 2"]);
    assert!(!ran.stderr.contains("hush"), "{ran:?}");

    let home = Home::new();
    home.write("config/bridge.toml", "WORKERS = [1, 2]\n");
    assert_refused(&home.run(CHECK, &[]), &["config/bridge.toml", "WORKERS"]);
}

#[test]
fn a_secret_can_stand_in_a_file_of_its_own() {
    let home = Home::new();
    home.write("key", "hush\n");
    home.write("blank", " \n");
    let checked = check_json(&home, &[("API_KEY_FILE", "key")]);
    assert_eq!(checked["settings"]["API_KEY"], "<set>");
    assert!(!checked.to_string().contains("hush"));
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("API_KEY_FILE", "nowhere")], "cannot be read"),
        (&[("API_KEY_FILE", "blank")], "empty file"),
        (&[("API_KEY_FILE", "key"), ("API_KEY", "other")], "only one of them"),
    ];
    for (variables, told) in table {
        let ran = home.run(CHECK, variables);
        assert_refused(&ran, &["API_KEY_FILE", told]);
        assert!(!ran.stderr.contains("hush") && !ran.stderr.contains("other"), "{ran:?}");
    }
}

#[test]
fn thresholds_that_are_named_must_be_there_and_be_right() {
    let home = Home::new();
    let mine = [("BIOMETRIC_CONFIG", "mine.yaml")];
    let default = check_json(&home, &[])["thresholds_hash"].clone();
    assert_refused(&home.run(CHECK, &mine), &["BIOMETRIC_CONFIG", "mine.yaml"]);
    home.write("mine.yaml", "thresholds:\n  hrv_drop_ms: plenty\n");
    assert_refused(&home.run(CHECK, &mine), &["BIOMETRIC_CONFIG", "mine.yaml"]);
    home.write("mine.yaml", "thresholds:\n  hrv_drop_ms: 30\n");
    let hash = check_json(&home, &mine)["thresholds_hash"].clone();
    assert_ne!(hash, default);
    // The default file counts when it is there.
    home.write("config/biometric_thresholds.yaml", "thresholds:\n  hrv_drop_ms: 30\n");
    assert_eq!(check_json(&home, &[])["thresholds_hash"], hash);
    assert_eq!(check_json(&home, &[("UNKNOWN_VARIABLE", "x")])["ok"], json!(true));
}
