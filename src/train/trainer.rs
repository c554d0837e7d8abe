//! The training step (forward, loss, backward, clip, update), and the loop over an epoch.
//!
//! Truncated BPTT walks a batch in chunks of steps. A chunk starts from the final states of the chunk before.
//! Gradients stop at its first step. The optimiser takes a step after every chunk:
//!
//! ```text
//! for a batch:  states = 0, or with `stateful` the final states of the batch before
//!     for its steps in chunks of tbptt, or all at once:
//!         outputs, states = forward(inputs, states)
//!         gradients = backward(loss, the mean over the chunk's tokens), clipped
//!         parameters = optimiser(parameters, gradients)
//! ```
//!
//! With accumulation, the optimiser takes a step after every k-th batch, with the gradients of all k. Each step
//! leaves a [`TakenStep`].

use std::ops::Range;
use std::time::Instant;

use super::accumulate::Accumulated;
use super::batch::Batch;
use super::clip::{clip, norm};
use super::data::Dataset;
use super::metric::{Metric, Tally};
use super::optim::{Moments, Optimizer, Rate};
use super::touched::with_gradients;
use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::nn::{Loss, Sequential};
use crate::recurrent::State;
use crate::room::add_room;
use crate::simd::Element;

/// Trains a [`Sequential`] model.
///
/// # Examples
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
    pub(super) loss: Loss,
    update: Update<E>,
    current: Current<E>,
    states: States<E>,
    /// What [`Trainer::train`] returned last.
    progress: Option<Progress>,
    /// The batch of evaluation, which may run while training is inside a batch.
    pub(super) evaluated: Batch<E>,
    /// Metrics of training and of evaluation.
    pub(super) tallies: [Tally; 2],
}

/// The step of the optimiser.
struct Update<E> {
    moments: Moments<E>,
    /// Zero outside of `touched`, if the gradients of batches are not accumulated.
    grads: Vec<E>,
    /// The ranges of the parameters that have gradients.
    touched: Vec<Range<usize>>,
    accumulated: Accumulated<E>,
    /// The bound of the norm of all gradients together.
    clip_norm: Option<f64>,
    /// The steps that the last call took.
    taken: Vec<TakenStep>,
}

/// The batch that training is in.
#[derive(Default)]
struct Current<E> {
    batch: Batch<E>,
    /// The sum of its tokens' weights.
    count: f64,
    /// Steps of a chunk; `None` for whole batches.
    tbptt: Option<usize>,
    /// The steps done, and the loss of these.
    steps: usize,
    loss: f64,
}

/// The states of all recurrent layers after the last chunk.
#[derive(Default)]
struct States<E: Element> {
    states: Vec<State<E>>,
    /// Whether they are carried from batch to batch.
    stateful: bool,
    /// With `stateful`, the number of rows whose states the next batch starts from.
    carried: Option<usize>,
}

/// A step that the optimiser took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TakenStep {
    /// The mean loss of the tokens that the step was for, computed before it; NaN if none of them counts.
    pub loss: f64,
    /// The norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub lr: f64,
}

/// How far [`Trainer::train`] got in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Sequences done.
    pub done: usize,
    /// With truncated BPTT, steps done of the batch after those sequences; 0 between batches.
    pub steps: usize,
    /// Batches done in this epoch. An epoch begins when this and `steps` are 0. If every batch is a data set
    /// of its own, set `done` back to 0 before the next one.
    pub batches: usize,
    /// The sum of the tokens' losses in the sequences done. Divided by `count`, it is the mean loss.
    pub loss_sum: f64,
    /// The sum of the weights of these tokens ([`Loss::counts`]).
    pub count: f64,
    /// A batch's loss was NaN or infinite; the step was not taken.
    pub diverged: bool,
}

impl<E: Element> Trainer<E> {
    /// A trainer for a model. `clip_norm` bounds the norm of all gradients together.
    ///
    /// # Errors
    /// If `clip_norm` is not above zero, or the loss's options do not fit the model.
    pub fn new(
        model: Sequential<E>,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: Option<f64>,
    ) -> Result<Self> {
        if let Some(norm) = clip_norm {
            ensure!(norm > 0.0 && norm.is_finite(), "clip_norm must be above 0, got {norm}");
        }
        loss.check(model.out_features())?;
        let len = model.params.len();
        Ok(Self {
            model,
            loss,
            update: Update {
                moments: Moments::new(optimizer, len)?,
                grads: zeros(len)?,
                touched: Vec::new(),
                accumulated: Accumulated::default(),
                clip_norm,
                taken: Vec::new(),
            },
            current: Current::default(),
            states: States::default(),
            progress: None,
            evaluated: Batch::default(),
            tallies: Default::default(),
        })
    }

    /// Turns on truncated BPTT: a batch is walked in chunks of `steps` steps, and the optimiser takes a step
    /// after every chunk, on the mean loss of its tokens. A chunk starts from the final states of the chunk
    /// before; gradients stop at its first step.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Dataset, GRU, Inputs, Layer, Loss, Optimizer, Sequential, Targets, Trainer};
    ///
    /// let mut model = Sequential::<f64>::new(vec![Layer::GRU(GRU::new(1, 1, true)?)])?;
    /// model.params.fill(0.3);
    /// let wave: Vec<f64> = (0..1001).map(|t| (0.3 * t as f64).sin()).collect();
    /// let (x, y) = (Inputs::Features(&wave[..1000]), Targets::Values(&wave[1..]));
    /// let data = Dataset::new(x, y, &[0, 1000])?;
    /// let optimizer = Optimizer::adam(0.01)?;
    /// let mut trainer = Trainer::new(model, Loss::MeanSquaredError, optimizer, None)?.with_tbptt(20)?;
    /// let first = trainer.step(&data, &[0])?; // 50 chunks, 50 steps of the optimiser
    /// assert!(trainer.step(&data, &[0])? < first);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `steps` is zero, or the model has a layer with two directions or a
    /// [`Layer::LastStep`](crate::Layer::LastStep).
    pub fn with_tbptt(mut self, steps: usize) -> Result<Self> {
        ensure!(steps > 0, "tbptt must be at least 1, got 0");
        self.update.accumulated.check_tbptt(Some(steps))?;
        ensure!(
            !self.model.gives_last_step(),
            "a model with LastStep has targets only for whole sequences, so it cannot be trained in chunks \
             (tbptt); leave tbptt out"
        );
        self.check_directions("trained in chunks (tbptt)")?;
        self.current.tbptt = Some(steps);
        Ok(self)
    }

    /// Carries states from batch to batch: row b of a batch starts from the final states of row b of the
    /// batch before, and from zero at the start of an epoch. All sequences of a batch must have the same
    /// length, and all batches the same number of rows.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Dataset, GRU, Inputs, Layer, Loss, Optimizer, Sequential, Targets, Trainer};
    ///
    /// let mut model = Sequential::<f64>::new(vec![Layer::GRU(GRU::new(1, 1, true)?)])?;
    /// model.params.fill(0.3);
    /// let wave: Vec<f64> = (0..1001).map(|t| (0.3 * t as f64).sin()).collect();
    /// let (x, y) = (Inputs::Features(&wave[..1000]), Targets::Values(&wave[1..]));
    /// let data = Dataset::new(x, y, &[0, 500, 1000])?; // the second continues the first
    /// let optimizer = Optimizer::sgd(0.0, 0.0)?;
    /// let mut trainer = Trainer::new(model, Loss::MeanSquaredError, optimizer, None)?.stateful()?;
    /// trainer.step(&data, &[0])?;
    /// let after_the_first = trainer.step(&data, &[1])?;
    /// trainer.reset_states();
    /// assert_ne!(trainer.step(&data, &[1])?, after_the_first);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a layer has two directions.
    pub fn stateful(mut self) -> Result<Self> {
        self.check_directions("carried on from batch to batch (stateful)")?;
        self.states.stateful = true;
        Ok(self)
    }

    fn check_directions(&self, what: &str) -> Result<()> {
        let two = self.model.layers().position(|layer| layer.directions() == Some(2));
        if let Some(n) = two {
            ensure!(
                false,
                "layer {n} has two directions, and the second starts at the end of a sequence, so it \
                 cannot be {what}; use layers of one direction"
            );
        }
        Ok(())
    }

    /// Makes the next batch start from zero states. Without [`Trainer::stateful`], every batch does.
    pub fn reset_states(&mut self) {
        self.states.carried = None;
    }

    /// Takes one step on some sequences of the data; with truncated BPTT, one for every chunk. Returns the
    /// mean loss of their tokens, computed before the step. A step whose loss is not finite is not taken,
    /// nor those after it.
    ///
    /// # Errors
    /// If the data do not fit the model or the loss, or with [`Trainer::stateful`] the batch before.
    pub fn step(&mut self, data: &Dataset<'_, E>, sequences: &[usize]) -> Result<f64> {
        self.update.taken.clear();
        self.begin(data, sequences)?;
        while !self.batch_is_over() {
            self.next_chunk()?;
        }
        Ok(self.current.loss)
    }

    /// Trains in batches on the sequences of `order`, starting at `progress`. Stops when all are done, when
    /// a loss is not finite, or after the first chunk that ends later than `until`. The epoch is over when
    /// `done` is `order.len()`; with accumulation, call [`Trainer::finish_epoch`] then.
    ///
    /// # Errors
    /// As for [`Trainer::step`]. If `batch_size` is zero. If `progress` is inside a batch (`steps` is not
    /// zero), but is not the progress that the last call returned.
    pub fn train(
        &mut self,
        data: &Dataset<'_, E>,
        order: &[usize],
        batch_size: usize,
        mut progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        ensure!(batch_size > 0, "batch_size must be at least 1, got 0");
        ensure!(
            progress.steps == 0 || self.progress == Some(progress),
            "{progress:?} is inside a batch, but not where this trainer stopped; pass the progress that the \
             last call returned, or set steps to 0 to begin the batch again"
        );
        self.progress = None;
        self.update.taken.clear();
        if (progress.batches, progress.steps) == (0, 0) {
            self.reset_states();
            self.update.accumulated.clear();
        }
        while progress.done < order.len() && !progress.diverged {
            let end = progress.done.saturating_add(batch_size).min(order.len());
            let sequences = &order[progress.done..end];
            if progress.steps == 0 {
                self.begin(data, sequences)?;
            }
            self.next_chunk()?;
            let Current { steps, loss, count, .. } = self.current;
            progress.steps = steps;
            if self.batch_is_over() {
                progress.loss_sum += loss * count;
                progress.count += count;
                progress.diverged = !loss.is_finite();
                (progress.done, progress.steps) = (end, 0);
                progress.batches += 1;
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.progress = Some(progress);
        Ok(progress)
    }

    /// Gathers a batch and goes to its first step.
    fn begin(&mut self, data: &Dataset<'_, E>, sequences: &[usize]) -> Result<()> {
        data.check_targets(&self.model)?;
        self.progress = None;
        let Current { batch, count, steps, loss, .. } = &mut self.current;
        batch.gather(data, sequences)?;
        (*steps, *loss) = (0, 0.0);
        let whole = batch.whole()?;
        self.loss.check_targets(whole.targets, whole.targets_count, self.model.out_features())?;
        let counts = self.loss.counts(whole.targets);
        *count = (0..whole.targets_count).map(counts).sum();
        if !self.states.stateful {
            batch.clear_rows_of_weight_0();
        }
        let sizes = batch.sizes();
        let (rows, steps) = (sizes.rows(), sizes.steps());
        let States { states, stateful, carried } = &mut self.states;
        if let Some(carried) = *carried {
            ensure!(
                carried == rows,
                "stateful: a batch of {rows} sequences cannot go on from one of {carried}; batch_size must \
                 divide the number of sequences"
            );
        }
        if *stateful {
            ensure!(
                sizes.count(steps - 1) == rows,
                "stateful: all sequences of a batch must be of one length"
            );
        }
        if carried.is_none() {
            self.model.network.reset_states(states, rows)?;
        }
        *carried = stateful.then_some(rows);
        Ok(())
    }

    /// Whether all steps are done, or a loss was not finite.
    fn batch_is_over(&self) -> bool {
        let Current { batch, steps, loss, .. } = &self.current;
        *steps == batch.sizes().steps() || !loss.is_finite()
    }

    /// Takes a step of the optimiser on the next chunk of the batch, unless its loss is not finite.
    fn next_chunk(&mut self) -> Result<()> {
        let Current { batch, tbptt, steps: done, .. } = &self.current;
        let sizes = batch.sizes();
        let end = tbptt.map_or(sizes.steps(), |steps| done.saturating_add(steps));
        let end = end.min(sizes.steps());
        let chunk = batch.chunk(*done, end)?;
        let count: f64 = (0..chunk.targets_count).map(self.loss.counts(chunk.targets)).sum();
        let factors = batch.factors(*done, end, count)?;
        self.model.forward_from(chunk.input, &chunk.sizes, &mut self.states.states, true)?;
        let (outputs, gradient) = self.model.output_and_gradient()?;
        let loss = self.loss.of(outputs, chunk.targets, factors.as_deref(), Some(gradient))?;
        if loss.is_finite() {
            {
                let counts = self.loss.counts(chunk.targets);
                self.tallies[0].add(outputs, chunk.targets, |token| match &factors {
                    Some(factors) if factors[token] == 0.0 => 0.0,
                    _ => counts(token),
                })?;
            }
            let Update { grads, touched, accumulated, taken, .. } = &mut self.update;
            add_room(taken)?;
            for range in touched.drain(..) {
                grads[range].fill(E::ZERO);
            }
            *touched = match accumulated.wanted {
                ..2 => with_gradients(self.model.layers(), grads.len(), chunk.input)?,
                _ => vec![Range { start: 0, end: grads.len() }],
            };
            self.model.backward(chunk.input, &chunk.sizes, grads)?;
            if let Some(loss) = accumulated.add(grads, count, loss)? {
                self.optimise(loss);
            }
        }
        let Current { count: of_batch, steps, loss: batch_loss, .. } = &mut self.current;
        // The mean over the tokens of the batch. If the chunk is the whole batch, the factor is exactly 1.
        if *of_batch > 0.0 {
            *batch_loss += loss * (count / *of_batch);
        }
        *steps = end;
        Ok(())
    }

    /// Takes a step of the optimiser with the current gradients, which are those of this mean loss.
    fn optimise(&mut self, loss: f64) {
        let Update { moments, grads, touched, clip_norm, taken, .. } = &mut self.update;
        let gradient_norm = match *clip_norm {
            Some(max_norm) => clip(grads, touched, max_norm),
            None => norm(grads, touched),
        };
        let all = [Range { start: 0, end: grads.len() }];
        let changed = if moments.is_local() { &touched[..] } else { &all };
        let lr = moments.update(&mut self.model.params, grads, changed);
        taken.push(TakenStep { loss, gradient_norm, lr });
    }
}

/// What can be set between epochs, and the optimiser's state, which another trainer can take over.
impl<E: Element> Trainer<E> {
    /// Makes [`Trainer::train`] take one step of the optimiser for every `batches` batches. Up to rounding,
    /// it is the step for one batch made of them all. [`Trainer::finish_epoch`] takes the last step if fewer
    /// remain.
    ///
    /// # Errors
    /// If `batches` is zero, or with truncated BPTT.
    pub fn with_accumulation(mut self, batches: usize) -> Result<Self> {
        ensure!(batches > 0, "accumulate must be at least 1, got 0");
        self.update.accumulated.wanted = batches;
        self.update.accumulated.check_tbptt(self.current.tbptt)?;
        Ok(self)
    }

    /// At the end of an epoch, takes a step with the gradients that are accumulated but not used yet, if any.
    pub fn finish_epoch(&mut self) {
        self.update.taken.clear();
        if let Some(loss) = self.update.accumulated.take(&mut self.update.grads) {
            self.optimise(loss);
        }
    }

    /// Returns the steps of the optimiser that the last call of [`Trainer::train`], [`Trainer::step`] or
    /// [`Trainer::finish_epoch`] took, in order, and forgets them.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Dataset, Inputs, Layer, Linear, Loss, Optimizer, Sequential, Targets, Trainer};
    ///
    /// let mut model = Sequential::<f64>::new(vec![Layer::Linear(Linear::new(1, 1, false)?)])?;
    /// model.params[0] = 1.0;
    /// let data = Dataset::new(Inputs::Features(&[2.0]), Targets::Values(&[5.0]), &[0, 1])?;
    /// let optimizer = Optimizer::sgd(0.01, 0.0)?;
    /// let mut trainer = Trainer::new(model, Loss::MeanSquaredError, optimizer, None)?;
    /// trainer.step(&data, &[0])?;
    /// let taken = trainer.take_steps();
    /// assert_eq!((taken[0].loss, taken[0].gradient_norm, taken[0].lr), (9.0, 12.0, 0.01));
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn take_steps(&mut self) -> Vec<TakenStep> {
        std::mem::take(&mut self.update.taken)
    }

    /// Whether a step leaves parameters without a gradient as they are. Rows of an
    /// [`Embedding`](crate::Embedding) that no batch has then cost no time.
    pub fn is_local(&self) -> bool {
        self.update.moments.is_local() && self.update.accumulated.wanted < 2
    }

    /// Sets the rates of the next steps of the optimiser: the first rate is for the next step, and so on. All
    /// later steps use the last rate. With an empty list, steps use the optimiser's own rate.
    ///
    /// # Errors
    /// If a rate is negative or not finite, a momentum is not in [0, 1), or the optimiser has none.
    pub fn set_rates(&mut self, rates: Vec<Rate>) -> Result<()> {
        self.update.moments.set_rates(rates, self.model.params.len())
    }

    /// Sets the metrics that training and evaluation compute.
    pub fn set_metrics(&mut self, metrics: &[Metric]) {
        self.tallies = [Tally::of(metrics), Tally::of(metrics)];
    }

    /// Returns the metrics of training since the last call; NaN if there were no tokens.
    pub fn take_metrics(&mut self) -> Vec<f64> {
        self.tallies[0].take()
    }

    /// Returns the metrics of evaluation since the last call; NaN if there were no tokens.
    pub fn take_evaluated_metrics(&mut self) -> Vec<f64> {
        self.tallies[1].take()
    }

    /// The optimiser's state: the number of steps taken, and three vectors with a number for every
    /// parameter. A vector that the optimiser does not use is empty.
    pub fn optimizer_state(&self) -> (usize, &[Vec<E>; 3]) {
        self.update.moments.state()
    }

    /// Continues from a state that [`Trainer::optimizer_state`] returned for the same optimiser and model.
    ///
    /// # Errors
    /// If the vectors do not fit this optimiser and model. Nothing changes then.
    pub fn restore_optimizer(&mut self, steps: usize, vectors: [Vec<E>; 3]) -> Result<()> {
        self.update.moments.restore(steps, vectors, self.model.params.len())
    }
}
