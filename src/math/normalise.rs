//! Normalisation: subtract the mean, then divide by the standard deviation.

use crate::simd::{Element, Simd};

/// The sum of a vector's lanes.
#[inline(always)]
pub(crate) fn total<E: Element, S: Simd<E>>(s: S, v: S::V) -> E {
    let mut lanes = [E::ZERO; 16];
    s.store(&mut lanes[..S::LANES], v);
    lanes[..S::LANES].iter().fold(E::ZERO, |sum, &x| sum + x)
}

/// Normalises `slots` slots of H numbers together; slots begin `padded` numbers apart. Returns
/// 1 / sqrt(variance + eps).
#[inline(always)]
pub(crate) fn normalise<E: Element, S: Simd<E>>(
    s: S,
    numbers: &mut [E],
    slots: usize,
    hidden: usize,
    padded: usize,
    eps: f64,
) -> E {
    // Loads at a slot's end fill up with zeros, so padding adds nothing to the sums.
    let count = E::from_f64((slots * hidden) as f64);
    let mut sum = s.splat(E::ZERO);
    for slot in numbers.chunks(padded).take(slots) {
        for unit in (0..hidden).step_by(S::LANES) {
            sum = s.add(sum, s.load(&slot[unit..hidden]));
        }
    }
    let mean = s.splat(total(s, sum) / count);
    let mut squares = s.splat(E::ZERO);
    for slot in numbers.chunks_mut(padded).take(slots) {
        for unit in (0..hidden).step_by(S::LANES) {
            let at = &mut slot[unit..hidden];
            s.store(at, s.sub(s.load(at), mean));
            let centred = s.load(at);
            squares = s.mul_add(centred, centred, squares);
        }
    }
    let variance = total(s, squares) / count;
    let scale = E::ONE / (variance + E::from_f64(eps)).sqrt();
    for slot in numbers.chunks_mut(padded).take(slots) {
        for unit in (0..hidden).step_by(S::LANES) {
            let at = &mut slot[unit..hidden];
            s.store(at, s.mul(s.load(at), s.splat(scale)));
        }
    }
    scale
}
