//! What tests may stand on is found, required or skipped, and never silently.

#![allow(clippy::expect_used)]

#[path = "support/services.rs"]
mod services;

use std::fs;
use std::path::{Path, PathBuf};

use services::{REQUIRE_VARIABLE, Service, from_process, look_up, optional, record_skip, required};

/// Looks chromium up among these variables only.
fn look_up_among(variables: &[(&str, &Path)]) -> Result<Option<PathBuf>, String> {
    look_up(Service::Chromium, &|name| {
        let found = variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    })
}

/// A folder with a file in it that has a browser's name.
fn folder_with(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join(name);
    fs::write(&program, "").expect("a file in it");
    (folder, program)
}

#[test]
fn what_this_run_requires_is_there() {
    for service in required(&from_process).expect("BRIDGE_REQUIRE names services") {
        assert!(optional(service).is_some());
    }
}

#[test]
fn a_service_is_found_on_path_under_any_of_its_names() {
    for name in ["chromium", "google-chrome"] {
        let (folder, program) = folder_with(name);
        assert_eq!(look_up_among(&[("PATH", folder.path())]), Ok(Some(program)));
    }
}

#[test]
fn the_variable_wins_over_path() {
    let (folder, _) = folder_with("chromium");
    let (_other, given) = folder_with("my-browser");
    assert_eq!(look_up_among(&[("PATH", folder.path()), ("TEST_CHROMIUM", &given)]), Ok(Some(given)));
}

#[test]
fn a_variable_that_points_nowhere_is_a_mistake_not_a_skip() {
    let (folder, _) = folder_with("chromium");
    let nowhere = folder.path().join("nowhere");
    let mistake = look_up_among(&[("PATH", folder.path()), ("TEST_CHROMIUM", &nowhere)]).unwrap_err();
    assert!(mistake.contains("TEST_CHROMIUM") && mistake.contains("nowhere"), "{mistake}");
}

#[test]
fn an_environment_of_other_pins_is_none() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let installed = cache.path().join("biometric-bridge-tools/agents");
    let program = installed.join("bin/biometric-agents-python");
    fs::create_dir_all(installed.join("bin")).expect("folders");
    fs::write(&program, "").expect("a file");
    let variable =
        |name: &str| (name == "XDG_CACHE_HOME").then(|| cache.path().to_string_lossy().into_owned());
    assert_eq!(look_up(Service::Agents, &variable), Ok(None), "not finished");
    let pins = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/langgraph/requirements.txt");
    fs::copy(pins, installed.join("requirements.txt")).expect("a copy");
    assert_eq!(look_up(Service::Agents, &variable), Ok(Some(program)));
    fs::write(installed.join("requirements.txt"), "langgraph==0.0.1\n").expect("a file");
    assert_eq!(look_up(Service::Agents, &variable), Ok(None));
}

#[test]
fn a_missing_service_is_a_skip_unless_it_is_required() {
    let (folder, _) = folder_with("no-browser");
    let path = ("PATH", folder.path());
    assert_eq!(look_up_among(&[path]), Ok(None));
    assert_eq!(look_up_among(&[path, (REQUIRE_VARIABLE, Path::new(" , "))]), Ok(None));
    let mistake = look_up_among(&[path, (REQUIRE_VARIABLE, Path::new("chromium"))]).unwrap_err();
    assert!(mistake.contains("make services"), "{mistake}");
}

#[test]
fn a_required_service_that_nobody_knows_is_a_mistake() {
    let (folder, _) = folder_with("chromium");
    let variables = [("PATH", folder.path()), (REQUIRE_VARIABLE, Path::new("chromium, cromium"))];
    let mistake = look_up_among(&variables).unwrap_err();
    assert!(mistake.contains("cromium") && mistake.contains("there are: chromium"), "{mistake}");
}

#[test]
fn a_skip_tells_the_service_the_test_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let skips = folder.path().join("skipped");
    record_skip(&skips, Service::Chromium, "page::the_page_shows_a_restart");
    record_skip(&skips, Service::Chromium, "page::the_page_shows_a_mode");
    let files = fs::read_dir(&skips).expect("the folder was made");
    let mut lines: Vec<_> = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "SKIPPED chromium: page::the_page_shows_a_mode (install: make services)\n",
            "SKIPPED chromium: page::the_page_shows_a_restart (install: make services)\n",
        ]
    );
}
