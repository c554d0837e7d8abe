//! Losses and their gradients with respect to the outputs, as torch defines them with `reduction="mean"`.
//! Losses that compare an output with a number are here, and softmax cross-entropy is in cross_entropy.rs.

mod cross_entropy;
mod factors;

pub use factors::IGNORED;

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::simd::{Element, Kernel, Level, Simd};
use crate::view::{Rows, RowsMut};
use cross_entropy::CrossEntropy;
use factors::{Factors, weighed};

/// The loss that training minimises. A token is an output (F,) and its target.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy of logits z and a target class: `log(sum over j of exp(z_j)) - z_target`.
    CrossEntropy {
        /// The fraction of the target that is spread equally over all F classes, in [0, 1].
        label_smoothing: f64,
        /// The weight of each class, (F,), at least 0; 1 if none.
        weight: Option<Vec<f64>>,
    },
    /// Binary cross-entropy of logits z and targets t in [0, 1], the mean over a token's F numbers of
    /// `-p t log s(z) - (1 - t) log(1 - s(z))`, where s is the sigmoid function.
    BinaryCrossEntropy {
        /// p, the weight of positive targets for each output, (F,), at least 0; 1 if none.
        pos_weight: Option<Vec<f64>>,
    },
    /// The mean over a token's F numbers of `(y - target)^2`.
    MeanSquaredError,
    /// The mean over a token's F numbers of `|y - target|`.
    MeanAbsoluteError,
    /// The mean over a token's F numbers of `e^2 / 2` if `|e| <= delta`, else `delta (|e| - delta / 2)`,
    /// where `e = y - target`.
    Huber {
        /// The error from which on the loss grows linearly, above 0.
        delta: f64,
    },
}

/// The targets of a model's outputs.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a, E> {
    /// A class, or [`IGNORED`], for every token: (N,).
    Classes(&'a [u32]),
    /// A number for every output: (N, F).
    Values(&'a [E]),
}

impl Loss {
    /// Cross-entropy without class weights and label smoothing.
    pub const fn cross_entropy() -> Self {
        Self::CrossEntropy { label_smoothing: 0.0, weight: None }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::BinaryCrossEntropy { .. } => "bce_with_logits",
            Self::MeanSquaredError => "mse",
            Self::MeanAbsoluteError => "mae",
            Self::Huber { .. } => "huber",
        }
    }

    /// Checks that the options are in range and fit outputs of `features` features.
    pub(crate) fn check(&self, features: usize) -> Result<()> {
        let positive = |name: &str, weight: &Option<Vec<f64>>| {
            let Some(weight) = weight else { return Ok(()) };
            let len = weight.len();
            ensure!(
                len == features,
                "{name} must have {features} numbers, one for each output of the model, got {len}"
            );
            check_weights(name, weight)
        };
        match self {
            Self::CrossEntropy { label_smoothing, weight } => {
                ensure!(
                    (0.0..=1.0).contains(label_smoothing),
                    "label_smoothing must be in [0, 1], got {label_smoothing}"
                );
                positive("weight", weight)
            }
            Self::BinaryCrossEntropy { pos_weight } => positive("pos_weight", pos_weight),
            Self::Huber { delta } => {
                let fits = *delta > 0.0 && delta.is_finite();
                ensure!(fits, "delta must be above 0 and finite, got {delta}");
                Ok(())
            }
            Self::MeanSquaredError | Self::MeanAbsoluteError => Ok(()),
        }
    }

    /// Returns a function that gives a token's weight in the mean: the weight of its class, 1 without class
    /// weights, or 0 if the token is [`IGNORED`]. It panics if a class is out of range.
    pub fn counts<'a, E>(&'a self, targets: Targets<'a, E>) -> impl Fn(usize) -> f64 + 'a
    where
        E: Copy + 'a,
    {
        move |token| match (self, targets) {
            (Self::CrossEntropy { weight, .. }, Targets::Classes(classes)) => {
                match (classes[token], weight) {
                    (IGNORED, _) => 0.0,
                    (class, Some(weight)) => weight[class as usize],
                    (_, None) => 1.0,
                }
            }
            _ => 1.0,
        }
    }

    /// The loss of outputs (N, F): the mean over the tokens, weighted with [`Loss::counts`], or 0 if all
    /// weights are 0. With `factors` (N,), each at least 0, it is instead the sum of factor times loss over
    /// the tokens, where the loss includes the class weight. If `gradient` (N, F) is given, the gradient
    /// with respect to the outputs is written there. Outputs and targets of a token whose factor or class
    /// weight is 0 are not read: its loss and its gradient are 0, also where they are NaN.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Loss, Rows, RowsMut, Targets};
    ///
    /// let (outputs, targets) = ([1.0, 4.0], Targets::Values(&[0.0, 2.0]));
    /// let outputs = Rows::new(&outputs, 2, 1);
    /// assert_eq!(Loss::MeanSquaredError.of(outputs, targets, None, None)?, (1.0 + 4.0) / 2.0);
    /// let mut gradient = [0.0; 2];
    /// let to = RowsMut::new(&mut gradient, 2, 1);
    /// let loss = Loss::MeanSquaredError.of(outputs, targets, Some(&[0.75, 0.25]), Some(to))?;
    /// assert_eq!((loss, gradient), ((3.0 * 1.0 + 4.0) / 4.0, [1.5, 1.0]));
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the targets are of the wrong kind or number, a class is not below F, the loss's options are out of
    /// range or do not fit, the number of factors is not N, or a factor is negative or not finite. Nothing
    /// is written then.
    ///
    /// # Panics
    /// If `gradient` has another shape than the outputs.
    pub fn of<E: Element>(
        &self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
        factors: Option<&[f64]>,
        gradient: Option<RowsMut<'_, E>>,
    ) -> Result<f64> {
        let (rows, features) = (outputs.count(), outputs.features());
        if let Some(gradient) = &gradient {
            assert_eq!((gradient.count(), gradient.as_ref().features()), (rows, features));
        }
        ensure!(
            rows > 0 && features > 0,
            "outputs must have at least 1 row and 1 feature, got ({rows}, {features})"
        );
        self.check(features)?;
        self.check_targets(targets, rows, features)?;
        if let Some(factors) = factors {
            let len = factors.len();
            ensure!(len == rows, "there are {len} factors for {rows} outputs; give one for each");
            check_weights("factors", factors)?;
        }
        let total: f64 = match (factors, self, targets) {
            (None, Self::CrossEntropy { .. }, _) => (0..rows).map(self.counts(targets)).sum(),
            _ => rows as f64,
        };
        let factors = Factors { given: factors, total };
        match (self, targets) {
            (Self::CrossEntropy { label_smoothing, weight }, Targets::Classes(classes)) => {
                let scratch = zeros(if gradient.is_some() { 0 } else { features })?;
                Ok(Level::current()?.run(CrossEntropy {
                    logits: outputs,
                    classes,
                    factors,
                    label_smoothing: *label_smoothing,
                    weight: weight.as_deref(),
                    gradient,
                    scratch,
                }))
            }
            (_, Targets::Values(values)) => Ok(Level::current()?.run(OfNumbers {
                loss: self,
                outputs,
                values,
                factors,
                gradient,
            })),
            (_, Targets::Classes(_)) => unreachable!("checked"),
        }
    }

    /// Checks that the targets of `rows` outputs are of the right kind and number, and classes in range.
    pub(crate) fn check_targets<E: Element>(
        &self,
        targets: Targets<'_, E>,
        rows: usize,
        features: usize,
    ) -> Result<()> {
        let name = self.name();
        match (self, targets) {
            (Self::CrossEntropy { .. }, Targets::Classes(classes)) => {
                let len = classes.len();
                ensure!(
                    len == rows,
                    "there are {len} target classes for {rows} outputs; give one for each"
                );
                let mut wrong = classes.iter().filter(|&&class| class != IGNORED);
                if let Some(class) = wrong.find(|&&class| class as usize >= features) {
                    ensure!(
                        false,
                        "target class {class} must be below {features}, the number of the model's outputs"
                    );
                }
            }
            (Self::CrossEntropy { .. }, Targets::Values(_)) => {
                ensure!(false, "{name} takes integer classes as targets, got real numbers");
            }
            (_, Targets::Values(values)) => {
                let (given, len) = (values.len(), rows * features);
                ensure!(
                    given == len,
                    "there are {given} targets for {len} outputs; give one for each"
                );
            }
            (_, Targets::Classes(_)) => {
                ensure!(false, "{name} takes real numbers as targets, got integer classes");
            }
        }
        Ok(())
    }
}

fn check_weights(name: &str, weights: &[f64]) -> Result<()> {
    let wrong = weights.iter().find(|&&weight| !(0.0..f64::INFINITY).contains(&weight));
    if let Some(weight) = wrong {
        ensure!(false, "{name} must be at least 0 and finite, got {weight}");
    }
    Ok(())
}

/// The losses that compare every output y with its own target t. Each is a function that returns `(loss,
/// slope)`.
struct OfNumbers<'a, E: Element> {
    loss: &'a Loss,
    /// (N, F)
    outputs: Rows<'a, E>,
    /// (N, F)
    values: &'a [E],
    factors: Factors<'a>,
    gradient: Option<RowsMut<'a, E>>,
}

impl<E: Element> Kernel<E> for OfNumbers<'_, E> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd<E>>(self, _s: S) -> f64 {
        let Self { loss, outputs, values, factors, gradient } = self;
        let factors = &factors;
        match loss {
            Loss::MeanSquaredError => each_number(outputs, values, factors, gradient, |y, t, _| {
                let error = y - t;
                let e = error.to_f64();
                (e * e, error + error)
            }),
            Loss::MeanAbsoluteError => {
                each_number(outputs, values, factors, gradient, |y, t, _| {
                    let e = (y - t).to_f64();
                    // The slope at 0 is 0, as in torch.
                    (e.abs(), E::from_f64(if e == 0.0 { 0.0 } else { e.signum() }))
                })
            }
            &Loss::Huber { delta } => each_number(outputs, values, factors, gradient, |y, t, _| {
                let e = (y - t).to_f64();
                let inside = e.abs() <= delta;
                let loss = if inside { e * e / 2.0 } else { delta * (e.abs() - delta / 2.0) };
                (loss, E::from_f64(e.clamp(-delta, delta)))
            }),
            Loss::BinaryCrossEntropy { pos_weight } => {
                each_number(outputs, values, factors, gradient, |z, t, feature| {
                    let (z, t) = (z.to_f64(), t.to_f64());
                    let positive = pos_weight.as_ref().map_or(1.0, |weight| weight[feature]);
                    let share = 1.0 + (positive - 1.0) * t;
                    // softplus(-z) and 1 - s(z), computed without overflow.
                    let small = (-z.abs()).exp();
                    let softplus = small.ln_1p() + if z < 0.0 { -z } else { 0.0 };
                    let rest = if z < 0.0 { 1.0 } else { small } / (1.0 + small);
                    let rest = if z.is_nan() { z } else { rest };
                    let loss = weighed(1.0 - t, z) + weighed(share, softplus);
                    (loss, E::from_f64(1.0 - t - weighed(share, rest)))
                })
            }
            Loss::CrossEntropy { .. } => unreachable!("it has a function of its own"),
        }
    }
}

/// The weighted sum over the rows of each row's mean of `of(output, target, feature) -> (loss, slope)`.
#[inline(always)]
fn each_number<E: Element>(
    outputs: Rows<'_, E>,
    values: &[E],
    factors: &Factors<'_>,
    mut gradient: Option<RowsMut<'_, E>>,
    of: impl Fn(E, E, usize) -> (f64, E),
) -> f64 {
    let features = outputs.features();
    let mut total = 0.0;
    for (row, targets) in values.chunks_exact(features).enumerate() {
        if factors.leaves_out(row) {
            if let Some(gradient) = &mut gradient {
                gradient.row_mut(row).fill(E::ZERO);
            }
            continue;
        }
        let outputs = outputs.row(row);
        let mut sum = 0.0;
        match &mut gradient {
            Some(gradient) => {
                let scale = E::from_f64(factors.of(row) / features as f64);
                let numbers = outputs.iter().zip(targets).zip(gradient.row_mut(row));
                for (feature, ((&y, &target), d)) in numbers.enumerate() {
                    let (loss, slope) = of(y, target, feature);
                    sum += loss;
                    *d = scale * slope;
                }
            }
            None => {
                for (feature, (&y, &target)) in outputs.iter().zip(targets).enumerate() {
                    sum += of(y, target, feature).0;
                }
            }
        }
        total += factors.relative(row) * sum;
    }
    factors.of_sum(total) / features as f64
}

#[cfg(test)]
mod tests;
