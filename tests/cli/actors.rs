//! `actors`: the tree of a running bridge.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::bridge::{Bridge, program};
use crate::{Home, Ran, run};

fn actors(bridge: &Bridge, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["actors"].iter().chain(arguments).copied().collect();
    run(&bridge.folder, &arguments, &[("BRIDGE_URL", &bridge.url)])
}

#[actix_web::test]
async fn the_tree_is_a_table_with_a_row_for_each_actor() {
    let bridge = Bridge::start().await;
    let sample = json!({"type": "heartRate", "value": 61, "timestamp": "2026-09-10T06:42:11Z"});
    bridge.healthkit(&json!({"user_id": "someone", "samples": [sample]})).await;
    let ran = actors(&bridge, &[]);
    let lines = ran.lines();
    let has =
        |line: &str, words: &[&str]| words.iter().all(|word| line.split_whitespace().any(|w| w == *word));
    assert!(has(lines[0], &["actor", "state", "restarts", "mailbox", "handled", "breaker"]), "{ran:?}");
    for actor in
        ["root", "writer", "publisher", "consumer", "router", "flusher", "users", "devices", "devices/oura"]
    {
        assert!(lines.iter().any(|line| has(line, &[actor, "running"])), "{actor}: {ran:?}");
    }
    assert!(
        lines.iter().any(|line| has(line, &["devices/healthkit", "running", "0", "0/2000", "1"])),
        "{ran:?}"
    );
    // A part of it.
    let ran = actors(&bridge, &["devices"]);
    assert_eq!(ran.lines().len(), 6, "{ran:?}");
    // For programs, as /actors has it.
    let tree = actors(&bridge, &["--json"]).json();
    assert_eq!((&tree["root"]["path"], &tree["root"]["state"]), (&json!("root"), &json!("running")));
    assert_eq!(actors(&bridge, &["writer", "--json"]).json()["path"], "writer");
}

#[actix_web::test]
async fn the_table_lives_until_it_is_interrupted_and_bears_a_bridge_that_goes_away() {
    let mut bridge = Bridge::start().await;
    let mut command = program(&bridge.folder, &["actors", "--follow"], &[("BRIDGE_URL", &bridge.url)]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut frame_with = |word: &str| {
        // Each frame begins by clearing the screen.
        lines.find(|line| line.contains('\u{1b}')).expect("a frame");
        lines.find(|line| line.contains(word)).expect("a line")
    };
    frame_with("devices/healthkit");
    frame_with("devices/healthkit");
    bridge.kill();
    frame_with("no bridge answers");
    child.kill().expect("it still runs");
    child.wait().expect("it ends");
}

#[actix_web::test]
async fn what_cannot_be_shown_is_said() {
    let bridge = Bridge::start().await;
    let ran = actors(&bridge, &["nobody"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("no actor has this path"), "{ran:?}");
    let home = Home::new();
    let ran = home.run(&["actors"], &[("BRIDGE_URL", "http://127.0.0.1:1")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("BRIDGE_URL") && ran.stderr.contains("127.0.0.1:1"), "{ran:?}");
    let ran = home.run(&["actors"], &[("BRIDGE_URL", "ftp://somewhere")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = home.run(&["actors", "--once", "--follow"], &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
