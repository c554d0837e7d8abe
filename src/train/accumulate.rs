//! Gradient accumulation: the gradients of several batches put together for one step of the optimiser, as
//! if they had been one batch.

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::simd::Element;

/// `sum of count gradient` of some batches, `gradient` being of the mean loss of the batch's tokens.
#[derive(Default)]
pub(super) struct Accumulated<E> {
    /// Batches for a step, if more than one.
    pub wanted: usize,
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
    pub fn take(&mut self, grads: &mut [E]) -> bool {
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
