//! Checkpoints: chunks of steps that are computed again when the backward pass comes to them.
//!
//! A pass that is split in time, each chunk continuing from the state that the one before left, computes the
//! same bits as the whole. So the forward pass keeps the state before every chunk. The backward pass takes the
//! chunks from the last to the first: forward once more, recorded, then back.

use std::ops::Range;

use super::backward::weights;
use super::direction::Direction;
use super::tape::Checkpoints;
use crate::cell::Cell;
use crate::error::Result;
use crate::simd::Element;
use crate::view::{Rows, Seq};

impl<C: Cell> Direction<C> {
    /// About sqrt(T) chunks of about as many steps, in the order in which they are computed. They are whole
    /// blocks of the sums for the weights' gradients, so that these are added in the same order, too.
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
    /// Keeps the state before chunk `n`.
    pub(super) fn keep(&mut self, n: usize, h: Rows<'_, E>, c: Rows<'_, E>) -> Result<()> {
        self.states.resize_with(self.states.len().max(n + 1), Default::default);
        self.states[n][0].copy_rows(h)?;
        self.states[n][1].copy_rows(c)
    }

    /// Puts the state before chunk `n`, whose outputs are `len` numbers, where the chunk is computed again.
    pub(super) fn restore(&mut self, n: usize, len: usize) -> Result<()> {
        let Self { states, again: [h, c, y] } = self;
        for (to, from) in [h, c].into_iter().zip(&states[n]) {
            to.copy_rows(Rows::new(from, 1, from.len()))?;
        }
        y.resize(len)
    }
}
