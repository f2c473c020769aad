//! Files of `docs` that are made from the code.

use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path)
}

/// Compares a file of `docs` with what it should be, or writes it.
pub(crate) fn hold(path: &str, wanted: &str) {
    if std::env::var_os("UPDATE_CATALOGUE").is_some() {
        std::fs::write(at(path), wanted).unwrap();
    }
    let written = std::fs::read_to_string(at(path)).unwrap_or_default();
    assert_eq!(
        written, wanted,
        "docs/{path} is not what the code says: see the head of this test for how to write it anew"
    );
}
