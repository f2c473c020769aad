//! The file of thresholds, as it is read at start and again whenever it has changed.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use actors::cognition::thresholds::Thresholds;

use super::reader::Reader;
use super::{DEFAULT_THRESHOLDS, THRESHOLDS_MAX_BYTES};

/// The variable that names it.
pub(super) const NAME: &str = "BIOMETRIC_CONFIG";

/// Reads the file's text.
///
/// # Errors
/// It is not there, cannot be read, is longer than [`THRESHOLDS_MAX_BYTES`] or is no UTF-8.
pub fn read_thresholds_file(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)?.take(THRESHOLDS_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > THRESHOLDS_MAX_BYTES {
        return Err(Error::other(format!("longer than {THRESHOLDS_MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// A file that is named must be there; the one at the default path may be missing.
pub(super) fn read_thresholds(reader: &mut Reader) -> Thresholds {
    let path = reader.text(NAME);
    let text = match read_thresholds_file(Path::new(&path)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !reader.differs(NAME) => {
            DEFAULT_THRESHOLDS.to_owned()
        }
        Err(error) => {
            reader.problem(NAME, format!("{path} cannot be read: {error}"));
            return Thresholds::default();
        }
    };
    Thresholds::parse(&text).unwrap_or_else(|error| {
        reader.problem(NAME, format!("{path}: {error}"));
        Thresholds::default()
    })
}
