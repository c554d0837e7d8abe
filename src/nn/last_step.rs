//! The last step of every sequence: from (sum of T, F) to (B, F), for one target per sequence.

use crate::simd::Element;
use crate::view::BatchSizes;

/// Of every sequence, in the batch's order, the row of (sum of T, F) that is its last step.
fn rows(sizes: &BatchSizes) -> impl Iterator<Item = usize> {
    (0..sizes.steps()).rev().flat_map(move |t| {
        // Those that go on are the rows before.
        let longer = if t + 1 < sizes.steps() { sizes.count(t + 1) } else { 0 };
        (longer..sizes.count(t)).map(move |b| sizes.offset(t) + b)
    })
}

/// Copies the last steps of x (sum of T, F) to y (B, F).
pub(super) fn forward<E: Element>(x: &[E], sizes: &BatchSizes, y: &mut [E], features: usize) {
    for (y, row) in y.chunks_exact_mut(features).zip(rows(sizes)) {
        y.copy_from_slice(&x[row * features..][..features]);
    }
}

/// Writes the gradient of x, zero but at the last steps.
pub(super) fn backward<E: Element>(dy: &[E], sizes: &BatchSizes, dx: &mut [E], features: usize) {
    dx.fill(E::ZERO);
    for (dy, row) in dy.chunks_exact(features).zip(rows(sizes)) {
        dx[row * features..][..features].copy_from_slice(dy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_each_sequences_own() {
        let sizes = BatchSizes::of_lengths(&[3, 1, 2]).unwrap(); // counts 3, 2, 1
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let mut y = [0.0; 6];
        forward(&x, &sizes, &mut y, 2);
        assert_eq!(y, [10.0, 11.0, 8.0, 9.0, 4.0, 5.0]);
        let mut dx = [7.0; 12];
        backward(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &sizes, &mut dx, 2);
        assert_eq!(dx, [0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 3.0, 4.0, 1.0, 2.0]);
    }
}
