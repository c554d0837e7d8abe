//! Gradient accumulation: the gradients of several batches put together for one step of the optimiser, as
//! if they had been one batch.

use super::{Metric, Rate, Tally, Trainer};
use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::simd::Element;

/// `sum of count gradient` of some batches, `gradient` being of the mean loss of the batch's tokens.
#[derive(Default)]
pub(super) struct Accumulated<E> {
    /// Batches for a step, if more than one.
    wanted: usize,
    batches: usize,
    /// What the tokens count together.
    count: f64,
    sum: Vec<E>,
}

impl<E: Element> Accumulated<E> {
    pub fn clear(&mut self) {
        (self.batches, self.count) = (0, 0.0);
        self.sum.fill(E::ZERO);
    }

    pub fn check_tbptt(&self, tbptt: Option<usize>) -> Result<()> {
        ensure!(
            tbptt.is_none() || self.wanted < 2,
            "accumulate puts whole batches together, and with tbptt every chunk of one is a step: use one of \
             the two"
        );
        Ok(())
    }

    /// Takes the gradients of a batch. Once there are enough, gives the mean of all of them in their place.
    pub fn is_enough(&mut self, grads: &mut [E], count: f64) -> Result<bool> {
        if self.wanted < 2 {
            return Ok(true);
        }
        if self.sum.is_empty() {
            self.sum = zeros(grads.len())?;
        }
        let scale = E::from_f64(count);
        for (sum, &g) in self.sum.iter_mut().zip(&*grads) {
            *sum = *sum + scale * g;
        }
        self.batches += 1;
        self.count += count;
        Ok(self.batches == self.wanted && self.take(grads))
    }

    /// Writes the mean gradient of the batches so far, if there are any, and forgets them.
    fn take(&mut self, grads: &mut [E]) -> bool {
        if self.batches == 0 {
            return false;
        }
        let scale = E::from_f64(if self.count > 0.0 { 1.0 / self.count } else { 0.0 });
        for (g, &sum) in grads.iter_mut().zip(&self.sum) {
            *g = scale * sum;
        }
        self.clear();
        true
    }
}

/// What is set between epochs, or taken up from an earlier trainer.
impl<E: Element> Trainer<E> {
    /// With a step of the optimiser for every so many batches of [`Trainer::train`], the same one, up to
    /// rounding, as if they were one batch. [`Trainer::finish_epoch`] takes a last step with fewer.
    ///
    /// # Errors
    /// If `batches` is zero, or with truncated BPTT.
    pub fn with_accumulation(mut self, batches: usize) -> Result<Self> {
        ensure!(batches > 0, "accumulate must be at least 1, got 0");
        self.accumulated.wanted = batches;
        self.accumulated.check_tbptt(self.tbptt)?;
        Ok(self)
    }

    /// Takes the step that accumulated gradients still wait for at the end of an epoch, if there are any.
    pub fn finish_epoch(&mut self) {
        if self.accumulated.take(&mut self.grads) {
            self.optimise();
        }
    }

    /// Sets the rates of the coming steps of the optimiser, one each; the last one stays after them.
    /// Without any, the optimiser's own.
    ///
    /// # Errors
    /// If a rate is negative or not finite, a momentum is not in [0, 1), or the optimiser has none.
    pub fn set_rates(&mut self, rates: Vec<Rate>) -> Result<()> {
        self.moments.set_rates(rates, self.model.params.len())
    }

    /// Counts these metrics in training and evaluation.
    pub fn set_metrics(&mut self, metrics: &[Metric]) {
        self.tallies = [Tally::of(metrics), Tally::of(metrics)];
    }

    /// The metrics of training since they were last taken; NaN if nothing was counted.
    pub fn take_metrics(&mut self) -> Vec<f64> {
        self.tallies[0].take()
    }

    /// The metrics of evaluation since they were last taken; NaN if nothing was counted.
    pub fn take_evaluated_metrics(&mut self) -> Vec<f64> {
        self.tallies[1].take()
    }

    /// How many steps the optimiser has taken, and what it remembers of them: three vectors with a number
    /// for every parameter, empty where it needs none.
    pub fn optimizer_state(&self) -> (usize, &[Vec<E>; 3]) {
        self.moments.state()
    }

    /// Goes on from what [`Trainer::optimizer_state`] gave, of the same optimiser and model.
    ///
    /// # Errors
    /// If the vectors are not those of this optimiser and model; nothing is changed then.
    pub fn restore_optimizer(&mut self, steps: usize, vectors: [Vec<E>; 3]) -> Result<()> {
        self.moments.restore(steps, vectors, self.model.params.len())
    }
}
