//! Selects one step of every sequence, from (sum of T, F) to (B, F), for one target per sequence. This is
//! the last step. For the second direction, which is the second half of the features, it is the first step,
//! where that direction ends.

use crate::simd::Element;
use crate::view::BatchSizes;

/// Iterates over the sequences, in the order of the batch: the row of (sum of T, F) that is the last step of
/// each.
fn rows(sizes: &BatchSizes) -> impl Iterator<Item = usize> {
    (0..sizes.steps()).rev().flat_map(move |t| {
        // Rows that have a next step come before those that end here.
        let longer = if t + 1 < sizes.steps() { sizes.count(t + 1) } else { 0 };
        (longer..sizes.count(t)).map(move |b| sizes.offset(t) + b)
    })
}

/// Copies the last steps of x (sum of T, F), the output of a layer with `directions` directions, to y (B, F).
pub(super) fn forward<E: Element>(
    x: &[E],
    sizes: &BatchSizes,
    directions: usize,
    y: &mut [E],
    features: usize,
) {
    let ahead = features / directions;
    for (b, (y, row)) in y.chunks_exact_mut(features).zip(rows(sizes)).enumerate() {
        y[..ahead].copy_from_slice(&x[row * features..][..ahead]);
        // The first step has all rows of the batch, in order.
        y[ahead..].copy_from_slice(&x[b * features..][ahead..features]);
    }
}

/// Writes the gradient of x, which is zero except at the selected steps.
pub(super) fn backward<E: Element>(
    dy: &[E],
    sizes: &BatchSizes,
    directions: usize,
    dx: &mut [E],
    features: usize,
) {
    dx.fill(E::ZERO);
    let ahead = features / directions;
    for (b, (dy, row)) in dy.chunks_exact(features).zip(rows(sizes)).enumerate() {
        dx[row * features..][..ahead].copy_from_slice(&dy[..ahead]);
        dx[b * features..][ahead..features].copy_from_slice(&dy[ahead..]);
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
        forward(&x, &sizes, 1, &mut y, 2);
        assert_eq!(y, [10.0, 11.0, 8.0, 9.0, 4.0, 5.0]);
        let mut dx = [7.0; 12];
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        backward(&dy, &sizes, 1, &mut dx, 2);
        assert_eq!(dx, [0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 3.0, 4.0, 1.0, 2.0]);
        // The second direction ends at the first step.
        forward(&x, &sizes, 2, &mut y, 2);
        assert_eq!(y, [10.0, 1.0, 8.0, 3.0, 4.0, 5.0]);
        backward(&dy, &sizes, 2, &mut dx, 2);
        assert_eq!(dx, [0.0, 2.0, 0.0, 4.0, 5.0, 6.0, 0.0, 0.0, 3.0, 0.0, 1.0, 0.0]);
    }
}
