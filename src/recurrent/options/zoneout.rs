//! Recurrent dropout and zoneout: regularisation inside the recurrence.
//!
//! ```text
//! recurrent dropout    the products use m h_{t-1}; m = 0 or 1 / (1 - p) for every row and unit, the same at
//!                      all steps (Gal and Ghahramani 2016; Keras's recurrent_dropout)
//! zoneout              h_t = k h + (1 - k) h_{t-1}, where h is the new h of the step; k = 0 or 1 for every
//!                      row, unit and step; in inference k = 1 - p, the average (Krueger et al. 2017; of h
//!                      alone, as in haste)
//! ```
//!
//! A hash of a seed and a number's place decides whether the number is kept. So results do not depend on
//! threads or on the layout of the batch.

use crate::math::dropout::mix;
use crate::simd::{Element, Simd};
use crate::view::{Rows, RowsMut};

/// The dropout and zoneout of a pass, or of one of its steps.
#[derive(Clone, Copy)]
pub(crate) struct Regularised<'a, E> {
    /// The factors of recurrent dropout for h (B, P); none without recurrent dropout.
    pub mask: Option<Rows<'a, E>>,
    /// The random numbers of zoneout; none for its average.
    pub draw: Option<Draw>,
}

impl<E: Copy> Regularised<'_, E> {
    /// Without dropout, and with the average of zoneout.
    pub fn none() -> Self {
        Self { mask: None, draw: None }
    }

    /// The dropout and zoneout of the first `rows` rows at step `t`.
    #[inline(always)]
    pub fn step(&self, t: usize, rows: usize) -> Self {
        let draw = self.draw;
        Self {
            mask: self.mask.map(|mask| mask.slice(0, rows)),
            draw: draw.map(|draw| Draw { place: draw.place + t as u64 * draw.stride, ..draw }),
        }
    }
}

/// The random numbers of a training pass. Row b at step t uses the hashes of the numbers from
/// `seed + place + t * stride + b * P` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub seed: u64,
    pub place: u64,
    pub stride: u64,
}

/// Writes h with recurrent dropout to the records, (B, P) from column `given` on.
#[inline(always)]
pub(crate) fn give<E: Element, S: Simd<E>>(
    s: S,
    h: Rows<'_, E>,
    mask: Rows<'_, E>,
    given: usize,
    values: &mut RowsMut<'_, E>,
) {
    for b in 0..h.count() {
        let (h, mask) = (h.row(b), mask.row(b));
        let to = &mut values.row_mut(b)[given..given + h.len()];
        for p in (0..h.len()).step_by(S::LANES) {
            s.store(&mut to[p..], s.mul(s.load(&h[p..]), s.load(&mask[p..])));
        }
    }
}

/// Applies zoneout to y, the new h of the step. The factors k go to the records, from column `kept` on.
#[inline(always)]
pub(crate) fn zone_out<E: Element, S: Simd<E>>(
    s: S,
    probability: f64,
    draw: Option<Draw>,
    h: Rows<'_, E>,
    y: &mut RowsMut<'_, E>,
    (kept, values): (usize, &mut RowsMut<'_, E>),
) {
    // A unit takes the new h if the upper 32 bits of its hash are at least 2^32 p.
    let limit = (probability * 4_294_967_296.0) as u64;
    let one = s.splat(E::ONE);
    for b in 0..h.count() {
        let (h, y) = (h.row(b), y.row_mut(b));
        let kept = &mut values.row_mut(b)[kept..kept + h.len()];
        match draw {
            None => kept.fill(E::from_f64(1.0 - probability)),
            Some(Draw { seed, place, .. }) => {
                let first = seed.wrapping_add(place).wrapping_add((b * h.len()) as u64);
                for (n, kept) in kept.iter_mut().enumerate() {
                    let keeps = mix(first.wrapping_add(n as u64)) >> 32 >= limit;
                    *kept = if keeps { E::ONE } else { E::ZERO };
                }
            }
        }
        for p in (0..h.len()).step_by(S::LANES) {
            let k = s.load(&kept[p..]);
            let rest = s.mul(s.sub(one, k), s.load(&h[p..]));
            let y = &mut y[p..];
            s.store(y, s.mul_add(k, s.load(y), rest));
        }
    }
}

/// Goes back through zoneout. `dh` is the gradient of h_t. The gradient of the step's new h goes to `to`,
/// and the gradient of h_{t-1} stays in `dh`.
#[inline(always)]
pub(crate) fn zone_out_back<E: Element, S: Simd<E>>(s: S, kept: &[E], dh: &mut [E], to: &mut [E]) {
    for p in (0..dh.len()).step_by(S::LANES) {
        let d = s.load(&dh[p..]);
        let through = s.mul(s.load(&kept[p..]), d);
        s.store(&mut to[p..], through);
        s.store(&mut dh[p..], s.sub(d, through));
    }
}
