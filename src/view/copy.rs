//! Copies a batch to another layout. Each thread copies some of the rows.

use super::{Seq, SeqMut};
use crate::error::{Result, ensure};
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads::{self, FLOPS_PER_COPY};

impl<E: Element> SeqMut<'_, E> {
    /// Copies a batch of the same lengths and features, (T, B, F), from any layout to the layout of this
    /// one. Padding becomes zero.
    ///
    /// ```
    /// use bptt::{BatchSizes, Seq, SeqMut, Shape};
    ///
    /// // Sequences of 1 and 2 steps, (B, T, F) = (2, 2, 1), the longest first without padding.
    /// let sizes = BatchSizes::of_lengths(&[1, 2])?;
    /// let padded = [1.0_f32, f32::NAN, 2.0, 3.0];
    /// let x = Seq::padded(&padded, Shape::batch_major(2, 2, 1), &sizes)?;
    /// let mut packed = [0.0; 3];
    /// SeqMut::packed(&mut packed, &sizes, 1)?.copy_from(x)?;
    /// assert_eq!(packed, [2.0, 1.0, 3.0]);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If T, B, F or the lengths differ. Nothing is written then.
    pub fn copy_from(self, from: Seq<'_, E>) -> Result<()> {
        let extent = |batch: &Seq<'_, E>| {
            let shape = batch.shape();
            (shape.steps, shape.rows, shape.features)
        };
        let to = self.as_ref();
        let (given, want) = (extent(&from), extent(&to));
        ensure!(given == want, "from is {given:?} (steps, rows, features), this is {want:?}");
        let same = (0..given.0).all(|t| from.count(t) == to.count(t));
        ensure!(same, "both batches must have the same number of rows at every step");
        let numbers = from.total().saturating_mul(from.shape().features);
        let split = threads::split_rows(from.shape().rows, numbers.saturating_mul(FLOPS_PER_COPY))?;
        let level = Level::current()?;
        let mut first = 0;
        let copies = self.split_rows(&split).into_iter().zip(&split).map(|(to, &rows)| {
            first += rows;
            Copy(to, from.rows(first - rows, rows))
        });
        threads::run(copies.collect(), |copy| {
            level.run(copy);
            Ok(())
        })
    }
}

/// Some rows of a batch, and the rows to copy to them.
struct Copy<'a, E>(SeqMut<'a, E>, Seq<'a, E>);

impl<E: Element> Kernel<E> for Copy<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        self.0.copy(s, self.1);
        self.0.clear_padding(s);
    }
}
