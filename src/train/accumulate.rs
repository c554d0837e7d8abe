//! Gradient accumulation: one step of the optimiser with the mean gradient of several batches, as if they
//! were one batch.

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::math::sums::AddScaled;
use crate::simd::Element;
use crate::train::optim::current_level;

/// The sums over batches of `count * gradient` and `count * loss`, where `gradient` is that of the mean loss of
/// a batch's tokens and `count` the sum of their weights.
#[derive(Default)]
pub(super) struct Accumulated<E> {
    /// How many batches make a step. Below 2, nothing is accumulated.
    pub wanted: usize,
    batches: usize,
    /// The sum of the weights of all tokens.
    count: f64,
    loss: f64,
    sum: Vec<E>,
}

impl<E: Element> Accumulated<E> {
    pub fn clear(&mut self) {
        (self.batches, self.count, self.loss) = (0, 0.0, 0.0);
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

    /// Adds the gradients and the mean loss of a batch. Once there are enough batches, replaces `grads` by
    /// the mean gradient of all of them and returns their mean loss: NaN if no token counts.
    pub fn add(&mut self, grads: &mut [E], count: f64, loss: f64) -> Result<Option<f64>> {
        if self.wanted < 2 {
            return Ok(Some(if count > 0.0 { loss } else { f64::NAN }));
        }
        if self.sum.is_empty() {
            self.sum = zeros(grads.len())?;
        }
        let scale = E::from_f64(count);
        current_level().run(AddScaled { to: &mut self.sum, from: grads, scale });
        self.batches += 1;
        self.count += count;
        self.loss += count * loss;
        Ok(if self.batches == self.wanted { self.take(grads) } else { None })
    }

    /// Writes the mean gradient of the batches so far to `grads`, clears the sums and returns the mean loss.
    /// Returns `None` if there are no batches.
    pub fn take(&mut self, grads: &mut [E]) -> Option<f64> {
        if self.batches == 0 {
            return None;
        }
        let loss = self.loss / self.count; // NaN if no token counts
        let scale = E::from_f64(if self.count > 0.0 { 1.0 / self.count } else { 0.0 });
        grads.fill(E::ZERO);
        current_level().run(AddScaled { to: grads, from: &self.sum, scale });
        self.clear();
        Some(loss)
    }
}
