//! Metrics, which training and evaluation compute beside the loss.

use crate::error::Result;
use crate::nn::{IGNORED, Loss, Targets};
use crate::simd::Element;
use crate::view::Rows;

/// A mean over tokens or over numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// With target classes, the fraction of tokens whose largest output is that of their class. With real
    /// targets, the fraction of numbers where output above 0 agrees with target above 1/2 (logits of two
    /// classes).
    Accuracy,
    /// The cross-entropy, without class weights and label smoothing. It is the logarithm of the perplexity.
    CrossEntropy,
    /// The squared error. It is the square of the RMSE.
    SquaredError,
}

impl Metric {
    /// The sum over the tokens that are not ignored, and the number of these tokens.
    ///
    /// # Errors
    /// If the targets are not of the metric's kind.
    pub(super) fn of<E: Element>(
        self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
    ) -> Result<(f64, f64)> {
        let count = match targets {
            Targets::Classes(classes) => classes.iter().filter(|&&class| class != IGNORED).count(),
            Targets::Values(_) => outputs.count(),
        };
        let count = count as f64;
        let mean = |loss: Loss| Ok((loss.of(outputs, targets, None, None)? * count, count));
        match (self, targets) {
            (Self::CrossEntropy, _) => mean(Loss::cross_entropy()),
            (Self::SquaredError, _) => mean(Loss::MeanSquaredError),
            (Self::Accuracy, Targets::Classes(classes)) => {
                let right = |row: &usize| {
                    let (outputs, class) = (outputs.row(*row), classes[*row] as usize);
                    // IGNORED is never below F. Of equal outputs the first counts as the largest, as in
                    // NumPy's argmax.
                    outputs.get(class).is_some_and(|own| {
                        let (before, after) = outputs.split_at(class);
                        before.iter().all(|y| y < own) && after.iter().all(|y| y <= own)
                    })
                };
                Ok(((0..classes.len()).filter(right).count() as f64, count))
            }
            (Self::Accuracy, Targets::Values(values)) => {
                let mut right = 0;
                for (row, targets) in values.chunks_exact(outputs.features()).enumerate() {
                    let pairs = outputs.row(row).iter().zip(targets);
                    right +=
                        pairs.filter(|(y, t)| (y.to_f64() > 0.0) == (t.to_f64() > 0.5)).count();
                }
                Ok((right as f64, values.len() as f64))
            }
        }
    }
}

/// Metrics with their sums and counts so far.
#[derive(Default)]
pub(super) struct Tally {
    metrics: Vec<Metric>,
    sums: Vec<(f64, f64)>,
}

impl Tally {
    pub fn of(metrics: &[Metric]) -> Self {
        Self { metrics: metrics.to_vec(), sums: vec![(0.0, 0.0); metrics.len()] }
    }

    pub fn add<E: Element>(&mut self, outputs: Rows<'_, E>, targets: Targets<'_, E>) -> Result<()> {
        for (metric, (sum, count)) in self.metrics.iter().zip(&mut self.sums) {
            let (more, tokens) = metric.of(outputs, targets)?;
            (*sum, *count) = (*sum + more, *count + tokens);
        }
        Ok(())
    }

    /// Returns the means since the last call; NaN if nothing was counted.
    pub fn take(&mut self) -> Vec<f64> {
        let means = self.sums.iter().map(|(sum, count)| sum / count).collect();
        self.sums.fill((0.0, 0.0));
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_means_over_the_tokens_that_count() {
        let outputs = [1.0, 2.0, 3.0, 0.0, 5.0, 5.0, -1.0, 1.0];
        let rows = Rows::new(&outputs, 4, 2);
        let classes = Targets::Classes(&[1, 1, 0, IGNORED]);
        assert_eq!(Metric::Accuracy.of(rows, classes).unwrap(), (2.0, 3.0));
        let (sum, count) = Metric::CrossEntropy.of(rows, classes).unwrap();
        let softplus = |z: f64| z.exp().ln_1p();
        assert!((sum - (softplus(-1.0) + softplus(3.0) + softplus(0.0))).abs() < 1e-12);
        assert_eq!(count, 3.0);
        let values = Targets::Values(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(Metric::Accuracy.of(rows, values).unwrap(), (6.0, 8.0));
        let squares = 4.0 + 4.0 + 25.0 + 16.0 + 1.0;
        let (sum, count) = Metric::SquaredError.of(rows, values).unwrap();
        assert!((sum / count - squares / 8.0).abs() < 1e-12);
        assert!(Metric::CrossEntropy.of(rows, values).is_err());
        assert!(Metric::SquaredError.of(rows, classes).is_err());

        let mut tally = Tally::of(&[Metric::Accuracy]);
        tally.add(rows, classes).unwrap();
        tally.add(Rows::new(&outputs[..2], 1, 2), Targets::Classes(&[1])).unwrap();
        assert_eq!(tally.take(), [3.0 / 4.0]);
        assert!(tally.take()[0].is_nan());
    }
}
