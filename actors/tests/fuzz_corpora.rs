//! The committed inputs of the fuzz targets are promises: each is replayed here, without cargo-fuzz and on stable.
//!
//! The targets are those of `fuzz/`, compiled from the same files.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// Where committed inputs are: seeds that a run starts from, and inputs that once broke a promise.
const FOLDERS: [&str; 2] = ["seeds", "regressions"];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Replays the inputs of a target. What they reached, and which broke a promise.
fn replay(target: &Target) -> (BTreeSet<&'static str>, Vec<String>, usize) {
    let (mut reached, mut broken, mut inputs) = (BTreeSet::new(), Vec::new(), 0);
    for folder in FOLDERS.map(|folder| fuzz().join(folder).join(target.name)) {
        for name in names(&folder) {
            let path = folder.join(&name);
            let data = fs::read(&path).unwrap();
            inputs += 1;
            match catch_unwind(|| (target.run)(&data)) {
                Ok(place) => {
                    reached.insert(place);
                }
                Err(_) => broken.push(path.display().to_string()),
            }
        }
    }
    (reached, broken, inputs)
}

#[test]
fn every_committed_input_of_every_fuzz_target_keeps_its_promise() {
    let (mut all_broken, mut all_missing) = (Vec::new(), Vec::new());
    for target in TARGETS {
        let (reached, broken, inputs) = replay(target);
        println!("{}: {inputs} inputs reached {reached:?}", target.name);
        all_broken.extend(broken);
        let missing = target.reaches.iter().filter(|place| !reached.contains(*place));
        all_missing.extend(missing.map(|place| format!("{}: {place}", target.name)));
    }
    assert!(all_broken.is_empty(), "these inputs break a promise (see above):\n{}", all_broken.join("\n"));
    assert!(all_missing.is_empty(), "no input reaches these any more:\n{}", all_missing.join("\n"));
}

#[test]
fn every_fuzz_target_has_its_program_and_its_inputs() {
    let expected: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let programs = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let programs: BTreeSet<String> = programs.map(|rest| rest.replace(".rs\"", "")).collect();
    assert_eq!(programs, expected, "the programs that fuzz/Cargo.toml names");
    let files = names(&fuzz().join("fuzz_targets"));
    assert_eq!(files.iter().map(|file| file.replace(".rs", "")).collect::<BTreeSet<_>>(), expected);
    for target in TARGETS {
        let program = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{}.rs", target.name)));
        assert!(program.unwrap().contains(&format!("bridge_fuzz::{}(data)", target.name)), "{}", target.name);
    }
    assert_eq!(names(&fuzz().join("seeds")), expected, "the folders of seeds");
    assert!(names(&fuzz().join("regressions")).difference(&expected).all(|name| name == "README.md"));
}
