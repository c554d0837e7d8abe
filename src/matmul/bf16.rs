//! Left-hand matrices of products in bf16: rows of pairs.
//!
//! A pair is two neighbours of a row, rounded to bf16, in the bits of one number. So the code that holds,
//! packs and multiplies numbers also works on pairs, and there are half as many. If the last number of a row
//! has no neighbour, it is paired with zero.

use std::mem::replace;

use crate::simd::{Element, Kernel, Simd};
use crate::view::{Rows, RowsMut};

/// Prepares the matrices of a left-hand side for a product. If `rounded` has columns (one for every pair,
/// and at least as many rows), it replaces the matrices by their pairs in `rounded`. It computes these pairs
/// unless `is_rounded` says that they are already there. If `rounded` has no columns, the matrices stay as
/// they are.
#[inline(always)]
pub fn operands<'a, E: Element, S: Simd<E>>(
    s: S,
    parts: &mut [Rows<'a, E>],
    rounded: &'a mut RowsMut<'_, E>,
    is_rounded: &mut bool,
) {
    if !E::PAIRS || rounded.as_ref().features() == 0 {
        return;
    }
    if !replace(is_rounded, true) {
        let mut first = 0;
        for rows in &*parts {
            let pairs = rows.features().div_ceil(2);
            let to = rounded.part(0, rows.count(), first, pairs);
            let to = to.expect("a column for every pair");
            s.outline_pairs(Round { rows: *rows, to });
            first += pairs;
        }
    }
    let mut first = 0;
    for rows in parts {
        let pairs = rows.features().div_ceil(2);
        *rows = rounded.as_ref().slice(0, rows.count()).columns(first, pairs);
        first += pairs;
    }
}

/// Same as [`operands`], for one matrix.
#[inline(always)]
pub fn operand<'a, E: Element, S: Simd<E>>(
    s: S,
    rows: Rows<'a, E>,
    rounded: &'a mut RowsMut<'_, E>,
    is_rounded: &mut bool,
) -> Rows<'a, E> {
    let mut parts = [rows];
    operands(s, &mut parts, rounded, is_rounded);
    parts[0]
}

/// Rounds rows to pairs.
struct Round<'a, 'r, E> {
    rows: Rows<'a, E>,
    to: RowsMut<'r, E>,
}

impl<E: Element> Kernel<E> for Round<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let Self { rows, mut to } = self;
        let k = rows.features();
        for b in 0..rows.count() {
            let (row, to) = (rows.row(b), to.row_mut(b));
            for first in (0..k).step_by(2 * S::LANES) {
                let high = (first + S::LANES).min(k);
                let pairs = s.pair_neighbours(s.load(&row[first..]), s.load(&row[high..]));
                s.store(&mut to[first / 2..], pairs);
            }
        }
    }
}
