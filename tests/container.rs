//! The container's files, as far as they can be judged without a container engine.

#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeSet;

use biometric_bridge::settings::{Settings, Sources};
use serde_json::Value;

const DOCKERFILE: &str = include_str!("../docker/Dockerfile");
const COMPOSE: &str = include_str!("../docker/compose.yaml");
const IGNORED: &str = include_str!("../.dockerignore");
const ENV_EXAMPLE: &str = include_str!("../.env.example");
const CARGO: &str = include_str!("../Cargo.toml");
/// An `.env` of the Python system, with what it has and we have not.
const PYTHON_ENV: [(&str, &str); 17] = [
    ("POSTGRES_URL", "postgresql://auren:auren@postgres:5432/auren"),
    ("REDIS_URL", "redis://redis:6379/0"),
    ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
    ("MAX_CONCURRENT_WEBHOOKS", "50"),
    ("WORKERS", "4"),
    ("PG_POOL_MIN_SIZE", "5"),
    ("PG_POOL_MAX_SIZE", "20"),
    ("AIOHTTP_CONNECTOR_LIMIT", "100"),
    ("SERVICE_NAME", "biometric-bridge"),
    ("LOG_LEVEL", "INFO"),
    ("REDIS_TTL_SECONDS", "86400"),
    ("MAX_TIMESERIES_ENTRIES", "10000"),
    ("HEALTHKIT_ENABLED", "true"),
    ("OURA_WEBHOOK_SECRET", ""),
    ("TERRA_WEBHOOK_SECRET", ""),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ("SENTRY_DSN_OF_SOMEBODY", "whatever"),
];

/// The Dockerfile's instructions, continued lines joined, without comments.
fn instructions() -> Vec<String> {
    let lines = DOCKERFILE.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// The last stage's, from its FROM on.
fn final_stage() -> Vec<String> {
    let instructions = instructions();
    let from = instructions.iter().rposition(|line| line.starts_with("FROM ")).expect("a stage");
    instructions[from..].to_vec()
}

/// What stands behind this word, in each of the instructions that begin with it.
fn after<'a>(instructions: &'a [String], word: &str) -> Vec<&'a str> {
    let prefix = format!("{word} ");
    instructions.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::trim).collect()
}

fn compose() -> Value {
    serde_saphyr::from_str(COMPOSE).expect("compose.yaml is YAML")
}

/// A service with what it takes over by `<<`.
fn services() -> Vec<(String, Value)> {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn known_variables() -> BTreeSet<&'static str> {
    let lines = ENV_EXAMPLE.lines().map(|line| line.trim_start_matches('#'));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    names.filter(|name| !name.is_empty() && !name.contains(' ')).collect()
}

fn assert_known(name: &str) {
    let known = known_variables();
    let secret = name.strip_suffix("_FILE").unwrap_or(name);
    assert!(known.contains(name) || known.contains(secret), "{name} is not in .env.example");
}

/// An image without a registry's name, with a tag that says more than a major version.
fn assert_pinned(image: &str) {
    let (name, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
    let first = name.split('/').next().expect("a name");
    assert!(!first.contains('.') && !first.contains(':'), "{image} names a registry");
    let version: Vec<&str> = tag.split('-').next().expect("a version").split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    assert!(version.len() >= 2 && version.iter().all(is_number), "{image} is not pinned");
}

#[test]
fn every_image_is_pinned_and_none_names_a_registry() {
    for from in after(&instructions(), "FROM") {
        assert_pinned(from.split(' ').next().expect("an image"));
    }
    for (name, service) in services() {
        assert_pinned(service["image"].as_str().unwrap_or_else(|| panic!("{name} has no image")));
    }
}

#[test]
fn the_image_runs_as_a_fixed_user_who_is_not_root_and_owns_the_data() {
    let stage = final_stage();
    let users = after(&stage, "USER");
    let (user, group) = users.last().expect("a user").split_once(':').expect("user:group");
    for id in [user, group] {
        assert!(id.parse::<u32>().is_ok_and(|id| id >= 1_000), "{id}");
    }
    let setup = after(&stage, "RUN").join("\n");
    assert!(setup.contains(&format!("--uid {user}")) && setup.contains(&format!("--gid {group}")), "{setup}");
    assert!(setup.contains("install -d -o bridge -g bridge") && setup.contains(" /data"), "{setup}");
    assert_eq!(after(&stage, "VOLUME"), ["/data"]);
    // Nothing is done as root once the user is set.
    let user_at = stage.iter().position(|line| line.starts_with("USER ")).expect("a user");
    assert!(stage[user_at..].iter().all(|line| !line.starts_with("RUN ") && !line.starts_with("COPY ")));
}

#[test]
fn the_image_starts_the_bridge_where_the_contract_says() {
    let stage = final_stage();
    assert_eq!(after(&stage, "ENV"), ["BIND_ADDR=0.0.0.0:8889 DATA_DIR=/data"]);
    assert_eq!(after(&stage, "EXPOSE"), ["8889"]);
    assert_eq!(after(&stage, "STOPSIGNAL"), ["SIGTERM"]);
    assert_eq!(after(&stage, "ENTRYPOINT"), [r#"["biometric-bridge"]"#]);
    assert_eq!(after(&stage, "CMD"), [r#"["serve"]"#]);
    let check = after(&stage, "HEALTHCHECK").join("");
    assert!(check.ends_with(r#"CMD ["biometric-bridge", "actors", "--once"]"#), "{check}");
    let settings =
        Settings::read(Sources::from_pairs([("BIND_ADDR", "0.0.0.0:8889"), ("DATA_DIR", "/data")]))
            .expect("settings in order");
    assert_eq!(settings.bridge_url, "http://127.0.0.1:8889", "where the check asks");
}

#[test]
fn the_image_is_built_from_the_lock_file_with_a_profile_and_a_feature_that_exist() {
    let build = after(&instructions(), "RUN").join("\n");
    assert!(build.contains("cargo build --locked --profile dist --features kafka-tls"), "{build}");
    assert!(CARGO.contains("[profile.dist]") && CARGO.contains("kafka-tls ="));
    // The compiler is not older than what the crates ask for.
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let asked = CARGO.lines().find_map(|line| line.strip_prefix("rust-version = \"")).expect("rust-version");
    let taken = instructions().iter().find_map(|line| line.strip_prefix("FROM rust:").map(str::to_owned));
    let taken = taken.expect("a builder");
    assert!(minor(&taken) >= minor(asked.trim_end_matches('"')), "{taken} for {asked}");
}

#[test]
fn what_the_program_is_compiled_from_is_not_ignored_and_secrets_are() {
    let ignored: Vec<&str> =
        IGNORED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for needed in
        ["src", "actors", "actors/src", "config", "migrations", "Cargo.toml", "Cargo.lock", "build.rs"]
    {
        assert!(!ignored.contains(&needed), "{needed}");
    }
    for left_out in [".git", ".env", "**/.env", "target", "docker/secrets", "data"] {
        assert!(ignored.contains(&left_out), "{left_out}");
    }
}

#[test]
fn every_variable_that_the_container_sets_is_known_to_the_bridge() {
    for pairs in after(&final_stage(), "ENV") {
        for pair in pairs.split(' ').filter(|pair| !pair.is_empty()) {
            assert_known(pair.split_once('=').expect("a value").0);
        }
    }
    let compose = compose();
    let variables = compose["services"]["bridge"]["environment"].as_object().expect("variables");
    assert!(!variables.is_empty());
    variables.keys().for_each(|name| assert_known(name));
}

#[test]
fn every_service_is_bounded_healthy_and_started_again() {
    for (name, service) in services() {
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        let check = service["healthcheck"]["test"].as_array().unwrap_or_else(|| panic!("{name}: no check"));
        assert_eq!(check[0], "CMD", "{name}");
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpus"].is_string(), "{name}: {limits}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
    }
}

#[test]
fn the_bridge_waits_for_healthy_neighbours_and_alone_has_a_port_on_this_machine_only() {
    let compose = compose();
    let waits = compose["services"]["bridge"]["depends_on"].as_object().expect("neighbours");
    let neighbours: Vec<_> = waits.keys().map(String::as_str).collect();
    assert_eq!(neighbours, ["kafka", "postgres", "redis"]);
    assert!(waits.values().all(|wait| wait["condition"] == "service_healthy"), "{waits:?}");
    for (name, service) in services() {
        match name.as_str() {
            "bridge" => assert_eq!(service["ports"], serde_json::json!(["127.0.0.1:8889:8889"])),
            _ => {
                assert!(service["ports"].is_null(), "{name}");
                assert_eq!(service["networks"], serde_json::json!(["back"]), "{name}");
            }
        }
    }
    assert_eq!(compose["networks"]["back"]["internal"], true);
}

#[test]
fn what_compose_names_it_also_defines() {
    let compose = compose();
    for (name, service) in services() {
        for (list, defined) in [("secrets", "secrets"), ("networks", "networks")] {
            for item in service[list].as_array().into_iter().flatten() {
                let item = item.as_str().expect("a name");
                assert!(!compose[defined][item].is_null(), "{name}: {item} of {list}");
            }
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().and_then(|volume| volume.split(':').next()).expect("a volume");
            assert!(!compose["volumes"][source].is_null(), "{name}: {source}");
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let (Some(_), Some(path)) = (variable.strip_suffix("_FILE"), value.as_str()) else { continue };
            let secret = path.strip_prefix("/run/secrets/").expect("a secret's path");
            let own = service["secrets"].as_array().expect("secrets");
            assert!(own.iter().any(|own| own == secret), "{name}: {variable}");
        }
    }
}

#[test]
fn no_secret_stands_in_a_file_of_the_container() {
    for (name, service) in services() {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let is_secret =
                ["PASSWORD", "SECRET", "TOKEN", "API_KEY"].iter().any(|word| variable.contains(word));
            assert!(!is_secret || variable.ends_with("_FILE"), "{name}: {variable}");
            let value = value.as_str().unwrap_or_default();
            assert!(
                !value.contains('@') || variable == "KAFKA_CONTROLLER_QUORUM_VOTERS",
                "{name}: {variable}"
            );
        }
    }
    assert!(
        compose()["secrets"].as_object().expect("secrets").values().all(|secret| secret["file"].is_string())
    );
}

#[test]
fn the_environment_of_the_python_system_is_taken_unchanged() {
    let image = [("BIND_ADDR", "0.0.0.0:8889"), ("DATA_DIR", "/data")];
    let settings = Settings::read(Sources::from_pairs(image.into_iter().chain(PYTHON_ENV)));
    let settings = settings.expect("settings in order");
    assert_eq!(settings.server.bind_addr.to_string(), "0.0.0.0:8889");
    assert_eq!(settings.intake.slots, 50);
    assert!(settings.oura.webhook_secret.is_none(), "empty counts as unset");
    assert_eq!((settings.cache.ttl.as_secs(), settings.cache.series_max), (86_400, 10_000));
    assert!(settings.postgres.is_some() && settings.cache.redis_url.is_some() && settings.kafka.is_some());
}
