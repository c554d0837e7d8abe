//! Softmax cross-entropy of one token. z are the logits, y is the target class, w_j the weight of class j, W
//! the sum of all F weights, and s the label smoothing.
//!
//! ```text
//! loss = (1 - s) w_y (L - z_y) + s / F sum over j of w_j (L - z_j),   L = log(sum over j of exp(z_j))
//! dz_j = ((1 - s) w_y + s / F W) softmax(z)_j - [j = y] (1 - s) w_y - s / F w_j
//! ```

use super::factors::{Factors, IGNORED, weighed};
use crate::math::elementary::exp;
use crate::simd::{Element, Kernel, Simd};
use crate::view::{Rows, RowsMut};

pub(super) struct CrossEntropy<'a, E: Element> {
    /// The outputs of the model, (N, F).
    pub logits: Rows<'a, E>,
    pub classes: &'a [u32],
    pub factors: Factors<'a>,
    pub label_smoothing: f64,
    pub weight: Option<&'a [f64]>,
    pub gradient: Option<RowsMut<'a, E>>,
    /// Memory for the exponentials of a row, (F,), if there is no gradient to hold them.
    pub scratch: Vec<E>,
}

impl<E: Element> Kernel<E> for CrossEntropy<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> f64 {
        let Self { logits, classes, factors, label_smoothing, weight, mut gradient, mut scratch } =
            self;
        let features = logits.features();
        let smooth = label_smoothing / features as f64;
        let all: f64 = weight.map_or(features as f64, |weight| weight.iter().sum());
        let mut total = 0.0;
        for (row, &class) in classes.iter().enumerate() {
            let exponentials = match &mut gradient {
                Some(gradient) => gradient.row_mut(row),
                None => &mut scratch[..],
            };
            let own = match class {
                IGNORED => 0.0,
                class => (1.0 - label_smoothing) * weight.map_or(1.0, |w| w[class as usize]),
            };
            if class == IGNORED || own + smooth == 0.0 || factors.leaves_out(row) {
                exponentials.fill(E::ZERO);
                continue;
            }
            let (logits, class) = (logits.row(row), class as usize);
            // Subtracting the maximum keeps exp from overflowing.
            let most = logits.iter().fold(logits[0], |m, &z| if z > m { z } else { m });
            let shift = s.splat(most);
            for (z, e) in logits.chunks(S::LANES).zip(exponentials.chunks_mut(S::LANES)) {
                s.store(e, exp(s, s.sub(s.load(z), shift)));
            }
            let sum: f64 = exponentials.iter().map(|e| e.to_f64()).sum();
            let mut loss = weighed(own, sum.ln() + (most - logits[class]).to_f64());
            if smooth > 0.0 {
                for (j, &z) in logits.iter().enumerate() {
                    let share = smooth * weight.map_or(1.0, |weight| weight[j]);
                    loss += weighed(share, sum.ln() + (most - z).to_f64());
                }
            }
            total += factors.relative(row) * loss;
            if let Some(gradient) = &mut gradient {
                let gradient = gradient.row_mut(row);
                let factor = factors.of(row);
                let scale = E::from_f64(factor * (own + smooth * all)) / E::from_f64(sum);
                for d in gradient.iter_mut() {
                    *d = *d * scale;
                }
                gradient[class] = gradient[class] - E::from_f64(factor * own);
                if smooth > 0.0 {
                    for (j, d) in gradient.iter_mut().enumerate() {
                        let share = smooth * weight.map_or(1.0, |weight| weight[j]);
                        *d = *d - E::from_f64(factor * share);
                    }
                }
            }
        }
        factors.of_sum(total)
    }
}
