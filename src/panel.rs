//! Packed matrices, for the products of product.rs.
//!
//! The right-hand matrix w (K, N) of a product is packed in panels of two vectors,
//! `[panel][1 + K][2][lane]`, the first row being the bias: walking k reads a panel from front to
//! back. The columns of a matrix with gates are grouped so that all gates of a vector of hidden units
//! lie in neighbouring panels.

use crate::buffer::Buffer;
use crate::error::Result;
use crate::simd::{Element, Simd};
use crate::view::Rows;

/// How the columns of a packed matrix are grouped into vectors: `gates` blocks of `width` columns.
/// A plain matrix has one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Blocks of columns that a group takes side by side.
    pub gates: usize,
    /// Columns in a block: hidden units.
    pub width: usize,
    /// Vectors of each block in a group; `gates * units` is even.
    pub units: usize,
}

impl Columns {
    /// The columns of a matrix without gates.
    pub fn plain(width: usize) -> Self {
        Self { gates: 1, width, units: 2 }
    }

    /// Panels of a group.
    fn group(&self) -> usize {
        self.gates * self.units / 2
    }

    fn panels(&self, lanes: usize) -> usize {
        self.width.div_ceil(self.units * lanes) * self.group()
    }

    /// The first column of vector `v` of a panel, and how many it has (the rest is padding).
    fn span(&self, lanes: usize, panel: usize, v: usize) -> (usize, usize) {
        let v = panel % self.group() * 2 + v;
        let unit = (panel / self.group() * self.units + v % self.units) * lanes;
        let count = self.width.saturating_sub(unit).min(lanes);
        (v / self.units * self.width + unit.min(self.width), count)
    }
}

/// A packed matrix (K, N) with a bias (N,): `[panel][1 + K][2][lane]`, padded with zeros.
#[derive(Default)]
pub struct Panels<E: Element> {
    data: Buffer<E>,
    k: usize,
    columns: Option<Columns>,
    lanes: usize,
}

impl<E: Element> Panels<E> {
    /// Sets the extents, keeping the memory where it fits. The numbers are unspecified until packed.
    #[inline(always)]
    pub fn reshape<S: Simd<E>>(&mut self, _s: S, k: usize, columns: Columns) -> Result<()> {
        (self.k, self.columns, self.lanes) = (k, Some(columns), S::LANES);
        self.data
            .resize(columns.panels(S::LANES).saturating_mul(2 * S::LANES).saturating_mul(1 + k))
    }

    /// `[panel][1 + K][2][lane]`
    pub fn data(&self) -> &[E] {
        &self.data
    }

    /// K
    pub fn k(&self) -> usize {
        self.k
    }

    /// Numbers of a vector.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Panels of a group.
    pub fn group(&self) -> usize {
        self.columns().group()
    }

    fn columns(&self) -> Columns {
        self.columns.expect("panels are reshaped before use")
    }

    /// The columns `[1 + K][lane]` of vector `v` of a panel, whose rows are a stride apart, with the
    /// stride and the span of columns it holds.
    #[inline(always)]
    fn vector(&mut self, panel: usize, v: usize) -> (&mut [E], usize, (usize, usize)) {
        let stride = 2 * self.lanes;
        let first = panel * (1 + self.k) * stride + v * self.lanes;
        let span = self.columns().span(self.lanes, panel, v);
        (&mut self.data[first..], stride, span)
    }

    /// (panel, v) of every vector.
    #[inline(always)]
    fn vectors(&self) -> impl Iterator<Item = (usize, usize)> + use<E> {
        let panels = self.columns().panels(self.lanes);
        (0..panels).flat_map(|panel| [(panel, 0), (panel, 1)])
    }

    /// Packs the bias: the sum of the given vectors (N,), zero if there are none.
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

    /// Packs rows `k0..` from a matrix (N, k) that has the columns of this one as its rows, as the
    /// weights of layers do.
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
                    // SAFETY: the view has LANES rows of k numbers; the slice reaches as far as the
                    // last vector.
                    unsafe {
                        s.transpose_ptr(from.add(done), from_stride, to.as_mut_ptr(), stride);
                    }
                    done += S::COLUMNS;
                }
            }
            if done < k {
                for lane in 0..S::LANES {
                    if lane < count {
                        let row = &source.row(first + lane)[done..];
                        for (kk, &w) in (done..).zip(row) {
                            to[kk * stride + lane] = w;
                        }
                    } else {
                        for kk in done..k {
                            to[kk * stride + lane] = E::ZERO;
                        }
                    }
                }
            }
        }
    }

    /// Reshapes for a matrix (K, N) and packs it as it stands.
    #[inline(always)]
    pub fn pack_matrix<S: Simd<E>>(&mut self, s: S, matrix: Rows<'_, E>) -> Result<()> {
        self.reshape(s, matrix.count(), Columns::plain(matrix.features()))?;
        self.pack_bias(s, &[]);
        self.pack(s, (0..matrix.count()).map(|k| matrix.row(k)));
        Ok(())
    }

    /// Packs all rows of a matrix (K, N) without gates, given one at a time.
    #[inline(always)]
    pub fn pack<'a, S: Simd<E>>(&mut self, s: S, rows: impl Iterator<Item = &'a [E]>) {
        let (columns, k) = (self.columns(), self.k);
        assert!(self.lanes == S::LANES && columns == Columns::plain(columns.width));
        let stride = 2 * S::LANES;
        let mut packed = 0;
        for (kk, row) in rows.take(k).enumerate() {
            assert_eq!(row.len(), columns.width);
            let panels = self.data.chunks_exact_mut((1 + k) * stride);
            for (from, panel) in row.chunks(stride).zip(panels) {
                let to = &mut panel[(1 + kk) * stride..][..stride];
                let (low, high) = from.split_at(from.len().min(S::LANES));
                s.store(to, s.load(low));
                s.store(&mut to[S::LANES..], s.load(high));
            }
            packed += 1;
        }
        assert_eq!(packed, k);
    }
}
