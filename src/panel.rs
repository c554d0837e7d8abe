//! Packed matrices and the register-tiled product that cells fuse into.
//!
//! ```text
//! sums[r][n] = bias[n] + sum over k of a[r][k] w[k][n]
//! ```
//!
//! 1. The right-hand matrix w (K, N) is packed in panels of V vectors, `[panel][1 + K][V][lane]`, the
//!    first row being the bias. Walking k reads a panel from front to back.
//! 2. A tile of R rows times one panel lives in R x V accumulators for the whole K loop: per k, R
//!    broadcasts of a, V loads of w, R x V fused multiply-adds.
//! 3. The finished tile is spilled once into a small array, and what follows (a cell, a store) reads
//!    it from there. An accumulator array that is itself indexed at run time would live in memory,
//!    and the K loop would store every accumulator at every k: half the speed.
//! 4. In a gated matrix, one panel holds all gates of its hidden units (vector v = gate v), so a cell
//!    finds all it needs in one tile.
//!
//! The sum over k runs in one order, from the bias on, whatever the tile: a row's result does not
//! depend on how many rows are computed with it, nor on threads.

use crate::buffer::{Buffer, Rows, RowsMut};
use crate::simd::{Element, Simd};

/// How the columns of a packed matrix are grouped into vectors: `gates` blocks of `width` columns.
/// A plain matrix has one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Blocks of columns that a panel takes side by side.
    pub gates: usize,
    /// Columns in a block: hidden units.
    pub width: usize,
    /// Vectors of each block in a panel.
    pub units: usize,
}

impl Columns {
    /// The columns of a matrix without gates.
    pub fn plain(width: usize) -> Self {
        Self { gates: 1, width, units: 2 }
    }

    /// V, the vectors of a panel.
    pub fn vectors(&self) -> usize {
        self.gates * self.units
    }

    fn panels(&self, lanes: usize) -> usize {
        self.width.div_ceil(self.units * lanes)
    }

    /// The first column of vector `v` of a panel, and how many it has (the rest is padding).
    fn span(&self, lanes: usize, panel: usize, v: usize) -> (usize, usize) {
        let unit = (panel * self.units + v % self.units) * lanes;
        let count = self.width.saturating_sub(unit).min(lanes);
        (v / self.units * self.width + unit.min(self.width), count)
    }
}

/// A packed matrix (K, N) with a bias (N,): `[panel][1 + K][V][lane]`, padded with zeros.
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
        let panel = (1 + k) * columns.vectors() * S::LANES;
        self.data.resize(columns.panels(S::LANES) * panel);
    }

    fn columns(&self) -> Columns {
        self.columns.expect("panels are reshaped before use")
    }

    /// The vectors `[1 + K][V]`, as (panel, v, span).
    #[inline(always)]
    fn for_each_vector(&mut self, mut f: impl FnMut(&mut [E], usize, usize, usize)) {
        let (columns, lanes) = (self.columns(), self.lanes);
        let stride = columns.vectors() * lanes;
        for (p, panel) in self.data.chunks_exact_mut((1 + self.k) * stride).enumerate() {
            for v in 0..columns.vectors() {
                let (first, count) = columns.span(lanes, p, v);
                f(&mut panel[v * lanes..], stride, first, count);
            }
        }
    }

    /// Packs the bias: the sum of the given vectors (N,), zero if there are none.
    #[inline(always)]
    pub fn pack_bias<S: Simd<E>>(&mut self, s: S, biases: &[&[E]]) {
        self.for_each_vector(|vector, _, first, count| {
            let mut sum = s.splat(E::ZERO);
            for bias in biases {
                sum = s.add(sum, s.load(&bias[first..first + count]));
            }
            s.store(&mut vector[..S::LANES], sum);
        });
    }

    /// Packs rows `k0..` from a matrix (N, k) that has the columns of this one as its rows, as the
    /// weights of layers do.
    #[inline(always)]
    pub fn pack_transposed<S: Simd<E>>(&mut self, _s: S, k0: usize, source: Rows<'_, E>) {
        let k = source.features();
        assert!(k0 + k <= self.k && self.lanes == S::LANES);
        assert_eq!(source.len(), self.columns().gates * self.columns().width);
        self.for_each_vector(|vector, stride, first, count| {
            let vector = &mut vector[(1 + k0) * stride..];
            for lane in 0..S::LANES {
                if lane < count {
                    let row = source.row(first + lane);
                    for (kk, &w) in row.iter().enumerate() {
                        vector[kk * stride + lane] = w;
                    }
                } else {
                    for kk in 0..k {
                        vector[kk * stride + lane] = E::ZERO;
                    }
                }
            }
        });
    }

    /// Packs all rows of a matrix (K, N), given one at a time.
    #[inline(always)]
    pub fn pack<'a, S: Simd<E>>(&mut self, s: S, rows: impl Iterator<Item = &'a [E]>) {
        let (columns, k) = (self.columns(), self.k);
        assert_eq!(self.lanes, S::LANES);
        let stride = columns.vectors() * S::LANES;
        let panel = (1 + k) * stride;
        let mut packed = 0;
        for (kk, row) in rows.take(k).enumerate() {
            assert_eq!(row.len(), columns.gates * columns.width);
            for p in 0..columns.panels(S::LANES) {
                let to = &mut self.data[p * panel + (1 + kk) * stride..][..stride];
                for v in 0..columns.vectors() {
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

/// The most rows of a tile, and the most numbers: 6 rows of 4 vectors of 16.
const MAX_ROWS: usize = 6;
const MAX_SUMS: usize = MAX_ROWS * 4 * 16;

/// A finished tile, `[row][v][lane]`.
#[repr(align(64))]
struct Sums<E>([E; MAX_SUMS]);

/// The rows of a tile V vectors wide.
#[inline(always)]
const fn tile_rows<E: Element, S: Simd<E>, const V: usize>() -> usize {
    if V <= 2 { S::ROWS_OF_2 } else { S::ROWS_OF_4 }
}

/// R rows times one panel, the accumulators in registers throughout.
///
/// # Safety
/// Every `operand` is valid for R rows of its k; `panel` holds 1 + (all their k) rows of V vectors.
#[inline(always)]
unsafe fn tile<E: Element, S: Simd<E>, const R: usize, const V: usize>(
    s: S,
    operands: &[Operand<E>],
    panel: *const E,
    sums: &mut Sums<E>,
) {
    const { assert!(R <= MAX_ROWS && V <= 4 && S::LANES <= 16) };
    let mut acc = [[s.splat(E::ZERO); V]; R];
    for v in 0..V {
        // SAFETY: the bias row of the panel.
        let bias = unsafe { s.load_ptr(panel.add(v * S::LANES)) };
        for row in &mut acc {
            row[v] = bias;
        }
    }
    let mut w = panel.wrapping_add(V * S::LANES);
    for operand in operands {
        let mut a = operand.data;
        for _ in 0..operand.k {
            // Broadcasts first and then one weight vector at a time: with 16 registers, 12
            // accumulators leave room for just that.
            let mut x = [s.splat(E::ZERO); R];
            for (r, x) in x.iter_mut().enumerate() {
                // SAFETY: row r < R at this k.
                *x = s.splat(unsafe { *a.add(r * operand.row_stride) });
            }
            for v in 0..V {
                // SAFETY: the panel has a row for every k.
                let weight = unsafe { s.load_ptr(w.add(v * S::LANES)) };
                for r in 0..R {
                    acc[r][v] = s.mul_add(x[r], weight, acc[r][v]);
                }
            }
            a = a.wrapping_add(operand.k_stride);
            w = w.wrapping_add(V * S::LANES);
        }
    }
    for r in 0..R {
        for v in 0..V {
            // SAFETY: R * V * LANES <= MAX_SUMS.
            unsafe { s.store_ptr(sums.0.as_mut_ptr().add((r * V + v) * S::LANES), acc[r][v]) };
        }
    }
}

/// [`tile`] for a number of rows known at run time, at most [`tile_rows`].
///
/// # Safety
/// As for [`tile`], with `rows` for R.
#[inline(always)]
unsafe fn tile_of<E: Element, S: Simd<E>, const V: usize>(
    s: S,
    rows: usize,
    operands: &[Operand<E>],
    panel: *const E,
    sums: &mut Sums<E>,
) {
    let most = const { tile_rows::<E, S, V>() };
    macro_rules! rows {
        ($($r:literal),*) => {
            // The constant comparison keeps tiles that the level never asks for out of the binary.
            match rows {
                // SAFETY: the caller's.
                $($r if $r <= most => unsafe { tile::<E, S, $r, V>(s, operands, panel, sums) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1, 2, 3, 4, 5, 6)
}

/// The most parts that a left-hand matrix may have.
const MAX_PARTS: usize = 4;

/// The product of `a`, whose columns are those of its parts side by side, and a packed matrix, tile
/// by tile: `done(row, panel, sums)` gets the V vectors of a row and panel, bias included.
#[inline(always)]
pub fn product<E: Element, S: Simd<E>, const V: usize>(
    s: S,
    a: &[Rows<'_, E>],
    w: &Panels<E>,
    mut done: impl FnMut(usize, usize, &[E]),
) {
    let columns = w.columns();
    assert_eq!((w.lanes, columns.vectors()), (S::LANES, V), "packed for another tile");
    assert_eq!(a.iter().map(Rows::features).sum::<usize>(), w.k);
    let rows = a[0].len();
    assert!(a.iter().all(|part| part.len() == rows));

    let mut sums = Sums([E::ZERO; MAX_SUMS]);
    for (p, panel) in w.data.chunks_exact((1 + w.k) * V * S::LANES).enumerate() {
        let mut first = 0;
        while first < rows {
            let count = (rows - first).min(const { tile_rows::<E, S, V>() });
            let nothing = Operand { data: panel.as_ptr(), row_stride: 0, k_stride: 0, k: 0 };
            let mut operands = [nothing; MAX_PARTS];
            for (operand, part) in operands.iter_mut().zip(a) {
                let (data, row_stride) = part.raw();
                let data = data.wrapping_add(first * row_stride);
                *operand = Operand { data, row_stride, k_stride: 1, k: part.features() };
            }
            let operands = &operands[..a.len()];
            // SAFETY: rows first..first + count of every part, whose k add up to the panel's.
            unsafe { tile_of::<E, S, V>(s, count, operands, panel.as_ptr(), &mut sums) };
            for r in 0..count {
                done(first + r, p, &sums.0[r * V * S::LANES..][..V * S::LANES]);
            }
            first += count;
        }
    }
}

/// [`product`] with a plain matrix, into the rows of `out` (whose features may be padded).
#[inline(always)]
pub fn product_into<E: Element, S: Simd<E>>(
    s: S,
    a: &[Rows<'_, E>],
    w: &Panels<E>,
    out: &mut RowsMut<'_, E>,
) {
    product::<E, S, 2>(s, a, w, |row, panel, sums| {
        let to = out.row_mut(row);
        let first = (panel * 2 * S::LANES).min(to.len());
        for (to, sum) in to[first..].chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
            s.store(to, s.load(sum));
        }
    });
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
    assert!(a.len() >= k * A_BLOCK && count <= A_BLOCK && panels.columns().vectors() == 2);
    for (p, panel) in panels.data.chunks_exact((1 + k) * 2 * S::LANES).enumerate() {
        let mut first = 0;
        while first < count {
            let rows = (count - first).min(const { tile_rows::<E, S, 2>() });
            let data = a[first..].as_ptr();
            let operand = Operand { data, row_stride: 1, k_stride: A_BLOCK, k };
            // SAFETY: columns first..first + rows of a, inside its blocks of A_BLOCK; the panel has
            // k rows.
            unsafe { tile_of::<E, S, 2>(s, rows, &[operand], panel.as_ptr(), sums) };
            for r in 0..rows {
                let to = c.row_mut(row + first + r);
                let column = p * 2 * S::LANES;
                let sums = sums.0[r * 2 * S::LANES..].chunks_exact(S::LANES);
                for (to, sum) in to[column..].chunks_mut(S::LANES).take(2).zip(sums) {
                    s.store(to, s.add(s.load(to), s.load(sum)));
                }
            }
            first += rows;
        }
    }
}
