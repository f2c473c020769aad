//! Services that a test can use but that a bare machine does not have.
//!
//! A test whose service is missing returns, and the run lists it as SKIPPED at its end. A run that names the
//! service in `BRIDGE_REQUIRE` fails instead: there, a skip would be a hole that nobody sees.

use std::path::{Path, PathBuf};
use std::{env, fs, process, thread};

/// Names of services, separated by commas, without which the run fails.
pub(crate) const REQUIRE_VARIABLE: &str = "BRIDGE_REQUIRE";

/// The folder that takes one file for each test that was skipped; `make test` prints them.
pub(crate) const SKIPS_VARIABLE: &str = "BRIDGE_SKIPS";

/// Reads an environment variable.
pub(crate) type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A service that a test can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// A browser that runs without a screen, for the page.
    Chromium,
    /// A Redis server, for the cache.
    Redis,
    /// A PostgreSQL server of the test's own.
    Postgres,
    /// The Python environment of `examples/langgraph`, with exactly the packages that it pins.
    Agents,
}

impl Service {
    const ALL: [Self; 4] = [Self::Chromium, Self::Redis, Self::Postgres, Self::Agents];

    /// Its name in `BRIDGE_REQUIRE` and in what is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Redis => "redis",
            Self::Postgres => "postgresql",
            Self::Agents => "agents",
        }
    }

    /// The variable that gives its place when it is not the one on PATH.
    fn variable(self) -> &'static str {
        match self {
            Self::Chromium => "TEST_CHROMIUM",
            Self::Redis => "TEST_REDIS_SERVER",
            Self::Postgres => "TEST_POSTGRES_BIN",
            Self::Agents => "TEST_AGENTS_PYTHON",
        }
    }

    /// The names that its program has on one system or another.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
            Self::Redis => &["redis-server", "valkey-server"],
            Self::Postgres => &["initdb"],
            // `make agents` gives it this name, last: any other Python lacks the packages.
            Self::Agents => &["biometric-agents-python"],
        }
    }

    /// Folders outside of PATH in which systems keep it, the newest first.
    fn folders(self, variable: Variable<'_>) -> Vec<PathBuf> {
        match self {
            Self::Chromium | Self::Redis => Vec::new(),
            Self::Postgres => {
                let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
                let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
                folders.sort();
                folders.reverse();
                folders
            }
            Self::Agents => agents_folder(variable).into_iter().collect(),
        }
    }
}

/// Where `make agents` installs; none if what is there was installed for other pins than today's.
fn agents_folder(variable: Variable<'_>) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".cache"));
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let installed = cache.join("biometric-bridge-tools/agents");
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/langgraph/requirements.txt");
    let is_todays = fs::read(installed.join("requirements.txt")).ok()? == fs::read(wanted).ok()?;
    is_todays.then(|| installed.join("bin"))
}

/// Where a service is. `None`: the calling test has nothing to stand on and returns; its skip is recorded.
///
/// # Panics
/// If the run requires the service and it is missing, and on every mistake in the variables.
#[track_caller]
pub(crate) fn optional(service: Service) -> Option<PathBuf> {
    let found = look_up(service, &from_process).unwrap_or_else(|mistake| panic!("{mistake}"));
    if found.is_none()
        && let Some(folder) = from_process(SKIPS_VARIABLE)
    {
        // The runner names a test's thread after the test, save when it runs them one by one.
        record_skip(Path::new(&folder), service, thread::current().name().unwrap_or("main"));
    }
    found
}

/// The variables of this process; an empty one counts as unset.
pub(crate) fn from_process(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Finds a service: where its variable says, the program or its folder, else on PATH or where systems keep it. The error
/// says what to do.
pub(crate) fn look_up(service: Service, variable: Variable<'_>) -> Result<Option<PathBuf>, String> {
    let is_required = required(variable)?.contains(&service);
    if let Some(given) = variable(service.variable()).map(PathBuf::from) {
        let mistake = format!("{} names {}, which is no file", service.variable(), given.display());
        let inside = service.programs().iter().map(|name| given.join(name)).find(|path| path.is_file());
        return if given.is_file() { Ok(Some(given)) } else { inside.map(Some).ok_or(mistake) };
    }
    let path = variable("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path)
        .chain(service.folders(variable))
        .flat_map(|folder| service.programs().iter().map(move |name| folder.join(name)));
    match candidates.find(|candidate| candidate.is_file()) {
        None if is_required => Err(format!(
            "{REQUIRE_VARIABLE} names {}, but none of {} is on PATH: run `make services`, or set {}",
            service.name(),
            service.programs().join(", "),
            service.variable(),
        )),
        found => Ok(found),
    }
}

/// The services without which this run fails. A name that nobody knows is an error: it would require nothing.
pub(crate) fn required(variable: Variable<'_>) -> Result<Vec<Service>, String> {
    let list = variable(REQUIRE_VARIABLE).unwrap_or_default();
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let known = Service::ALL.map(Service::name).join(", ");
            let mistake = format!("{REQUIRE_VARIABLE} names {name}, which is no service; there are: {known}");
            Service::ALL.into_iter().find(|service| service.name() == name).ok_or(mistake)
        })
        .collect()
}

/// Leaves the line that `make test` prints at its end.
pub(crate) fn record_skip(folder: &Path, service: Service, test: &str) {
    let name = service.name();
    let file = folder.join(format!("{name}.{}.{}", process::id(), test.replace("::", ".")));
    let line = format!("SKIPPED {name}: {test} (install: make services)\n");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, line));
    written.unwrap_or_else(|error| panic!("cannot record a skip in {}: {error}", folder.display()));
}
