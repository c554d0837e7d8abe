//! Dropout, between layers and as a layer of its own: every number is kept with probability 1 - p, and
//! then divided by 1 - p.
//!
//! A hash of the seed and n decides whether number n is kept. So the backward pass finds the same decision
//! without a stored mask, and results do not depend on the number of threads.

use crate::simd::{Element, Kernel, Simd};

/// Writes `from`, with dropout, to `to`. Without a `from`, it changes `to` in place.
pub(crate) struct Dropout<'a, E> {
    pub seed: u64,
    pub probability: f64,
    pub from: Option<&'a [E]>,
    pub to: &'a mut [E],
}

impl<E: Element> Kernel<E> for Dropout<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) {
        let Self { seed, probability, from, to } = self;
        // A number is kept if the upper 32 bits of its hash are at least 2^32 p.
        let limit = (probability * 4_294_967_296.0) as u64;
        let scale = E::from_f64(1.0 / (1.0 - probability));
        for n in 0..to.len() {
            let x = from.map_or(to[n], |from| from[n]);
            let kept = mix(seed.wrapping_add(n as u64)) >> 32 >= limit;
            to[n] = if kept { x * scale } else { E::ZERO };
        }
    }
}

/// A hash of `n` that looks random (SplitMix64, Steele, Lea and Flood 2014).
#[inline(always)]
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
