//! Sums of outer products over all steps and rows of a batch: the gradients of weights.
//!
//! ```text
//! c_i[m][n] += sum over k of a[k][m] b_i[k][n]      k = (step, row), K = T B
//! sums[m]   += sum over k of a[k][m]
//! ```
//!
//! Blocks of [`K_BLOCK`] values of k are packed, the right-hand rows b in panels that stay in L2, the
//! left-hand rows a by columns, [`A_BLOCK`] at a time, adding up `sums` on the way; then each block is
//! a product. Rows of c are independent, so tasks may share them out; k always runs in one order.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::error::Result;
use crate::panel::{Columns, Panels};
use crate::product::{Consume, product_by_columns};
use crate::simd::{Element, Simd};
use crate::view::RowsMut;

/// Values of k that are packed at a time.
const K_BLOCK: usize = 256;
/// Columns of a that are packed together: a whole number of tiles and of vectors.
const A_BLOCK: usize = 48;

/// Memory for [`OuterProducts`], to be used again.
#[derive(Default)]
pub struct OuterMemory<E: Element> {
    a: Buffer<E>,
    b: Vec<Panels<E>>,
}

/// What [`OuterProducts::add`] adds to, and over what.
///
/// The rows a have padding: their columns are blocks (gates) of `width` numbers, `stride` apart.
/// Columns are counted without it, and row 0 of every c and of `sums` belongs to column `columns.start`.
pub struct OuterProducts<'a, E: Element, const N: usize> {
    /// T and B.
    pub steps_and_rows: (usize, usize),
    /// Numbers in a block of a's columns.
    pub width: usize,
    /// From a block to the next.
    pub stride: usize,
    /// The columns of a that are wanted.
    pub columns: Range<usize>,
    /// The sums, one matrix for every right-hand side.
    pub c: [RowsMut<'a, E>; N],
    /// The sums of a's columns; empty if nobody wants them.
    pub sums: &'a mut [E],
    /// Where blocks are packed.
    pub memory: &'a mut OuterMemory<E>,
}

impl<E: Element, const N: usize> OuterProducts<'_, E, N> {
    /// Adds the outer products of the rows that `a` and each of `b` give for (step, row).
    ///
    /// # Errors
    /// If there is not enough memory to pack a block.
    #[inline(always)]
    pub fn add<'r, S: Simd<E>>(
        mut self,
        s: S,
        a: impl Fn(usize, usize) -> &'r [E],
        b: [&dyn Fn(usize, usize) -> &'r [E]; N],
    ) -> Result<()> {
        let wanted = self.columns.len();
        assert!(self.c.iter().all(|c| c.count() == wanted));
        self.memory.b.resize_with(N, Panels::default);
        let (steps, rows) = self.steps_and_rows;
        self.memory.a.resize(K_BLOCK.min(steps * rows) * A_BLOCK)?;
        for k0 in (0..steps * rows).step_by(K_BLOCK) {
            let k = K_BLOCK.min(steps * rows - k0);
            let pairs = || pairs_from(k0, rows).take(k);
            for ((panels, b), c) in self.memory.b.iter_mut().zip(b).zip(&self.c) {
                panels.reshape(s, k, Columns::plain(c.as_ref().features()))?;
                panels.pack_bias(s, &[]);
                panels.pack(s, pairs().map(|(t, row)| b(t, row)));
            }
            let mut m = self.columns.start;
            while m < self.columns.end {
                let (block, unit) = (m / self.width, m % self.width);
                // Blocks of about equal size: a last one of a row or two would be mostly latency.
                let left = (self.width - unit).min(self.columns.end - m);
                let count = left.div_ceil(left.div_ceil(A_BLOCK));
                let first = block * self.stride + unit;
                let columns = pairs().map(|(t, row)| &a(t, row)[first..first + count]);
                let row = m - self.columns.start;
                let sums = match self.sums {
                    [] => &mut [][..],
                    ref mut sums => &mut sums[row..row + count],
                };
                pack_columns(s, columns, &mut self.memory.a, sums);
                for (panels, c) in self.memory.b.iter().zip(&mut self.c) {
                    let a = &self.memory.a;
                    product_by_columns(s, count, a, A_BLOCK, panels, &mut AddTo { c, row });
                }
                m += count;
            }
        }
        Ok(())
    }
}

/// (step, row) of k0, k0 + 1, ...; a division for each would show.
#[inline(always)]
fn pairs_from(k0: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let (mut t, mut b) = (k0 / rows, k0 % rows);
    std::iter::from_fn(move || {
        let pair = (t, b);
        b += 1;
        if b == rows {
            (t, b) = (t + 1, 0);
        }
        Some(pair)
    })
}

/// Copies rows of at most [`A_BLOCK`] numbers, that far apart, and adds them up.
#[inline(always)]
fn pack_columns<'r, E: Element, S: Simd<E>>(
    s: S,
    rows: impl Iterator<Item = &'r [E]>,
    to: &mut [E],
    sums: &mut [E],
) {
    let mut totals = [E::ZERO; A_BLOCK];
    for (row, to) in rows.zip(to.chunks_exact_mut(A_BLOCK)) {
        let parts = to.chunks_exact_mut(S::LANES).zip(totals.chunks_exact_mut(S::LANES));
        for (from, (to, total)) in row.chunks(S::LANES).zip(parts) {
            let v = s.load(from);
            s.store(to, v);
            s.store(total, s.add(s.load(total), v));
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = *sum + total;
    }
}

/// Adds a product to the rows of c from `row` on.
struct AddTo<'a, 'c, E: Element> {
    c: &'a mut RowsMut<'c, E>,
    row: usize,
}

impl<E: Element> Consume<E> for AddTo<'_, '_, E> {
    #[inline(always)]
    fn place(
        &mut self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Option<(RowsMut<'_, E>, bool)> {
        Some((self.c.part(self.row + row, rows, column, columns)?, true))
    }

    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, group: usize, sums: &[E]) {
        let to = &mut self.c.row_mut(self.row + row)[group * 2 * S::LANES..];
        for (to, sum) in to.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            s.store(to, s.add(s.load(to), s.load(sum)));
        }
    }
}
