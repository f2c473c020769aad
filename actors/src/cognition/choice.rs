//! Which of the rows that hold wins.

use super::exact::confidence;
use super::rows::{ROWS, Verdict};
use super::situation::Situation;

/// A row needs this confidence to win.
const CONFIDENCE_MIN: f64 = 0.5;
/// What a confidence counts within the cooldown.
const COOLING_FACTOR: f64 = 0.7;

/// The row that wins, with the confidence that was compared. It may name the mode in force: then nothing switches.
pub(super) fn choose(situation: &Situation<'_>) -> Option<Verdict> {
    let (admitted, factor) = if situation.is_cooling {
        (usize::from(situation.row) - 1, COOLING_FACTOR)
    } else {
        (ROWS.len(), 1.0)
    };
    ROWS[..admitted].iter().find_map(|holds| {
        let verdict = holds(situation)?;
        let verdict = Verdict { confidence: confidence(verdict.confidence * factor), ..verdict };
        (verdict.confidence >= CONFIDENCE_MIN).then_some(verdict)
    })
}
