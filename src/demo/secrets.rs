//! The keys of a demonstration: random, made once, and readable by their owner alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The settings that are filled in.
pub const NAMES: [&str; 7] = [
    "OURA_WEBHOOK_SECRET",
    "OURA_VERIFICATION_TOKEN",
    "WHOOP_WEBHOOK_SECRET",
    "HEALTHKIT_API_KEY",
    "API_KEY",
    "ADMIN_API_KEY",
    "LOG_MASK_KEY",
];
/// The file in the demonstration's folder.
const FILE: &str = "secrets.json";
const SECRET_BYTES: usize = 24;

/// The secrets in `folder`, by setting; what is not there yet is made, the folder too.
///
/// # Errors
/// The folder or its file cannot be read or written, or the file is not one of ours.
pub fn in_folder(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(FILE);
    let mut secrets: BTreeMap<String, String> = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(io::Error::from)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    if NAMES.iter().all(|name| secrets.contains_key(*name)) {
        return Ok(secrets);
    }
    for name in NAMES {
        secrets.entry(name.to_owned()).or_insert_with(random_secret);
    }
    write(&path, &serde_json::to_string_pretty(&secrets)?)?;
    Ok(secrets)
}

/// Written beside it and put in its place: an older demonstration's keys are not lost to a full disk.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

fn random_secret() -> String {
    hex::encode(rand::random::<[u8; SECRET_BYTES]>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_from_others() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("data/demo");
        let made = in_folder(&folder).expect("secrets");
        assert_eq!(made.len(), NAMES.len());
        assert!(made.values().all(|secret| secret.len() == 2 * SECRET_BYTES));
        assert_eq!(in_folder(&folder).expect("the same"), made);
        let mode = fs::metadata(folder.join(FILE)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = in_folder(&home.path().join("other")).expect("secrets");
        assert!(other.values().all(|secret| !made.values().any(|known| known == secret)));
    }

    #[test]
    fn what_an_older_demonstration_did_not_need_is_made_beside_what_it_has() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(FILE), r#"{"API_KEY": "a key"}"#).expect("a file");
        let secrets = in_folder(home.path()).expect("secrets");
        assert_eq!((secrets.len(), secrets["API_KEY"].as_str()), (NAMES.len(), "a key"));
        assert_eq!(in_folder(home.path()).expect("the same"), secrets);
        let mode = fs::metadata(home.path().join(FILE)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_left_alone() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(FILE), "not JSON").expect("a file");
        assert!(in_folder(home.path()).is_err());
        assert_eq!(fs::read_to_string(home.path().join(FILE)).expect("the file"), "not JSON");
    }
}
