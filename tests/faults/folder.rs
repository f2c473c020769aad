//! One bridge a folder: whoever comes second is told so, and changes nothing.

use std::process::Output;

use serde_json::json;

use crate::bridge::{Bridge, now_ms, program};

fn refused(bridge: &Bridge, arguments: &[&str]) -> Output {
    let output = program(&bridge.folder, arguments, &[]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    output
}

#[actix_web::test]
async fn a_folder_in_use_is_refused_by_name_and_left_as_it_is() {
    let mut bridge = Bridge::start().await;
    let sample = json!({"type": "heartRate", "value": 72, "timestamp": now_ms() - 1_000});
    let body = json!({"user_id": "first", "samples": [sample]});
    assert_eq!(bridge.healthkit(&body).await.0, 200);
    for arguments in [
        ["serve"].as_slice(),
        &["migrate", "up"],
        &["migrate", "down", "--to", "0"],
        &["--json", "migrate", "down", "--to", "0"],
    ] {
        let output = refused(&bridge, arguments);
        let told = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(told.contains("DATA_DIR") && told.contains("in use by a running bridge"), "{told}");
    }
    let events = bridge.read("/v1/users/first/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(bridge.healthkit(&body).await.1["status"], "duplicate");

    // A killed bridge leaves no lock behind.
    bridge.kill();
    let up = program(&bridge.folder, &["migrate", "up"], &[]).output().expect("the program starts");
    assert_eq!(up.status.code(), Some(0), "{}", String::from_utf8_lossy(&up.stderr));
    let bridge = bridge.restart().await;
    assert_eq!(bridge.healthkit(&body).await.1["status"], "duplicate");
}
