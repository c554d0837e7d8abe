//! Regularisation inside the recurrence, beside dropout between layers.
//!
//! ```text
//! recurrent dropout    the products are given m h_{t-1}, m = 0 or 1 / (1 - p) for every row and unit, the
//!                      same at all steps (Gal and Ghahramani 2016; Keras's recurrent_dropout)
//! zoneout              h_t = k h + (1 - k) h_{t-1}, h what the step made, k = 0 or 1 for every row, unit
//!                      and step; 1 - p, what it is on average, in inference (Krueger et al. 2017, of h
//!                      alone, as in haste)
//! layer normalisation  see norm.rs
//! ```
//!
//! Whether a number is kept is a hash of a seed and its place, so threads, and what else is in the batch's
//! memory, do not matter.

use crate::math::dropout::mix;
use crate::simd::{Element, Simd};
use crate::view::{Rows, RowsMut};

/// The dropout and zoneout of a pass, or of one of its steps.
#[derive(Clone, Copy)]
pub(crate) struct Regularised<'a, E> {
    /// What recurrent dropout multiplies h with (B, P), where there is any.
    pub mask: Option<Rows<'a, E>>,
    /// What zoneout draws from; none for its average.
    pub draw: Option<Draw>,
}

impl<E: Copy> Regularised<'_, E> {
    /// No dropout, and zoneout at its average.
    pub fn none() -> Self {
        Self { mask: None, draw: None }
    }

    /// That of the first `rows` rows at step `t`.
    #[inline(always)]
    pub fn step(&self, t: usize, rows: usize) -> Self {
        let draw = self.draw;
        Self {
            mask: self.mask.map(|mask| mask.slice(0, rows)),
            draw: draw.map(|draw| Draw { place: draw.place + t as u64 * draw.stride, ..draw }),
        }
    }
}

/// What a recorded pass draws from: of row b at step t, the numbers `place + t * stride + b * P` and those after
/// it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub seed: u64,
    pub place: u64,
    pub stride: u64,
}

/// Writes h as the products are given it, (B, P) columns of the records.
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

/// Zoneout of y, what the step made of h, with what it keeps left in the records.
#[inline(always)]
pub(crate) fn zone_out<E: Element, S: Simd<E>>(
    s: S,
    probability: f64,
    draw: Option<Draw>,
    h: Rows<'_, E>,
    y: &mut RowsMut<'_, E>,
    (kept, values): (usize, &mut RowsMut<'_, E>),
) {
    // 2^32 p, of which 32 bits of the hash must not be below.
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

/// Back through zoneout: what of the gradient of h_t goes to what the step made, the rest staying in `dh`.
#[inline(always)]
pub(crate) fn zone_out_back<E: Element, S: Simd<E>>(s: S, kept: &[E], dh: &mut [E], to: &mut [E]) {
    for p in (0..dh.len()).step_by(S::LANES) {
        let d = s.load(&dh[p..]);
        let through = s.mul(s.load(&kept[p..]), d);
        s.store(&mut to[p..], through);
        s.store(&mut dh[p..], s.sub(d, through));
    }
}
