//! Strided views of the kernels' memory and of callers' arrays.
//!
//! A sequence batch is a 3-D array of T steps, B rows and F numbers, where the numbers of a row at a
//! step are contiguous and the strides of steps and rows are free. So (T, B, F) and (B, T, F) arrays
//! are the same thing to a kernel, and a batch splits by rows into views that never overlap, one for
//! each task of the thread pool, although their memory interleaves.

use std::marker::PhantomData;

use crate::error::{Error, Result, ensure};
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

/// The steps of a batch of sequences of different lengths, the longest first: at every step, the rows
/// that are still there. Such a batch is stored without padding, step after step, as in torch's
/// `PackedSequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSizes {
    rows: usize,
    counts: Vec<usize>,
    /// Of every step, and the end: T + 1.
    offsets: Vec<usize>,
}

impl BatchSizes {
    /// `rows` sequences, of which `counts[t]` are longer than t.
    ///
    /// # Errors
    /// If the counts rise, there are more than `rows`, or the last one is zero.
    pub fn new(rows: usize, counts: Vec<usize>) -> Result<Self> {
        let falls = counts.windows(2).all(|pair| pair[0] >= pair[1]);
        ensure!(
            falls && counts.first().is_none_or(|&first| first <= rows) && counts.last() != Some(&0),
            "batch sizes fall from at most {rows} to at least 1, got {counts:?}"
        );
        let mut offsets = vec![0];
        for count in &counts {
            let end: usize = offsets[offsets.len() - 1];
            let end = end.checked_add(*count).filter(|&end| end < isize::MAX as usize);
            offsets.push(end.ok_or_else(|| Error::new("the batch is too large"))?);
        }
        Ok(Self { rows, counts, offsets })
    }

    /// Of sequences of these lengths, and the order that makes them fall: `order[b]` is the sequence that
    /// comes as row b.
    ///
    /// # Errors
    /// If there are too many steps.
    pub fn of_lengths(lengths: &[usize]) -> Result<(Self, Vec<usize>)> {
        let mut order: Vec<_> = (0..lengths.len()).collect();
        order.sort_by_key(|&n| std::cmp::Reverse(lengths[n])); // stable
        let longest = order.first().map_or(0, |&n| lengths[n]);
        let mut counts = Vec::new();
        counts.try_reserve(longest).map_err(|_| Error::new("a sequence is too long"))?;
        let mut rows = lengths.len();
        for t in 0..longest {
            while lengths[order[rows - 1]] <= t {
                rows -= 1;
            }
            counts.push(rows);
        }
        Ok((Self::new(lengths.len(), counts)?, order))
    }

    /// B, the sequences, empty ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// T, the steps of the longest one.
    pub fn steps(&self) -> usize {
        self.counts.len()
    }

    /// The steps of all sequences together.
    pub fn total(&self) -> usize {
        self.offsets[self.counts.len()]
    }

    /// The rows at step `t`.
    pub fn count(&self, t: usize) -> usize {
        self.counts[t]
    }

    /// The number of rows before those of step `t`.
    pub fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }
}

/// A sequence batch to read: (T, B, F), or without padding, as [`BatchSizes`] says.
#[derive(Clone, Copy)]
pub struct Seq<'a, E> {
    data: *const E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    /// The first row of the batch, if it is without padding.
    first: usize,
    borrow: PhantomData<&'a E>,
}

/// A sequence batch to write: (T, B, F). Its memory may interleave with that of other views, but no
/// number is in two of them.
pub struct SeqMut<'a, E> {
    data: *mut E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    first: usize,
    borrow: PhantomData<&'a mut E>,
}

/// One step of a sequence batch, or any matrix: rows of contiguous numbers, (B, F).
#[derive(Clone, Copy)]
pub struct Rows<'a, E> {
    data: *const E,
    rows: usize,
    features: usize,
    stride: usize,
    borrow: PhantomData<&'a E>,
}

/// Rows to write, (B, F).
pub struct RowsMut<'a, E> {
    data: *mut E,
    rows: usize,
    features: usize,
    stride: usize,
    borrow: PhantomData<&'a mut E>,
}

// SAFETY: the views stand for shared or exclusive borrows of disjoint slices of E.
unsafe impl<E: Sync> Send for Seq<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Seq<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Send + Sync> Send for SeqMut<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Send for Rows<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Rows<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Send> Send for RowsMut<'_, E> {}

impl<'a, E> Seq<'a, E> {
    /// A view of an array.
    ///
    /// # Errors
    /// If the shape reaches beyond the array or overlaps itself.
    pub fn new(data: &'a [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        Ok(Self { data: data.as_ptr(), shape, sizes: None, first: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding, (sum of T, F), or of (T, B, F) where all are of one length.
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        let shape = packed_shape(data.len(), sizes, features)?;
        Ok(Self { data: data.as_ptr(), shape, sizes: Some(sizes), first: 0, borrow: PhantomData })
    }

    /// The extent and strides; without padding, the step's stride means nothing.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many rows each step has, if there is no padding.
    pub fn sizes(&self) -> Option<&'a BatchSizes> {
        self.sizes
    }

    /// How many rows step `t` has.
    #[inline(always)]
    pub fn count(&self, t: usize) -> usize {
        let rows = self.shape.rows;
        self.sizes.map_or(rows, |sizes| sizes.counts[t].saturating_sub(self.first).min(rows))
    }

    /// The rows of all steps together.
    pub fn total(&self) -> usize {
        let Shape { steps, rows, .. } = self.shape;
        self.sizes.map_or(steps.saturating_mul(rows), BatchSizes::total)
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
            Some(sizes) => Seq::packed(data, sizes, features),
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
            Some(sizes) => SeqMut::packed(data, sizes, features),
        }
    }

    /// The rows at step `t`.
    #[inline(always)]
    pub fn step(&self, t: usize) -> Rows<'a, E> {
        assert!(t < self.shape.steps);
        let Shape { step_stride, features, row_stride: stride, .. } = self.shape;
        let start = match self.sizes {
            None => t * step_stride,
            Some(sizes) => (sizes.offsets[t] + self.first.min(sizes.counts[t])) * stride,
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

    /// The features from `first` on, `count` of them.
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.shape.features && count <= self.shape.features - first);
        let shape = Shape { features: count, ..self.shape };
        Self { data: self.data.wrapping_add(first), shape, ..*self }
    }
}

/// The shape of a batch without padding in an array of `len` numbers.
fn packed_shape(len: usize, sizes: &BatchSizes, features: usize) -> Result<Shape> {
    let want = sizes.total().saturating_mul(features);
    ensure!(len >= want, "{} rows of {features} numbers do not fit into {len}", sizes.total());
    let (steps, rows) = (sizes.steps(), sizes.rows());
    Ok(Shape { steps, rows, features, step_stride: 0, row_stride: features })
}

impl<'a, E> SeqMut<'a, E> {
    /// A view of an array.
    ///
    /// # Errors
    /// If the shape reaches beyond the array or overlaps itself.
    pub fn new(data: &'a mut [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        Ok(Self { data: data.as_mut_ptr(), shape, sizes: None, first: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding; see [`Seq::packed`].
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a mut [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        let shape = packed_shape(data.len(), sizes, features)?;
        let (data, sizes) = (data.as_mut_ptr(), Some(sizes));
        Ok(Self { data, shape, sizes, first: 0, borrow: PhantomData })
    }

    /// The extent and strides.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The view to read.
    pub fn as_ref(&self) -> Seq<'_, E> {
        let Self { data, shape, sizes, first, .. } = *self;
        Seq { data, shape, sizes, first, borrow: PhantomData }
    }

    /// The same view, borrowed from this one.
    pub fn reborrow(&mut self) -> SeqMut<'_, E> {
        SeqMut { ..*self }
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

impl<'a, E> Rows<'a, E> {
    /// A contiguous matrix.
    pub fn new(data: &'a [E], rows: usize, features: usize) -> Self {
        assert!(rows.checked_mul(features).is_some_and(|len| len <= data.len()));
        Self { data: data.as_ptr(), rows, features, stride: features, borrow: PhantomData }
    }

    /// How many rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.rows
    }

    /// How many numbers a row has.
    #[inline(always)]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Where the first row starts and the distance to the next, for the kernels of product.rs.
    #[inline(always)]
    pub(crate) fn raw(&self) -> (*const E, usize) {
        (self.data, self.stride)
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, b: usize) -> &'a [E] {
        assert!(b < self.rows);
        // SAFETY: inside the view, by the checks where it was made.
        unsafe {
            std::slice::from_raw_parts(self.data.wrapping_add(b * self.stride), self.features)
        }
    }

    /// The rows from `first` on, `count` of them.
    pub fn slice(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.rows && count <= self.rows - first);
        Self { data: self.data.wrapping_add(first * self.stride), rows: count, ..*self }
    }

    /// The columns from `first` on, `count` of them.
    #[inline(always)]
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.features && count <= self.features - first);
        Self { data: self.data.wrapping_add(first), features: count, ..*self }
    }
}

impl<'a, E> RowsMut<'a, E> {
    /// A contiguous matrix.
    pub fn new(data: &'a mut [E], rows: usize, features: usize) -> Self {
        assert!(rows.checked_mul(features).is_some_and(|len| len <= data.len()));
        Self { data: data.as_mut_ptr(), rows, features, stride: features, borrow: PhantomData }
    }

    /// How many rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.rows
    }

    /// The rows to read.
    #[inline(always)]
    pub fn as_ref(&self) -> Rows<'_, E> {
        let Self { data, rows, features, stride, .. } = *self;
        Rows { data, rows, features, stride, borrow: PhantomData }
    }

    /// One row, to write.
    #[inline(always)]
    pub fn row_mut(&mut self, b: usize) -> &mut [E] {
        assert!(b < self.rows);
        // SAFETY: inside the view, by the checks where it was made; the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.wrapping_add(b * self.stride), self.features)
        }
    }

    /// `rows` rows from `row` on, and of them `columns` columns from `column` on, if there are as many.
    #[inline(always)]
    pub(crate) fn part(
        &mut self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Option<RowsMut<'_, E>> {
        let within = row <= self.rows
            && rows <= self.rows - row
            && column <= self.features
            && columns <= self.features - column;
        let data = self.data.wrapping_add(row * self.stride + column);
        let Self { stride, borrow, .. } = *self;
        within.then_some(RowsMut { data, rows, features: columns, stride, borrow })
    }

    /// The columns before `column`, to write, beside the others, to read.
    #[inline(always)]
    pub(crate) fn split_columns(&mut self, column: usize) -> (RowsMut<'_, E>, Rows<'_, E>) {
        assert!(column <= self.features);
        let Self { data, rows, stride, features, .. } = *self;
        let after = Rows {
            data: data.wrapping_add(column).cast_const(),
            rows,
            features: features - column,
            stride,
            borrow: PhantomData,
        };
        (RowsMut { data, rows, features: column, stride, borrow: PhantomData }, after)
    }

    /// `rows` rows from `row` on.
    #[inline(always)]
    pub(crate) fn rows_mut(&mut self, row: usize, rows: usize) -> RowsMut<'_, E> {
        self.part(row, rows, 0, self.features).expect("rows inside the matrix")
    }

    /// Where the first row starts and the distance to the next, for the kernels of product.rs.
    #[inline(always)]
    pub(crate) fn raw_mut(&mut self) -> (*mut E, usize) {
        (self.data, self.stride)
    }

    /// Splits into matrices of `sizes[0]`, `sizes[1]`, ... rows; the sizes add up to all rows.
    pub fn split_rows(self, sizes: &[usize]) -> Vec<Self> {
        assert_eq!(total(sizes), Some(self.rows));
        let mut first = 0;
        let split = sizes.iter().map(|&rows| {
            let data = self.data.wrapping_add(first * self.stride);
            first += rows;
            Self { data, rows, ..self }
        });
        split.collect()
    }
}

fn total(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(0, |sum: usize, &size| sum.checked_add(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_address_the_same_numbers() {
        let (steps, rows, features) = (3, 2, 4);
        let mut data: Vec<f64> = (0..24).map(f64::from).collect();
        for shape in
            [Shape::time_major(steps, rows, features), Shape::batch_major(steps, rows, features)]
        {
            let view = Seq::new(&data, shape).unwrap();
            for t in 0..steps {
                for b in 0..rows {
                    let first = (t * shape.step_stride + b * shape.row_stride) as f64;
                    assert_eq!(view.step(t).row(b)[0], first);
                    assert_eq!(view.rows(b, 1).step(t).row(0)[3], first + 3.0);
                }
            }
        }
        let view = SeqMut::new(&mut data, Shape::batch_major(steps, rows, features)).unwrap();
        let mut parts = view.split_rows(&[1, 1]);
        parts[1].step_mut(2).row_mut(0)[3] = -1.0;
        let (before, mut now) = parts[0].step_beside(1, Some(0));
        now.row_mut(0)[0] = before.unwrap().row(0)[0] - 7.0;
        assert_eq!((data[23], data[4]), (-1.0, -7.0));
    }

    #[test]
    fn shapes_that_overlap_or_reach_out_are_refused() {
        let data = [0.0f32; 24];
        let good = Shape::time_major(3, 2, 4);
        assert!(Seq::new(&data[..23], good).is_err());
        for bad in [
            Shape { row_stride: 3, ..good },
            Shape { step_stride: 4, ..good },
            Shape { step_stride: 0, ..good },
            Shape { row_stride: usize::MAX, ..good },
            Shape { step_stride: usize::MAX / 2 + 2, ..good },
            Shape::time_major(1 << 62, 4, 1),
            Shape::time_major(1 << 32, 1 << 32, 1),
        ] {
            assert!(Seq::new(&data, bad).is_err(), "{bad:?}");
        }
        // Strides of nothing are not followed.
        let nothing = Shape { features: 0, row_stride: usize::MAX, ..good };
        assert_eq!(Seq::new(&data, nothing).unwrap().step(2).row(1), [0.0f32; 0]);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        fn refused<T>(work: impl FnOnce() -> T) {
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        }
        let data = [0.0f32; 4];
        refused(|| Rows::new(&data, 1 << 62, 4));
        refused(|| Rows::new(&data, 2, 2).slice(usize::MAX, 2));
        refused(|| Rows::new(&data, 2, 2).columns(usize::MAX, 2));
        refused(|| Seq::new(&data, Shape::time_major(1, 2, 2)).unwrap().rows(usize::MAX, 2));
        let mut data = data;
        refused(|| RowsMut::new(&mut data, 2, 2).split_rows(&[2, 2, usize::MAX - 1]).len());
    }
}
