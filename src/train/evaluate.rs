//! Evaluation and prediction: forward passes over batches of consecutive sequences of different lengths.

use std::ops::Range;
use std::time::Instant;

use super::batch::Batch;
use super::{Dataset, Progress, Trainer};
use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::nn::{Layer, Network, Sequential};
use crate::recurrent::State;
use crate::simd::Element;
use crate::view::Rows;

/// The most sequences that evaluation and prediction compute at a time.
pub const EVALUATION_ROWS: usize = 256;

/// The most steps, of all sequences together, that evaluation and prediction compute at a time, unless one
/// sequence alone has more. It limits the memory and time of a batch of long sequences.
pub const EVALUATION_STEPS: usize = 1 << 18;

/// The batch of sequences from `first` on.
fn batch_from<E: Element>(data: &Dataset<'_, E>, first: usize) -> Vec<usize> {
    let mut steps = 0;
    let sequences = first..data.len().min(first + EVALUATION_ROWS);
    let fitting = sequences.take_while(|&n| {
        steps += data.range(n).len();
        n == first || steps <= EVALUATION_STEPS
    });
    fitting.collect()
}

/// Where the rows of a batch lie in h or c, for all layers and directions: in that of all sequences, which
/// has `len` numbers, (L D, N, H), and in that of the batch. `rows` are pairs (row of the batch, sequence).
fn row_pairs(
    layers: usize,
    rows: &[(usize, usize)],
    len: usize,
    sequences: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let size = len / (layers * sequences);
    let place = move |n: usize| n * size..(n + 1) * size;
    (0..layers).flat_map(move |layer| {
        let pair = move |&(row, sequence): &(usize, usize)| {
            (place(layer * sequences + sequence), place(layer * rows.len() + row))
        };
        rows.iter().map(pair)
    })
}

impl<E: Element> Trainer<E> {
    /// The mean loss of all tokens, with the same token weights as in training
    /// ([`Loss::counts`](crate::Loss::counts)). Weights of sequences are not used.
    ///
    /// # Errors
    /// If the data do not fit the model or the loss, or the weights of all tokens are 0.
    pub fn evaluate(&mut self, data: &Dataset<'_, E>) -> Result<f64> {
        let mut progress = Progress::default();
        while progress.done < data.len() {
            progress = self.evaluate_until(data, progress, Instant::now())?;
        }
        ensure!(progress.count != 0.0, "no target counts: there is nothing to evaluate");
        Ok(progress.loss_sum / progress.count)
    }

    /// Evaluates the sequences from `progress.done` on. Stops when all are done, or after the first batch
    /// that ends later than `until`. If training is inside a batch, it can continue there afterwards.
    ///
    /// # Errors
    /// If the data do not fit the model or the loss.
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
            let (batch, features) = (self.evaluated.whole()?, self.model.out_features());
            self.loss.check_targets(batch.targets, batch.targets_count, features)?;
            let counts = self.loss.counts(batch.targets);
            let count: f64 = (0..batch.targets_count).map(&counts).sum();
            let y = self.model.forward(batch.input, &batch.sizes, false)?;
            let y = Rows::new(y, y.len() / features, features);
            progress.loss_sum += self.loss.of(y, batch.targets, None, None)? * count;
            progress.count += count;
            self.tallies[1].add(y, batch.targets, counts)?;
            progress.done += sequences.len();
            if Instant::now() >= until {
                break;
            }
        }
        Ok(progress)
    }
}

impl<E: Element> Sequential<E> {
    /// The outputs for every step, one sequence after the other: (sum of T, F). With
    /// [`Layer::LastStep`](crate::Layer::LastStep), the outputs for every sequence: (N, F).
    ///
    /// # Errors
    /// If the data do not fit the model, or there is not enough memory.
    pub fn predict(&mut self, data: &Dataset<'_, E>) -> Result<Vec<E>> {
        let rows = if self.gives_last_step() { data.len() } else { data.steps() };
        let mut outputs = zeros(rows.saturating_mul(self.out_features()))?;
        let mut done = 0;
        while done < data.len() {
            done = self.predict_until(data, done, &mut outputs, Instant::now())?;
        }
        Ok(outputs)
    }

    /// Writes the outputs that [`Sequential::predict`] returns, from sequence `done` on. Stops when all are
    /// done, or after the first batch that ends later than `until`. Returns the number of sequences done.
    ///
    /// # Errors
    /// If the data or the length of `outputs` do not fit the model.
    pub fn predict_until(
        &mut self,
        data: &Dataset<'_, E>,
        done: usize,
        outputs: &mut [E],
        until: Instant,
    ) -> Result<usize> {
        let params = self.network.split_params(&self.params)?;
        self.network.predict_until(&params, data, done, outputs, None, until)
    }
}

impl<E: Element> Network<E> {
    /// Same as [`Sequential::predict_until`], with the caller's parameters. If `states` are given, one for
    /// each recurrent layer with a row for each sequence of the data, the sequences start from them, and they
    /// become the final states of the sequences that are done.
    ///
    /// # Errors
    /// If the parameters, the data, the length of `outputs` or the states do not fit the model.
    pub fn predict_until(
        &mut self,
        params: &[&[E]],
        data: &Dataset<'_, E>,
        mut done: usize,
        outputs: &mut [E],
        mut states: Option<&mut [State<E>]>,
        until: Instant,
    ) -> Result<usize> {
        let (features, last_step) = (self.out_features(), self.gives_last_step());
        let rows = if last_step { data.len() } else { data.steps() };
        let (given, want) = (outputs.len(), rows.saturating_mul(features));
        ensure!(given == want, "outputs has {given} elements, needs {want}");
        if let Some(states) = &states {
            self.check_states(states, data.len())?;
        }
        let layers: Vec<usize> = self.layers().filter_map(Layer::state_layers).collect();
        let (mut batch, mut of_batch) = (Batch::default(), Vec::new());
        while done < data.len() {
            let sequences = batch_from(data, done);
            done += sequences.len();
            batch.gather(data, &sequences)?;
            let (input, sizes) = (batch.whole()?.input, batch.sizes());
            let y = match &mut states {
                None => self.forward(params, input, sizes, false)?,
                Some(states) => {
                    let rows: Vec<_> = batch.sequences().enumerate().collect();
                    self.reset_states(&mut of_batch, rows.len())?;
                    for ((all, some), &layers) in states.iter().zip(&mut of_batch).zip(&layers) {
                        for (all, some) in [(&all.h, &mut some.h), (&all.c, &mut some.c)] {
                            for (from, to) in row_pairs(layers, &rows, all.len(), data.len()) {
                                some[to].copy_from_slice(&all[from]);
                            }
                        }
                    }
                    let y = self.forward_from(params, input, sizes, &mut of_batch, false)?;
                    for ((all, some), &layers) in states.iter_mut().zip(&of_batch).zip(&layers) {
                        for (all, some) in [(&mut all.h, &some.h), (&mut all.c, &some.c)] {
                            for (to, from) in row_pairs(layers, &rows, all.len(), data.len()) {
                                all[to].copy_from_slice(&some[from]);
                            }
                        }
                    }
                    y
                }
            };
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
            if Instant::now() >= until {
                break;
            }
        }
        Ok(done)
    }
}
