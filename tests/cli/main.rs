//! The commands, as people and scripts use them: what they print, and the exit code.

#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(dead_code, reason = "each test program uses its part of the common helpers")]

#[path = "../support/bridge.rs"]
mod bridge;
#[path = "../support/cloud.rs"]
mod cloud;
#[path = "../support/kafka.rs"]
mod cluster;
#[path = "../support/embedded.rs"]
mod family;

mod actors;
mod config;
mod conformance;
mod dlq;
mod kafka;
mod keys;
mod log;
mod migrate;
mod simulate;
mod usage;
mod users;
mod vendor_cloud;
mod vendor_webhooks;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::bridge::PROGRAM;

/// A folder in which commands run, with nothing in it.
struct Home(TempDir);

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }

    /// Runs the program here, with these variables and no others.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        run(self.path(), arguments, variables)
    }
}

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ran {
    /// The one JSON text on standard output of a command that worked.
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).expect("JSON")
    }

    /// Its lines on standard output; the command worked.
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.lines().collect()
    }
}
