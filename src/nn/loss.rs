//! Losses and their gradients with respect to the outputs, as torch defines them with
//! `reduction="mean"`.

use crate::error::{Result, ensure};
use crate::math::exp;
use crate::simd::{Element, Level, Simd, Task};
use crate::view::{Rows, RowsMut};

/// What a model is trained to lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Softmax cross-entropy of logits and class numbers, the mean over all tokens:
    /// `log(sum over j of exp(z_j)) - z_target`.
    CrossEntropy,
    /// The mean over all numbers of `(y - target)^2`.
    MeanSquaredError,
}

/// What the outputs should have been.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a, E> {
    /// A class for every token, (N,).
    Classes(&'a [u32]),
    /// A number for every output, (N, F).
    Values(&'a [E]),
}

impl Loss {
    /// The mean loss of outputs (N, F), whose gradient is written to `gradient` (N, F).
    ///
    /// # Errors
    /// If the targets are of the wrong kind or number, or a class is not below F; nothing is written
    /// then.
    pub fn of<E: Element>(
        self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
        mut gradient: RowsMut<'_, E>,
    ) -> Result<f64> {
        let (rows, features) = (outputs.count(), outputs.features());
        assert_eq!((gradient.count(), gradient.as_ref().features()), (rows, features));
        ensure!(rows > 0 && features > 0, "a loss needs outputs, got {rows} rows of {features}");
        match (self, targets) {
            (Loss::CrossEntropy, Targets::Classes(classes)) => {
                ensure!(
                    classes.len() == rows,
                    "there are {} target classes for {rows} outputs",
                    classes.len()
                );
                if let Some(class) = classes.iter().find(|&&class| class as usize >= features) {
                    ensure!(
                        false,
                        "target class {class} is not below {features}, the outputs' size"
                    );
                }
                Ok(Level::current()?.run(CrossEntropy { logits: outputs, classes, gradient }))
            }
            (Loss::MeanSquaredError, Targets::Values(values)) => {
                let len = rows * features;
                ensure!(
                    values.len() == len,
                    "there are {} targets for {len} outputs",
                    values.len()
                );
                let scale = E::from_f64(2.0 / len as f64);
                let mut sum = 0.0;
                for (row, targets) in values.chunks_exact(features).enumerate() {
                    let gradient = gradient.row_mut(row);
                    for ((&y, &target), d) in outputs.row(row).iter().zip(targets).zip(gradient) {
                        let error = y - target;
                        *d = scale * error;
                        sum += error.to_f64() * error.to_f64();
                    }
                }
                Ok(sum / len as f64)
            }
            (Loss::CrossEntropy, Targets::Values(_)) => {
                ensure!(false, "cross_entropy takes integer classes as targets, got real numbers");
                unreachable!()
            }
            (Loss::MeanSquaredError, Targets::Classes(_)) => {
                ensure!(false, "mse takes real numbers as targets, got integer classes");
                unreachable!()
            }
        }
    }
}

struct CrossEntropy<'a, E: Element> {
    logits: Rows<'a, E>,
    classes: &'a [u32],
    gradient: RowsMut<'a, E>,
}

impl<E: Element> Task<E> for CrossEntropy<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) -> f64 {
        let share = E::from_f64(1.0 / self.classes.len() as f64);
        let mut total = 0.0;
        for (row, &class) in self.classes.iter().enumerate() {
            let logits = self.logits.row(row);
            let gradient = self.gradient.row_mut(row);
            // Shifted by the maximum, nothing overflows.
            let most = logits.iter().fold(logits[0], |m, &z| if z > m { z } else { m });
            let shift = s.splat(most);
            for (z, e) in logits.chunks(S::LANES).zip(gradient.chunks_mut(S::LANES)) {
                s.store(e, exp(s, s.sub(s.load(z), shift)));
            }
            let sum: f64 = gradient.iter().map(|e| e.to_f64()).sum();
            let class = class as usize;
            total += sum.ln() + (most - logits[class]).to_f64();
            let scale = share / E::from_f64(sum);
            for d in gradient.iter_mut() {
                *d = *d * scale;
            }
            gradient[class] = gradient[class] - share;
        }
        total / self.classes.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_central_differences() {
        let mut z = vec![0.3, -1.2, 2.0, 0.1, 0.0, 30.0];
        let values = [0.5, 0.25, -1.0, 2.0, 0.0, 29.0];
        for (loss, targets) in [
            (Loss::CrossEntropy, Targets::Classes(&[2, 0])),
            (Loss::MeanSquaredError, Targets::Values(&values)),
        ] {
            let mut gradient = vec![0.0; 6];
            let of = |z: &[f64], gradient: &mut [f64]| {
                loss.of(Rows::new(z, 2, 3), targets, RowsMut::new(gradient, 2, 3)).unwrap()
            };
            of(&z, &mut gradient);
            for i in 0..6 {
                let kept = z[i];
                let step = 1e-6;
                z[i] = kept + step;
                let up = of(&z, &mut [0.0; 6]);
                z[i] = kept - step;
                let down = of(&z, &mut [0.0; 6]);
                z[i] = kept;
                let slope = (up - down) / (2.0 * step);
                assert!(
                    (slope - gradient[i]).abs() < 1e-8,
                    "{loss:?} {i}: {slope} {}",
                    gradient[i]
                );
            }
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let z = [0.0f32; 6];
        let mut gradient = [7.0f32; 6];
        let mut of = |loss: Loss, targets| {
            let gradient = RowsMut::new(&mut gradient, 2, 3);
            loss.of(Rows::new(&z, 2, 3), targets, gradient).unwrap_err().to_string()
        };
        assert!(of(Loss::CrossEntropy, Targets::Classes(&[0, 3])).contains("class 3"));
        assert!(of(Loss::CrossEntropy, Targets::Classes(&[0])).contains("1 target"));
        assert!(of(Loss::CrossEntropy, Targets::Values(&z)).contains("integer classes"));
        assert!(of(Loss::MeanSquaredError, Targets::Classes(&[0, 1])).contains("real numbers"));
        assert_eq!(gradient, [7.0; 6]);
    }
}
