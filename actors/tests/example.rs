//! The example runs to its end.

#[path = "../examples/supervision.rs"]
mod supervision;

#[test]
fn the_example_panics_hangs_recovers_and_ends() {
    supervision::main();
}
