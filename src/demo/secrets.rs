//! The keys of a demonstration: random, made once, and readable by their owner alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The settings that are filled in.
pub const NAMES: [&str; 6] = [
    "OURA_WEBHOOK_SECRET",
    "OURA_VERIFICATION_TOKEN",
    "HEALTHKIT_API_KEY",
    "API_KEY",
    "ADMIN_API_KEY",
    "LOG_MASK_KEY",
];
/// The file in the demonstration's folder.
const FILE: &str = "secrets.json";
const SECRET_BYTES: usize = 24;

/// The secrets in `folder`, by setting; made, with the folder, if they are not there yet.
///
/// # Errors
/// The folder or its file cannot be read or written, or the file is not one of ours.
pub fn in_folder(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let secrets: BTreeMap<String, String> = serde_json::from_str(&text).map_err(io::Error::from)?;
            match NAMES.iter().find(|name| !secrets.contains_key(**name)) {
                None => Ok(secrets),
                Some(name) => Err(io::Error::other(format!("{FILE} has no {name}: delete it"))),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secrets: BTreeMap<String, String> =
                NAMES.iter().map(|name| ((*name).to_owned(), random_secret())).collect();
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(serde_json::to_string_pretty(&secrets)?.as_bytes())?;
            Ok(secrets)
        }
        Err(error) => Err(error),
    }
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
    fn a_file_that_lacks_a_secret_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(FILE), "{}").expect("a file");
        assert!(in_folder(home.path()).is_err());
    }
}
