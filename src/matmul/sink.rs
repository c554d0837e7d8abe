//! Where the sums of a product go: to the caller's rows, added to what is there or not, or to packed ones.

use crate::simd::{Element, Simd};
use crate::view::RowsMut;

/// What becomes of the sums of a product. (A closure would do, but only functions can be marked
/// `#[inline(always)]`, and one that is not inlined is compiled without the level's instructions.)
pub trait Sink<E: Element> {
    /// Whether it takes products of pairs, too: for every kind of sink that does, all tiles are compiled again.
    const PAIRS: bool = false;

    /// Where the sums of `rows` rows from `row` on and `columns` columns from `column` on can go at
    /// once, and whether to add them to what is there; none if they are to be taken.
    #[inline(always)]
    fn place(
        &mut self,
        _row: usize,
        _rows: usize,
        _column: usize,
        _columns: usize,
    ) -> Option<(RowsMut<'_, E>, bool)> {
        None
    }

    /// Fills in what the sums of a row and panel that are to be taken are added to, or says that this is
    /// the bias.
    #[inline(always)]
    fn fill<S: Simd<E>>(&mut self, _s: S, _row: usize, _panel: usize, _sums: &mut [E]) -> bool {
        false
    }

    /// Takes the sums of a row and panel, `[2][lane]`, with what they were added to.
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &[E]);
}

/// A plain product is written to these rows.
impl<E: Element> Sink<E> for RowsMut<'_, E> {
    #[inline(always)]
    fn place(
        &mut self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Option<(RowsMut<'_, E>, bool)> {
        Some((self.part(row, rows, column, columns)?, false))
    }

    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &[E]) {
        let first = panel * 2 * S::LANES;
        // Padding columns may lie beyond the row.
        if let Some(to) = self.row_mut(row).get_mut(first..) {
            for (to, sum) in to.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
                s.store(to, s.load(sum));
            }
        }
    }
}

/// A plain product is added to, or written to, rows of a matrix, from `row` on.
pub struct Store<'a, 'c, E: Element> {
    /// The matrix.
    pub c: &'a mut RowsMut<'c, E>,
    /// Where the product's first row goes.
    pub row: usize,
    /// Whether it is added to what is there.
    pub accumulate: bool,
}

impl<E: Element> Store<'_, '_, E> {
    /// Where some columns begin and end; padding columns may lie beyond the row.
    #[inline(always)]
    fn inside(&self, first: usize, columns: usize) -> (usize, usize) {
        let features = self.c.as_ref().features();
        (first.min(features), (first + columns).min(features))
    }
}

impl<E: Element> Sink<E> for Store<'_, '_, E> {
    const PAIRS: bool = true;

    #[inline(always)]
    fn place(
        &mut self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Option<(RowsMut<'_, E>, bool)> {
        Some((self.c.part(self.row + row, rows, column, columns)?, self.accumulate))
    }

    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &[E]) {
        let (first, end) = self.inside(panel * 2 * S::LANES, 2 * S::LANES);
        let to = self.c.part_of_row(self.row + row, first, end - first);
        for (to, sum) in to.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            s.store(to, s.load(sum));
        }
    }

    #[inline(always)]
    fn fill<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &mut [E]) -> bool {
        if self.accumulate {
            let (first, end) = self.inside(panel * 2 * S::LANES, 2 * S::LANES);
            let from = self.c.as_ref().part_of_row(self.row + row, first, end - first);
            for (sum, from) in sums.chunks_exact_mut(S::LANES).zip(from.chunks(S::LANES)) {
                s.store(sum, s.load(from));
            }
        }
        self.accumulate
    }
}
