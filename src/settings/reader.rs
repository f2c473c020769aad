//! Looks variables up, checks them, and collects every mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::{CONFIG_PATH, DEFAULT_CONFIG, Secret};

/// Where variables may stand that are not in the environment.
const DOTENV_PATH: &str = ".env";

/// Values by variable, one layer over the other.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    layers: Vec<BTreeMap<String, String>>,
    /// Variables of the environment whose values are not text.
    not_text: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable or file.
    pub name: String,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

impl Sources {
    /// The process's environment, over `./.env`, over `config/bridge.toml`, over the compiled-in defaults.
    pub fn from_process() -> Self {
        let mut sources = Self::default();
        let mut environment = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.insert(name, value);
                }
                (Ok(name), Err(_)) => {
                    sources.not_text.insert(name);
                }
                (Err(_), _) => {}
            }
        }
        sources.layers.push(environment);
        if let Some(text) = sources.read_file(DOTENV_PATH) {
            sources.push_dotenv(&text);
        }
        if let Some(text) = sources.read_file(CONFIG_PATH) {
            sources.push_toml(CONFIG_PATH, &text);
        }
        sources.push_toml("the compiled-in defaults", DEFAULT_CONFIG);
        sources
    }

    /// Only these values, over the compiled-in defaults.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sources = Self::default();
        sources
            .layers
            .push(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        sources.push_toml("the compiled-in defaults", DEFAULT_CONFIG);
        sources
    }

    /// Puts values over everything else, also over files that hold them.
    pub fn over(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let over: BTreeMap<_, _> = pairs.into_iter().collect();
        for layer in &mut self.layers {
            layer.retain(|name, _| !name.strip_suffix("_FILE").is_some_and(|name| over.contains_key(name)));
        }
        self.layers.insert(0, over);
        self
    }

    /// A value as it stands there, of a variable that is no setting of the bridge's own.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.layers.iter().find_map(|layer| layer.get(name)).map(String::as_str)
    }

    fn problem(&mut self, name: &str, what: String) {
        self.problems.push(Problem { name: name.to_owned(), what });
    }

    /// A file that may be missing, but not be unreadable.
    fn read_file(&mut self, path: &str) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => return Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.problem(path, format!("cannot be read: {error}")),
        }
        None
    }

    fn push_dotenv(&mut self, text: &str) {
        let mut layer = BTreeMap::new();
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            match line {
                Ok((name, value)) => {
                    layer.insert(name, value);
                }
                // The library's message repeats the line, which may hold a secret.
                Err(_) => self.problem(DOTENV_PATH, "has a line that is not NAME=value".to_owned()),
            }
        }
        self.layers.push(layer);
    }

    fn push_toml(&mut self, name: &str, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                let error: toml::de::Error = error;
                let place =
                    error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
                return self.problem(name, format!("is not TOML at line {place}"));
            }
        };
        let mut layer = BTreeMap::new();
        for (key, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(switch) => switch.to_string(),
                _ => {
                    self.problem(name, format!("{key} must be a text, a whole number, true or false"));
                    continue;
                }
            };
            layer.insert(key, value);
        }
        self.layers.push(layer);
    }
}

/// A variable that is read, with what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value in these sources; empty for none, and always for a secret.
    pub value: String,
    /// Whether these sources set it.
    pub is_set: bool,
    /// Whether `{name}_FILE` is read too, and its value never shown.
    pub is_secret: bool,
}

pub(super) struct Reader {
    sources: Sources,
    variables: Vec<Variable>,
}

impl Reader {
    pub(super) fn new(sources: Sources) -> Self {
        Self { sources, variables: Vec::new() }
    }

    pub(super) fn finish(self) -> Result<(), Vec<Problem>> {
        if self.sources.problems.is_empty() { Ok(()) } else { Err(self.sources.problems) }
    }

    pub(super) fn into_variables(self) -> Vec<Variable> {
        self.variables
    }

    fn variable(&mut self, name: &'static str, is_secret: bool) {
        if self.sources.not_text.contains(name) {
            self.sources.problem(name, "is not UTF-8 text".to_owned());
        }
        let value = self.value(name);
        let is_set = value.is_some() || (is_secret && self.value(&format!("{name}_FILE")).is_some());
        let value = value.filter(|_| !is_secret).unwrap_or_default();
        self.variables.push(Variable { name, value, is_set, is_secret });
    }

    /// The value of a variable; an empty one counts as not set, as it does in `.env` files.
    fn value(&self, name: &str) -> Option<String> {
        let values = self.sources.layers.iter().filter_map(|layer| layer.get(name));
        values.map(|value| value.trim()).find(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Whether a variable is set to something else than the compiled-in default.
    pub(super) fn differs(&self, name: &str) -> bool {
        let default = self.sources.layers.last().and_then(|layer| layer.get(name)).map(String::as_str);
        self.value(name).as_deref() != default
    }

    /// Notes a mistake that only the caller can see.
    pub(super) fn problem(&mut self, name: &str, what: String) {
        self.sources.problem(name, what);
    }

    pub(super) fn text(&mut self, name: &'static str) -> String {
        self.variable(name, false);
        self.value(name).unwrap_or_default()
    }

    pub(super) fn checked(
        &mut self,
        name: &'static str,
        allowed: &str,
        fits: impl Fn(&str) -> bool,
    ) -> String {
        let value = self.text(name);
        if !fits(&value) {
            self.sources.problem(name, format!("must be {allowed}"));
        }
        value
    }

    /// A value of another type. After a mistake it is `fallback`, which nobody sees: the mistake ends the start.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, allowed: &str, fallback: T) -> T {
        self.checked(name, allowed, |value| value.parse::<T>().is_ok()).parse().unwrap_or(fallback)
    }

    pub(super) fn number<T>(&mut self, name: &'static str, low: T, high: T) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let allowed = format!("a whole number from {low} to {high}");
        let fits = |value: &str| value.parse::<T>().is_ok_and(|number| number >= low && number <= high);
        self.checked(name, &allowed, fits).parse().unwrap_or(low)
    }

    pub(super) fn optional_number<T>(&mut self, name: &'static str, low: T, high: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        if self.value(name).is_some() {
            return Some(self.number(name, low, high));
        }
        self.variable(name, false);
        None
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        let word = |value: &str| match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        };
        word(&self.checked(name, "true or false", |value| word(value).is_some())).unwrap_or_default()
    }

    /// A namespace may be set to the empty text, which differs from not being set.
    pub(super) fn namespace(&mut self, name: &'static str) -> Option<String> {
        self.variable(name, false);
        let value = self.sources.get(name)?.trim().to_owned();
        let fits = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !value.starts_with(|c: char| c.is_ascii_digit());
        if !fits {
            self.sources
                .problem(name, "must consist of letters, digits and _ and not begin with a digit".to_owned());
        }
        Some(value)
    }

    /// A secret, from the variable or from the file that `{name}_FILE` names.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.variable(name, true);
        let file_variable = format!("{name}_FILE");
        let Some(path) = self.value(&file_variable) else { return self.value(name).map(Secret::new) };
        if self.value(name).is_some() {
            self.sources.problem(name, format!("is set beside {file_variable}: set only one of them"));
        }
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => {
                self.sources.problem(&file_variable, "names an empty file".to_owned());
                None
            }
            Ok(text) => Some(Secret::new(text.trim())),
            Err(error) => {
                self.sources.problem(&file_variable, format!("names a file that cannot be read: {error}"));
                None
            }
        }
    }
}
