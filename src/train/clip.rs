//! Gradient clipping by the norm of all gradients together.

use super::optim::current_level;
use crate::simd::{Element, Kernel, Simd};

/// Scales gradients so that the norm of all of them together is at most `max_norm`. As in
/// `torch.nn.utils.clip_grad_norm_`, the factor is `max_norm / (norm + 1e-6)` if this is below 1. Returns
/// the norm before scaling.
///
/// # Examples
/// ```
/// let mut grads = [3.0_f64, 4.0];
/// assert_eq!(bptt::clip_by_global_norm(&mut grads, 1.0), 5.0);
/// assert!((grads[0] - 0.6).abs() < 1e-6 && (grads[1] - 0.8).abs() < 1e-6);
/// ```
pub fn clip_by_global_norm<E: Element>(grads: &mut [E], max_norm: f64) -> f64 {
    current_level().run(Clip { grads, max_norm })
}

struct Clip<'a, E> {
    grads: &'a mut [E],
    max_norm: f64,
}

impl<E: Element> Kernel<E> for Clip<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) -> f64 {
        let norm = sum_of_squares(self.grads).sqrt();
        let scale = self.max_norm / (norm + 1e-6);
        if scale < 1.0 {
            let scale = E::from_f64(scale);
            for g in self.grads {
                *g = *g * scale;
            }
        }
        norm
    }
}

/// The sum of squares. It is a plain loop that is always inlined, so it also runs in a level's frame.
#[inline(always)]
pub(crate) fn sum_of_squares<E: Element>(numbers: &[E]) -> f64 {
    // Several sums at once, because every addition to a single sum would wait for the one before.
    const SUMS: usize = 32;
    let mut sums = [0.0; SUMS];
    let whole = numbers.len() / SUMS * SUMS;
    for first in (0..whole).step_by(SUMS) {
        let chunk = &numbers[first..first + SUMS];
        for i in 0..SUMS {
            sums[i] += chunk[i].to_f64() * chunk[i].to_f64();
        }
    }
    for (sum, &g) in sums.iter_mut().zip(&numbers[whole..]) {
        *sum += g.to_f64() * g.to_f64();
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_scales_only_what_is_too_long() {
        let mut grads = vec![3.0f64, 4.0];
        assert_eq!(clip_by_global_norm(&mut grads, 10.0), 5.0);
        assert_eq!(grads, [3.0, 4.0]);
        clip_by_global_norm(&mut grads, 1.0);
        let scale = 1.0 / (5.0 + 1e-6);
        assert_eq!(grads, [3.0 * scale, 4.0 * scale]);
    }
}
