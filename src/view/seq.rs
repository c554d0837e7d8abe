//! Batches of sequences.
//!
//! A batch is a 3-D array of T steps, B rows and F features. The numbers of a row at a step are contiguous;
//! the strides of steps and rows are free. So a kernel treats (T, B, F) and (B, T, F) arrays alike, and a
//! batch splits by rows into views that never overlap, one for each task of the thread pool, although their
//! memory interleaves. Sequences of different lengths are sorted by length. They either lie without padding,
//! step after step, or are looked up in the caller's array, which has padding and another order.

use std::marker::PhantomData;
use std::ops::Range;

use super::{BatchSizes, Rows, RowsMut, Shape, total};
use crate::error::Result;
use crate::math::sums::AddScaled;
use crate::simd::{Element, Kernel, Simd};

/// A sequence batch to read: (T, B, F), or sequences of different lengths with their [`BatchSizes`].
#[derive(Clone, Copy)]
pub struct Seq<'a, E> {
    data: *const E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    /// Whether sequences of different lengths are looked up in an array with padding.
    padded: bool,
    /// With sizes: which row and step of the sizes' batch is the first one of this view.
    first: usize,
    skip: usize,
    borrow: PhantomData<&'a E>,
}

/// A sequence batch to write: (T, B, F), or sequences of different lengths with their [`BatchSizes`]. Its
/// memory may interleave with that of other views, but no number is in two of them.
pub struct SeqMut<'a, E> {
    data: *mut E,
    shape: Shape,
    sizes: Option<&'a BatchSizes>,
    padded: bool,
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
    /// A view of an array, (T, B, F) as `shape` says.
    ///
    /// # Errors
    /// If the shape reaches beyond the array, or its rows overlap.
    pub fn new(data: &'a [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        let (data, sizes, padded) = (data.as_ptr(), None, false);
        Ok(Self { data, shape, sizes, padded, first: 0, skip: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding: ([`BatchSizes::total`], F), step after step. If all sequences have
    /// the same length, this is (T, B, F).
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        Self::packed_steps(data, sizes, 0..sizes.steps(), features)
    }

    /// A view of sequences of different lengths in an array with padding, (T, B, F) as `shape` says. Padding
    /// is never read. Row b is sequence [`BatchSizes::place`]`(b)` of the array.
    ///
    /// # Errors
    /// As for [`Seq::new`], and if the array has a different number of rows than the sizes, or fewer steps.
    ///
    /// # Examples
    /// ```
    /// use bptt::{BatchSizes, Seq, Shape};
    ///
    /// let sizes = BatchSizes::of_lengths(&[1, 3])?; // row 0 is the second sequence
    /// let x = [1.0f32, 0.0, 0.0, 2.0, 3.0, 4.0]; // (B, T, 1)
    /// let x = Seq::padded(&x, Shape::batch_major(3, 2, 1), &sizes)?;
    /// assert_eq!((x.step(0).row(0), x.step(0).row(1)), (&[2.0][..], &[1.0][..]));
    /// assert_eq!(x.count(2), 1);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn padded(data: &'a [E], shape: Shape, sizes: &'a BatchSizes) -> Result<Self> {
        let whole = Self::new(data, shape)?;
        let shape = whole.shape.padded(sizes)?;
        Ok(Self { shape, sizes: Some(sizes), padded: true, ..whole })
    }

    /// Same as [`Seq::packed`], for some of the steps alone.
    fn packed_steps(
        data: &'a [E],
        sizes: &'a BatchSizes,
        steps: Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let shape = Shape::packed(data.len(), sizes, &steps, features)?;
        let (data, skip, padded) = (data.as_ptr(), steps.start, false);
        Ok(Self { data, shape, sizes: Some(sizes), padded, first: 0, skip, borrow: PhantomData })
    }

    /// The extents and strides. If sequences of different lengths lie without padding, `step_stride` means
    /// nothing. If they lie in an array with padding, `steps` is the length of the longest one.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many rows each step has, if the sequences have different lengths.
    pub fn sizes(&self) -> Option<&'a BatchSizes> {
        self.sizes
    }

    /// Whether the rows of a step are looked up in an array with padding. A kernel that needs them in order
    /// needs a copy.
    pub(crate) fn is_padded(&self) -> bool {
        self.padded
    }

    /// The sizes of a separate batch that has the rows and steps of this view.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(crate) fn sizes_of_rows(&self) -> Result<Option<BatchSizes>> {
        let steps = self.skip..self.skip + self.shape.steps;
        self.sizes.map(|sizes| sizes.part(steps, self.first, self.shape.rows)).transpose()
    }

    /// How many rows step `t` has.
    #[inline(always)]
    pub fn count(&self, t: usize) -> usize {
        let rows = self.shape.rows;
        let there = |sizes: &BatchSizes| sizes.count(self.skip + t);
        self.sizes.map_or(rows, |sizes| there(sizes).saturating_sub(self.first).min(rows))
    }

    /// The number of rows of all steps together.
    pub fn total(&self) -> usize {
        let Shape { steps, rows, .. } = self.shape;
        let whole = steps.saturating_mul(rows);
        self.sizes.map_or(whole, |sizes| sizes.offset(self.skip + steps) - sizes.offset(self.skip))
    }

    /// A batch of the same steps and rows in `data`: (T, B, `features`), or without padding if the
    /// sequences have different lengths.
    ///
    /// # Errors
    /// If `data` is too short.
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

    /// Same as [`Seq::like`], to write.
    ///
    /// # Errors
    /// As for [`Seq::like`].
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

    /// The rows at step `t`, ([`Seq::count`]`(t)`, F).
    ///
    /// # Panics
    /// If there is no such step.
    #[inline(always)]
    pub fn step(&self, t: usize) -> Rows<'a, E> {
        assert!(t < self.shape.steps);
        let Shape { step_stride, features, row_stride: stride, .. } = self.shape;
        let order = self.order();
        let start = match self.without_padding() {
            // `rows` does not move `data` if there are sizes, so rows in order are skipped here.
            None if order.is_none() => t * step_stride + self.first * stride,
            None => t * step_stride,
            Some(sizes) => {
                let at = self.skip + t;
                let steps_before = sizes.offset(at) - sizes.offset(self.skip);
                (steps_before + self.first.min(sizes.count(at))) * stride
            }
        };
        let (data, rows) = (self.data.wrapping_add(start), self.count(t));
        Rows { data, rows, features, stride, order, borrow: PhantomData }
    }

    /// The sizes of a batch that lies step after step, without padding.
    #[inline(always)]
    fn without_padding(&self) -> Option<&'a BatchSizes> {
        if self.padded { None } else { self.sizes }
    }

    /// The places of the rows in the array, if rows are looked up there.
    #[inline(always)]
    fn order(&self) -> Option<&'a [usize]> {
        let sizes = if self.padded { self.sizes } else { None };
        sizes.and_then(|sizes| sizes.order()).map(|order| &order[self.first..])
    }

    /// `count` rows from row `first` on, at all steps.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn rows(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.shape.rows && count <= self.shape.rows - first);
        let shape = Shape { rows: count, ..self.shape };
        let (data, first) = match self.sizes {
            None => (self.data.wrapping_add(first * self.shape.row_stride), 0),
            Some(_) => (self.data, self.first + first),
        };
        Self { data, shape, first, ..*self }
    }

    /// Some of the steps, with all rows.
    ///
    /// # Panics
    /// If there are no such steps.
    pub fn steps(&self, steps: Range<usize>) -> Self {
        assert!(steps.start <= steps.end && steps.end <= self.shape.steps);
        let Shape { step_stride, row_stride, .. } = self.shape;
        let before = match self.without_padding() {
            None => steps.start * step_stride,
            Some(sizes) => {
                (sizes.offset(self.skip + steps.start) - sizes.offset(self.skip)) * row_stride
            }
        };
        let skip = if self.sizes.is_some() { self.skip + steps.start } else { 0 };
        let shape = Shape { steps: steps.len(), ..self.shape };
        Self { data: self.data.wrapping_add(before), shape, skip, ..*self }
    }

    /// The rows of some steps as one matrix, step after step; none if the rows are not equally far apart.
    pub fn together(&self, steps: Range<usize>) -> Option<Rows<'a, E>> {
        let part = self.steps(steps);
        let Shape { rows, features, step_stride, row_stride, .. } = part.shape;
        let (whole, stride) = match part.sizes {
            _ if part.padded => return None,
            None if rows == 1 => (true, step_stride),
            None => (step_stride == rows * row_stride, row_stride),
            Some(sizes) => (part.first == 0 && rows == sizes.rows(), row_stride),
        };
        let (data, rows, order) = (part.data, part.total(), None);
        whole.then_some(Rows { data, rows, features, stride, order, borrow: PhantomData })
    }

    /// `count` features from feature `first` on.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.shape.features && count <= self.shape.features - first);
        let shape = Shape { features: count, ..self.shape };
        Self { data: self.data.wrapping_add(first), shape, ..*self }
    }
}

impl<'a, E> SeqMut<'a, E> {
    /// A view of an array, (T, B, F) as `shape` says.
    ///
    /// # Errors
    /// If the shape reaches beyond the array, or its rows overlap.
    pub fn new(data: &'a mut [E], shape: Shape) -> Result<Self> {
        let shape = shape.checked(data.len())?;
        let (data, sizes, padded) = (data.as_mut_ptr(), None, false);
        Ok(Self { data, shape, sizes, padded, first: 0, skip: 0, borrow: PhantomData })
    }

    /// A view of a batch without padding; see [`Seq::packed`].
    ///
    /// # Errors
    /// If the array is too short.
    pub fn packed(data: &'a mut [E], sizes: &'a BatchSizes, features: usize) -> Result<Self> {
        Self::packed_steps(data, sizes, 0..sizes.steps(), features)
    }

    /// A view of sequences of different lengths in an array with padding; see [`Seq::padded`]. Padding
    /// becomes zero: the steps behind the longest sequence here, the rest by the pass that writes the
    /// sequences.
    ///
    /// # Errors
    /// As for [`Seq::padded`]. Nothing is written then.
    pub fn padded(data: &'a mut [E], shape: Shape, sizes: &'a BatchSizes) -> Result<Self>
    where
        E: Element,
    {
        let mut whole = Self::new(data, shape)?;
        let shape = whole.shape.padded(sizes)?;
        for t in shape.steps..whole.shape.steps {
            let mut behind = whole.step_mut(t);
            (0..behind.count()).for_each(|b| behind.row_mut(b).fill(E::ZERO));
        }
        Ok(Self { shape, sizes: Some(sizes), padded: true, ..whole })
    }

    /// Fills the rows that a step does not have with zeros. Only arrays with padding have such rows.
    #[inline(always)]
    pub(crate) fn clear_padding<S: Simd<E>>(&mut self, s: S)
    where
        E: Element,
    {
        for t in 0..if self.padded { self.shape.steps } else { 0 } {
            let Rows { data, rows, features, stride, order, .. } = self.as_ref().step(t);
            let (data, there) = (data.cast_mut(), rows);
            // Includes the rows that the step does not have.
            let rows = self.shape.rows;
            let mut all =
                RowsMut { data, rows, features, stride, order, borrow: PhantomData::<&mut E> };
            for b in there..rows {
                s.clear(all.row_mut(b));
            }
        }
    }

    fn packed_steps(
        data: &'a mut [E],
        sizes: &'a BatchSizes,
        steps: Range<usize>,
        features: usize,
    ) -> Result<Self> {
        let shape = Shape::packed(data.len(), sizes, &steps, features)?;
        let (data, skip, padded) = (data.as_mut_ptr(), steps.start, false);
        Ok(Self { data, shape, sizes: Some(sizes), padded, first: 0, skip, borrow: PhantomData })
    }

    /// The extents and strides; see [`Seq::shape`].
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The same batch, to read.
    pub fn as_ref(&self) -> Seq<'_, E> {
        let Self { data, shape, sizes, padded, first, skip, .. } = *self;
        Seq { data, shape, sizes, padded, first, skip, borrow: PhantomData }
    }

    /// The same batch, borrowed from this view.
    pub fn reborrow(&mut self) -> SeqMut<'_, E> {
        SeqMut { ..*self }
    }

    /// A second view of the same batch.
    ///
    /// # Safety
    /// As for [`RowsMut::alias`].
    pub(crate) unsafe fn alias(&self) -> SeqMut<'a, E> {
        SeqMut { ..*self }
    }

    /// Some of the steps, to write; see [`Seq::steps`].
    pub fn steps_mut(&mut self, steps: Range<usize>) -> SeqMut<'_, E> {
        let Seq { data, shape, skip, .. } = self.as_ref().steps(steps);
        SeqMut { data: data.cast_mut(), shape, skip, ..*self }
    }

    /// The rows of some steps as one matrix, to write; see [`Seq::together`].
    pub fn together_mut(&mut self, steps: Range<usize>) -> Option<RowsMut<'_, E>> {
        let Rows { data, rows, features, stride, order, .. } = self.as_ref().together(steps)?;
        Some(RowsMut { data: data.cast_mut(), rows, features, stride, order, borrow: PhantomData })
    }

    /// The rows at step `t`, to write; see [`Seq::step`].
    #[inline(always)]
    pub fn step_mut(&mut self, t: usize) -> RowsMut<'_, E> {
        self.step_beside(t, None).1
    }

    /// The rows of step `other`, if given, to read, and the rows at step `t`, to write.
    ///
    /// # Panics
    /// If there is no such step, or both steps are the same.
    #[inline(always)]
    pub fn step_beside(
        &mut self,
        t: usize,
        other: Option<usize>,
    ) -> (Option<Rows<'_, E>>, RowsMut<'_, E>) {
        assert!(other != Some(t));
        let beside = other.map(|other| {
            let Rows { data, rows, features, stride, order, .. } = self.as_ref().step(other);
            Rows { data, rows, features, stride, order, borrow: PhantomData }
        });
        let Rows { data, rows, features, stride, order, .. } = self.as_ref().step(t);
        let data = data.cast_mut();
        // No number is in two steps, by the checks in the constructors, and both borrow this view.
        (beside, RowsMut { data, rows, features, stride, order, borrow: PhantomData })
    }

    /// Turns this view into one to read.
    pub(crate) fn into_ref(self) -> Seq<'a, E> {
        let Self { data, shape, sizes, padded, first, skip, .. } = self;
        Seq { data, shape, sizes, padded, first, skip, borrow: PhantomData }
    }

    /// Copies a batch of the same extents.
    #[inline(always)]
    pub(crate) fn copy<S: Simd<E>>(&mut self, s: S, from: Seq<'_, E>)
    where
        E: Element,
    {
        for t in 0..self.shape.steps {
            let (mut to, from) = (self.step_mut(t), from.step(t));
            for b in 0..to.count() {
                s.copy(from.row(b), to.row_mut(b));
            }
        }
    }

    /// Adds a batch of the same extents to this one, number by number.
    #[inline(always)]
    pub(crate) fn add<S: Simd<E>>(&mut self, s: S, other: Seq<'_, E>)
    where
        E: Element,
    {
        for t in 0..self.shape.steps {
            let (mut to, from) = (self.step_mut(t), other.step(t));
            for b in 0..to.count() {
                AddScaled { to: to.row_mut(b), from: from.row(b), scale: E::ONE }.run(s);
            }
        }
    }

    /// Splits into views of `sizes[0]`, `sizes[1]`, ... rows.
    ///
    /// # Panics
    /// If the sizes do not add up to B.
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

    /// Splits into views of `sizes[0]`, `sizes[1]`, ... features.
    ///
    /// # Panics
    /// If the sizes do not add up to F.
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
