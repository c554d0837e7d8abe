//! Optimisers with torch's update rules, and clipping.

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::simd::{Element, Level, Simd, Task};

/// How gradients change parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// `v = momentum v + g;  p = p - lr v` (torch.optim.SGD).
    SGD {
        /// The learning rate.
        lr: f64,
        /// What is kept of the last step, 0 for plain gradient descent.
        momentum: f64,
    },
    /// `m, v` the running means of g and g^2, bias-corrected: `p = p - lr m / (sqrt v + eps)`
    /// (Kingma and Ba 2015, torch.optim.Adam).
    Adam {
        /// The learning rate.
        lr: f64,
        /// Decay of the means of g and of g^2.
        betas: (f64, f64),
        /// Added to the root, against division by zero.
        eps: f64,
    },
}

impl Optimizer {
    /// Stochastic gradient descent.
    ///
    /// # Errors
    /// If `lr` is negative or not finite, or `momentum` outside [0, 1).
    pub fn sgd(lr: f64, momentum: f64) -> Result<Self> {
        check_lr(lr)?;
        ensure!((0.0..1.0).contains(&momentum), "momentum must be in [0, 1), got {momentum}");
        Ok(Self::SGD { lr, momentum })
    }

    /// Adam with torch's defaults: betas 0.9 and 0.999, eps 1e-8.
    ///
    /// # Errors
    /// If `lr` is negative or not finite.
    pub fn adam(lr: f64) -> Result<Self> {
        Self::adam_with(lr, (0.9, 0.999), 1e-8)
    }

    /// Adam.
    ///
    /// # Errors
    /// If `lr` or `eps` is negative or not finite, or a beta outside [0, 1).
    pub fn adam_with(lr: f64, betas: (f64, f64), eps: f64) -> Result<Self> {
        check_lr(lr)?;
        for beta in [betas.0, betas.1] {
            ensure!((0.0..1.0).contains(&beta), "betas must be in [0, 1), got {beta}");
        }
        ensure!(eps >= 0.0 && eps.is_finite(), "eps must be at least 0 and finite, got {eps}");
        Ok(Self::Adam { lr, betas, eps })
    }
}

fn check_lr(lr: f64) -> Result<()> {
    ensure!(lr >= 0.0 && lr.is_finite(), "lr must be at least 0 and finite, got {lr}");
    Ok(())
}

/// An optimiser and what it remembers of the steps so far.
pub(crate) struct Moments<E> {
    optimizer: Optimizer,
    steps: i32,
    first: Vec<E>,
    second: Vec<E>,
}

impl<E: Element> Moments<E> {
    pub fn new(optimizer: Optimizer, len: usize) -> Result<Self> {
        let (first, second) = match optimizer {
            Optimizer::SGD { momentum, .. } => (if momentum > 0.0 { len } else { 0 }, 0),
            Optimizer::Adam { .. } => (len, len),
        };
        Ok(Self { optimizer, steps: 0, first: zeros(first)?, second: zeros(second)? })
    }

    /// How many steps were taken, and what is remembered of them.
    pub fn state(&self) -> (usize, [&[E]; 2]) {
        (self.steps as usize, [&self.first, &self.second])
    }

    /// Goes on from a state that the same rule left.
    pub fn restore(&mut self, steps: usize, vectors: [Vec<E>; 2]) -> Result<()> {
        for (n, (new, old)) in vectors.iter().zip([&self.first, &self.second]).enumerate() {
            let (given, want) = (new.len(), old.len());
            ensure!(
                given == want,
                "vector {n} of the optimiser's state has {given} numbers, not {want}"
            );
        }
        self.steps = i32::try_from(steps).unwrap_or(i32::MAX);
        [self.first, self.second] = vectors;
        Ok(())
    }

    /// One step of the optimiser.
    pub fn update(&mut self, params: &mut [E], grads: &[E]) {
        self.steps = self.steps.saturating_add(1);
        current_level().run(Update { moments: self, params, grads });
    }
}

struct Update<'a, E> {
    moments: &'a mut Moments<E>,
    params: &'a mut [E],
    grads: &'a [E],
}

impl<E: Element> Task<E> for Update<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) {
        let Moments { optimizer, steps, first, second } = self.moments;
        let params_and_grads = self.params.iter_mut().zip(self.grads);
        match *optimizer {
            Optimizer::SGD { lr, momentum } if momentum > 0.0 => {
                let (lr, momentum) = (E::from_f64(lr), E::from_f64(momentum));
                for ((p, &g), v) in params_and_grads.zip(first) {
                    *v = momentum * *v + g;
                    *p = *p - lr * *v;
                }
            }
            Optimizer::SGD { lr, .. } => {
                let lr = E::from_f64(lr);
                for (p, &g) in params_and_grads {
                    *p = *p - lr * g;
                }
            }
            Optimizer::Adam { lr, betas, eps } => {
                let step = E::from_f64(lr / (1.0 - betas.0.powi(*steps)));
                let root = E::from_f64((1.0 - betas.1.powi(*steps)).sqrt());
                let eps = E::from_f64(eps);
                let (beta1, beta2) = (E::from_f64(betas.0), E::from_f64(betas.1));
                let (rest1, rest2) = (E::from_f64(1.0 - betas.0), E::from_f64(1.0 - betas.1));
                for (((p, &g), m), v) in params_and_grads.zip(first).zip(second) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * (g * g);
                    *p = *p - step * *m / (v.sqrt() / root + eps);
                }
            }
        }
    }
}

/// Scales gradients so that the norm of all of them together is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` does: by `max_norm / (norm + 1e-6)` where that is below 1.
/// Gives the norm before.
pub fn clip_by_global_norm<E: Element>(grads: &mut [E], max_norm: f64) -> f64 {
    current_level().run(Clip { grads, max_norm })
}

/// Plain loops are compiled for the level's vectors by running them in its frame. Training has met
/// the level before it comes here, so it is known to be one.
fn current_level() -> Level {
    Level::current().unwrap_or(Level::PORTABLE)
}

struct Clip<'a, E> {
    grads: &'a mut [E],
    max_norm: f64,
}

impl<E: Element> Task<E> for Clip<'_, E> {
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

/// For a level's frame, too: plain loops, inlined.
#[inline(always)]
pub(crate) fn sum_of_squares<E: Element>(numbers: &[E]) -> f64 {
    // Several sums at once: one would wait for itself at every addition.
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

    #[test]
    fn hyperparameters_out_of_range_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(Optimizer::sgd(bad, 0.0).is_err());
            assert!(Optimizer::adam(bad).is_err());
        }
        assert!(Optimizer::sgd(0.1, 1.0).is_err());
        assert!(Optimizer::adam_with(0.1, (1.0, 0.9), 1e-8).is_err());
        assert!(Optimizer::adam_with(0.1, (0.9, 0.9), f64::NAN).is_err());
    }
}
