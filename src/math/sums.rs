//! Sums of numbers that lie in the same order.

use crate::simd::{Element, Kernel, Simd};

/// Adds `scale` times each number of `from` to the number of `to` at its place.
pub(crate) struct AddScaled<'a, E> {
    pub to: &'a mut [E],
    pub from: &'a [E],
    pub scale: E,
}

impl<E: Element> Kernel<E> for AddScaled<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = *to + self.scale * from;
        }
    }
}
