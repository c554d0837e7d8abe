//! Training: batches out of a data set, the step (forward, loss, backward, clip, update), and the
//! loop over an epoch. All of it runs here, so a caller from Python enters once an epoch.

mod data;
mod optim;

pub use data::{Dataset, Inputs};
pub use optim::{Optimizer, clip_by_global_norm};

use std::time::Instant;

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::nn::{Loss, Sequential};
use crate::simd::Element;
use data::Batch;
pub(crate) use optim::{Moments, sum_of_squares};

/// Sequences that evaluation and prediction take at a time.
const EVALUATION_ROWS: usize = 256;

/// Trains a [`Sequential`] model.
///
/// ```
/// use bptt::{Dataset, Inputs, LSTM, Layer, Linear, Loss, Optimizer, Sequential, Targets, Trainer};
///
/// let layers = vec![Layer::LSTM(LSTM::new(1, 8, true)?), Layer::Linear(Linear::new(8, 1, true)?)];
/// let mut model = Sequential::<f32>::new(layers)?;
/// for (i, p) in model.params.iter_mut().enumerate() {
///     *p = 0.3 * (i as f32 * 1.7).sin();
/// }
/// // Two sequences of three steps.
/// let data = Dataset::new(
///     Inputs::Features(&[0.1, 0.2, 0.3, 0.5, 0.4, 0.3]),
///     Targets::Values(&[0.2, 0.3, 0.4, 0.4, 0.3, 0.2]),
///     &[0, 3, 6],
/// )?;
/// let mut trainer = Trainer::new(model, Loss::MeanSquaredError, Optimizer::adam(0.01)?, None)?;
/// let before = trainer.evaluate(&data)?;
/// for _ in 0..50 {
///     trainer.step(&data, &[0, 1])?;
/// }
/// assert!(trainer.evaluate(&data)? < before / 2.0);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Trainer<E: Element> {
    /// The model in its present state.
    pub model: Sequential<E>,
    loss: Loss,
    clip_norm: Option<f64>,
    moments: Moments<E>,
    grads: Vec<E>,
    batch: Batch<E>,
}

/// How far [`Trainer::train`] came through the sequences of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Sequences done.
    pub done: usize,
    /// The sum of their losses, each batch's mean loss counted for each of its sequences.
    pub loss_sum: f64,
    /// A batch's loss was NaN or infinite; the step was not taken.
    pub diverged: bool,
}

impl<E: Element> Trainer<E> {
    /// A trainer for a model. `clip_norm` bounds the norm of all gradients together.
    ///
    /// # Errors
    /// If `clip_norm` is not above zero.
    pub fn new(
        model: Sequential<E>,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: Option<f64>,
    ) -> Result<Self> {
        if let Some(norm) = clip_norm {
            ensure!(norm > 0.0 && norm.is_finite(), "clip_norm must be above 0, got {norm}");
        }
        let len = model.params.len();
        Ok(Self {
            model,
            loss,
            clip_norm,
            moments: Moments::new(optimizer, len)?,
            grads: zeros(len)?,
            batch: Batch::default(),
        })
    }

    /// One step on some sequences of the data; gives the mean loss of their steps before it.
    /// If that is not finite, the model stays as it is.
    ///
    /// # Errors
    /// If the data do not fit the model or the loss.
    pub fn step(&mut self, data: &Dataset<'_, E>, sequences: &[usize]) -> Result<f64> {
        let loss = self.forward(data, sequences, true)?;
        if loss.is_finite() {
            self.grads.fill(E::ZERO);
            self.model.backward(self.batch.input(), self.batch.sizes(), &mut self.grads)?;
            if let Some(norm) = self.clip_norm {
                clip_by_global_norm(&mut self.grads, norm);
            }
            self.moments.update(&mut self.model.params, &self.grads);
        }
        Ok(loss)
    }

    /// Trains on the sequences of `order` from `progress.done` on, in batches, until they are done, a
    /// loss is not finite, or the time is up. The epoch is over when `done` is `order.len()`.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn train(
        &mut self,
        data: &Dataset<'_, E>,
        order: &[usize],
        batch_size: usize,
        mut progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        ensure!(batch_size > 0, "batch_size must be at least 1, got 0");
        while progress.done < order.len() && !progress.diverged {
            let end = progress.done.saturating_add(batch_size).min(order.len());
            let sequences = &order[progress.done..end];
            let loss = self.step(data, sequences)?;
            progress.loss_sum += loss * sequences.len() as f64;
            progress.diverged = !loss.is_finite();
            progress.done = end;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(progress)
    }

    /// The loss of every sequence, averaged over them.
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

    /// Evaluates the sequences from `progress.done` on until they are done or the time is up.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_until(
        &mut self,
        data: &Dataset<'_, E>,
        mut progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        while progress.done < data.len() {
            let sequences = data.run_from(progress.done, EVALUATION_ROWS);
            let loss = self.forward(data, &sequences, false)?;
            progress.loss_sum += loss * sequences.len() as f64;
            progress.done += sequences.len();
            if Instant::now() >= until {
                break;
            }
        }
        Ok(progress)
    }

    /// The mean loss of a batch, whose gradient goes to the model's output.
    fn forward(&mut self, data: &Dataset<'_, E>, sequences: &[usize], record: bool) -> Result<f64> {
        ensure!(data.has_targets(), "the data set has no targets to train on or compare with");
        self.batch.gather(data, sequences)?;
        self.model.forward(self.batch.input(), self.batch.sizes(), record)?;
        let (outputs, gradient) = self.model.output_and_gradient()?;
        self.loss.of(outputs, self.batch.targets(), gradient)
    }
}

impl<E: Element> Sequential<E> {
    /// The outputs for every step of every sequence, one after the other: (sum of T, F).
    ///
    /// # Errors
    /// If the data do not fit the model.
    pub fn predict(&mut self, data: &Dataset<'_, E>) -> Result<Vec<E>> {
        let features = self.out_features();
        let mut outputs = zeros(data.steps().saturating_mul(features))?;
        let mut batch = Batch::default();
        let mut done = 0;
        while done < data.len() {
            let sequences = data.run_from(done, EVALUATION_ROWS);
            done += sequences.len();
            batch.gather(data, &sequences)?;
            let (steps, rows) = (batch.sizes().steps(), batch.sizes().rows());
            let y = self.forward(batch.input(), batch.sizes(), false)?;
            for (b, &sequence) in sequences.iter().enumerate() {
                let to = &mut outputs[data.range(sequence).start * features..][..steps * features];
                for (t, to) in to.chunks_exact_mut(features).enumerate() {
                    to.copy_from_slice(&y[(t * rows + b) * features..][..features]);
                }
            }
        }
        Ok(outputs)
    }
}
