//! Sinks: where the sums of a product go. They go to the caller's rows, which they replace or accumulate on,
//! or to panels.

use crate::simd::{Element, Simd};
use crate::view::RowsMut;

/// Receives the sums of a product. (It is not a closure, because only functions can be marked
/// `#[inline(always)]`, and a function that is not inlined is compiled without the level's instructions.)
pub trait Sink<E: Element> {
    /// Whether it also receives products of pairs. For every kind of sink that does, all tiles are compiled
    /// again.
    const PAIRS: bool = false;

    /// The rows for the sums of `rows` rows from `row` on and `columns` columns from `column` on, and whether
    /// to accumulate there. If none, the product calls `fill` and `take` for these sums instead.
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

    /// Writes the numbers that the sums of a row and panel are added to, and returns true; or returns false,
    /// and the sums are added to the bias.
    #[inline(always)]
    fn fill<S: Simd<E>>(&mut self, _s: S, _row: usize, _panel: usize, _sums: &mut [E]) -> bool {
        false
    }

    /// Takes the finished sums of a row and panel, `[2][lane]`.
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &[E]);
}

/// Writes a product without gates to these rows.
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

/// Writes a product without gates to rows of a matrix, from `row` on, or accumulates it there.
pub struct Store<'a, 'c, E: Element> {
    /// The matrix.
    pub c: &'a mut RowsMut<'c, E>,
    /// The row of the matrix for the product's first row.
    pub row: usize,
    /// Whether the product is added to the present contents.
    pub accumulate: bool,
}

impl<E: Element> Store<'_, '_, E> {
    /// The begin and end of some columns within the row. Padding columns may lie beyond it.
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
