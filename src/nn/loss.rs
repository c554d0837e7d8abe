//! Losses and their gradients with respect to the outputs, as torch defines them with
//! `reduction="mean"`.

use crate::buffer::zeros;
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
    /// The mean loss of outputs (N, F). With `weights` (N,), each at least 0, it is the weighted mean over
    /// the tokens, `sum w l / sum w`, as with torch's class weights. Where a gradient (N, F) is wanted, it
    /// is written.
    ///
    /// ```
    /// use bptt::{Loss, Rows, RowsMut, Targets};
    ///
    /// let (outputs, targets) = ([1.0, 4.0], Targets::Values(&[0.0, 2.0]));
    /// let outputs = Rows::new(&outputs, 2, 1);
    /// assert_eq!(Loss::MeanSquaredError.of(outputs, targets, None, None)?, (1.0 + 4.0) / 2.0);
    /// let mut gradient = [0.0; 2];
    /// let to = RowsMut::new(&mut gradient, 2, 1);
    /// let loss = Loss::MeanSquaredError.of(outputs, targets, Some(&[3.0, 1.0]), Some(to))?;
    /// assert_eq!((loss, gradient), ((3.0 * 1.0 + 4.0) / 4.0, [1.5, 1.0]));
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the targets are of the wrong kind or number, a class is not below F, there is not one weight
    /// for every token, or weights are negative, not finite or all zero; nothing is written then.
    pub fn of<E: Element>(
        self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
        weights: Option<&[f64]>,
        gradient: Option<RowsMut<'_, E>>,
    ) -> Result<f64> {
        let (rows, features) = (outputs.count(), outputs.features());
        if let Some(gradient) = &gradient {
            assert_eq!((gradient.count(), gradient.as_ref().features()), (rows, features));
        }
        ensure!(rows > 0 && features > 0, "a loss needs outputs, got {rows} rows of {features}");
        let weights = Weights::new(weights, rows)?;
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
                let scratch = zeros(if gradient.is_some() { 0 } else { features })?;
                let task = CrossEntropy { logits: outputs, classes, weights, gradient, scratch };
                Ok(Level::current()?.run(task))
            }
            (Loss::MeanSquaredError, Targets::Values(values)) => {
                let len = rows * features;
                ensure!(
                    values.len() == len,
                    "there are {} targets for {len} outputs",
                    values.len()
                );
                Ok(mean_squared_error(outputs, values, &weights, gradient))
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

/// What each token counts for in the mean.
struct Weights<'a> {
    given: Option<&'a [f64]>,
    sum: f64,
}

impl<'a> Weights<'a> {
    fn new(given: Option<&'a [f64]>, rows: usize) -> Result<Self> {
        let Some(weights) = given else { return Ok(Self { given, sum: rows as f64 }) };
        let len = weights.len();
        ensure!(len == rows, "there are {len} weights for {rows} outputs");
        if let Some(weight) =
            weights.iter().find(|&&weight| !(0.0..f64::INFINITY).contains(&weight))
        {
            ensure!(false, "weights must be at least 0 and finite, got {weight}");
        }
        let sum = weights.iter().sum();
        ensure!(sum != 0.0, "all {len} weights are 0: one at least must be above");
        Ok(Self { given, sum })
    }

    #[inline(always)]
    fn of(&self, row: usize) -> f64 {
        self.given.map_or(1.0, |weights| weights[row])
    }
}

fn mean_squared_error<E: Element>(
    outputs: Rows<'_, E>,
    values: &[E],
    weights: &Weights<'_>,
    mut gradient: Option<RowsMut<'_, E>>,
) -> f64 {
    let len = weights.sum * outputs.features() as f64;
    let mut total = 0.0;
    for (row, targets) in values.chunks_exact(outputs.features()).enumerate() {
        let (outputs, weight) = (outputs.row(row), weights.of(row));
        for (&y, &target) in outputs.iter().zip(targets) {
            let error = (y - target).to_f64();
            total += weight * (error * error);
        }
        if let Some(gradient) = &mut gradient {
            let scale = E::from_f64(2.0 * weight / len);
            for ((d, &y), &target) in gradient.row_mut(row).iter_mut().zip(outputs).zip(targets) {
                *d = scale * (y - target);
            }
        }
    }
    total / len
}

struct CrossEntropy<'a, E: Element> {
    logits: Rows<'a, E>,
    classes: &'a [u32],
    weights: Weights<'a>,
    gradient: Option<RowsMut<'a, E>>,
    /// A row for the exponentials where there is no gradient to hold them.
    scratch: Vec<E>,
}

impl<E: Element> Task<E> for CrossEntropy<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> f64 {
        let Self { logits, classes, weights, mut gradient, mut scratch } = self;
        let mut total = 0.0;
        for (row, &class) in classes.iter().enumerate() {
            let (logits, class, weight) = (logits.row(row), class as usize, weights.of(row));
            let exponentials = match &mut gradient {
                Some(gradient) => gradient.row_mut(row),
                None => &mut scratch[..],
            };
            // Shifted by the maximum, nothing overflows.
            let most = logits.iter().fold(logits[0], |m, &z| if z > m { z } else { m });
            let shift = s.splat(most);
            for (z, e) in logits.chunks(S::LANES).zip(exponentials.chunks_mut(S::LANES)) {
                s.store(e, exp(s, s.sub(s.load(z), shift)));
            }
            let sum: f64 = exponentials.iter().map(|e| e.to_f64()).sum();
            total += weight * (sum.ln() + (most - logits[class]).to_f64());
            if let Some(gradient) = &mut gradient {
                let gradient = gradient.row_mut(row);
                let share = E::from_f64(weight / weights.sum);
                let scale = share / E::from_f64(sum);
                for d in gradient.iter_mut() {
                    *d = *d * scale;
                }
                gradient[class] = gradient[class] - share;
            }
        }
        total / weights.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_central_differences() {
        let mut z = vec![0.3, -1.2, 2.0, 0.1, 0.0, 30.0];
        let values = [0.5, 0.25, -1.0, 2.0, 0.0, 29.0];
        for weights in [None, Some(&[0.5, 3.0][..]), Some(&[0.0, 1.0])] {
            for (loss, targets) in [
                (Loss::CrossEntropy, Targets::Classes(&[2, 0])),
                (Loss::MeanSquaredError, Targets::Values(&values)),
            ] {
                let mut gradient = vec![0.0; 6];
                let to = RowsMut::new(&mut gradient, 2, 3);
                let recorded = loss.of(Rows::new(&z, 2, 3), targets, weights, Some(to)).unwrap();
                let of = |z: &[f64]| loss.of(Rows::new(z, 2, 3), targets, weights, None).unwrap();
                assert_eq!(of(&z), recorded, "the same with and without the gradient");
                for i in 0..6 {
                    let kept = z[i];
                    let step = 1e-6;
                    z[i] = kept + step;
                    let up = of(&z);
                    z[i] = kept - step;
                    let down = of(&z);
                    z[i] = kept;
                    let slope = (up - down) / (2.0 * step);
                    assert!(
                        (slope - gradient[i]).abs() < 1e-8,
                        "{loss:?} {weights:?} {i}: {slope} {}",
                        gradient[i]
                    );
                }
            }
        }
    }

    #[test]
    fn weights_average_the_losses_of_the_tokens() {
        let z = [0.3f32, -1.2, 2.0, 0.1, 0.0, 3.0];
        let values = [0.5, 0.25, -1.0, 2.0, 0.0, 2.5];
        let weights = [0.25, 2.0];
        for (loss, of) in [
            (Loss::CrossEntropy, [Targets::Classes(&[2]), Targets::Classes(&[0])]),
            (
                Loss::MeanSquaredError,
                [Targets::Values(&values[..3]), Targets::Values(&values[3..])],
            ),
        ] {
            let all = match loss {
                Loss::CrossEntropy => Targets::Classes(&[2, 0]),
                Loss::MeanSquaredError => Targets::Values(&values),
            };
            let got = loss.of(Rows::new(&z, 2, 3), all, Some(&weights), None).unwrap();
            let one = |n: usize| loss.of(Rows::new(&z[3 * n..], 1, 3), of[n], None, None).unwrap();
            let want = (weights[0] * one(0) + weights[1] * one(1)) / (weights[0] + weights[1]);
            assert!((got - want).abs() < 1e-12, "{loss:?}: {got} {want}");
        }
    }

    #[test]
    fn targets_and_weights_that_do_not_fit_are_refused() {
        let z = [0.0f32; 6];
        let mut gradient = [7.0f32; 6];
        let mut of = |loss: Loss, targets: Targets<'_, f32>, weights: Option<&[f64]>| {
            let gradient = RowsMut::new(&mut gradient, 2, 3);
            let z = Rows::new(&z, 2, 3);
            loss.of(z, targets, weights, Some(gradient)).unwrap_err().to_string()
        };
        assert!(of(Loss::CrossEntropy, Targets::Classes(&[0, 3]), None).contains("class 3"));
        assert!(of(Loss::CrossEntropy, Targets::Classes(&[0]), None).contains("1 target"));
        assert!(of(Loss::CrossEntropy, Targets::Values(&z), None).contains("integer classes"));
        let classes = Targets::Classes(&[0, 1]);
        assert!(of(Loss::MeanSquaredError, classes, None).contains("real numbers"));
        assert!(of(Loss::CrossEntropy, classes, Some(&[1.0; 3])).contains("3 weights for 2"));
        assert!(of(Loss::CrossEntropy, classes, Some(&[0.0; 2])).contains("all 2 weights are 0"));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            let weights = [1.0, bad];
            let error = of(Loss::CrossEntropy, classes, Some(&weights));
            assert!(error.contains("at least 0 and finite"), "{error}");
        }
        assert_eq!(gradient, [7.0; 6]);
    }
}
