//! What each task of a pass has for itself: some rows of the batch, and memory that no other task writes near.
//!
//! Rows that lie side by side at every step make two cores fetch lines that the other is about to write,
//! ahead of their own: an RNN's pass at (100, 32, 32, 128) took 1.3 times as long so. What a task writes at
//! every step therefore lies in memory of its own; of the callers' arrays, it only writes y and dx.

use crate::buffer::Buffer;
use crate::error::Result;
use crate::simd::Element;
use crate::view::{BatchSizes, Seq, SeqMut, Shape};

/// Bytes between what two tasks write: nothing nearer was as fast.
const APART: usize = 16384;

/// A task's rows and memory.
#[derive(Default)]
pub(super) struct Share<E: Element> {
    pub rows: usize,
    steps: usize,
    /// How many of its rows have each step, in a batch without padding.
    sizes: Option<BatchSizes>,
    values: Buffer<E>,
    work: Buffer<E>,
}

impl<E: Element> Share<E> {
    /// Gets room for the records, (T, B, record), of a pass over the rows `x`, or if that is not recorded for
    /// `steps` of them.
    pub fn begin(&mut self, x: Seq<'_, E>, record: usize, steps: Option<usize>) -> Result<()> {
        self.rows = x.shape().rows;
        (self.steps, self.sizes) = match steps {
            None => (x.shape().steps, x.sizes_of_rows()),
            Some(steps) => (steps, None),
        };
        let total = self.sizes.as_ref().map_or(self.steps * self.rows, BatchSizes::total);
        self.values.resize(total.saturating_mul(record).saturating_add(APART / size_of::<E>()))
    }

    /// The records, (T, B, record).
    pub fn values(&self, record: usize) -> Result<Seq<'_, E>> {
        match &self.sizes {
            Some(sizes) => Seq::packed(&self.values, sizes, record),
            None => Seq::new(&self.values, Shape::time_major(self.steps, self.rows, record)),
        }
    }

    /// The records to write, and matrices of so many numbers, which are unspecified.
    pub fn parts<const N: usize>(
        &mut self,
        record: usize,
        sizes: [usize; N],
    ) -> Result<(SeqMut<'_, E>, [&mut [E]; N])> {
        let whole_lines = |size: usize| size.next_multiple_of(16);
        let total: usize = sizes.iter().map(|&size| whole_lines(size)).sum();
        self.work.resize(total.saturating_add(APART / size_of::<E>()))?;
        let mut rest = &mut self.work[..];
        let parts = sizes.map(|size| {
            let part = rest.split_off_mut(..whole_lines(size)).expect("there is room");
            &mut part[..size]
        });
        let values = match &self.sizes {
            Some(sizes) => SeqMut::packed(&mut self.values, sizes, record),
            None => {
                let shape = Shape::time_major(self.steps, self.rows, record);
                SeqMut::new(&mut self.values, shape)
            }
        };
        Ok((values?, parts))
    }

    /// About how many numbers it holds.
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// The records of all tasks together.
pub(super) struct Records<'a, E> {
    /// The first row of each task, and its records.
    shares: Vec<(usize, Seq<'a, E>)>,
}

impl<'a, E: Element> Records<'a, E> {
    pub fn new(shares: &'a [Share<E>], record: usize) -> Result<Self> {
        let mut first = 0;
        let shares = shares.iter().map(|share| {
            let of_share = (first, share.values(record)?);
            first += share.rows;
            Ok(of_share)
        });
        Ok(Self { shares: shares.collect::<Result<_>>()? })
    }

    /// The record of row `b` at step `t`.
    pub fn row(&self, t: usize, b: usize) -> &'a [E] {
        let (first, values) = self.shares[self.shares.partition_point(|share| share.0 <= b) - 1];
        values.step(t).row(b - first)
    }
}
