//! Gradient accumulation: one step of the optimiser with the mean gradient of several batches, as if they
//! were one batch.

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::math::sums::AddScaled;
use crate::simd::Element;
use crate::train::optim::current_level;

/// The sum over batches of `count * gradient`, where `gradient` is that of the mean loss of a batch's tokens
/// and `count` the sum of their weights.
#[derive(Default)]
pub(super) struct Accumulated<E> {
    /// How many batches make a step. Below 2, nothing is accumulated.
    pub wanted: usize,
    batches: usize,
    /// The sum of the weights of all tokens.
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
            "accumulate combines whole batches, but with tbptt every chunk of a batch is a step; use only \
             one of the two"
        );
        Ok(())
    }

    /// Adds the gradients of a batch. Once there are enough batches, returns true and replaces `grads` by
    /// the mean gradient of all of them.
    pub fn is_enough(&mut self, grads: &mut [E], count: f64) -> Result<bool> {
        if self.wanted < 2 {
            return Ok(true);
        }
        if self.sum.is_empty() {
            self.sum = zeros(grads.len())?;
        }
        let scale = E::from_f64(count);
        current_level().run(AddScaled { to: &mut self.sum, from: grads, scale });
        self.batches += 1;
        self.count += count;
        Ok(self.batches == self.wanted && self.take(grads))
    }

    /// Writes the mean gradient of the batches so far to `grads` and clears the sum. Returns false if there
    /// are none.
    pub fn take(&mut self, grads: &mut [E]) -> bool {
        if self.batches == 0 {
            return false;
        }
        let scale = E::from_f64(if self.count > 0.0 { 1.0 / self.count } else { 0.0 });
        grads.fill(E::ZERO);
        current_level().run(AddScaled { to: grads, from: &self.sum, scale });
        self.clear();
        true
    }
}
