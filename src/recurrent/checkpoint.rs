//! Checkpoints: time chunks that the backward pass computes again.
//!
//! A pass can be split into time chunks, each of which continues from the state of the chunk before. It then
//! computes the same bits as the whole pass. So the forward pass keeps only the state before every chunk.
//! The backward pass takes the chunks from the last to the first. For each chunk, it runs forward again with
//! records, and then backward.

use std::ops::Range;

use super::backward::weights;
use super::direction::Direction;
use super::tape::Checkpoints;
use crate::cell::Cell;
use crate::error::Result;
use crate::simd::Element;
use crate::view::{Rows, Seq};

impl<C: Cell> Direction<C> {
    /// About sqrt(T) time chunks of about sqrt(T) steps each, in the order in which they are computed. Each
    /// consists of whole blocks of the sums for the weights' gradients, so that the order of these sums
    /// stays the same.
    pub(super) fn chunks<E: Copy>(&self, x: Seq<'_, E>) -> Vec<Range<usize>> {
        let steps = x.shape().steps;
        let least = (steps as f64).sqrt().ceil() as usize;
        let mut starts = Vec::new();
        weights::blocks(self, x, weights::groups(self, x).len(), &mut starts);
        let mut cuts = vec![0];
        for start in starts {
            if start - cuts[cuts.len() - 1] >= least.max(1) {
                cuts.push(start);
            }
        }
        let ends = cuts.iter().skip(1).chain([&steps]);
        let chunks = cuts.iter().zip(ends).map(|(&first, &end)| match self.reverse {
            false => first..end,
            true => steps - end..steps - first,
        });
        chunks.collect()
    }
}

impl<E: Element> Checkpoints<E> {
    /// Keeps the state before time chunk `n`.
    pub(super) fn keep(&mut self, n: usize, h: Rows<'_, E>, c: Rows<'_, E>) -> Result<()> {
        self.states.resize_with(self.states.len().max(n + 1), Default::default);
        self.states[n][0].copy_rows(h)?;
        self.states[n][1].copy_rows(c)
    }

    /// Copies the state before time chunk `n` to `again`, and makes room there for the chunk's `len` outputs.
    pub(super) fn restore(&mut self, n: usize, len: usize) -> Result<()> {
        let Self { states, again: [h, c, y] } = self;
        for (to, from) in [h, c].into_iter().zip(&states[n]) {
            to.copy_rows(Rows::new(from, 1, from.len()))?;
        }
        y.resize(len)
    }
}
