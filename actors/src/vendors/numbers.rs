//! What conversions between units have in common.

/// 0.57 × 100 is 56.99999999999999 in doubles: what differs from a decimal by less than a billionth is that decimal,
/// so that one fact in two units is one value.
pub(super) fn without_float_noise(value: f64) -> f64 {
    let rounded = (value * 1e9).round() / 1e9;
    if rounded.is_finite() { rounded } else { value }
}
