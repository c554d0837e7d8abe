//! Evaluation and prediction: forward passes over batches of consecutive sequences, of any lengths.

use std::time::Instant;

use super::batch::Batch;
use super::{Dataset, Progress, Trainer};
use crate::buffer::zeros;
use crate::error::Result;
use crate::nn::Sequential;
use crate::simd::Element;
use crate::view::Rows;

/// Sequences that are taken at a time, at most.
const EVALUATION_ROWS: usize = 256;

/// Steps of them all together, unless one sequence alone has more: what a batch takes of memory and time
/// must not grow with the longest sequence 256 times.
const EVALUATION_STEPS: usize = 1 << 18;

/// The sequences from `first` on that are taken together.
fn batch_from<E: Element>(data: &Dataset<'_, E>, first: usize) -> Vec<usize> {
    let mut steps = 0;
    let sequences = first..data.len().min(first + EVALUATION_ROWS);
    let fitting = sequences.take_while(|&n| {
        steps += data.range(n).len();
        n == first || steps <= EVALUATION_STEPS
    });
    fitting.collect()
}

impl<E: Element> Trainer<E> {
    /// The loss of every sequence, the mean over its steps, averaged over the sequences.
    ///
    /// # Errors
    /// If the data do not fit the model or the loss.
    pub fn evaluate(&mut self, data: &Dataset<'_, E>) -> Result<f64> {
        let mut progress = Progress::default();
        while progress.done < data.len() {
            progress = self.evaluate_until(data, progress, Instant::now())?;
        }
        Ok(progress.loss_sum / data.len() as f64)
    }

    /// Evaluates the sequences from `progress.done` on until they are done or the time is up. A batch that
    /// training is in the middle of is left where it is.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_until(
        &mut self,
        data: &Dataset<'_, E>,
        mut progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        data.check_targets(&self.model)?;
        while progress.done < data.len() {
            let sequences = batch_from(data, progress.done);
            self.evaluated.gather(data, &sequences)?;
            let (batch, features) = (self.evaluated.whole(), self.model.out_features());
            let factors = self.evaluated.mean_factors(self.loss.counts(batch.targets))?;
            let y = self.model.forward(batch.input, &batch.sizes, false)?;
            let y = Rows::new(y, y.len() / features, features);
            progress.loss_sum += self.loss.of(y, batch.targets, Some(&factors), None)?;
            self.tallies[1].add(y, batch.targets)?;
            progress.done += sequences.len();
            if Instant::now() >= until {
                break;
            }
        }
        Ok(progress)
    }
}

impl<E: Element> Sequential<E> {
    /// The outputs for every step of every sequence, one after the other: (sum of T, F). With
    /// [`Layer::LastStep`](crate::Layer::LastStep), one for every sequence: (N, F).
    ///
    /// # Errors
    /// If the data do not fit the model.
    pub fn predict(&mut self, data: &Dataset<'_, E>) -> Result<Vec<E>> {
        let features = self.out_features();
        let last_step = self.gives_last_step();
        let rows = if last_step { data.len() } else { data.steps() };
        let mut outputs = zeros(rows.saturating_mul(features))?;
        let mut batch = Batch::default();
        let mut done = 0;
        while done < data.len() {
            let sequences = batch_from(data, done);
            done += sequences.len();
            batch.gather(data, &sequences)?;
            let y = self.forward(batch.whole().input, batch.sizes(), false)?;
            for (b, sequence) in batch.sequences().enumerate() {
                if last_step {
                    outputs[sequence * features..][..features]
                        .copy_from_slice(&y[b * features..][..features]);
                    continue;
                }
                let range = data.range(sequence);
                let to = &mut outputs[range.start * features..range.end * features];
                for (t, to) in to.chunks_exact_mut(features).enumerate() {
                    let row = batch.sizes().offset(t) + b;
                    to.copy_from_slice(&y[row * features..][..features]);
                }
            }
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Targets;
    use crate::train::Inputs;

    #[test]
    fn batches_are_bounded_in_rows_and_in_steps() {
        let of = |lengths: &[usize]| {
            let mut offsets = vec![0];
            offsets.extend(lengths.iter().scan(0, |end, n| {
                *end += n;
                Some(*end)
            }));
            let x = vec![0; offsets[lengths.len()]];
            let data = Dataset::<f32>::new(Inputs::Tokens(&x), Targets::Classes(&x), &offsets);
            let data = data.unwrap();
            let mut batches = Vec::new();
            while batches.iter().sum::<usize>() < lengths.len() {
                batches.push(batch_from(&data, batches.iter().sum()).len());
            }
            batches
        };
        assert_eq!(of(&[3; 600]), [256, 256, 88]);
        let long = EVALUATION_STEPS;
        assert_eq!(of(&[2, 1, long + 1, 1, long - 1, 1]), [2, 1, 2, 1]);
    }
}
