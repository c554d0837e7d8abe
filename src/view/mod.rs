//! Strided views of the kernels' memory and of callers' arrays: matrices here, batches of sequences in
//! [`seq`], their layout in [`shape`], their lengths in [`sizes`], the units of a record in [`record`].

#![allow(unsafe_code)]

mod copy;
mod record;
mod seq;
mod shape;
mod sizes;

pub(crate) use record::UnitLanes;
pub use seq::{Seq, SeqMut};
pub use shape::Shape;
pub use sizes::BatchSizes;

use std::marker::PhantomData;

/// A matrix (B, F) to read, such as one step of a sequence batch. The numbers of a row are contiguous.
#[derive(Clone, Copy)]
pub struct Rows<'a, E> {
    data: *const E,
    rows: usize,
    features: usize,
    stride: usize,
    /// `order[b]` is the place of row b in memory, if rows are not in order. No place occurs twice.
    order: Option<&'a [usize]>,
    borrow: PhantomData<&'a E>,
}

/// A matrix (B, F) to write.
pub struct RowsMut<'a, E> {
    data: *mut E,
    rows: usize,
    features: usize,
    stride: usize,
    order: Option<&'a [usize]>,
    borrow: PhantomData<&'a mut E>,
}

// SAFETY: the views stand for shared or exclusive borrows of disjoint slices of E.
unsafe impl<E: Sync> Send for Rows<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Rows<'_, E> {}
// SAFETY: as above; several threads may read through aliases.
unsafe impl<E: Send + Sync> Send for RowsMut<'_, E> {}

impl<'a, E> Rows<'a, E> {
    /// A contiguous matrix (`rows`, `features`) at the start of `data`.
    ///
    /// # Panics
    /// If `data` is shorter.
    pub fn new(data: &'a [E], rows: usize, features: usize) -> Self {
        assert!(rows.checked_mul(features).is_some_and(|len| len <= data.len()));
        let data = data.as_ptr();
        Self { data, rows, features, stride: features, order: None, borrow: PhantomData }
    }

    /// B, the number of rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.rows
    }

    /// F, the numbers of a row.
    #[inline(always)]
    pub fn features(&self) -> usize {
        self.features
    }

    /// Where the first row starts, and the distance from a row to the next. The kernels of product.rs use
    /// it; they need rows in order.
    #[inline(always)]
    pub(crate) fn raw(&self) -> (*const E, usize) {
        assert!(self.order.is_none());
        (self.data, self.stride)
    }

    /// Where row `b` starts.
    #[inline(always)]
    fn at(&self, b: usize) -> *const E {
        self.data.wrapping_add(self.order.map_or(b, |order| order[b]) * self.stride)
    }

    /// Row `b`, (F,).
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&self, b: usize) -> &'a [E] {
        assert!(b < self.rows);
        // SAFETY: inside the view, by the checks where it was made.
        unsafe { std::slice::from_raw_parts(self.at(b), self.features) }
    }

    /// `count` numbers of row `b`, from number `first` on.
    #[inline(always)]
    pub(crate) fn part_of_row(&self, b: usize, first: usize, count: usize) -> &'a [E] {
        assert!(b < self.rows && first <= self.features && count <= self.features - first);
        // SAFETY: inside the view, by the checks where it was made.
        unsafe { std::slice::from_raw_parts(self.at(b).wrapping_add(first), count) }
    }

    /// `count` rows from row `first` on.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn slice(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.rows && count <= self.rows - first);
        match self.order {
            Some(order) => Self { order: Some(&order[first..]), rows: count, ..*self },
            None => Self { data: self.at(first), rows: count, ..*self },
        }
    }

    /// `count` columns from column `first` on.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline(always)]
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.features && count <= self.features - first);
        Self { data: self.data.wrapping_add(first), features: count, ..*self }
    }
}

impl<'a, E> RowsMut<'a, E> {
    /// A contiguous matrix (`rows`, `features`) at the start of `data`.
    ///
    /// # Panics
    /// If `data` is shorter.
    pub fn new(data: &'a mut [E], rows: usize, features: usize) -> Self {
        assert!(rows.checked_mul(features).is_some_and(|len| len <= data.len()));
        let data = data.as_mut_ptr();
        Self { data, rows, features, stride: features, order: None, borrow: PhantomData }
    }

    /// B, the number of rows.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.rows
    }

    /// The same matrix, to read.
    #[inline(always)]
    pub fn as_ref(&self) -> Rows<'_, E> {
        let Self { data, rows, features, stride, order, .. } = *self;
        Rows { data, rows, features, stride, order, borrow: PhantomData }
    }

    /// Where row `b` starts.
    #[inline(always)]
    fn at(&self, b: usize) -> *mut E {
        self.as_ref().at(b).cast_mut()
    }

    /// Row `b`, (F,), to write.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row_mut(&mut self, b: usize) -> &mut [E] {
        assert!(b < self.rows);
        // SAFETY: inside the view, by the checks where it was made; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at(b), self.features) }
    }

    /// Copies another matrix; if that has more rows, its first ones.
    #[inline(always)]
    pub(crate) fn copy(&mut self, from: Rows<'_, E>)
    where
        E: Copy,
    {
        for b in 0..if self.features > 0 { self.rows } else { 0 } {
            self.row_mut(b).copy_from_slice(from.row(b));
        }
    }

    /// `count` numbers of row `b`, from number `first` on, to write.
    #[inline(always)]
    pub(crate) fn part_of_row(&mut self, b: usize, first: usize, count: usize) -> &mut [E] {
        assert!(b < self.rows && first <= self.features && count <= self.features - first);
        // SAFETY: inside the view, by the checks where it was made; the borrow is exclusive, or of an alias
        // whose maker promised that nobody else uses these numbers.
        unsafe { std::slice::from_raw_parts_mut(self.at(b).wrapping_add(first), count) }
    }

    /// A second view of the same rows.
    ///
    /// # Safety
    /// No number may be in a slice from one view while the other view reads or writes it.
    pub(crate) unsafe fn alias(&self) -> RowsMut<'a, E> {
        RowsMut { ..*self }
    }

    /// The submatrix of `rows` rows from `row` on and `columns` columns from `column` on; none if the matrix
    /// does not have as many.
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
        if !within {
            return None;
        }
        let Rows { data, stride, order, .. } = self.as_ref().slice(row, rows);
        let data = data.wrapping_add(column).cast_mut();
        Some(RowsMut { data, rows, features: columns, stride, order, borrow: PhantomData })
    }

    /// The columns before `column`, to write, and the other columns, to read.
    #[inline(always)]
    pub(crate) fn split_columns(&mut self, column: usize) -> (RowsMut<'_, E>, Rows<'_, E>) {
        assert!(column <= self.features);
        let Self { data, rows, stride, features, order, .. } = *self;
        let after = Rows {
            data: data.wrapping_add(column).cast_const(),
            rows,
            features: features - column,
            stride,
            order,
            borrow: PhantomData,
        };
        (RowsMut { data, rows, features: column, stride, order, borrow: PhantomData }, after)
    }

    /// `count` columns from column `first` on.
    #[inline(always)]
    pub(crate) fn into_columns(self, first: usize, count: usize) -> Self {
        assert!(first <= self.features && count <= self.features - first);
        Self { data: self.data.wrapping_add(first), features: count, ..self }
    }

    /// `rows` rows from row `row` on.
    #[inline(always)]
    pub(crate) fn rows_mut(&mut self, row: usize, rows: usize) -> RowsMut<'_, E> {
        self.part(row, rows, 0, self.features).expect("rows inside the matrix")
    }

    /// Where the first row starts, and the distance from a row to the next; see [`Rows::raw`].
    #[inline(always)]
    pub(crate) fn raw_mut(&mut self) -> (*mut E, usize) {
        assert!(self.order.is_none());
        (self.data, self.stride)
    }

    /// Splits into matrices of `sizes[0]`, `sizes[1]`, ... rows.
    ///
    /// # Panics
    /// If the sizes do not add up to the number of rows.
    pub fn split_rows(self, sizes: &[usize]) -> Vec<Self> {
        assert_eq!(total(sizes), Some(self.rows));
        let mut first = 0;
        let split = sizes.iter().map(|&rows| {
            let order = self.order.map(|order| &order[first..]);
            let data = if order.is_some() { self.data } else { self.at(first) };
            first += rows;
            Self { data, rows, order, ..self }
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
    fn sequences_in_an_array_with_padding_are_looked_up() {
        let (steps, rows, lengths) = (3, 3, [1, 3, 2]);
        let mut data: Vec<f64> = (0..9).map(f64::from).collect();
        let sorted = BatchSizes::of_lengths(&lengths).unwrap();
        let in_order = BatchSizes::new(3, vec![3, 2, 1]).unwrap();
        for shape in [Shape::time_major(steps, rows, 1), Shape::batch_major(steps, rows, 1)] {
            let at = |t: usize, b: usize| (t * shape.step_stride + b * shape.row_stride) as f64;
            for (sizes, places) in [(&sorted, [1, 2, 0]), (&in_order, [0, 1, 2])] {
                let view = Seq::padded(&data, shape, sizes).unwrap();
                for (b, &place) in places.iter().enumerate() {
                    for t in (0..steps).filter(|&t| b < view.count(t)) {
                        assert_eq!(view.step(t).row(b)[0], at(t, place));
                        assert_eq!(view.rows(b, 1).steps(t..steps).step(0).row(0)[0], at(t, place));
                    }
                }
                assert!(view.together(0..1).is_none());
            }
        }
        let short = Shape::time_major(2, rows, 1);
        assert!(Seq::padded(&data, short, &sorted).is_err());
        let view = SeqMut::padded(&mut data, Shape::time_major(steps, rows, 1), &sorted).unwrap();
        for (part, value) in view.split_rows(&[1, 2]).iter_mut().zip([-1.0, -2.0]) {
            for t in 0..steps {
                let mut step = part.step_mut(t);
                (0..step.count()).for_each(|b| step.row_mut(b)[0] = value);
            }
        }
        assert_eq!(data, [-2.0, -1.0, -2.0, 3.0, -1.0, -2.0, 6.0, -1.0, 8.0]);
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
        // Strides of an empty batch are never used.
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
