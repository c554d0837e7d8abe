//! Task memory: each task of a pass has some rows of the batch, and memory that no other task writes near.
//!
//! If the rows of two tasks lie side by side at every step, each core prefetches lines that the other core
//! is about to write. This made an RNN's pass at (100, 32, 32, 128) take 1.3 times as long. So the numbers
//! that a task writes at every step lie in memory of its own. Of the caller's arrays, it writes only y and
//! dx.

use crate::buffer::Buffer;
use crate::error::Result;
use crate::simd::Element;
use crate::view::{BatchSizes, Seq, SeqMut, Shape};

/// Bytes between the memory of two tasks. Smaller distances were slower.
const APART: usize = 16384;

/// A task's rows and memory.
#[derive(Default)]
pub(crate) struct TaskMemory<E: Element> {
    pub rows: usize,
    steps: usize,
    /// The sizes of its rows, in a batch of different lengths.
    sizes: Option<BatchSizes>,
    /// For how many steps there are records, in a pass without a tape; none if for all steps.
    kept: Option<usize>,
    values: Buffer<E>,
    work: Buffer<E>,
    in_order: Buffer<E>,
}

/// The memory of one task, divided for a pass.
pub(crate) struct Parts<'a, E, const N: usize> {
    /// The records, (T, B, record).
    pub values: SeqMut<'a, E>,
    /// Memory for matrices. The numbers are unspecified.
    pub own: [&'a mut [E]; N],
    /// Memory for the task's rows of x or dx in order, (T, B, F), if they lie in an array with padding. The
    /// numbers are unspecified.
    pub in_order: Option<SeqMut<'a, E>>,
}

impl<E: Element> TaskMemory<E> {
    /// Makes room for the records, (T, B, record), of a pass over the rows `x`. In a pass without a tape, it
    /// makes room for only `steps` steps.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn begin(&mut self, x: Seq<'_, E>, record: usize, steps: Option<usize>) -> Result<()> {
        (self.rows, self.steps) = (x.shape().rows, x.shape().steps);
        (self.sizes, self.kept) = (x.sizes_of_rows()?, steps);
        let total = self.kept.map_or(self.total(), |steps| steps * self.rows);
        self.values.resize(total.saturating_mul(record).saturating_add(APART / size_of::<E>()))
    }

    /// The number of (step, row) pairs.
    fn total(&self) -> usize {
        self.sizes.as_ref().map_or(self.steps * self.rows, BatchSizes::total)
    }

    /// The records, (T, B, record).
    pub fn values(&self, record: usize) -> Result<Seq<'_, E>> {
        match (self.kept, &self.sizes) {
            (None, Some(sizes)) => Seq::packed(&self.values, sizes, record),
            (kept, _) => {
                let steps = kept.unwrap_or(self.steps);
                Seq::new(&self.values, Shape::time_major(steps, self.rows, record))
            }
        }
    }

    /// Divides the memory: records of `record` numbers, and matrices of `sizes` numbers. If `x` lies in an
    /// array with padding, there is also room for its rows in order.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn parts<const N: usize>(
        &mut self,
        record: usize,
        sizes: [usize; N],
        x: Option<Seq<'_, E>>,
    ) -> Result<Parts<'_, E, N>> {
        let whole_lines = |size: usize| size.next_multiple_of(16);
        let total: usize = sizes.iter().map(|&size| whole_lines(size)).sum();
        self.work.resize(total.saturating_add(APART / size_of::<E>()))?;
        let features = x.filter(Seq::is_padded).map(|x| x.shape().features);
        let numbers = self.total().saturating_mul(features.unwrap_or(0));
        self.in_order.resize(numbers)?;
        let Self { rows, steps, kept, .. } = *self;
        let mut rest = &mut self.work[..];
        let own = sizes.map(|size| {
            let part = rest.split_off_mut(..whole_lines(size)).expect("there is room");
            &mut part[..size]
        });
        let values = match (kept, &self.sizes) {
            (None, Some(sizes)) => SeqMut::packed(&mut self.values, sizes, record),
            _ => {
                let steps = kept.unwrap_or(steps);
                SeqMut::new(&mut self.values, Shape::time_major(steps, rows, record))
            }
        };
        let in_order = match (features, &self.sizes) {
            (Some(features), Some(sizes)) => {
                Some(SeqMut::packed(&mut self.in_order, sizes, features)?)
            }
            _ => None,
        };
        Ok(Parts { values: values?, own, in_order })
    }

    /// About how many numbers the memory holds.
    pub fn len(&self) -> usize {
        self.values.len()
    }
}

/// The records of all tasks of a direction tape.
pub(crate) struct Records<'a, E> {
    /// The first row of each task, and its records.
    tasks: Vec<(usize, Seq<'a, E>)>,
}

impl<'a, E: Element> Records<'a, E> {
    pub fn new(tasks: &'a [TaskMemory<E>], record: usize) -> Result<Self> {
        let mut first = 0;
        let tasks = tasks.iter().map(|task| {
            let of_task = (first, task.values(record)?);
            first += task.rows;
            Ok(of_task)
        });
        Ok(Self { tasks: tasks.collect::<Result<_>>()? })
    }

    /// The record of row `b` at step `t`.
    pub fn row(&self, t: usize, b: usize) -> &'a [E] {
        let (first, values) = self.tasks[self.tasks.partition_point(|task| task.0 <= b) - 1];
        values.step(t).row(b - first)
    }
}
