//! libFuzzer's program around the target of this name.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bridge_fuzz::whoop_notification(data);
});
