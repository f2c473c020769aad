//! The thresholds file and the trigger rules.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cognition_support;

use actors::cognition::fold::fold;
use actors::cognition::mode::Mode;
use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::cognition::triggers::{Priority, evaluate};
use actors::domain::event::{Context, DeviceType};
use actors::domain::ids::UserId;
use actors::domain::metric::Metric::{self, Hrv, RecoveryScore, SleepScore};

use cognition_support::{START, at, event, reading};

const SHIPPED: &str = include_str!("../../config/biometric_thresholds.yaml");

#[test]
fn the_shipped_file_is_the_compiled_in_default() {
    let shipped = Thresholds::parse(SHIPPED).unwrap();
    assert_eq!(shipped, Thresholds::default());
    assert_eq!(shipped.hash(), Thresholds::default().hash());
    assert_eq!(Thresholds::parse("").unwrap(), Thresholds::default());
    assert_eq!(Thresholds::parse("# nothing\n").unwrap(), Thresholds::default());
}

#[test]
fn missing_parts_take_the_defaults_and_the_hash_follows_the_values() {
    let default = Thresholds::default();
    let partly =
        Thresholds::parse("thresholds:\n  hrv_drop_ms: 20\nbaselines:\n  hrv_default: 50.5\n").unwrap();
    assert_eq!((partly.limits().hrv_drop_ms, partly.limits().hrv_drop_percentage), (20.0, 30.0));
    assert_eq!((partly.baselines().hrv, partly.baselines().heart_rate), (50.5, 70.0));
    assert_eq!(partly.triggers(), default.triggers());
    assert_ne!(partly.hash(), default.hash());
    assert_eq!(partly.hash().len(), 12);
    let same = Thresholds::parse("{baselines: {hrv: 50.50}, thresholds: {hrv_drop_ms: 20.0}}").unwrap();
    assert_eq!(same.hash(), partly.hash());
    for none in ["triggers: []", "triggers:\n", "triggers: null"] {
        assert!(Thresholds::parse(none).unwrap().triggers().is_empty(), "{none:?}");
    }
}

#[test]
fn a_file_with_a_mistake_is_refused_whole_with_its_line() {
    let rule = |field: &str| {
        format!(
            "triggers:\n- metric: hrv\n  below: 25\n  type: A\n  severity: HIGH\n  recommendation: b\n{field}"
        )
    };
    let cases = [
        ("thresholds:\n  hrv_drop_ms: 20\n  hrv_drop: 3\n".to_owned(), 3),
        ("treshholds:\n  hrv_drop_ms: 20\n".to_owned(), 1),
        ("thresholds:\n  hrv_drop_ms: -1\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: -0.5\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: many\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: \"25\"\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: true\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: .nan\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: .inf\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms:\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: [1]\n".to_owned(), 2),
        ("thresholds:\n  heart_rate_sustained_minutes: 31\n".to_owned(), 2),
        ("thresholds: 5\n".to_owned(), 1),
        ("- a\n- b\n".to_owned(), 1),
        ("baselines:\n  hrv: 50\n  hrv_default: 60\n".to_owned(), 2),
        ("baselines:\n  sleep_score: 50\n".to_owned(), 2),
        ("thresholds:\n  hrv_drop_ms: 20\n  hrv_drop_ms: 21\n".to_owned(), 3),
        ("thresholds:\n\thrv_drop_ms: 1\n".to_owned(), 2),
        (rule("  urgent: yes\n"), 7),
        (rule("").replace("metric: hrv", "metric: mood"), 2),
        (rule("").replace("severity: HIGH", "severity: SEVERE"), 5),
        (rule("").replace("below: 25", "below: -25"), 3),
        (rule("").replace("type: A", "type: 7"), 4),
        (rule("").replace("  recommendation: b\n", ""), 5),
        ("triggers: { metric: hrv }\n".to_owned(), 1),
    ];
    for (yaml, line) in cases {
        let error = Thresholds::parse(&yaml).expect_err(&yaml);
        assert_eq!(error.line, Some(line), "{yaml}{error}");
        assert!(error.column.is_some() && error.to_string().contains("line"), "{error}");
    }
}

#[test]
fn a_mistake_is_told_in_words_of_the_file_and_not_of_its_parser() {
    let cases = [
        (
            "thresholds:\n  hrv_drop_ms: 20\n  hrv_drop_ms: 21\n",
            "hrv_drop_ms stands there twice at line 3, column 3",
        ),
        ("thresholds:\n  hrv_drop_ms: .inf\n", "expected a number that is not infinite at line 2, column 16"),
        (
            "thresholds:\n  hrv_drop_ms: 1e400\n",
            "expected a number that is not infinite at line 2, column 16",
        ),
        ("thresholds: 5\n", "expected keys with values at line 1, column 13"),
        ("triggers: { metric: hrv }\n", "expected a list at line 1, column 11"),
        (
            "thresholds: {}\n---\nthresholds: {}\n",
            "expected nothing more: one file is one document at line 3",
        ),
    ];
    for (yaml, told) in cases {
        let error = Thresholds::parse(yaml).expect_err(yaml);
        assert!(error.to_string().starts_with(told), "{yaml}{error}");
    }
}

#[test]
fn a_users_own_values_stand_over_everybodys() {
    let thresholds = Thresholds::parse(
        "thresholds:\n  recovery_score_low: 30\n  stress_level_high: 0.6\nusers:\n  user-1:\n    thresholds:\n      \
         recovery_score_low: 50\n    baselines:\n      hrv_default: 45\n  \"007\":\n  42: {}\n",
    )
    .unwrap();
    assert_eq!(thresholds.users_len(), 3);
    let general = Thresholds::parse("thresholds: {recovery_score_low: 30, stress_level_high: 0.6}").unwrap();
    assert_eq!(thresholds.limits(), general.limits());
    assert_ne!(thresholds.hash(), general.hash());
    // Nothing but the limits differs, and each is decided on by their own.
    for (user, mode) in [("user-1", Mode::Guardian), ("42", Mode::Pattern), ("other", Mode::Pattern)] {
        let mut low = event("e", START, vec![reading(RecoveryScore, 45.0, START)]);
        low.user_id = UserId::parse(user).unwrap();
        let folded = fold(UserState::default(), &low, &thresholds);
        assert_eq!(folded.state.mode(), mode, "{user}");
        if let Some(switch) = folded.switch {
            assert_eq!(&*switch.explanation.thresholds_hash, thresholds.hash());
        }
        let mut hrv = event("h", START, vec![reading(Hrv, 50.0, START)]);
        hrv.user_id = low.user_id.clone();
        let view = fold(folded.state, &hrv, &thresholds).state.view(&hrv.user_id, at(START), &thresholds);
        assert_eq!(view.baselines["hrv"].value, if user == "user-1" { 45.0 } else { 60.0 });
    }
    // A key that a user's part leaves out is everybody's, and not the compiled-in default.
    let mut stressed = event("s", START, vec![reading(Metric::StressLevel, 0.65, START)]);
    stressed.user_id = UserId::parse("user-1").unwrap();
    stressed.readings.push(reading(Metric::HeartRate, 90.0, START));
    assert_eq!(fold(UserState::default(), &stressed, &thresholds).state.mode(), Mode::Guardian);
}

#[test]
fn a_mistake_in_a_users_part_is_told_by_its_line_and_never_with_an_id() {
    let cases = [
        ("users:\n  ada-lovelace:\n    thresholds:\n      hrv_drop: 3\n", 4),
        ("users:\n  ada-lovelace:\n    thresholds:\n      hrv_drop_ms: -3\n", 4),
        ("users:\n  ada-lovelace:\n    baselines:\n      hrv: ada-lovelace\n", 4),
        ("users:\n  ada-lovelace:\n    triggers: []\n", 3),
        ("users:\n  ada-lovelace: 7\n", 2),
        ("users:\n- ada-lovelace\n", 2),
        ("users:\n  ada-lovelace: {}\n  ada-lovelace: {}\n", 3),
        ("users:\n  thresholds:\n    ada-lovelace: 3\n", 3),
        ("users:\n  \"  \": {}\n", 2),
        ("users: {}\nada-lovelace:\n  thresholds:\n", 2),
        ("user:\n  ada-lovelace: {}\n", 1),
        ("users: {}\ntriggers:\n- metric: ada-lovelace\n", 3),
        ("users: {}\nthresholds: ada-lovelace\n", 2),
        ("users: {}\nthresholds: *ada-lovelace\n", 2),
        ("users: {ada-lovelace: [}\n", 1),
    ];
    for (yaml, line) in cases {
        let error = Thresholds::parse(yaml).expect_err(yaml);
        assert_eq!(error.line, Some(line), "{yaml}{error}");
        assert!(error.to_string().contains(&format!("line {line}")), "{yaml}{error}");
        assert!(!error.to_string().contains("ada") && !format!("{error:?}").contains("lovelace"), "{error}");
    }
}

#[test]
fn a_trigger_needs_a_value_strictly_under_its_rule() {
    let cases: &[(Metric, f64, Option<&str>, Priority)] = &[
        (Hrv, 24.999, Some("URGENT_INTERVENTION"), Priority::High),
        (Hrv, 25.0, Some("STRESS_INTERVENTION"), Priority::Medium),
        (Hrv, 39.999, Some("STRESS_INTERVENTION"), Priority::Medium),
        (Hrv, 40.0, None, Priority::Normal),
        (SleepScore, 69.9, Some("RECOVERY_INTERVENTION"), Priority::Normal),
        (SleepScore, 70.0, None, Priority::Normal),
        (RecoveryScore, 49.9, Some("RECOVERY_INTERVENTION"), Priority::Normal),
        (RecoveryScore, 50.0, None, Priority::Normal),
    ];
    for (metric, value, kind, priority) in cases {
        let event = event("e", START, vec![reading(*metric, *value, START)]);
        let triggers = evaluate(&event, Thresholds::default().triggers());
        let kinds: Vec<&str> = triggers.as_slice().iter().map(|trigger| &*trigger.kind).collect();
        assert_eq!(kinds, kind.iter().copied().collect::<Vec<_>>(), "{metric:?} {value}");
        assert_eq!((triggers.priority(), triggers.is_empty()), (*priority, kind.is_none()));
    }
}

#[test]
fn each_metric_gives_one_trigger_for_its_lowest_value_by_the_first_rule_of_the_file() {
    let mut readings = vec![
        reading(RecoveryScore, 45.0, START),
        reading(Hrv, 39.0, START),
        reading(Hrv, 21.5, START),
        reading(Hrv, 3.0, START),
    ];
    readings[3].context = Some(Context::Workout);
    let mut event = event("e", START, readings);
    let triggers = evaluate(&event, Thresholds::default().triggers());
    assert_eq!(
        serde_json::to_value(&triggers).unwrap(),
        serde_json::json!({"triggers": [
            {"type": "URGENT_INTERVENTION", "severity": "CRITICAL", "metric": "hrv", "value": 21.5,
             "recommendation": "immediate_stress_protocol"},
            {"type": "RECOVERY_INTERVENTION", "severity": "MEDIUM", "metric": "recovery_score", "value": 45.0,
             "recommendation": "recovery_protocol"},
        ]})
    );
    let first_in_file = "triggers:\n\
        - { metric: hrv, below: 40, type: A, severity: MEDIUM, recommendation: a }\n\
        - { metric: hrv, below: 25, type: B, severity: CRITICAL, recommendation: b }\n";
    let triggers = evaluate(&event, Thresholds::parse(first_in_file).unwrap().triggers());
    assert_eq!(&*triggers.as_slice()[0].kind, "A");

    event.is_backfill = true;
    assert!(evaluate(&event, Thresholds::default().triggers()).is_empty());
    assert_eq!(evaluate(&event, &[]).priority().name(), "NORMAL");
    event.device_type = DeviceType::Terra;
    assert_eq!(evaluate(&event, &[]).priority().name(), "MEDIUM", "Terra's, backfilled ones too");
}

#[test]
fn the_last_trigger_is_the_most_severe_one_of_the_newest_event_that_had_any() {
    let mut subject = cognition_support::Subject::default();
    let kind = |subject: &cognition_support::Subject| subject.view(START)["last_trigger"]["type"].clone();
    subject.live(START, vec![reading(SleepScore, 10.0, START), reading(Hrv, 30.0, START)]);
    assert_eq!(kind(&subject), "STRESS_INTERVENTION");
    subject.live(START - 1, vec![reading(Hrv, 20.0, START - 1)]);
    assert_eq!(kind(&subject), "STRESS_INTERVENTION", "an older event's does not replace it");
    subject.live(START + 1, vec![reading(Hrv, 90.0, START + 1)]);
    assert_eq!(kind(&subject), "STRESS_INTERVENTION", "an event without one does not clear it");
    subject
        .live(START + 2, vec![reading(SleepScore, 10.0, START + 2), reading(RecoveryScore, 45.0, START + 2)]);
    let view = subject.view(START);
    assert_eq!(view["last_trigger"]["metric"], "sleep_score", "of equal ones the first");
    assert_eq!(view["last_trigger"]["event_id"], "event-4");
}
