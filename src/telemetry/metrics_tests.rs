//! What a scrape reads off the tree.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use actors::supervision::{Breaker, BreakerSpec, MailboxSnapshot, NodeState};

use super::*;

fn node(path: &str, breaker: Option<&Breaker>, children: Vec<NodeSnapshot>) -> NodeSnapshot {
    NodeSnapshot {
        path: path.to_owned(),
        kind: "test",
        state: NodeState::Running,
        restarts: 0,
        last_failure: None,
        mailbox: MailboxSnapshot { depth: 0, capacity: 1 },
        handled: 0,
        oldest_ms: 0,
        breaker: breaker.map(Breaker::snapshot),
        live: None,
        children,
    }
}

#[test]
fn a_scrape_tells_the_state_of_each_breaker_and_how_often_it_opened() {
    let metrics = Metrics::new(None);
    let spec = BreakerSpec { failures_max: 1, open_for: Duration::ZERO, ..BreakerSpec::default() };
    let (closed, breaker) = (Breaker::new("closed", spec), Breaker::new("oura", spec));
    let told = |breaker: &Breaker| {
        let children =
            vec![node("fetch/closed", Some(&closed), vec![]), node("fetch/oura", Some(breaker), vec![])];
        let tree = node("root", None, vec![node("fetch", None, children)]);
        let none = SlotCounts { free: 0, used: 0, waiting: 0 };
        let gauges = Gauges {
            slots: none,
            healthkit_slots: none,
            outbox_depth: 0,
            connections: None,
            dlq_depth: None,
            tree: &tree,
        };
        String::from_utf8(metrics.text(&gauges)).unwrap()
    };
    let has = |text: &str, line: &str| assert!(text.lines().any(|told| told == line), "no {line} in {text}");
    for openings in 1..=3 {
        breaker.permit().unwrap().failed();
        let text = told(&breaker);
        has(&text, "auren_circuit_breaker_state{name=\"oura\"} 1");
        has(&text, "auren_circuit_breaker_state{name=\"closed\"} 0");
        has(&text, &format!("auren_circuit_breaker_openings_total{{name=\"oura\"}} {openings}"));
        has(&text, "auren_circuit_breaker_openings_total{name=\"closed\"} 0");
    }
    let lasting = Breaker::new("oura", BreakerSpec { failures_max: 1, ..BreakerSpec::default() });
    lasting.permit().unwrap().failed();
    has(&told(&lasting), "auren_circuit_breaker_state{name=\"oura\"} 2");
    assert_eq!(metrics.summary(4)["circuit_breaker_openings"], 4);
}
