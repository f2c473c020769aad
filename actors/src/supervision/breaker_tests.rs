//! The breaker against a plain model, and its laws.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SPEC: BreakerSpec = BreakerSpec {
    failures_max: 3,
    open_for: Duration::from_millis(100),
    probe_within: Duration::from_millis(40),
};

#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    Ask,
    /// Settle one of the permits that are out.
    Settle(usize, Verdict),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        3 => Just(Verdict::Failure),
        1 => Just(Verdict::Success),
        1 => Just(Verdict::Neither),
    ];
    let step = prop_oneof![
        3 => (1_u64..60).prop_map(Step::Pass),
        6 => Just(Step::Ask),
        6 => (0_usize..4, verdict).prop_map(|(which, verdict)| Step::Settle(which, verdict)),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the breaker should be, told by what has happened: times in ms.
#[derive(Default)]
struct Model {
    now: u64,
    /// Failures since the latest success, reset or closing, while it is closed.
    in_a_row: u32,
    /// When it may be probed, if it is not closed.
    closed_until_probe_at: Option<u64>,
    /// When the probe that is out loses its right; whose it is, is known by `is_probe` of a permit.
    probe_until: Option<u64>,
    openings: u64,
    /// The permits that still have something to say, in the order of their giving: those of a closed breaker, or the
    /// probe.
    heard: Vec<bool>,
}

impl Model {
    fn ask(&mut self) -> Result<(), u64> {
        match (self.closed_until_probe_at, self.probe_until) {
            (None, _) => {}
            (Some(at), None) if self.now < at => return Err(at - self.now),
            (Some(_), Some(until)) if self.now < until => return Err(until - self.now),
            (Some(_), _) => {
                self.mute();
                self.probe_until = Some(self.now + SPEC.probe_within.as_millis() as u64);
            }
        }
        self.heard.push(true);
        Ok(())
    }

    fn settle(&mut self, which: usize, verdict: Verdict) {
        if !self.heard.remove(which) {
            return;
        }
        let is_probe = self.probe_until.is_some();
        match verdict {
            Verdict::Success if is_probe => self.close(),
            Verdict::Success => self.in_a_row = 0,
            Verdict::Failure => {
                self.in_a_row += 1;
                if is_probe || self.in_a_row == SPEC.failures_max {
                    self.openings += 1;
                    self.open(self.now + SPEC.open_for.as_millis() as u64);
                }
            }
            Verdict::Neither if is_probe => self.open(self.now),
            Verdict::Neither => {}
        }
    }

    fn open(&mut self, probe_at: u64) {
        self.mute();
        (self.closed_until_probe_at, self.probe_until) = (Some(probe_at), None);
    }

    fn close(&mut self) {
        self.mute();
        (self.in_a_row, self.closed_until_probe_at, self.probe_until) = (0, None, None);
    }

    fn mute(&mut self) {
        self.heard.fill(false);
    }

    fn state(&self) -> BreakerState {
        match (self.closed_until_probe_at, self.probe_until) {
            (None, _) => BreakerState::Closed,
            (Some(at), None) if self.now < at => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }
}

proptest! {
    #[test]
    fn the_breaker_does_what_a_plain_model_does(steps in steps()) {
        let start = Instant::now();
        let (breaker, mut model) = (Breaker::new("test", SPEC), Model::default());
        let mut permits: Vec<Permit> = Vec::new();
        for step in steps {
            let now = start + model.now as u32 * MS;
            match step {
                Step::Pass(ms) => model.now += ms,
                Step::Ask => match (breaker.permit_at(now), model.ask()) {
                    (Ok(permit), Ok(())) => permits.push(permit),
                    (Err(open), Err(ms)) => prop_assert_eq!(open.retry_in, ms as u32 * MS),
                    (real, model) => prop_assert!(false, "{:?}, but the model says {:?}", real, model),
                },
                Step::Settle(which, verdict) if which < permits.len() => {
                    permits.remove(which).settle_at(verdict, now);
                    model.settle(which, verdict);
                }
                Step::Settle(..) => {}
                Step::Reset => {
                    breaker.reset();
                    model.close();
                }
            }
            let snapshot = breaker.snapshot_at(start + model.now as u32 * MS);
            prop_assert_eq!((snapshot.state, snapshot.openings), (model.state(), model.openings));
        }
        permits.into_iter().for_each(|permit| permit.settle_at(Verdict::Neither, start));
    }

    #[test]
    fn there_are_never_two_probes_and_an_open_time_is_neither_cut_short_nor_extended(
        gaps_ms in prop::collection::vec(0_u64..60, 1..200),
    ) {
        let start = Instant::now();
        let breaker = Breaker::new("test", SPEC);
        let (mut now, mut opened) = (start, start);
        let mut probe: Option<(Permit, Instant)> = None;
        for _ in 0..SPEC.failures_max {
            breaker.permit_at(now).unwrap().settle_at(Verdict::Failure, now);
        }
        for gap_ms in gaps_ms {
            now += gap_ms as u32 * MS;
            let permit = breaker.permit_at(now);
            match &probe {
                None => prop_assert_eq!(permit.is_ok(), now >= opened + SPEC.open_for),
                Some((_, given)) => prop_assert_eq!(permit.is_ok(), now >= *given + SPEC.probe_within),
            }
            let Ok(permit) = permit else { continue };
            // Each second one fails at once; the others hang, and are overtaken by the next.
            if let Some((late, _)) = probe.replace((permit, now)) {
                late.settle_at(Verdict::Success, now);
                prop_assert_eq!(breaker.snapshot_at(now).state, BreakerState::HalfOpen, "a late verdict counts");
                let (permit, _) = probe.take().unwrap();
                permit.settle_at(Verdict::Failure, now);
                opened = now;
            }
        }
        if let Some((permit, _)) = probe {
            permit.settle_at(Verdict::Neither, now);
        }
    }
}

#[test]
fn failures_in_a_row_open_it_and_one_success_in_between_does_not() {
    let breaker = Breaker::new("test", BreakerSpec::default());
    for _ in 0..3 {
        for _ in 0..4 {
            breaker.permit().unwrap().failed();
        }
        breaker.permit().unwrap().succeeded();
    }
    for _ in 0..5 {
        assert_eq!(breaker.snapshot().state, BreakerState::Closed);
        breaker.permit().unwrap().failed();
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
    let retry_in = breaker.permit().unwrap_err().retry_in;
    assert!(retry_in > Duration::from_secs(50) && retry_in <= Duration::from_secs(60), "{retry_in:?}");
    breaker.reset();
    assert!(breaker.permit().is_ok());
}

#[test]
fn a_permit_comes_back_when_its_holder_is_dropped() {
    let spec = BreakerSpec { failures_max: 1, open_for: Duration::ZERO, ..BreakerSpec::default() };
    let breaker = Breaker::new("test", spec);
    breaker.permit().unwrap().failed();
    let probe = breaker.permit().unwrap();
    assert!(breaker.permit().is_err(), "one probe at a time");
    drop(probe);
    breaker.permit().unwrap().succeeded();
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
}

#[test]
fn its_snapshot_has_the_shape_of_the_contract() {
    let snapshot = Breaker::new("oura", BreakerSpec::default()).snapshot();
    let expected = serde_json::json!({"name": "oura", "state": "closed", "retry_in_ms": 0});
    assert_eq!(serde_json::to_value(snapshot).unwrap(), expected);
}
