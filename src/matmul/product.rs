//! The register-tiled product with a packed matrix.
//!
//! ```text
//! sums[r][n] = bias[n] + sum over k of a[r][k] w[k][n]
//! ```
//!
//! 1. A tile of R rows times one panel of w (or more panels, if the rows are few) stays in 2 R accumulators
//!    for the whole K loop. Every k takes two loads of w, R broadcasts of a and 2 R fused multiply-adds.
//!    (Four vectors and half the rows load each weight twice as often and were no faster.)
//! 2. The finished tile goes straight to the sink's matrix. If it reaches over an edge there, it goes to
//!    temporary memory first. An accumulator array that is indexed at run time would live in memory, and the
//!    K loop would store every accumulator at every k, at half the speed.
//!
//! The order of the sum over k does not depend on the tile, so a row's result depends neither on how many
//! rows are computed with it nor on threads. The sum is a sum of chains. Every operand of a begins a new
//! chain, and the bias is added to the first. A single chain had larger rounding errors than torch.
//!
//! In bf16, the "numbers" of a and w are pairs of neighbours in k (matmul/bf16.rs), and a multiply-add is
//! [`Simd::dot_pairs`].

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::matmul::panel::Panels;
use crate::matmul::sink::Sink;
use crate::simd::{Element, Kernel, Simd};
use crate::view::Rows;

/// Some columns of the left-hand matrix a: `a[r][k]` is at `data[r * row_stride + k * k_stride]`.
#[derive(Clone, Copy)]
struct Operand<E> {
    data: *const E,
    row_stride: usize,
    k_stride: usize,
    k: usize,
}

/// The most operands of a left-hand matrix.
const MAX_PARTS: usize = 4;
/// The most rows of a tile, and the most sums of a tile.
const MAX_ROWS: usize = 12;
const MAX_SUMS: usize = MAX_ROWS * 2 * 16;

/// The longest chain of additions into one accumulator. Shorter chains have smaller rounding errors, but each
/// costs a tile of additions and stores: chains of 64 cost 4 % of the speed at H = 64.
const CHAIN: usize = 256;

/// How far ahead a panel is prefetched, and the size of a cache line, in bytes. Measured on Zen 5, in
/// percent of the FMA peak, without prefetching and at half, once and twice this distance: 75, 93, 96 and 96
/// % with weights of 25 MB and 32 rows; 72, 79, 73 and 58 % with weights of 4 MB and 4 rows.
const AHEAD: usize = 16384;
const LINE: usize = 64;

/// Finished tiles, `[row][panel][2][lane]`.
#[repr(align(64))]
struct Sums<E>(#[allow(dead_code)] [E; MAX_SUMS]);

/// Where panels lie, and where their sums go: row r of panel p goes to `sums[r * stride + p * 2 LANES..]`.
#[derive(Clone, Copy)]
struct Places<E> {
    panels: *const E,
    panel_len: usize,
    /// The first row of the panels that is used, not counting the bias.
    from: usize,
    sums: *mut E,
    stride: usize,
    /// Whether to add to the present contents of `sums` instead of the bias.
    add: bool,
}

/// Multiplies R rows with P panels; the accumulators stay in registers.
///
/// # Safety
/// Every operand is valid for R rows of its k. Each of the P panels holds 1 + `from` + (the sum of the
/// operands' k) rows of 2 vectors. `sums` is valid for reading and writing R rows of P panels, and is
/// initialised if sums are added to it.
#[inline(always)]
unsafe fn tile<E: Element, S: Simd<E>, const PAIRS: bool, const R: usize, const P: usize>(
    s: S,
    operands: &[Operand<E>],
    at: Places<E>,
) {
    let vector = |p: usize, v: usize| (2 * p + v) * S::LANES;
    let mut w = at.panels.wrapping_add((1 + at.from) * 2 * S::LANES);
    let mut first = !at.add;
    for operand in operands {
        let mut a = operand.data;
        let mut left = operand.k;
        while left > 0 {
            let chain = left.min(CHAIN);
            left -= chain;
            let mut acc = [[[s.splat(E::ZERO); 2]; P]; R];
            for _ in 0..chain {
                // The loop reads a single panel so fast that lines which are not in L2 would come too late.
                if P == 1 {
                    let row = 2 * S::LANES;
                    for line in (0..row).step_by(LINE / size_of::<E>()) {
                        s.prefetch(w.wrapping_add(AHEAD / size_of::<E>() + line));
                    }
                }
                for p in 0..P {
                    // SAFETY: panel p has a row for every k.
                    let weights = unsafe {
                        let w = w.add(p * at.panel_len);
                        [s.load_ptr(w), s.load_ptr(w.add(S::LANES))]
                    };
                    for (r, row) in acc.iter_mut().enumerate() {
                        // SAFETY: row r < R at this k.
                        let x = s.splat(unsafe { *a.add(r * operand.row_stride) });
                        for (sum, w) in row[p].iter_mut().zip(weights) {
                            *sum =
                                if PAIRS { s.dot_pairs(x, w, *sum) } else { s.mul_add(x, w, *sum) };
                        }
                    }
                }
                a = a.wrapping_add(operand.k_stride);
                w = w.wrapping_add(2 * S::LANES);
            }
            // The first chain is added to the bias, later chains to the sums so far.
            for (r, row) in acc.into_iter().enumerate() {
                for (p, parts) in row.into_iter().enumerate() {
                    for (v, part) in parts.into_iter().enumerate() {
                        // SAFETY: row r < R and panel p < P of the sums; the bias row of panel p.
                        unsafe {
                            let sum = at.sums.add(r * at.stride + vector(p, v));
                            let bias = at.panels.add(p * at.panel_len + v * S::LANES);
                            let before = s.load_ptr(if first { bias } else { sum.cast_const() });
                            s.store_ptr(sum, s.add(before, part));
                        }
                    }
                }
            }
            first = false;
        }
    }
}

/// [`tile`] for numbers of rows and panels that are known only at run time: at most `S::ROWS` rows, and at
/// most [`panels_at_once`] panels.
///
/// # Safety
/// As for [`tile`], with `rows` for R and `panels` for P.
#[inline(always)]
unsafe fn tile_of<E: Element, S: Simd<E>, const PAIRS: bool>(
    s: S,
    rows: usize,
    panels: usize,
    operands: &[Operand<E>],
    at: Places<E>,
) {
    macro_rules! tiles {
        ($($r:literal x $p:literal),*) => {
            // The constant comparison keeps tiles that the level never uses out of the binary.
            match (rows, panels) {
                // SAFETY: the caller's.
                $(($r, $p) if $r <= S::ROWS => unsafe {
                    tile::<E, S, PAIRS, $r, $p>(s, operands, at)
                },)*
                _ => unreachable!("a tile of {rows} rows and {panels} panels"),
            }
        };
    }
    tiles!(
        1 x 4, 1 x 2, 2 x 2, 1 x 1, 2 x 1, 3 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1, 8 x 1, 9 x 1,
        10 x 1, 11 x 1, 12 x 1
    )
}

/// How many panels a tile of `rows` rows has. With few rows, the accumulators of one panel are too few to
/// hide the latency of the additions.
#[inline(always)]
fn panels_at_once(rows: usize) -> usize {
    match rows {
        1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// The panels, and the rows of them, that a product uses.
#[derive(Clone)]
pub struct PanelRange<'a, E: Element> {
    w: &'a Panels<E>,
    /// The first row. The product uses as many rows as the left-hand matrix has columns.
    from: usize,
    panels: Range<usize>,
    /// Whether the product traverses the panels from the last to the first.
    back: bool,
}

impl<'a, E: Element> From<&'a Panels<E>> for PanelRange<'a, E> {
    #[inline(always)]
    fn from(w: &'a Panels<E>) -> Self {
        Self { w, from: 0, panels: 0..w.panels(), back: false }
    }
}

impl<E: Element> PanelRange<'_, E> {
    /// Selects the rows from `from` on.
    #[inline(always)]
    pub fn rows(self, from: usize) -> Self {
        Self { from, ..self }
    }

    /// Selects panels, which hold the columns from 2 LANES `panels.start` to below 2 LANES `panels.end`.
    #[inline(always)]
    pub fn panels(self, panels: Range<usize>) -> Self {
        Self { panels, ..self }
    }

    /// Selects the order of the panels: if `back`, from the last to the first. If weights are traversed in
    /// alternating order, the panels that are still in the cache come first.
    #[inline(always)]
    pub fn backwards(self, back: bool) -> Self {
        Self { back, ..self }
    }
}

/// Multiplies `a`, given as at most [`MAX_PARTS`] matrices side by side, with a packed matrix, tile by tile.
/// Sums that the sink does not accumulate on present contents are added to the bias.
#[inline(always)]
pub fn product<'w, E: Element, S: Simd<E>>(
    s: S,
    a: &[Rows<'_, E>],
    w: impl Into<PanelRange<'w, E>>,
    sink: &mut impl Sink<E>,
) {
    let w = w.into();
    let rows = a[0].count();
    assert!(a.iter().all(|part| part.count() == rows) && a.len() <= MAX_PARTS);
    let nothing = Operand { data: w.w.data().as_ptr(), row_stride: 0, k_stride: 0, k: 0 };
    let mut operands = [nothing; MAX_PARTS];
    for (operand, part) in operands.iter_mut().zip(a) {
        let (data, row_stride) = part.raw();
        *operand = Operand { data, row_stride, k_stride: 1, k: part.features() };
    }
    // Each operand comes from a view, so it is valid for `rows` rows of its features.
    outline(s, rows, &operands[..a.len()], w, sink);
}

/// Same as [`product`], for an `a` that is stored by columns: `a[r][k]` is at `a[k * stride + r]`, r below
/// `rows`.
#[inline(always)]
pub fn product_by_columns<E: Element, S: Simd<E>>(
    s: S,
    rows: usize,
    a: &[E],
    stride: usize,
    w: &Panels<E>,
    sink: &mut impl Sink<E>,
) {
    assert!(rows <= stride && a.len() >= w.k() * stride);
    let operand = Operand { data: a.as_ptr(), row_stride: 1, k_stride: stride, k: w.k() };
    // k * stride + r < w.k() * stride <= a.len() for r < rows.
    outline(s, rows, &[operand], w.into(), sink);
}

/// Multiplies operands, each valid for `rows` rows of its k, with a packed matrix. If that holds pairs, the
/// operands hold pairs too.
#[inline(always)]
fn outline<E: Element, S: Simd<E>, C: Sink<E>>(
    s: S,
    rows: usize,
    operands: &[Operand<E>],
    w: PanelRange<'_, E>,
    sink: &mut C,
) {
    if E::PAIRS && C::PAIRS && w.w.holds_pairs() {
        s.outline_pairs(Product::<E, C, true> { rows, operands, w, sink });
    } else {
        assert!(!w.w.holds_pairs());
        s.outline(Product::<E, C, false> { rows, operands, w, sink });
    }
}

/// The kernel that multiplies operands side by side, each valid for `rows` rows of its k, with a packed
/// matrix.
///
/// It has many tiles, all inlined, so it runs in an outlined frame: one copy for each kind of sink is enough.
struct Product<'a, E: Element, C, const PAIRS: bool> {
    rows: usize,
    operands: &'a [Operand<E>],
    w: PanelRange<'a, E>,
    sink: &'a mut C,
}

impl<E: Element, C: Sink<E>, const PAIRS: bool> Kernel<E> for Product<'_, E, C, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let Self { rows, operands, w, sink } = self;
        // SAFETY: the maker of this product vouches for the operands.
        unsafe { product_of::<E, S, PAIRS>(s, rows, operands, w, sink) }
    }
}

/// Computes a [`Product`].
///
/// # Safety
/// Every operand is valid for `rows` rows of its k.
#[inline(always)]
unsafe fn product_of<E: Element, S: Simd<E>, const PAIRS: bool>(
    s: S,
    rows: usize,
    operands: &[Operand<E>],
    PanelRange { w, from, panels, back }: PanelRange<'_, E>,
    sink: &mut impl Sink<E>,
) {
    const { assert!(S::ROWS <= MAX_ROWS && S::LANES <= 16) };
    assert!(w.lanes() == S::LANES && operands.len() <= MAX_PARTS);
    let k: usize = operands.iter().map(|operand| operand.k).sum();
    assert!(k > 0 && from <= w.k() && k <= w.k() - from);

    // Every number is written before it is read. Zeroing all of them would slow down small products.
    let mut memory = MaybeUninit::<Sums<E>>::uninit();
    let sums = memory.as_mut_ptr().cast::<E>();
    let panel_len = (1 + w.k()) * 2 * S::LANES;
    let chunk = panels_at_once(rows);
    let stride = chunk * 2 * S::LANES;
    let height = rows.div_ceil(rows.div_ceil(S::ROWS).max(1)).max(1);
    assert!(height <= S::ROWS && height * stride <= MAX_SUMS);
    let chunks = panels.len().div_ceil(chunk);
    for n in 0..chunks {
        let first_panel = panels.start + chunk * if back { chunks - 1 - n } else { n };
        let count = chunk.min(panels.end - first_panel);
        let panels = &w.data()[first_panel * panel_len..(first_panel + count) * panel_len];
        // Tiles of about equal height.
        for first in (0..rows).step_by(height) {
            let height = height.min(rows - first);
            let mut tile = [operands[0]; MAX_PARTS];
            for (part, operand) in tile.iter_mut().zip(operands) {
                *part = *operand;
                part.data = operand.data.wrapping_add(first * operand.row_stride);
            }
            let tile = &tile[..operands.len()];
            // How many panels, the first ones of the chunk, went straight to the sink's matrix.
            let mut placed = 0;
            let mut p = 0;
            while p < count {
                let many = 1 << (count - p).min(panels_at_once(rows)).ilog2();
                let mut at = Places {
                    panels: panels[p * panel_len..].as_ptr(),
                    panel_len,
                    from,
                    sums: sums.wrapping_add(p * 2 * S::LANES),
                    stride,
                    add: false,
                };
                let (column, columns) = ((first_panel + p) * 2 * S::LANES, many * 2 * S::LANES);
                if let Some((mut rows, add)) = sink.place(first, height, column, columns) {
                    assert!(p == placed && rows.count() == height);
                    assert!(rows.as_ref().features() == columns);
                    (at.sums, at.stride) = rows.raw_mut();
                    at.add = add;
                    placed += many;
                } else {
                    for (r, p) in (0..height).flat_map(|r| (p..p + many).map(move |p| (r, p))) {
                        let sums = sums.wrapping_add(r * stride + p * 2 * S::LANES);
                        // SAFETY: inside the memory, by the assertion above; all-zero bytes are numbers.
                        let sums = unsafe {
                            sums.write_bytes(0, 2 * S::LANES);
                            std::slice::from_raw_parts_mut(sums, 2 * S::LANES)
                        };
                        at.add = sink.fill(s, first + r, first_panel + p, sums);
                    }
                }
                // SAFETY: the operands have rows first..first + height, and their k add up to no more than
                // the panels' rows from `from` on; the sums have room, by the assertions above.
                unsafe { tile_of::<E, S, PAIRS>(s, height, many, tile, at) };
                p += many;
            }
            for r in 0..height {
                for p in placed..count {
                    let sums = sums.wrapping_add(r * stride + p * 2 * S::LANES);
                    // SAFETY: the tiles above wrote these sums.
                    let sums = unsafe { std::slice::from_raw_parts(sums, 2 * S::LANES) };
                    sink.take(s, first + r, first_panel + p, sums);
                }
            }
        }
    }
}
