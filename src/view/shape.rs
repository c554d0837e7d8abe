//! How a batch lies in memory.

use std::ops::Range;

use super::BatchSizes;
use crate::error::{Result, ensure};

/// The extent of a sequence batch and where its numbers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// T, the time steps.
    pub steps: usize,
    /// B, the rows of the batch.
    pub rows: usize,
    /// F, the numbers a row has at a step.
    pub features: usize,
    /// From a step to the next, in numbers.
    pub step_stride: usize,
    /// From a row to the next, in numbers.
    pub row_stride: usize,
}

impl Shape {
    /// A contiguous (T, B, F) array.
    pub fn time_major(steps: usize, rows: usize, features: usize) -> Self {
        let step_stride = rows.saturating_mul(features);
        Self { steps, rows, features, step_stride, row_stride: features }
    }

    /// A contiguous (B, T, F) array.
    pub fn batch_major(steps: usize, rows: usize, features: usize) -> Self {
        let row_stride = steps.saturating_mul(features);
        Self { steps, rows, features, step_stride: features, row_stride }
    }

    /// This shape with strides that are safe to follow, if it fits into `len` numbers.
    pub(super) fn checked(self, len: usize) -> Result<Self> {
        let Self { steps, rows, features, step_stride, row_stride } = self;
        if steps == 0 || rows == 0 || features == 0 {
            return Ok(Self { step_stride: 0, row_stride: 0, ..self });
        }
        // From the first number to behind the last of `n` things of `inner` numbers, `stride` apart.
        let span = |n: usize, stride: usize, inner: Option<usize>| -> Option<usize> {
            (n - 1).checked_mul(stride)?.checked_add(inner?)
        };
        let within = |inner: Option<usize>, stride: usize| inner.is_some_and(|len| len <= stride);
        let one_step = span(rows, row_stride, Some(features));
        let one_row = span(steps, step_stride, Some(features));
        // Either the rows of a step lie inside one step stride, or the steps of a row inside one
        // row stride: then no two (step, row) pairs share a number.
        let apart = (rows == 1 || row_stride >= features)
            && (steps == 1 || step_stride >= features)
            && (steps == 1
                || rows == 1
                || within(one_step, step_stride)
                || within(one_row, row_stride));
        ensure!(apart, "the strides of {self:?} make its rows overlap");
        let end = span(steps, step_stride, one_step);
        ensure!(
            end.is_some_and(|end| end <= len),
            "{self:?} reaches beyond the array, which has {len} numbers"
        );
        Ok(self)
    }

    /// Of some steps of a batch without padding in an array of `len` numbers.
    pub(super) fn packed(
        len: usize,
        sizes: &BatchSizes,
        steps: &Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let total = sizes.offset(steps.end) - sizes.offset(steps.start);
        let want = total.saturating_mul(features);
        ensure!(len >= want, "{total} rows of {features} numbers do not fit into {len}");
        let (steps, rows) = (steps.len(), sizes.rows());
        Ok(Self { steps, rows, features, step_stride: 0, row_stride: features })
    }

    /// Of sequences in this array with padding.
    pub(super) fn padded(self, sizes: &BatchSizes) -> Result<Self> {
        let Self { steps, rows, .. } = self;
        let (longest, want) = (sizes.steps(), sizes.rows());
        ensure!(
            rows == want && steps >= longest,
            "there are {want} lengths up to {longest} for {rows} sequences of {steps} steps"
        );
        Ok(Self { steps: longest, ..self })
    }
}
