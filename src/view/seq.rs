//! Batches of sequences.
//!
//! A batch is a 3-D array of T steps, B rows and F numbers, where the numbers of a row at a step are
//! contiguous and the strides of steps and rows are free. So (T, B, F) and (B, T, F) arrays are the same
//! thing to a kernel, and a batch splits by rows into views that never overlap, one for each task of the
//! thread pool, although their memory interleaves. Sequences of different lengths lie without padding,
//! step after step.

use std::marker::PhantomData;
use std::ops::Range;

use super::{BatchSizes, Rows, RowsMut, total};
use crate::error::{Result, ensure};
use crate::simd::Element;

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
    fn checked(self, len: usize) -> Result<Self> {
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
}

/// A sequence batch to read: (T, B, F), or without padding, as [`BatchSizes`] says.
#[derive(Clone, Copy)]
pub struct Seq<'a, E> {
    data: *const E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    /// Without padding: the first row and the first step of the batch.
    first: usize,
    skip: usize,
    borrow: PhantomData<&'a E>,
}

/// A sequence batch to write: (T, B, F). Its memory may interleave with that of other views, but no
/// number is in two of them.
pub struct SeqMut<'a, E> {
    data: *mut E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    first: usize,
    skip: usize,
    borrow: PhantomData<&'a mut E>,
}

// SAFETY: the views stand for shared or exclusive borrows of disjoint slices of E.
unsafe impl<E: Sync> Send for Seq<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Seq<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Send + Sync> Send for SeqMut<'_, E> {}
impl<'a, E> Seq<'a, E> {
    /// A view of an array.
    ///
    /// # Errors
    /// If the shape reaches beyond the array or overlaps itself.
    pub fn new(data: &'a [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        let data = data.as_ptr();
        Ok(Self { data, shape, sizes: None, first: 0, skip: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding, (sum of T, F), or of (T, B, F) where all are of one length.
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        Self::packed_steps(data, sizes, 0..sizes.steps(), features)
    }

    /// The same of some steps alone.
    fn packed_steps(
        data: &'a [E],
        sizes: &'a BatchSizes,
        steps: Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let shape = packed_shape(data.len(), sizes, &steps, features)?;
        let (data, skip) = (data.as_ptr(), steps.start);
        Ok(Self { data, shape, sizes: Some(sizes), first: 0, skip, borrow: PhantomData })
    }

    /// The extent and strides; without padding, the step's stride means nothing.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many rows each step has, if there is no padding.
    pub fn sizes(&self) -> Option<&'a BatchSizes> {
        self.sizes
    }

    /// The same of a batch of its own that has these rows and steps.
    pub(crate) fn sizes_of_rows(&self) -> Option<BatchSizes> {
        let steps = self.skip..self.skip + self.shape.steps;
        self.sizes.map(|sizes| sizes.part(steps, self.first, self.shape.rows))
    }

    /// How many rows step `t` has.
    #[inline(always)]
    pub fn count(&self, t: usize) -> usize {
        let rows = self.shape.rows;
        let there = |sizes: &BatchSizes| sizes.count(self.skip + t);
        self.sizes.map_or(rows, |sizes| there(sizes).saturating_sub(self.first).min(rows))
    }

    /// The rows of all steps together.
    pub fn total(&self) -> usize {
        let Shape { steps, rows, .. } = self.shape;
        let whole = steps.saturating_mul(rows);
        self.sizes.map_or(whole, |sizes| sizes.offset(self.skip + steps) - sizes.offset(self.skip))
    }

    /// A batch of the same steps and rows in other memory.
    ///
    /// # Errors
    /// If that is too short.
    pub fn like<'b>(&self, data: &'b [E], features: usize) -> Result<Seq<'b, E>>
    where
        'a: 'b,
    {
        let Shape { steps, rows, .. } = self.shape;
        match self.sizes {
            None => Seq::new(data, Shape::time_major(steps, rows, features)),
            Some(sizes) => Seq::packed_steps(data, sizes, self.skip..self.skip + steps, features),
        }
    }

    /// The same to write.
    ///
    /// # Errors
    /// As [`Seq::like`].
    pub fn like_mut<'b>(&self, data: &'b mut [E], features: usize) -> Result<SeqMut<'b, E>>
    where
        'a: 'b,
    {
        let Shape { steps, rows, .. } = self.shape;
        match self.sizes {
            None => SeqMut::new(data, Shape::time_major(steps, rows, features)),
            Some(sizes) => {
                SeqMut::packed_steps(data, sizes, self.skip..self.skip + steps, features)
            }
        }
    }

    /// The rows at step `t`.
    #[inline(always)]
    pub fn step(&self, t: usize) -> Rows<'a, E> {
        assert!(t < self.shape.steps);
        let Shape { step_stride, features, row_stride: stride, .. } = self.shape;
        let start = match self.sizes {
            None => t * step_stride,
            Some(sizes) => {
                let at = self.skip + t;
                let steps_before = sizes.offset(at) - sizes.offset(self.skip);
                (steps_before + self.first.min(sizes.count(at))) * stride
            }
        };
        let (data, rows) = (self.data.wrapping_add(start), self.count(t));
        Rows { data, rows, features, stride, borrow: PhantomData }
    }

    /// The rows from `first` on, `count` of them.
    pub fn rows(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.shape.rows && count <= self.shape.rows - first);
        let shape = Shape { rows: count, ..self.shape };
        let (data, first) = match self.sizes {
            None => (self.data.wrapping_add(first * self.shape.row_stride), 0),
            Some(_) => (self.data, self.first + first),
        };
        Self { data, shape, first, ..*self }
    }

    /// Some of the steps.
    pub fn steps(&self, steps: Range<usize>) -> Self {
        assert!(steps.start <= steps.end && steps.end <= self.shape.steps);
        let Shape { step_stride, row_stride, .. } = self.shape;
        let before = match self.sizes {
            None => steps.start * step_stride,
            Some(sizes) => {
                (sizes.offset(self.skip + steps.start) - sizes.offset(self.skip)) * row_stride
            }
        };
        let skip = if self.sizes.is_some() { self.skip + steps.start } else { 0 };
        let shape = Shape { steps: steps.len(), ..self.shape };
        Self { data: self.data.wrapping_add(before), shape, skip, ..*self }
    }

    /// The rows of some steps together, one step's after the other's, if they are equally far apart.
    pub fn together(&self, steps: Range<usize>) -> Option<Rows<'a, E>> {
        let part = self.steps(steps);
        let Shape { rows, features, step_stride, row_stride, .. } = part.shape;
        let (whole, stride) = match part.sizes {
            None if rows == 1 => (true, step_stride),
            None => (step_stride == rows * row_stride, row_stride),
            Some(sizes) => (part.first == 0 && rows == sizes.rows(), row_stride),
        };
        let rows = part.total();
        whole.then_some(Rows { data: part.data, rows, features, stride, borrow: PhantomData })
    }

    /// The features from `first` on, `count` of them.
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.shape.features && count <= self.shape.features - first);
        let shape = Shape { features: count, ..self.shape };
        Self { data: self.data.wrapping_add(first), shape, ..*self }
    }
}

/// The shape of some steps of a batch without padding in an array of `len` numbers.
fn packed_shape(
    len: usize,
    sizes: &BatchSizes,
    steps: &Range<usize>,
    features: usize,
) -> Result<Shape> {
    let total = sizes.offset(steps.end) - sizes.offset(steps.start);
    let want = total.saturating_mul(features);
    ensure!(len >= want, "{total} rows of {features} numbers do not fit into {len}");
    let (steps, rows) = (steps.len(), sizes.rows());
    Ok(Shape { steps, rows, features, step_stride: 0, row_stride: features })
}

impl<'a, E> SeqMut<'a, E> {
    /// A view of an array.
    ///
    /// # Errors
    /// If the shape reaches beyond the array or overlaps itself.
    pub fn new(data: &'a mut [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        let data = data.as_mut_ptr();
        Ok(Self { data, shape, sizes: None, first: 0, skip: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding; see [`Seq::packed`].
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a mut [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        Self::packed_steps(data, sizes, 0..sizes.steps(), features)
    }

    fn packed_steps(
        data: &'a mut [E],
        sizes: &'a BatchSizes,
        steps: Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let shape = packed_shape(data.len(), sizes, &steps, features)?;
        let (data, skip) = (data.as_mut_ptr(), steps.start);
        Ok(Self { data, shape, sizes: Some(sizes), first: 0, skip, borrow: PhantomData })
    }

    /// The extent and strides.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The view to read.
    pub fn as_ref(&self) -> Seq<'_, E> {
        let Self { data, shape, sizes, first, skip, .. } = *self;
        Seq { data, shape, sizes, first, skip, borrow: PhantomData }
    }

    /// The same view, borrowed from this one.
    pub fn reborrow(&mut self) -> SeqMut<'_, E> {
        SeqMut { ..*self }
    }

    /// The same batch once more.
    ///
    /// # Safety
    /// As for [`RowsMut::alias`].
    pub(crate) unsafe fn alias(&self) -> SeqMut<'a, E> {
        SeqMut { ..*self }
    }

    /// Some of the steps.
    pub fn steps_mut(&mut self, steps: Range<usize>) -> SeqMut<'_, E> {
        let Seq { data, shape, skip, .. } = self.as_ref().steps(steps);
        SeqMut { data: data.cast_mut(), shape, skip, ..*self }
    }

    /// The rows of some steps together, to write; see [`Seq::together`].
    pub fn together_mut(&mut self, steps: Range<usize>) -> Option<RowsMut<'_, E>> {
        let Rows { data, rows, features, stride, .. } = self.as_ref().together(steps)?;
        Some(RowsMut { data: data.cast_mut(), rows, features, stride, borrow: PhantomData })
    }

    /// The rows at step `t`, to write.
    #[inline(always)]
    pub fn step_mut(&mut self, t: usize) -> RowsMut<'_, E> {
        self.step_beside(t, None).1
    }

    /// The rows at step `t`, to write, beside those of another step, to read.
    #[inline(always)]
    pub fn step_beside(
        &mut self,
        t: usize,
        other: Option<usize>,
    ) -> (Option<Rows<'_, E>>, RowsMut<'_, E>) {
        assert!(other != Some(t));
        let beside = other.map(|other| {
            let Rows { data, rows, features, stride, .. } = self.as_ref().step(other);
            Rows { data, rows, features, stride, borrow: PhantomData }
        });
        let Rows { data, rows, features, stride, .. } = self.as_ref().step(t);
        // Two steps share no number, by the checks in the constructors, and both borrow this view.
        (beside, RowsMut { data: data.cast_mut(), rows, features, stride, borrow: PhantomData })
    }

    /// Adds the numbers of a batch of the same shape.
    pub fn add(&mut self, other: Seq<'_, E>)
    where
        E: Element,
    {
        for t in 0..self.shape.steps {
            let (mut to, from) = (self.step_mut(t), other.step(t));
            for b in 0..to.count() {
                for (to, &from) in to.row_mut(b).iter_mut().zip(from.row(b)) {
                    *to = *to + from;
                }
            }
        }
    }

    /// Splits into views of `sizes[0]`, `sizes[1]`, ... rows; the sizes add up to all rows.
    pub fn split_rows(self, sizes: &[usize]) -> Vec<SeqMut<'a, E>> {
        assert_eq!(total(sizes), Some(self.shape.rows));
        let mut first = 0;
        let split = sizes.iter().map(|&rows| {
            let Seq { data, shape, first: row, .. } = self.as_ref().rows(first, rows);
            first += rows;
            SeqMut { data: data.cast_mut(), shape, first: row, ..self }
        });
        split.collect()
    }

    /// Splits into views of `sizes[0]`, `sizes[1]`, ... features, which add up to all of them.
    pub fn split_columns(self, sizes: &[usize]) -> Vec<SeqMut<'a, E>> {
        assert_eq!(total(sizes), Some(self.shape.features));
        let mut first = 0;
        let split = sizes.iter().map(|&features| {
            let data = self.data.wrapping_add(first);
            first += features;
            SeqMut { data, shape: Shape { features, ..self.shape }, ..self }
        });
        split.collect()
    }
}
