//! Metrics, which training and evaluation compute beside the loss.

use crate::buffer::zeros;
use crate::error::Result;
use crate::nn::{IGNORED, Loss, Targets};
use crate::simd::Element;
use crate::view::Rows;

/// A mean over tokens or over numbers. Tokens whose weight in the loss is 0 are left out.
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
    /// The sum over the tokens whose `shares` (N,) are 1, and the number of these tokens. The shares of others
    /// are 0.
    ///
    /// # Errors
    /// If the targets are not of the metric's kind.
    pub(super) fn of<E: Element>(
        self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
        shares: &[f64],
    ) -> Result<(f64, f64)> {
        let count: f64 = shares.iter().sum();
        let all = match targets {
            Targets::Classes(classes) => classes.iter().filter(|&&class| class != IGNORED).count(),
            Targets::Values(_) => outputs.count(),
        };
        let mean = |loss: Loss| match count == all as f64 {
            true => Ok((loss.of(outputs, targets, None, None)? * count, count)),
            false => Ok((loss.of(outputs, targets, Some(shares), None)?, count)),
        };
        match (self, targets) {
            (Self::CrossEntropy, _) => mean(Loss::cross_entropy()),
            (Self::SquaredError, _) => mean(Loss::MeanSquaredError),
            (Self::Accuracy, Targets::Classes(classes)) => {
                let right = |row: &usize| {
                    if shares[*row] == 0.0 {
                        return false;
                    }
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
                let rows = values.chunks_exact(outputs.features()).enumerate();
                for (row, targets) in rows.filter(|(row, _)| shares[*row] > 0.0) {
                    let pairs = outputs.row(row).iter().zip(targets);
                    right +=
                        pairs.filter(|(y, t)| (y.to_f64() > 0.0) == (t.to_f64() > 0.5)).count();
                }
                Ok((right as f64, count * outputs.features() as f64))
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

    /// Adds the tokens of a batch whose `weight` in the loss is above 0.
    pub fn add<E: Element>(
        &mut self,
        outputs: Rows<'_, E>,
        targets: Targets<'_, E>,
        weight: impl Fn(usize) -> f64,
    ) -> Result<()> {
        if self.metrics.is_empty() {
            return Ok(());
        }
        let mut shares = zeros(outputs.count())?;
        for (token, share) in shares.iter_mut().enumerate() {
            *share = if weight(token) > 0.0 { 1.0 } else { 0.0 };
        }
        for (metric, (sum, count)) in self.metrics.iter().zip(&mut self.sums) {
            let (more, tokens) = metric.of(outputs, targets, &shares)?;
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
        let (some, all) = ([1.0, 1.0, 1.0, 0.0], [1.0; 4]);
        assert_eq!(Metric::Accuracy.of(rows, classes, &some).unwrap(), (2.0, 3.0));
        let (sum, count) = Metric::CrossEntropy.of(rows, classes, &some).unwrap();
        let softplus = |z: f64| z.exp().ln_1p();
        assert!((sum - (softplus(-1.0) + softplus(3.0) + softplus(0.0))).abs() < 1e-12);
        assert_eq!(count, 3.0);
        let values = Targets::Values(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(Metric::Accuracy.of(rows, values, &all).unwrap(), (6.0, 8.0));
        let squares = 4.0 + 4.0 + 25.0 + 16.0 + 1.0;
        let (sum, count) = Metric::SquaredError.of(rows, values, &all).unwrap();
        assert!((sum / count - squares / 8.0).abs() < 1e-12);
        assert!(Metric::CrossEntropy.of(rows, values, &all).is_err());
        assert!(Metric::SquaredError.of(rows, classes, &some).is_err());

        let mut tally = Tally::of(&[Metric::Accuracy]);
        tally.add(rows, classes, |token| some[token]).unwrap();
        tally.add(Rows::new(&outputs[..2], 1, 2), Targets::Classes(&[1]), |_| 0.5).unwrap();
        assert_eq!(tally.take(), [3.0 / 4.0]);
        assert!(tally.take()[0].is_nan());
    }
    #[test]
    fn tokens_of_weight_0_are_not_read() {
        let outputs = [1.0, 2.0, f64::NAN, f64::NAN, 3.0, 0.0];
        let all = Rows::new(&outputs, 3, 2);
        let kept = Rows::new(&[1.0, 2.0, 3.0, 0.0], 2, 2);
        let values = [1.0, 0.0, 0.0, f64::NAN, 2.0, 0.0];
        for metric in [Metric::Accuracy, Metric::CrossEntropy, Metric::SquaredError] {
            let (whole, rest) = match metric {
                Metric::SquaredError => {
                    (Targets::Values(&values[..]), Targets::Values(&[1.0, 0.0, 2.0, 0.0]))
                }
                _ => (Targets::Classes(&[1, 0, 1]), Targets::Classes(&[1, 1])),
            };
            let (mut got, mut want) = (Tally::of(&[metric]), Tally::of(&[metric]));
            got.add(all, whole, |token| f64::from(u8::from(token != 1))).unwrap();
            want.add(kept, rest, |_| 1.0).unwrap();
            assert!((got.take()[0] - want.take()[0]).abs() < 1e-15, "{metric:?}");
        }
        let mut tally = Tally::of(&[Metric::Accuracy]);
        tally.add(all, Targets::Values(&values), |token| f64::from(u8::from(token != 1))).unwrap();
        assert_eq!(tally.take(), [3.0 / 4.0]);
    }
}
