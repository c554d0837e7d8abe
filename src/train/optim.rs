//! Optimisers with torch's update rules. An optimiser keeps the number of steps taken and up to three
//! numbers for every parameter ([`Moments`]).

use std::ops::Range;

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::simd::{Element, Kernel, Level, Simd};

/// How gradients g change parameters p: a rule, its learning rate, and weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimizer {
    rule: Rule,
    lr: f64,
    weight_decay: f64,
}

/// The update rules of torch.optim. With weight decay, all rules except a decoupled Adam use `g +
/// weight_decay p` in place of g.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `v = momentum v + g;  p = p - lr v`
    SGD {
        /// The decay of v, in [0, 1). 0 is plain gradient descent.
        momentum: f64,
        /// Whether p changes by `g + momentum v` instead of v (Nesterov).
        nesterov: bool,
    },
    /// `p = p - lr m / (sqrt v + eps)`, where m and v are the running means of g and g^2, corrected for bias
    /// (Kingma and Ba 2015).
    Adam {
        /// The decays of the means of g and of g^2, in [0, 1).
        betas: (f64, f64),
        /// The number that is added to the root, to avoid a division by zero.
        eps: f64,
        /// Whether weight decay is `p = p - lr weight_decay p`, separate from the gradient (AdamW,
        /// Loshchilov and Hutter 2019).
        decoupled: bool,
    },
    /// Adam for tables of which a batch reads a few rows (torch's SparseAdam): rows of an
    /// [`Embedding`](crate::Embedding) without a gradient keep their m and v too. `p = p - lr m / (sqrt v +
    /// eps)`, where the correction for bias does not apply to eps. There is no weight decay.
    SparseAdam {
        /// The decays of the means of g and of g^2, in [0, 1).
        betas: (f64, f64),
        /// The number that is added to the root, to avoid a division by zero.
        eps: f64,
    },
    /// `b = momentum b + g / (sqrt v + eps);  p = p - lr b`, where v is the running mean of g^2 (Hinton
    /// 2012).
    RMSprop {
        /// The decay of the means, in [0, 1).
        alpha: f64,
        /// The number that is added to the root, to avoid a division by zero.
        eps: f64,
        /// The decay of b, in [0, 1).
        momentum: f64,
        /// Whether the square of the running mean of g is subtracted from v (Graves 2013).
        centered: bool,
    },
    /// `s = s + g^2;  p = p - lr / (1 + (steps - 1) lr_decay) g / (sqrt s + eps)` (Duchi et al. 2011).
    Adagrad {
        /// How fast the learning rate falls, at least 0.
        lr_decay: f64,
        /// The number that is added to the root, to avoid a division by zero.
        eps: f64,
    },
}

/// The settings of one step, as a schedule gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The learning rate.
    pub lr: f64,
    /// The momentum (for Adam, the first beta) of this step; if none, the rule's own.
    pub momentum: Option<f64>,
}

impl Optimizer {
    /// A rule with its learning rate and weight decay.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Optimizer, Rule};
    ///
    /// let rule = Rule::Adam { betas: (0.9, 0.999), eps: 1e-8, decoupled: true };
    /// let adamw = Optimizer::new(rule, 1e-3, 1e-2)?;
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a number is negative or not finite, a decay (momentum, a beta, alpha) is not below 1, or
    /// Nesterov's step has no momentum.
    pub fn new(rule: Rule, lr: f64, weight_decay: f64) -> Result<Self> {
        check_at_least_0("lr", lr)?;
        check_at_least_0("weight_decay", weight_decay)?;
        match rule {
            Rule::SGD { momentum, nesterov } => {
                check_decay("momentum", momentum)?;
                ensure!(!nesterov || momentum > 0.0, "nesterov needs a momentum above 0, got 0");
            }
            Rule::Adam { betas, eps, .. } | Rule::SparseAdam { betas, eps } => {
                check_decay("betas", betas.0)?;
                check_decay("betas", betas.1)?;
                check_at_least_0("eps", eps)?;
                ensure!(
                    weight_decay == 0.0 || matches!(rule, Rule::Adam { .. }),
                    "SparseAdam has no weight decay, got {weight_decay}; use AdamW"
                );
            }
            Rule::RMSprop { alpha, eps, momentum, .. } => {
                check_decay("alpha", alpha)?;
                check_at_least_0("eps", eps)?;
                check_decay("momentum", momentum)?;
            }
            Rule::Adagrad { lr_decay, eps } => {
                check_at_least_0("lr_decay", lr_decay)?;
                check_at_least_0("eps", eps)?;
            }
        }
        Ok(Self { rule, lr, weight_decay })
    }

    /// Stochastic gradient descent, without weight decay.
    ///
    /// # Errors
    /// As for [`Optimizer::new`].
    pub fn sgd(lr: f64, momentum: f64) -> Result<Self> {
        Self::new(Rule::SGD { momentum, nesterov: false }, lr, 0.0)
    }

    /// Adam with torch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    ///
    /// # Errors
    /// As for [`Optimizer::new`].
    pub fn adam(lr: f64) -> Result<Self> {
        Self::new(Rule::Adam { betas: (0.9, 0.999), eps: 1e-8, decoupled: false }, lr, 0.0)
    }

    /// Which of the three numbers for every parameter the rule uses.
    fn in_use(&self) -> [bool; 3] {
        match self.rule {
            Rule::SGD { momentum, .. } => [momentum > 0.0, false, false],
            Rule::Adam { .. } | Rule::SparseAdam { .. } => [true, true, false],
            Rule::RMSprop { centered, .. } => [true, true, centered],
            Rule::Adagrad { .. } => [false, true, false],
        }
    }

    /// The optimiser with the settings of one step.
    fn at(mut self, rate: Rate) -> Self {
        self.lr = rate.lr;
        if let Some(given) = rate.momentum {
            match &mut self.rule {
                Rule::SGD { momentum, .. } | Rule::RMSprop { momentum, .. } => *momentum = given,
                Rule::Adam { betas, .. } | Rule::SparseAdam { betas, .. } => betas.0 = given,
                Rule::Adagrad { .. } => {}
            }
        }
        self
    }
}

fn check_at_least_0(name: &str, value: f64) -> Result<()> {
    ensure!(value >= 0.0 && value.is_finite(), "{name} must be at least 0 and finite, got {value}");
    Ok(())
}

fn check_decay(name: &str, value: f64) -> Result<()> {
    ensure!((0.0..1.0).contains(&value), "{name} must be in [0, 1), got {value}");
    Ok(())
}

/// An optimiser and its state.
pub(crate) struct Moments<E> {
    optimizer: Optimizer,
    /// The number of steps taken.
    steps: i32,
    /// Momentum or the mean of g; the mean or the sum of g^2; the mean of g in a centred RMSprop. A vector
    /// that is not in use is empty.
    vectors: [Vec<E>; 3],
    /// The rates of the next steps. All later steps use the last one. If there are none, steps use the
    /// optimiser's own.
    rates: Vec<Rate>,
    next: usize,
}

impl<E: Element> Moments<E> {
    /// An optimiser that has taken no steps, for `len` parameters.
    pub fn new(optimizer: Optimizer, len: usize) -> Result<Self> {
        let [first, second, third] = optimizer.in_use().map(|used| if used { len } else { 0 });
        let vectors = [zeros(first)?, zeros(second)?, zeros(third)?];
        Ok(Self { optimizer, steps: 0, vectors, rates: Vec::new(), next: 0 })
    }

    /// The number of steps taken, and the vectors.
    pub fn state(&self) -> (usize, &[Vec<E>; 3]) {
        (self.steps as usize, &self.vectors)
    }

    /// Continues from a state of the same rule.
    pub fn restore(&mut self, steps: usize, vectors: [Vec<E>; 3], len: usize) -> Result<()> {
        for (n, (vector, used)) in vectors.iter().zip(self.optimizer.in_use()).enumerate() {
            let given = vector.len();
            // A vector that the rule does not use can be in use: a schedule may have set a momentum.
            let fits = given == len || (given == 0 && !used);
            ensure!(
                fits,
                "vector {n} of the optimiser's state must have {len} numbers, got {given}"
            );
        }
        self.steps = i32::try_from(steps).unwrap_or(i32::MAX);
        self.vectors = vectors;
        Ok(())
    }

    /// Sets the rates of the next steps, one for each step. All later steps use the last one.
    pub fn set_rates(&mut self, rates: Vec<Rate>, len: usize) -> Result<()> {
        for rate in &rates {
            check_at_least_0("lr", rate.lr)?;
            if let Some(momentum) = rate.momentum {
                check_decay("momentum", momentum)?;
                let has = !matches!(self.optimizer.rule, Rule::Adagrad { .. });
                ensure!(has, "Adagrad has no momentum for a schedule to set; leave momentum out");
                if self.vectors[0].is_empty() {
                    self.vectors[0] = zeros(len)?;
                }
            }
        }
        (self.rates, self.next) = (rates, 0);
        Ok(())
    }

    /// Whether a step leaves parameters without a gradient, and what it remembers of them, as they are.
    pub fn is_local(&self) -> bool {
        match self.optimizer.rule {
            Rule::SparseAdam { .. } => true,
            Rule::SGD { .. } => self.optimizer.weight_decay == 0.0 && self.vectors[0].is_empty(),
            Rule::Adagrad { eps, .. } => self.optimizer.weight_decay == 0.0 && eps > 0.0,
            Rule::Adam { .. } | Rule::RMSprop { .. } => false,
        }
    }

    /// Takes one step of the optimiser, on the parameters in these ranges. Returns its learning rate.
    pub fn update(&mut self, params: &mut [E], grads: &[E], ranges: &[Range<usize>]) -> f64 {
        self.steps = self.steps.saturating_add(1);
        let rate = self.rates.get(self.next).or(self.rates.last());
        let optimizer = rate.map_or(self.optimizer, |&rate| self.optimizer.at(rate));
        self.next = self.next.saturating_add(1);
        let level = current_level();
        for range in ranges {
            let vectors = self.vectors.each_mut().map(|vector| match vector.is_empty() {
                true => &mut [][..],
                false => &mut vector[range.clone()],
            });
            let (params, grads) = (&mut params[range.clone()], &grads[range.clone()]);
            level.run(Update { optimizer, steps: self.steps, vectors, params, grads });
        }
        optimizer.lr
    }
}

/// The current level. Updates run plain loops in its frame, so the compiler uses the level's vectors. By
/// this time training has run at the current level, so `BPTT_SIMD` is valid; if not, this is the portable
/// level.
pub(super) fn current_level() -> Level {
    Level::current().unwrap_or(Level::PORTABLE)
}

struct Update<'a, E> {
    optimizer: Optimizer,
    steps: i32,
    vectors: [&'a mut [E]; 3],
    params: &'a mut [E],
    grads: &'a [E],
}

impl<E: Element> Kernel<E> for Update<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) {
        let Optimizer { rule, lr, weight_decay } = self.optimizer;
        let [first, second, third] = self.vectors;
        let params_and_grads = self.params.iter_mut().zip(self.grads);
        let rate = E::from_f64(lr);
        match rule {
            Rule::SGD { momentum, nesterov } if !first.is_empty() => {
                let momentum = E::from_f64(momentum);
                for ((p, &g), v) in params_and_grads.zip(first) {
                    let g = decayed(g, *p, weight_decay);
                    *v = momentum * *v + g;
                    *p = *p - rate * if nesterov { g + momentum * *v } else { *v };
                }
            }
            Rule::SGD { .. } => {
                for (p, &g) in params_and_grads {
                    *p = *p - rate * decayed(g, *p, weight_decay);
                }
            }
            Rule::Adam { betas, eps, decoupled } => {
                let step = E::from_f64(lr / (1.0 - betas.0.powi(self.steps)));
                let root = E::from_f64((1.0 - betas.1.powi(self.steps)).sqrt());
                let eps = E::from_f64(eps);
                let (beta1, beta2) = (E::from_f64(betas.0), E::from_f64(betas.1));
                let (rest1, rest2) = (E::from_f64(1.0 - betas.0), E::from_f64(1.0 - betas.1));
                let kept = E::from_f64(if decoupled { 1.0 - lr * weight_decay } else { 1.0 });
                let weight_decay = if decoupled { 0.0 } else { weight_decay };
                for (((p, &g), m), v) in params_and_grads.zip(first).zip(second) {
                    let g = decayed(g, *p, weight_decay);
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * (g * g);
                    *p = kept * *p - step * *m / (v.sqrt() / root + eps);
                }
            }
            Rule::SparseAdam { betas, eps } => {
                let root = (1.0 - betas.1.powi(self.steps)).sqrt();
                let step = E::from_f64(lr * root / (1.0 - betas.0.powi(self.steps)));
                let (beta1, beta2) = (E::from_f64(betas.0), E::from_f64(betas.1));
                let (rest1, rest2) = (E::from_f64(1.0 - betas.0), E::from_f64(1.0 - betas.1));
                let eps = E::from_f64(eps);
                for (((p, &g), m), v) in params_and_grads.zip(first).zip(second) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * (g * g);
                    *p = *p - step * *m / (v.sqrt() + eps);
                }
            }
            Rule::RMSprop { alpha, eps, momentum, .. } => {
                let (rest, alpha) = (E::from_f64(1.0 - alpha), E::from_f64(alpha));
                let (eps, momentum) = (E::from_f64(eps), E::from_f64(momentum));
                let all = params_and_grads.zip(first).zip(second);
                if third.is_empty() {
                    for (((p, &g), b), v) in all {
                        let g = decayed(g, *p, weight_decay);
                        *v = alpha * *v + rest * (g * g);
                        *b = momentum * *b + g / (v.sqrt() + eps);
                        *p = *p - rate * *b;
                    }
                } else {
                    for ((((p, &g), b), v), mean) in all.zip(third) {
                        let g = decayed(g, *p, weight_decay);
                        *v = alpha * *v + rest * (g * g);
                        *mean = alpha * *mean + rest * g;
                        *b = momentum * *b + g / ((*v - *mean * *mean).sqrt() + eps);
                        *p = *p - rate * *b;
                    }
                }
            }
            Rule::Adagrad { lr_decay, eps } => {
                let rate = E::from_f64(lr / (1.0 + f64::from(self.steps - 1) * lr_decay));
                let eps = E::from_f64(eps);
                for ((p, &g), s) in params_and_grads.zip(second) {
                    let g = decayed(g, *p, weight_decay);
                    *s = *s + g * g;
                    *p = *p - rate * g / (s.sqrt() + eps);
                }
            }
        }
    }
}

/// The gradient plus that of `weight_decay p^2 / 2`.
#[inline(always)]
fn decayed<E: Element>(g: E, p: E, weight_decay: f64) -> E {
    if weight_decay == 0.0 { g } else { g + E::from_f64(weight_decay) * p }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperparameters_out_of_range_are_refused() {
        let adam = |betas, eps| Rule::Adam { betas, eps, decoupled: true };
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(Optimizer::sgd(bad, 0.0).is_err());
            assert!(Optimizer::adam(bad).is_err());
            let rms =
                |alpha, eps, momentum| Rule::RMSprop { alpha, eps, momentum, centered: false };
            for rule in [
                adam((0.9, 0.9), bad),
                adam((bad, 0.9), 1e-8),
                rms(bad, 1e-8, 0.0),
                rms(0.9, bad, 0.0),
                rms(0.9, 1e-8, bad),
                Rule::Adagrad { lr_decay: bad, eps: 1e-8 },
                Rule::Adagrad { lr_decay: 0.0, eps: bad },
            ] {
                assert!(Optimizer::new(rule, 0.1, 0.0).is_err(), "{rule:?}");
            }
            assert!(Optimizer::new(adam((0.9, 0.9), 1e-8), 0.1, bad).is_err());
        }
        assert!(Optimizer::sgd(0.1, 1.0).is_err());
        assert!(Optimizer::new(Rule::SGD { momentum: 0.0, nesterov: true }, 0.1, 0.0).is_err());
        assert!(Optimizer::new(adam((1.0, 0.9), 1e-8), 0.1, 0.0).is_err());
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bits() {
        let centered = Rule::RMSprop { alpha: 0.9, eps: 1e-8, momentum: 0.5, centered: true };
        for optimizer in [
            Optimizer::sgd(0.1, 0.0),
            Optimizer::sgd(0.1, 0.9),
            Optimizer::adam(0.1),
            Optimizer::new(centered, 0.1, 0.01),
            Optimizer::new(Rule::Adagrad { lr_decay: 0.1, eps: 1e-10 }, 0.1, 0.0),
        ] {
            let optimizer = optimizer.unwrap();
            let mut whole = Moments::new(optimizer, 3).unwrap();
            let mut params = [1.0f32, -2.0, 3.0];
            let step = |moments: &mut Moments<f32>, params: &mut [f32; 3]| {
                let grads = params.map(|p| p.sin());
                moments.update(params, &grads, &[Range { start: 0, end: 3 }]);
            };
            for _ in 0..3 {
                step(&mut whole, &mut params);
            }
            let mut rest = Moments::new(optimizer, 3).unwrap();
            let (steps, vectors) = whole.state();
            rest.restore(steps, vectors.clone(), 3).unwrap();
            let mut after = params;
            step(&mut rest, &mut after);
            step(&mut whole, &mut params);
            assert_eq!(params, after, "{optimizer:?}");
            assert_eq!(rest.state(), whole.state());
        }
        let mut adam = Moments::<f32>::new(Optimizer::adam(0.1).unwrap(), 3).unwrap();
        let error = adam.restore(1, [vec![0.0; 3], Vec::new(), Vec::new()], 3).unwrap_err();
        assert!(error.to_string().contains("vector 1"), "{error}");
        assert_eq!(adam.state().0, 0);
    }

    #[test]
    fn rates_are_taken_one_a_step_and_the_last_stays() {
        let mut moments = Moments::new(Optimizer::sgd(0.1, 0.0).unwrap(), 1).unwrap();
        let rate = |lr| Rate { lr, momentum: None };
        moments.set_rates(vec![rate(1.0), rate(2.0)], 1).unwrap();
        let mut params = [0.0f64];
        for _ in 0..3 {
            moments.update(&mut params, &[-1.0], &[Range { start: 0, end: 1 }]);
        }
        assert_eq!(params, [1.0 + 2.0 + 2.0]);
        let adagrad = Optimizer::new(Rule::Adagrad { lr_decay: 0.0, eps: 0.0 }, 0.1, 0.0).unwrap();
        let mut adagrad = Moments::<f64>::new(adagrad, 1).unwrap();
        assert!(adagrad.set_rates(vec![Rate { lr: 1.0, momentum: Some(0.9) }], 1).is_err());
        assert!(moments.set_rates(vec![rate(f64::NAN)], 1).is_err());
        moments.update(&mut params, &[-1.0], &[Range { start: 0, end: 1 }]);
        assert_eq!(params, [7.0], "refused rates change nothing");
    }
}
