//! Finds the files of this repository that the rules read.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crate::source::Source;

/// Extensions of the texts that people edit. Recorded payloads are left out: their bytes are evidence.
const TEXT_EXTENSIONS: [&str; 11] =
    ["rs", "toml", "md", "sql", "yaml", "yml", "html", "css", "js", "sh", "py"];

/// Folders that programs fill: what is built and stored, and what the fuzzer finds.
const MADE_HERE: [&str; 5] = ["target", "data", "fuzz/target", "fuzz/corpus", "fuzz/artifacts"];

/// Every file that people edit, read once for all rules.
static TEXTS: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let paths = file_paths().into_iter().filter(|path| has_extension(path, &TEXT_EXTENSIONS));
    let read = |path: String| {
        let text = fs::read_to_string(root().join(&path));
        let text = text.unwrap_or_else(|error| panic!("{path} is not a readable text: {error}"));
        Source::new(path, text)
    };
    paths.map(read).collect()
});

/// Every Rust file of the repository.
pub(crate) fn rust_sources() -> impl Iterator<Item = &'static Source> + Clone {
    text_sources().filter(|source| has_extension(&source.path, &["rs"]))
}

/// Every file that people edit, Rust among them.
pub(crate) fn text_sources() -> impl Iterator<Item = &'static Source> + Clone {
    TEXTS.iter()
}

/// The paths of all files under `migrations/`.
pub(crate) fn migration_paths() -> Vec<String> {
    let mut paths = file_paths();
    paths.retain(|path| path.starts_with("migrations/"));
    paths
}

fn has_extension(path: &str, extensions: &[&str]) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

/// Paths from the root of the repository, with `/`, sorted; without what is built, stored or hidden.
fn file_paths() -> Vec<String> {
    let mut paths = Vec::new();
    collect(root(), "", &mut paths);
    paths.sort();
    paths
}

fn collect(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {folder:?}: {error}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("cannot list {folder:?}: {error}"));
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_made_here = MADE_HERE.contains(&format!("{prefix}{name}").as_str());
        let is_ours = !is_made_here && !name.starts_with('.');
        let kind = entry.file_type().unwrap_or_else(|error| panic!("cannot look at {name}: {error}"));
        if kind.is_dir() && is_ours {
            collect(&entry.path(), &format!("{prefix}{name}/"), paths);
        } else if kind.is_file() && is_ours {
            paths.push(format!("{prefix}{name}"));
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
