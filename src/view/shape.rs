//! The layout of a batch in memory.

use std::ops::Range;

use super::BatchSizes;
use crate::error::{Result, ensure};

/// The extents of a sequence batch and its layout in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// T, the time steps.
    pub steps: usize,
    /// B, the rows of the batch.
    pub rows: usize,
    /// F, the numbers that a row has at a step.
    pub features: usize,
    /// The distance from a step to the next, in numbers.
    pub step_stride: usize,
    /// The distance from a row to the next, in numbers.
    pub row_stride: usize,
}

impl Shape {
    /// The shape of a contiguous (T, B, F) array.
    pub fn time_major(steps: usize, rows: usize, features: usize) -> Self {
        let step_stride = rows.saturating_mul(features);
        Self { steps, rows, features, step_stride, row_stride: features }
    }

    /// The shape of a contiguous (B, T, F) array.
    pub fn batch_major(steps: usize, rows: usize, features: usize) -> Self {
        let row_stride = steps.saturating_mul(features);
        Self { steps, rows, features, step_stride: features, row_stride }
    }

    /// This shape, if it fits into `len` numbers and its rows do not overlap. The strides of an empty batch
    /// become zero, so all strides are safe to use.
    ///
    /// # Errors
    /// If it does not fit, or its rows overlap.
    pub(super) fn checked(self, len: usize) -> Result<Self> {
        let Self { steps, rows, features, step_stride, row_stride } = self;
        if steps == 0 || rows == 0 || features == 0 {
            return Ok(Self { step_stride: 0, row_stride: 0, ..self });
        }
        // The extent in memory of `n` runs of `inner` numbers that begin `stride` apart.
        let span = |n: usize, stride: usize, inner: Option<usize>| -> Option<usize> {
            (n - 1).checked_mul(stride)?.checked_add(inner?)
        };
        let within = |inner: Option<usize>, stride: usize| inner.is_some_and(|len| len <= stride);
        let one_step = span(rows, row_stride, Some(features));
        let one_row = span(steps, step_stride, Some(features));
        // Either the rows of a step lie inside one step stride, or the steps of a row lie inside one
        // row stride. So no number belongs to two (step, row) pairs.
        let apart = (rows == 1 || row_stride >= features)
            && (steps == 1 || step_stride >= features)
            && (steps == 1
                || rows == 1
                || within(one_step, step_stride)
                || within(one_row, row_stride));
        ensure!(apart, "the strides of {self:?} make its rows overlap; use larger strides");
        let end = span(steps, step_stride, one_step);
        ensure!(
            end.is_some_and(|end| end <= len),
            "the array has {len} numbers, but {self:?} reaches beyond them"
        );
        Ok(self)
    }

    /// The shape of some steps of a batch without padding, in an array of `len` numbers.
    ///
    /// # Errors
    /// If the array is too short.
    pub(super) fn packed(
        len: usize,
        sizes: &BatchSizes,
        steps: &Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let total = sizes.offset(steps.end) - sizes.offset(steps.start);
        let want = total.saturating_mul(features);
        ensure!(
            len >= want,
            "the array must have {total} rows of {features} numbers, {want} in all, got {len}"
        );
        let (steps, rows) = (steps.len(), sizes.rows());
        Ok(Self { steps, rows, features, step_stride: 0, row_stride: features })
    }

    /// The shape of sequences of different lengths in this array with padding.
    ///
    /// # Errors
    /// If the array has a different number of rows than the sizes, or fewer steps.
    pub(super) fn padded(self, sizes: &BatchSizes) -> Result<Self> {
        let Self { steps, rows, .. } = self;
        let (longest, want) = (sizes.steps(), sizes.rows());
        ensure!(
            rows == want && steps >= longest,
            "the array has {rows} sequences of {steps} steps, but there are {want} lengths up to {longest}"
        );
        Ok(Self { steps: longest, ..self })
    }
}
