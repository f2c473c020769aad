//! `explain`: why a user is in a mode, asked on the command line.

use std::process::Output;

use serde_json::{Value, json};

use crate::answers::{Past, listed};
use crate::bridge::{ADMIN_KEY, Bridge, program};

fn explain(bridge: &Bridge, arguments: &[&str]) -> Output {
    let settings = [("BRIDGE_URL", bridge.url.as_str()), ("API_KEY", ""), ("ADMIN_API_KEY", ADMIN_KEY)];
    let mut command = program(&bridge.folder, &[&["explain"], arguments].concat(), &settings);
    command.output().expect("the program starts")
}

fn explained(bridge: &Bridge, arguments: &[&str]) -> Value {
    let output = explain(bridge, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn inject(bridge: &Bridge, user: &str, at: &str, metric: &str, value: f64) -> Value {
    let event = json!({
        "device_type": "whoop_band", "user_id": user, "timestamp": at, "received_at": at,
        "readings": [{"metric": metric, "value": value, "timestamp": at}],
    });
    let (status, answer) = bridge.inject("?wait=applied", &event).await;
    assert_eq!(status, 200, "{answer}");
    answer["mode"].clone()
}

#[actix_web::test]
async fn the_switch_that_set_the_mode_is_told_for_now_and_for_any_time_before() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    let (user, worn, strained) = ("Zoë/1", past.ago(3_600), past.ago(60));
    assert_eq!(inject(&bridge, user, &worn, "recovery_score", 20.0).await, "GUARDIAN");
    assert_eq!(inject(&bridge, user, &strained, "stress_level", 0.95).await, "REFLEX");
    let path = "/v1/users/Zo%C3%AB%2F1/mode-switches";
    bridge.until("stored", async |bridge| listed(&bridge.read(path).await, "mode_switches").len() == 2).await;

    let now = explained(&bridge, &[user]);
    let told = [&now["user_id"], &now["mode"], &now["from_mode"], &now["reason"], &now["since"]];
    assert_eq!(
        told,
        [&json!(user), &json!("REFLEX"), &json!("GUARDIAN"), &json!("reflex.stress"), &json!(strained)]
    );
    assert_eq!(
        (&now["inputs"][0]["metric"], &now["inputs"][0]["age_s"]),
        (&json!("stress_level"), &json!(0))
    );
    assert_eq!(now["nearest"], json!({"input": "stress_level", "value": 0.95, "would_be": "GUARDIAN"}));
    let health = bridge.read("/health").await;
    for name in ["thresholds_hash", "thresholds_in_force"] {
        assert_eq!(now[name], health["thresholds"]["thresholds_hash"], "{name}");
    }
    assert_eq!(now["held"]["recovery_score"]["baseline"], 75.0);
    assert!(now["held"]["recovery_score"]["age_s"].as_i64().is_some_and(|age| age >= 3_600), "{now}");
    assert_eq!((&now["stale"], now["valid_until"].is_string()), (&json!(false), true));

    for (at, mode, reason) in [
        (past.ago(3_601), "PATTERN", Value::Null),
        (worn.clone(), "GUARDIAN", json!("guardian.recovery")),
        (past.ago(61), "GUARDIAN", json!("guardian.recovery")),
        (strained.clone(), "REFLEX", json!("reflex.stress")),
    ] {
        let then = explained(&bridge, &[user, "--at", &at]);
        assert_eq!([&then["mode"], &then["reason"], &then["at"]], [&json!(mode), &reason, &json!(at)]);
        assert!(then.get("held").is_none(), "what is held now says nothing of then: {then}");
    }

    let output = explain(&bridge, &[user]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for word in
        [user, "REFLEX", "reflex.stress", "0.95", "stress_level", "GUARDIAN", "recovery_score", " min "]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[actix_web::test]
async fn a_user_who_never_switched_is_told_apart_from_an_unknown_one() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    assert_eq!(inject(&bridge, "calm", &past.ago(60), "recovery_score", 80.0).await, "PATTERN");
    let calm = explained(&bridge, &["calm"]);
    assert_eq!(
        [&calm["mode"], &calm["confidence"], &calm["switch_id"]],
        [&json!("PATTERN"), &json!(0.5), &Value::Null]
    );
    assert_eq!(explain(&bridge, &["calm"]).status.code(), Some(0));

    let unknown = explain(&bridge, &["nobody"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("nothing is known of this user"),
        "{unknown:?}"
    );
    for wrong in [&["calm", "--at", "yesterday"][..], &[]] {
        assert_eq!(explain(&bridge, wrong).status.code(), Some(2), "{wrong:?}");
    }
    let wrong_key = [("BRIDGE_URL", bridge.url.as_str()), ("ADMIN_API_KEY", "wrong")];
    let mut command = program(&bridge.folder, &["explain", "calm"], &wrong_key);
    assert_eq!(command.output().expect("the program starts").status.code(), Some(1));
}
