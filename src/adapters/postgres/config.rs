//! How a connection is set up for what it is used for.

use std::str::FromStr;

use actors::ports::store::StoreError;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// The longest name that PostgreSQL keeps whole, in bytes.
const NAME_MAX_BYTES: usize = 63;

/// Where the database is, and how much of it is used.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgresql://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// The schema in which all tables are.
    pub schema: String,
    /// Connections that are kept open.
    pub pool_min: u32,
    /// Connections at most.
    pub pool_max: u32,
    /// Messages in the outbox beyond which nobody needs to know how many.
    pub outbox_max: u64,
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url: _, schema, pool_min, pool_max, outbox_max } = self;
        f.debug_struct("PostgresConfig")
            .field("schema", schema)
            .field("pool_min", pool_min)
            .field("pool_max", pool_max)
            .field("outbox_max", outbox_max)
            .finish_non_exhaustive()
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The store's calls.
    Calls,
    /// The schema.
    Migrations,
    /// Commands that read everything and change nothing.
    History,
}

/// What holds for every call: a statement of it runs at most 2 s and waits at most 1.5 s for a lock, and what our
/// process leaves in the middle does not hold its locks for long.
///
/// Every table is looked into by its indexes, whatever the planner knows of its size: a plan that was made when it was
/// empty must not be a walk through it when it is not.
const CALLS: [(&str, &str); 9] = [
    ("statement_timeout", "2s"),
    ("lock_timeout", "1500ms"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("timezone", "UTC"),
];

/// A migration may rewrite a table, and waits for other bridges' migrations; it does not make their webhooks wait
/// behind it for longer than they would anyway.
const MIGRATIONS: [(&str, &str); 4] = [
    ("statement_timeout", "60s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("timezone", "UTC"),
];

/// A command that reads everything takes its time, a page after the other, and could not change anything if it would.
const HISTORY: [(&str, &str); 4] = [
    ("statement_timeout", "600s"),
    ("default_transaction_read_only", "on"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("timezone", "UTC"),
];

/// The same for a flush of checkpoints, which may be large.
pub(super) const FLUSH_TIMEOUT: &str = "SET LOCAL statement_timeout = '8s'";

/// Reads the settings. Nothing is connected.
///
/// # Errors
/// [`StoreError::Refused`]: the URL or the schema's name is none. The URL, which holds a password, is not repeated.
pub(super) fn options(config: &PostgresConfig, purpose: Purpose) -> Result<PgConnectOptions, StoreError> {
    let refused = |what: &str| StoreError::Refused(what.to_owned());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = !config.schema.starts_with(|first: char| first.is_ascii_digit());
    let fits = (1..=NAME_MAX_BYTES).contains(&config.schema.len()) && !config.schema.starts_with("pg_");
    if !(fits && begins_well && config.schema.bytes().all(is_name)) {
        return Err(refused(
            "POSTGRES_SCHEMA: a name of at most 63 letters, digits and underscores was expected, which begins with \
             no digit and not with pg_",
        ));
    }
    // The Python system's drivers put their own name into the scheme (`postgresql+asyncpg://`).
    let wrong = || refused("POSTGRES_URL: postgresql://user:password@host:port/database was expected");
    let (scheme, rest) = config.url.split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.split('+').next().unwrap_or_default();
    if !matches!(scheme, "postgres" | "postgresql") || rest.is_empty() {
        return Err(wrong());
    }
    if let Some((place, error)) = missing_certificates(rest) {
        return Err(refused(&format!("POSTGRES_URL: sslrootcert: {place} cannot be read: {error}")));
    }
    let options = PgConnectOptions::from_str(&format!("{scheme}://{rest}")).map_err(|_| wrong())?;
    let settings: &[(&str, &str)] = match purpose {
        Purpose::Calls => &CALLS,
        Purpose::Migrations => &MIGRATIONS,
        Purpose::History => &HISTORY,
    };
    Ok(options
        .application_name("biometric-bridge")
        .options(settings.iter().copied())
        .options([
            ("search_path", format!("\"{}\"", config.schema)),
            ("bridge.schema", config.schema.clone()),
        ])
        .disable_statement_logging())
}

/// The file of certificates in a URL, if it is not there: each connection would fail with no word of it.
fn missing_certificates(url: &str) -> Option<(&str, std::io::Error)> {
    let (_, query) = url.split_once('?')?;
    let mut parameters = query.split('&');
    let place = parameters.find_map(|parameter| parameter.strip_prefix("sslrootcert="))?;
    // What is encoded is left to the driver.
    let error = std::fs::metadata(place).err().filter(|_| !place.contains('%'))?;
    Some((place, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, schema: &str) -> PostgresConfig {
        let (url, schema) = (url.to_owned(), schema.to_owned());
        PostgresConfig { url, schema, pool_min: 1, pool_max: 2, outbox_max: 10 }
    }

    #[test]
    fn urls_as_the_python_system_has_them_are_read() {
        for url in [
            "postgresql://u:p@127.0.0.1:5432/d",
            "postgres://u@h/d?sslmode=require",
            "postgresql+asyncpg://u:p@h/d",
        ] {
            assert!(options(&config(url, "biometric_bridge"), Purpose::Calls).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        for url in ["", "secret", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "postgresql://"] {
            let Err(error) = options(&config(url, "s"), Purpose::Calls) else { panic!("{url} was read") };
            assert!(error.to_string().contains("POSTGRES_URL"), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(!format!("{:?}", config("postgresql://u:secret@h/d", "s")).contains("secret"));
    }

    #[test]
    fn certificates_that_are_not_there_are_told_without_the_password() {
        let url = |place: &str| format!("postgresql://u:secret@h/d?sslmode=verify-full&sslrootcert={place}");
        let Err(error) = options(&config(&url("/nowhere/ca.pem"), "s"), Purpose::Calls) else {
            panic!("they were read")
        };
        let told = error.to_string();
        assert!(told.contains("sslrootcert") && told.contains("/nowhere/ca.pem"), "{told}");
        assert!(!told.contains("secret"), "{told}");
        assert!(options(&config(&url("/dev/null"), "s"), Purpose::Calls).is_ok());
    }

    #[test]
    fn a_schema_whose_name_would_need_care_is_refused() {
        for name in ["", "1a", "a b", "a\"b", "a;b", "pg_mine", &"a".repeat(64)] {
            assert!(options(&config("postgresql://h/d", name), Purpose::Calls).is_err(), "{name}");
        }
    }
}
