//! Packed matrices, for the products of product.rs.
//!
//! The right-hand matrix w (K, N) of a product is packed in panels of two vectors,
//! `[panel][1 + K][2][lane]`. The first row of a panel is the bias. A loop over k reads a panel from
//! front to back. The columns of every gate begin at a vector's first lane.

#![allow(unsafe_code)]

use crate::buffer::Buffer;
use crate::error::Result;
use crate::matmul::sink::Sink;
use crate::simd::{Element, Simd};
use crate::view::{Rows, RowsMut};

/// The columns of a packed matrix: `gates` gates of `width` columns, each padded to whole vectors. A plain
/// matrix has one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// The number of gates.
    pub gates: usize,
    /// The columns of a gate, one for each hidden unit.
    pub width: usize,
}

impl Columns {
    /// The columns of a matrix without gates.
    pub fn plain(width: usize) -> Self {
        Self { gates: 1, width }
    }

    /// How many vectors a gate has.
    fn vectors(&self, lanes: usize) -> usize {
        self.width.div_ceil(lanes)
    }

    fn panels(&self, lanes: usize) -> usize {
        (self.gates * self.vectors(lanes)).div_ceil(2)
    }

    /// The first column of vector `v` of a panel, and how many columns it has; the other lanes are padding.
    fn span(&self, lanes: usize, panel: usize, v: usize) -> (usize, usize) {
        let v = 2 * panel + v;
        let (gate, unit) = (v / self.vectors(lanes), v % self.vectors(lanes) * lanes);
        match gate < self.gates {
            true => (gate * self.width + unit, (self.width - unit).min(lanes)),
            false => (self.gates * self.width, 0),
        }
    }
}

/// A packed matrix (K, N) with a bias (N,): `[panel][1 + K][2][lane]`, padded with zeros.
#[derive(Default)]
pub struct Panels<E: Element> {
    data: Buffer<E>,
    k: usize,
    columns: Option<Columns>,
    lanes: usize,
    pairs: bool,
}

impl<E: Element> Panels<E> {
    /// Sets the extents. The memory is reused if it is large enough. The numbers are unspecified until
    /// packed.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[inline(always)]
    pub fn reshape<S: Simd<E>>(&mut self, _s: S, k: usize, columns: Columns) -> Result<()> {
        (self.k, self.columns, self.lanes, self.pairs) = (k, Some(columns), S::LANES, false);
        self.data
            .resize(columns.panels(S::LANES).saturating_mul(2 * S::LANES).saturating_mul(1 + k))
    }

    /// Same as [`Panels::reshape`], for pairs of bf16 (matmul/bf16.rs): each of the `k` rows holds two rows
    /// of the matrix. The bias is not paired.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[inline(always)]
    pub fn reshape_pairs<S: Simd<E>>(&mut self, s: S, k: usize, columns: Columns) -> Result<()> {
        assert!(E::PAIRS);
        self.reshape(s, k, columns)?;
        self.pairs = true;
        Ok(())
    }

    /// Whether it holds pairs.
    #[inline(always)]
    pub fn holds_pairs(&self) -> bool {
        self.pairs
    }

    /// The packed numbers, `[panel][1 + K][2][lane]`.
    pub fn data(&self) -> &[E] {
        &self.data
    }

    /// The packed numbers, to write.
    pub fn data_mut(&mut self) -> &mut [E] {
        &mut self.data
    }

    /// `rows` rows of a panel from row `row` on, (rows, 2 LANES). Row 0 is the bias.
    #[inline(always)]
    pub fn panel_mut(&mut self, panel: usize, row: usize, rows: usize) -> RowsMut<'_, E> {
        assert!(row + rows <= 1 + self.k);
        let width = 2 * self.lanes;
        RowsMut::new(&mut self.data[(panel * (1 + self.k) + row) * width..], rows, width)
    }

    /// The number of panels.
    #[inline(always)]
    pub fn panels(&self) -> usize {
        self.columns().panels(self.lanes)
    }

    /// K, the number of rows without the bias.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How many numbers a vector has.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    fn columns(&self) -> Columns {
        self.columns.expect("panels are reshaped before use")
    }

    /// Vector `v` of a panel: its numbers `[1 + K][lane]`, the stride between their rows, and the first
    /// column and number of columns that it holds.
    #[inline(always)]
    fn vector(&mut self, panel: usize, v: usize) -> (&mut [E], usize, (usize, usize)) {
        let stride = 2 * self.lanes;
        let first = panel * (1 + self.k) * stride + v * self.lanes;
        let span = self.columns().span(self.lanes, panel, v);
        (&mut self.data[first..], stride, span)
    }

    /// Iterates over (panel, v) of every vector.
    #[inline(always)]
    fn vectors(&self) -> impl Iterator<Item = (usize, usize)> + use<E> {
        let panels = self.columns().panels(self.lanes);
        (0..panels).flat_map(|panel| [(panel, 0), (panel, 1)])
    }

    /// Packs the bias: the sum of the given vectors (N,), or zeros if there are none.
    #[inline(always)]
    pub fn pack_bias<S: Simd<E>>(&mut self, s: S, biases: &[&[E]]) {
        assert_eq!(self.lanes, S::LANES);
        for (panel, v) in self.vectors() {
            let (to, _, (first, count)) = self.vector(panel, v);
            let mut sum = s.splat(E::ZERO);
            for bias in biases {
                sum = s.add(sum, s.load(&bias[first..first + count]));
            }
            s.store(&mut to[..S::LANES], sum);
        }
    }

    /// Packs rows `k0..k0 + k` from a matrix (N, k), whose rows are the columns of this one. The weights of
    /// layers are such matrices.
    #[inline(always)]
    pub fn pack_transposed<S: Simd<E>>(&mut self, s: S, k0: usize, source: Rows<'_, E>) {
        let k = source.features();
        assert!(k0 + k <= self.k && self.lanes == S::LANES);
        assert_eq!(source.count(), self.columns().gates * self.columns().width);
        for (panel, v) in self.vectors() {
            let (to, stride, (first, count)) = self.vector(panel, v);
            let to = &mut to[(1 + k0) * stride..];
            let mut done = 0;
            if count == S::LANES {
                let rows = source.slice(first, count);
                let (from, from_stride) = rows.raw();
                while done + S::COLUMNS <= k {
                    let to = &mut to[done * stride..][..(S::COLUMNS - 1) * stride + S::LANES];
                    // SAFETY: the view has LANES rows of k numbers, and the slice ends with the last
                    // vector that is written.
                    unsafe {
                        s.transpose_ptr(from.add(done), from_stride, to.as_mut_ptr(), stride);
                    }
                    done += S::COLUMNS;
                }
            }
            for kk in if count < S::LANES { done..k } else { k..k } {
                s.store(&mut to[kk * stride..][..S::LANES], s.splat(E::ZERO));
            }
            for lane in 0..if done < k { count } else { 0 } {
                let row = &source.row(first + lane)[done..];
                for (kk, &w) in (done..).zip(row) {
                    to[kk * stride + lane] = w;
                }
            }
        }
    }

    /// Takes rows `k0..k0 + k` of a packed matrix, transposes them to the matrix (N, k) that
    /// [`Panels::pack_transposed`] packed, and packs this as [`Panels::pack_matrix`] does.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[inline(always)]
    pub fn pack_back<S: Simd<E>>(&mut self, s: S, from: &Self, k0: usize, k: usize) -> Result<()> {
        let columns = from.columns();
        let before = (self.k, self.columns, self.lanes);
        self.reshape(s, columns.gates * columns.width, Columns::plain(k))?;
        if before != (self.k, self.columns, self.lanes) {
            self.data.fill(E::ZERO); // nothing else writes the padding
        }
        from.unpack_transposed(s, k0, k, 1, self);
        Ok(())
    }

    /// Writes rows `k0..k0 + k` as the matrix (N, k) that [`Panels::pack_transposed`] packed, to rows
    /// `first_row..first_row + N` of a sink.
    #[inline(always)]
    pub fn unpack_transposed<S: Simd<E>>(
        &self,
        s: S,
        k0: usize,
        k: usize,
        first_row: usize,
        to: &mut impl Sink<E>,
    ) {
        let stride = 2 * S::LANES;
        assert!(k0 + k <= self.k && self.lanes == S::LANES);
        for (panel, v) in self.vectors() {
            let from = (panel * (1 + self.k) + 1 + k0) * stride + v * S::LANES;
            let from = &self.data[from..];
            let (first, count) = self.columns().span(S::LANES, panel, v);
            let first = first_row + first;
            let mut done = 0;
            while count > 0 && done + S::LANES <= k {
                let mut n = 0;
                while n + S::COLUMNS <= count {
                    let from = &from[done * stride + n..][..(S::LANES - 1) * stride + S::COLUMNS];
                    let place = to.place(first + n, S::COLUMNS, done, S::LANES);
                    let mut place = place.expect("inside the matrix").0;
                    assert!(place.count() == S::COLUMNS);
                    assert!(place.as_ref().features() == S::LANES);
                    let (to, to_stride) = place.raw_mut();
                    // SAFETY: `from` has LANES rows of COLUMNS numbers, by the slice; `to` has COLUMNS
                    // rows of LANES numbers, by the assertions.
                    unsafe { s.transpose_ptr(from.as_ptr(), stride, to, to_stride) }
                    n += S::COLUMNS;
                }
                for n in n..count {
                    let mut place = to.place(first + n, 1, done, S::LANES);
                    let to = place.as_mut().expect("inside the matrix").0.row_mut(0);
                    for (kk, to) in (done..).zip(to) {
                        *to = from[kk * stride + n];
                    }
                }
                done += S::LANES;
            }
            for n in 0..if done < k { count } else { 0 } {
                let mut place = to.place(first + n, 1, done, k - done);
                let to = place.as_mut().expect("inside the matrix").0.row_mut(0);
                for (kk, to) in (done..).zip(to) {
                    *to = from[kk * stride + n];
                }
            }
        }
    }

    /// Writes the bias (N,) to `to`.
    #[inline(always)]
    pub fn unpack_bias<S: Simd<E>>(&self, _s: S, to: &mut [E]) {
        for (panel, v) in self.vectors() {
            let from = &self.data[panel * (1 + self.k) * 2 * S::LANES + v * S::LANES..];
            let (first, count) = self.columns().span(S::LANES, panel, v);
            to[first..first + count].copy_from_slice(&from[..count]);
        }
    }

    /// Reshapes for a matrix (K, N) and packs it without a transposition. The bias is zero.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[inline(always)]
    pub fn pack_matrix<S: Simd<E>>(&mut self, s: S, matrix: Rows<'_, E>) -> Result<()> {
        self.reshape(s, matrix.count(), Columns::plain(matrix.features()))?;
        self.pack_bias(s, &[]);
        self.pack(s, (0..matrix.count()).map(|k| matrix.row(k)));
        Ok(())
    }

    /// Same as [`Panels::pack_matrix`], in pairs. The matrix consists of blocks of `block` rows. If `block`
    /// is odd, a row of zeros is added to every block.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[inline(always)]
    pub fn pack_matrix_in_pairs<S: Simd<E>>(
        &mut self,
        s: S,
        matrix: Rows<'_, E>,
        block: usize,
    ) -> Result<()> {
        let (blocks, filled) = (matrix.count() / block, block.next_multiple_of(2));
        assert_eq!(matrix.count(), blocks * block);
        self.reshape_pairs(s, blocks * filled / 2, Columns::plain(matrix.features()))?;
        self.pack_bias(s, &[]);
        let rows = (0..blocks).flat_map(|n| (0..filled).map(move |row| (n * block, row)));
        let row = |(first, row): (usize, usize)| match row < block {
            true => matrix.row(first + row),
            false => &[],
        };
        self.pack(s, rows.map(row));
        Ok(())
    }

    /// Packs all rows of a matrix (K, N) without gates, given one at a time. For pairs there are 2 K rows or
    /// one less. The second row of a pair may be empty, which stands for zeros.
    #[inline(always)]
    pub fn pack<'a, S: Simd<E>>(&mut self, s: S, mut rows: impl Iterator<Item = &'a [E]>) {
        let (columns, k) = (self.columns(), self.k);
        assert!(self.lanes == S::LANES && columns == Columns::plain(columns.width));
        let stride = 2 * S::LANES;
        for kk in 0..k {
            let row = rows.next().expect("a row for every k");
            assert_eq!(row.len(), columns.width);
            let second = if E::PAIRS && self.pairs { rows.next().unwrap_or(&[]) } else { &[] };
            // An iterator over chunks would divide once per row.
            let mut to = (1 + kk) * stride;
            for first in (0..columns.width).step_by(stride) {
                let to_row = &mut self.data[to..to + stride];
                for (v, to) in [0, S::LANES].into_iter().zip(to_row.chunks_exact_mut(S::LANES)) {
                    let mut numbers = s.load(&row[(first + v).min(row.len())..]);
                    if E::PAIRS && self.pairs {
                        let second = s.load(&second[(first + v).min(second.len())..]);
                        numbers = s.pair(numbers, second);
                    }
                    s.store(to, numbers);
                }
                to += (1 + k) * stride;
            }
        }
    }
}

/// Writes a product to rows 0, 1, ... of panels, the row of the bias first. The panels match those of the
/// product. So the gradient of a packed matrix has the layout of the matrix.
impl<E: Element> Sink<E> for Panels<E> {
    #[inline(always)]
    fn place(
        &mut self,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) -> Option<(RowsMut<'_, E>, bool)> {
        let width = 2 * self.lanes();
        let (panel, first) = (column / width, column % width);
        let inside = first + columns <= width;
        inside.then(|| (self.panel_mut(panel, row, rows).into_columns(first, columns), false))
    }

    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, panel: usize, sums: &[E]) {
        let mut to = self.panel_mut(panel, row, 1);
        let to = to.row_mut(0);
        s.store(to, s.load(sums));
        s.store(&mut to[S::LANES..], s.load(&sums[S::LANES..]));
    }
}
