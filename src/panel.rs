//! Packed matrices and the register-tiled product that cells fuse into.
//!
//! ```text
//! sums[r][n] = bias[n] + sum over k of a[r][k] w[k][n]
//! ```
//!
//! 1. The right-hand matrix w (K, N) is packed in panels of two vectors, `[panel][1 + K][2][lane]`,
//!    the first row being the bias. Walking k reads a panel from front to back.
//! 2. A tile of R rows times one panel lives in 2 R accumulators for the whole K loop: per k, two
//!    loads of w, R broadcasts of a, 2 R fused multiply-adds. (Four vectors and half the rows read
//!    the panels, which come from L2, twice as fast: on AVX2 that was too fast for L2.)
//! 3. The finished tile is spilled once into a small array, and what follows (a cell, a store) reads
//!    it from there. An accumulator array that is itself indexed at run time would live in memory,
//!    and the K loop would store every accumulator at every k: half the speed.
//! 4. In a gated matrix, the gates of a vector of hidden units lie in neighbouring panels, a group,
//!    which a tile of rows finishes together: a cell finds all it needs in L1.
//!
//! The sum over k runs in one order, from the bias on, whatever the tile: a row's result does not
//! depend on how many rows are computed with it, nor on threads.

use crate::buffer::{Buffer, Rows, RowsMut};
use crate::simd::{Element, Simd};

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
    pub fn reshape<S: Simd<E>>(&mut self, _s: S, k: usize, columns: Columns) {
        (self.k, self.columns, self.lanes) = (k, Some(columns), S::LANES);
        self.data.resize(columns.panels(S::LANES) * (1 + k) * 2 * S::LANES);
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
    pub fn pack_transposed<S: Simd<E>>(&mut self, _s: S, k0: usize, source: Rows<'_, E>) {
        let k = source.features();
        assert!(k0 + k <= self.k && self.lanes == S::LANES);
        assert_eq!(source.len(), self.columns().gates * self.columns().width);
        for (panel, v) in self.vectors() {
            let (to, stride, (first, count)) = self.vector(panel, v);
            let to = &mut to[(1 + k0) * stride..];
            for lane in 0..S::LANES {
                if lane < count {
                    for (kk, &w) in source.row(first + lane).iter().enumerate() {
                        to[kk * stride + lane] = w;
                    }
                } else {
                    for kk in 0..k {
                        to[kk * stride + lane] = E::ZERO;
                    }
                }
            }
        }
    }

    /// Reshapes for a matrix (K, N) and packs it as it stands.
    #[inline(always)]
    pub fn pack_matrix<S: Simd<E>>(&mut self, s: S, matrix: Rows<'_, E>) {
        self.reshape(s, matrix.len(), Columns::plain(matrix.features()));
        self.pack_bias(s, &[]);
        self.pack(s, (0..matrix.len()).map(|k| matrix.row(k)));
    }

    /// Packs all rows of a matrix (K, N), given one at a time.
    #[inline(always)]
    pub fn pack<'a, S: Simd<E>>(&mut self, s: S, rows: impl Iterator<Item = &'a [E]>) {
        let (columns, k) = (self.columns(), self.k);
        assert_eq!(self.lanes, S::LANES);
        let stride = 2 * S::LANES;
        let panel = (1 + k) * stride;
        let mut packed = 0;
        for (kk, row) in rows.take(k).enumerate() {
            assert_eq!(row.len(), columns.gates * columns.width);
            for p in 0..columns.panels(S::LANES) {
                let to = &mut self.data[p * panel + (1 + kk) * stride..][..stride];
                for v in 0..2 {
                    let (first, count) = columns.span(S::LANES, p, v);
                    let vector = s.load(&row[first..first + count]);
                    s.store(&mut to[v * S::LANES..][..S::LANES], vector);
                }
            }
            packed += 1;
        }
        assert_eq!(packed, k);
    }
}

/// Rows of the left-hand matrix for one tile: `a[r][k]` is at `data[r * row_stride + k * k_stride]`.
#[derive(Clone, Copy)]
struct Operand<E> {
    data: *const E,
    row_stride: usize,
    k_stride: usize,
    k: usize,
}

/// The most parts of a left-hand matrix.
const MAX_PARTS: usize = 4;
/// The most rows of a tile, the most panels of a group, and the most numbers they make.
const MAX_ROWS: usize = 12;
const MAX_GROUP: usize = 2;
const MAX_SUMS: usize = MAX_ROWS * MAX_GROUP * 2 * 16;

/// The finished tiles of a group, `[row][panel of the group][2][lane]`.
#[repr(align(64))]
struct Sums<E>([E; MAX_SUMS]);

/// R rows times one panel, the accumulators in registers throughout. Row r goes to
/// `sums[r * stride..]`.
///
/// # Safety
/// Every `operand` is valid for R rows of its k; `panel` holds 1 + (all their k) rows of 2 vectors;
/// `sums` is valid for writing R rows of 2 vectors.
#[inline(always)]
unsafe fn tile<E: Element, S: Simd<E>, const R: usize>(
    s: S,
    operands: &[Operand<E>],
    panel: *const E,
    sums: *mut E,
    stride: usize,
) {
    // SAFETY: the bias row of the panel.
    let bias = unsafe { [s.load_ptr(panel), s.load_ptr(panel.add(S::LANES))] };
    let mut acc = [bias; R];
    let mut w = panel.wrapping_add(2 * S::LANES);
    for operand in operands {
        let mut a = operand.data;
        for _ in 0..operand.k {
            // SAFETY: the panel has a row for every k.
            let weights = unsafe { [s.load_ptr(w), s.load_ptr(w.add(S::LANES))] };
            for (r, row) in acc.iter_mut().enumerate() {
                // SAFETY: row r < R at this k.
                let x = s.splat(unsafe { *a.add(r * operand.row_stride) });
                row[0] = s.mul_add(x, weights[0], row[0]);
                row[1] = s.mul_add(x, weights[1], row[1]);
            }
            a = a.wrapping_add(operand.k_stride);
            w = w.wrapping_add(2 * S::LANES);
        }
    }
    for (r, row) in acc.into_iter().enumerate() {
        // SAFETY: row r < R of the sums.
        unsafe {
            s.store_ptr(sums.add(r * stride), row[0]);
            s.store_ptr(sums.add(r * stride + S::LANES), row[1]);
        }
    }
}

/// [`tile`] for a number of rows known at run time, at most `S::ROWS`.
///
/// # Safety
/// As for [`tile`], with `rows` for R.
#[inline(always)]
unsafe fn tile_of<E: Element, S: Simd<E>>(
    s: S,
    rows: usize,
    operands: &[Operand<E>],
    panel: *const E,
    sums: *mut E,
    stride: usize,
) {
    macro_rules! rows {
        ($($r:literal),*) => {
            // The constant comparison keeps tiles that the level never asks for out of the binary.
            match rows {
                // SAFETY: the caller's.
                $($r if $r <= S::ROWS => unsafe {
                    tile::<E, S, $r>(s, operands, panel, sums, stride)
                },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
}

/// Cuts `rows` into tiles of about equal height, at most `S::ROWS`: (first, count) of each.
#[inline(always)]
fn tiles<E: Element, S: Simd<E>>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let height = rows.div_ceil(rows.div_ceil(S::ROWS).max(1)).max(1);
    (0..rows).step_by(height).map(move |first| (first, height.min(rows - first)))
}

/// What becomes of the sums of a product. (A closure would do, but only functions can be marked
/// `#[inline(always)]`, and one that is not inlined is compiled without the level's instructions.)
pub trait Consume<E: Element> {
    /// Takes the sums of a row and group, `[panel of the group][2][lane]`, bias included.
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, group: usize, sums: &[E]);
}

/// The product of `a`, whose columns are those of its parts side by side, and a packed matrix, tile
/// by tile.
#[inline(always)]
pub fn product<E: Element, S: Simd<E>>(
    s: S,
    a: &[Rows<'_, E>],
    w: &Panels<E>,
    consumer: &mut impl Consume<E>,
) {
    const { assert!(S::ROWS <= MAX_ROWS && S::LANES <= 16) };
    let group = w.columns().group();
    assert!(w.lanes == S::LANES && group <= MAX_GROUP && a.len() <= MAX_PARTS);
    assert_eq!(a.iter().map(Rows::features).sum::<usize>(), w.k);
    let rows = a[0].len();
    assert!(a.iter().all(|part| part.len() == rows));

    let mut sums = Sums([E::ZERO; MAX_SUMS]);
    let (panel, stride) = ((1 + w.k) * 2 * S::LANES, group * 2 * S::LANES);
    for (g, panels) in w.data.chunks_exact(group * panel).enumerate() {
        for (first, count) in tiles::<E, S>(rows) {
            let nothing = Operand { data: panels.as_ptr(), row_stride: 0, k_stride: 0, k: 0 };
            let mut operands = [nothing; MAX_PARTS];
            for (operand, part) in operands.iter_mut().zip(a) {
                let (data, row_stride) = part.raw();
                let data = data.wrapping_add(first * row_stride);
                *operand = Operand { data, row_stride, k_stride: 1, k: part.features() };
            }
            let operands = &operands[..a.len()];
            for (p, panel) in panels.chunks_exact(panel).enumerate() {
                let sums = sums.0[p * 2 * S::LANES..].as_mut_ptr();
                // SAFETY: rows first..first + count of every part, whose k add up to the panel's;
                // the sums have room for MAX_ROWS rows of `stride` from the group's start.
                unsafe { tile_of(s, count, operands, panel.as_ptr(), sums, stride) };
            }
            for (r, sums) in sums.0.chunks_exact(stride).take(count).enumerate() {
                consumer.take(s, first + r, g, sums);
            }
        }
    }
}

/// A plain product is written to these rows.
impl<E: Element> Consume<E> for RowsMut<'_, E> {
    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, row: usize, group: usize, sums: &[E]) {
        let to = &mut self.row_mut(row)[group * 2 * S::LANES..];
        for (to, sum) in to.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            s.store(to, s.load(sum));
        }
    }
}

/// k values of the outer products below that are packed at a time: their panels stay in L2.
const K_BLOCK: usize = 256;
/// Columns of the left-hand matrix that are packed together: a whole number of tiles and vectors.
const A_BLOCK: usize = 48;

/// Memory for [`accumulate`], to be used again.
#[derive(Default)]
pub struct Accumulate<E: Element> {
    b: Vec<Panels<E>>,
    a: Buffer<E>,
}

/// Where the columns of a left-hand matrix are: `gates` blocks of `width`, `stride` apart, of which
/// the columns `range` are wanted (gate = column / width).
pub struct Lefts {
    /// Columns in a block.
    pub width: usize,
    /// From a block to the next.
    pub stride: usize,
    /// The wanted columns, counted without padding.
    pub range: std::ops::Range<usize>,
}

/// Sums of outer products over all k, as weight gradients are:
///
/// ```text
/// c_i[m][n] += sum over k of a[k][m] b_i[k][n]      for every right-hand matrix b_i
/// sums[m]   += sum over k of a[k][m]                unless sums is empty
/// ```
///
/// The k are the (step, row) pairs of a sequence batch (T, B); `a` and `b[i]` give their rows. Row 0
/// of `c[i]` and of `sums` belongs to column `range.start`.
#[inline(always)]
pub fn accumulate<'a, E: Element, S: Simd<E>, const N: usize>(
    s: S,
    (steps, rows): (usize, usize),
    a: impl Fn(usize, usize) -> &'a [E],
    lefts: Lefts,
    b: [&dyn Fn(usize, usize) -> &'a [E]; N],
    mut c: [RowsMut<'_, E>; N],
    sums: &mut [E],
    memory: &mut Accumulate<E>,
) {
    let rows_of_c = lefts.range.len();
    assert!(c.iter().all(|c| c.len() == rows_of_c));
    memory.b.resize_with(N, Panels::default);
    memory.a.resize(K_BLOCK * A_BLOCK);
    let mut tile = Sums([E::ZERO; MAX_SUMS]);
    let k = steps * rows;
    let mut k0 = 0;
    while k0 < k {
        let block = (k - k0).min(K_BLOCK);
        let pairs = || pairs_from(k0, rows).take(block);
        for ((panels, b), c) in memory.b.iter_mut().zip(b).zip(&c) {
            panels.reshape(s, block, Columns::plain(c.as_ref().features()));
            panels.pack_bias(s, &[]);
            panels.pack(s, pairs().map(|(t, row)| b(t, row)));
        }
        let mut m = lefts.range.start;
        while m < lefts.range.end {
            let (gate, unit) = (m / lefts.width, m % lefts.width);
            let count = A_BLOCK.min(lefts.width - unit).min(lefts.range.end - m);
            let column = gate * lefts.stride + unit;
            let mut totals = [E::ZERO; A_BLOCK];
            for (kk, (t, b)) in pairs().enumerate() {
                let from = &a(t, b)[column..column + count];
                let to = memory.a[kk * A_BLOCK..][..A_BLOCK].chunks_exact_mut(S::LANES);
                let totals = totals.chunks_exact_mut(S::LANES);
                for ((from, to), total) in from.chunks(S::LANES).zip(to).zip(totals) {
                    let v = s.load(from);
                    s.store(to, v);
                    s.store(total, s.add(s.load(total), v));
                }
            }
            let row = m - lefts.range.start;
            if !sums.is_empty() {
                let sums = sums[row..row + count].chunks_mut(S::LANES);
                for (sum, total) in sums.zip(totals.chunks_exact(S::LANES)) {
                    s.store(sum, s.add(s.load(sum), s.load(total)));
                }
            }
            for (panels, c) in memory.b.iter().zip(&mut c) {
                add_products(s, &memory.a, panels, c, row, count, &mut tile);
            }
            m += count;
        }
        k0 += block;
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

/// Adds the product of a packed block of `count` columns of a and packed panels to rows of c.
#[inline(always)]
fn add_products<E: Element, S: Simd<E>>(
    s: S,
    a: &[E],
    panels: &Panels<E>,
    c: &mut RowsMut<'_, E>,
    row: usize,
    count: usize,
    sums: &mut Sums<E>,
) {
    let k = panels.k;
    assert!(a.len() >= k * A_BLOCK && count <= A_BLOCK && panels.lanes == S::LANES);
    let stride = 2 * S::LANES;
    for (p, panel) in panels.data.chunks_exact((1 + k) * stride).enumerate() {
        for (first, count) in tiles::<E, S>(count) {
            let data = a[first..].as_ptr();
            let operand = Operand { data, row_stride: 1, k_stride: A_BLOCK, k };
            let tile = sums.0.as_mut_ptr();
            // SAFETY: columns first..first + count of a, inside its blocks of A_BLOCK; the panel
            // has k rows; the sums have room for MAX_ROWS rows.
            unsafe { tile_of(s, count, &[operand], panel.as_ptr(), tile, stride) };
            for (r, sums) in sums.0.chunks_exact(stride).take(count).enumerate() {
                let to = &mut c.row_mut(row + first + r)[p * stride..];
                for (to, sum) in to.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
                    s.store(to, s.add(s.load(to), s.load(sum)));
                }
            }
        }
    }
}
