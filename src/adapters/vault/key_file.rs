//! The key that an embedded bridge makes for itself: a file beside the data, its owner's alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::settings::{TokenKey, parse_token_keys};

/// The file in `DATA_DIR`.
const FILE: &str = "token_keys";
/// Where it is written before it has its name.
const DRAFT: &str = "token_keys.draft";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("{FILE} in DATA_DIR cannot be used: {0}")]
    Io(#[from] io::Error),
    /// It holds something else than keys.
    #[error(
        "{FILE} in DATA_DIR must be {0}: put back what was in it, without which stored tokens cannot be opened"
    )]
    Damaged(String),
}

/// The keys in the file of a data folder that this process has locked. If there is no file, one is made with a random key
/// when `make` says so.
///
/// # Errors
/// [`KeyFileError`]: a file that is damaged is never replaced.
pub fn keys_in(folder: &Path, make: bool) -> Result<Vec<TokenKey>, KeyFileError> {
    match fs::read_to_string(folder.join(FILE)) {
        Ok(text) => parse_token_keys(text.trim()).map_err(KeyFileError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
            let key = TokenKey::random();
            write(folder, &key.to_text())?;
            Ok(vec![key])
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Whether others than its owner may do anything with the file. One that is made here is its owner's alone, but it may
/// have been copied or put back.
pub fn key_file_is_open(folder: &Path) -> bool {
    fs::metadata(folder.join(FILE)).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Durably, and whole or not at all: a token sealed with a key that a crash has cut off would be lost.
fn write(folder: &Path, text: &str) -> io::Result<()> {
    let draft = folder.join(DRAFT);
    // Left by a start that was killed; the permissions of a file are given when it is made.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        assert!(keys_in(folder.path(), false).unwrap().is_empty(), "nobody asked for one");
        let made = keys_in(folder.path(), true).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(keys_in(folder.path(), true).unwrap(), made);
        assert_eq!(keys_in(folder.path(), false).unwrap(), made);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!key_file_is_open(folder.path()) && !key_file_is_open(Path::new("/nowhere")));
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(folder.path().join(FILE), fs::Permissions::from_mode(mode)).unwrap();
            assert!(key_file_is_open(folder.path()), "{mode:o}");
        }
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(keys_in(elsewhere.path(), true).unwrap(), made);
    }

    #[test]
    fn a_draft_that_a_crash_has_left_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DRAFT), "half of a k").unwrap();
        assert_eq!(keys_in(folder.path(), true).unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_file_is_told_without_its_content_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "test-secret").unwrap();
        let error = keys_in(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("token_keys") && !error.contains("test-secret"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "test-secret");
    }
}
