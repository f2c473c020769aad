//! What a mistake in the arguments is told, and what help there is.

use crate::Home;

#[test]
fn a_mistake_in_the_arguments_exits_with_2_and_says_what_there_is() {
    let table: &[(&[&str], &str)] = &[
        (&["srve"], "serve"),
        (&["--frobnicate", "serve"], "--frobnicate"),
        (&["migrate"], "status"),
        (&["migrate", "sideways"], "migrate"),
        (&["migrate", "down"], "--to"),
        (&["migrate", "down", "--to", "ground"], "--to"),
        (&["users"], "reconnect"),
        (&["users", "link", "oura", "A1"], "USER_ID"),
        (&["log", "read"], "--topic"),
        (&["log", "read", "--topic", "biometric"], "neuros-mode-switches"),
        (&["log", "read", "--topic", "biometric-events", "--from", "start"], "--from"),
        (&["config"], "check"),
        (&["simulate", "--rate", "fast"], "--rate"),
    ];
    for (arguments, told) in table {
        let ran = Home::new().run(arguments, &[]);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_describes_every_command_and_argument() {
    let table: &[(&[&str], &[&str])] = &[
        (&["--help"], &["serve", "config", "migrate", "log", "simulate", "--json", "--version"]),
        (&["serve", "--help"], &["Usage", "--json"]),
        (&["config", "check", "--help"], &["exit 2", "--json"]),
        (&["migrate", "--help"], &["up", "down", "status"]),
        (&["migrate", "down", "--help"], &["--to", "0 removes everything"]),
        (
            &["simulate", "--help"],
            &["--url", "--rate", "--connections", "--count", "--seconds", "--users", "--seed", "--batch"],
        ),
        (
            &["vendor-cloud", "--help"],
            &["--listen", "--seed", "--people", "--speed", "--start", "--fault", "--delay-ms", "--json"],
        ),
        (&["users", "link", "--help"], &["--timezone", "--access-token-file", "--rotate", "--json"]),
        (&["log", "read", "--help"], &["--topic", "--partition", "--from", "--follow", "--json"]),
    ];
    for (arguments, told) in table {
        let ran = Home::new().run(arguments, &[]);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        for word in *told {
            assert!(ran.stdout.contains(word), "{arguments:?} says nothing of {word}: {}", ran.stdout);
        }
    }
    let version = Home::new().run(&["--version"], &[]);
    assert_eq!(version.stdout, format!("biometric-bridge {}\n", env!("CARGO_PKG_VERSION")));
    // Without a command there is nothing to do: that is a mistake too.
    let bare = Home::new().run(&[], &[]);
    assert_eq!(bare.code, Some(2));
    assert!(bare.stderr.contains("serve"), "{bare:?}");
}
