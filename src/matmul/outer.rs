//! Sums of outer products over all steps and rows of a batch, which are the gradients of weights.
//!
//! ```text
//! c_i[m][n] += sum over k of a[k][m] b_i[k][n]      k = (step, row), K = T B
//! sums[m]   += sum over k of a[k][m]
//! ```
//!
//! Up to [`K_BLOCK`] values of k are packed together: the right-hand rows b in panels that stay in L2, the
//! left-hand rows a by columns, [`A_BLOCK`] at a time. Packing a also adds up `sums`. Then each block is a
//! product. The rows of c are independent, so tasks can divide them.
//!
//! k runs in one order: blocks of whole steps ([`blocks`]), from the last block to the first. A sequence that
//! is cut between blocks and summed from its last time chunk to its first gives the same bits.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::error::Result;
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::product_by_columns;
use crate::matmul::sink::Store;
use crate::simd::{Element, Simd};
use crate::view::RowsMut;

/// The most values of k that are packed together.
pub const K_BLOCK: usize = 256;
/// The most columns of a that are packed together: a whole number of tiles and of vectors.
const A_BLOCK: usize = 48;

/// Memory for [`OuterProducts`], reused between calls.
#[derive(Default)]
pub struct OuterMemory<E: Element> {
    a: Buffer<E>,
    b: Vec<Panels<E>>,
}

/// Sets `starts` to the first step of every block. A block has as many whole steps as have at most `most`
/// rows together, and at least one. Where blocks begin after a block's first step does not depend on earlier
/// steps.
pub fn blocks(steps: usize, counts: impl Fn(usize) -> usize, most: usize, starts: &mut Vec<usize>) {
    starts.clear();
    let mut rows = 0;
    for step in 0..steps {
        rows += counts(step);
        if step == 0 || rows > most {
            starts.push(step);
            rows = counts(step);
        }
    }
}

/// The steps and rows that [`OuterProducts::add`] sums over.
///
/// The rows a have padding: their columns are gates of `width` numbers that begin `stride` apart. Column
/// indices do not count the padding.
pub struct OuterProducts<'a, E: Element> {
    /// T
    pub steps: usize,
    /// The number of rows of each step.
    pub counts: &'a dyn Fn(usize) -> usize,
    /// The first step of every block.
    pub blocks: &'a [usize],
    /// How many numbers a gate of a row of a has.
    pub width: usize,
    /// The distance from a gate to the next.
    pub stride: usize,
    /// Whether a and b are rounded to bf16. Then two rows make a row of pairs.
    pub pairs: bool,
    /// The memory for packed blocks.
    pub memory: &'a mut OuterMemory<E>,
}

/// The sums that the products of some columns of a are added to.
pub struct Target<'c, E, const N: usize> {
    /// The columns of a.
    pub columns: Range<usize>,
    /// For every right-hand side, the rows of c that belong to these columns, if they are wanted.
    pub c: [Option<RowsMut<'c, E>>; N],
    /// The vectors that the sums of the columns are added to, each if it is wanted.
    pub sums: [Option<&'c mut [E]>; 2],
}

impl<E: Element> OuterProducts<'_, E> {
    /// Adds the outer products of the rows that `a` and each of `b` return for (step, row) to the targets.
    ///
    /// # Errors
    /// If there is not enough memory to pack a block.
    #[inline(always)]
    pub fn add<'r, S: Simd<E>, const N: usize>(
        &mut self,
        s: S,
        a: impl Fn(usize, usize) -> &'r [E],
        b: [&dyn Fn(usize, usize) -> &'r [E]; N],
        targets: &mut [Target<'_, E, N>],
    ) -> Result<()> {
        let Self { steps, counts, blocks, pairs, .. } = *self;
        for Target { columns, c, .. } in &*targets {
            assert!(c.iter().flatten().all(|c| c.count() == columns.len()));
        }
        // Never shrink: with a projection, calls alternate between three right-hand sides and one.
        let sides = N.max(self.memory.b.len());
        self.memory.b.resize_with(sides, Panels::default);
        self.memory.a.resize(K_BLOCK * A_BLOCK)?;
        let mut end = steps;
        for &first in blocks.iter().rev() {
            let mut left: usize = (first..end).map(counts).sum();
            let mut places = Places { steps: end, counts, t: first, row: 0 };
            end = first;
            while left > 0 {
                let k = left.div_ceil(left.div_ceil(K_BLOCK));
                left -= k;
                for (n, (panels, b)) in self.memory.b.iter_mut().zip(b).enumerate() {
                    let Some(c) = targets.iter().find_map(|target| target.c[n].as_ref()) else {
                        continue;
                    };
                    let columns = Columns::plain(c.as_ref().features());
                    match pairs {
                        true => panels.reshape_pairs(s, k.div_ceil(2), columns)?,
                        false => panels.reshape(s, k, columns)?,
                    }
                    panels.pack_bias(s, &[]);
                    panels.pack(s, places.clone().take(k).map(|(t, row)| b(t, row)));
                }
                // Look rows up once, because all columns of a need the same rows.
                let mut rows = [&[][..]; K_BLOCK];
                for (row, (t, b)) in rows.iter_mut().zip(places.clone().take(k)) {
                    *row = a(t, b);
                }
                for target in &mut *targets {
                    self.add_block(s, &rows[..k], target);
                }
                places.nth(k - 1);
            }
        }
        Ok(())
    }

    /// Adds the products of one block, whose rows of b are packed.
    #[inline(always)]
    fn add_block<S: Simd<E>, const N: usize>(
        &mut self,
        s: S,
        rows: &[&[E]],
        target: &mut Target<'_, E, N>,
    ) {
        let Self { width, stride, pairs, ref mut memory, .. } = *self;
        let wanted = target.columns.clone();
        let mut m = wanted.start;
        while m < wanted.end {
            let (gate, unit) = (m / width, m % width);
            // Whole vectors, in blocks of about equal size: latency would dominate a block of one or two
            // rows.
            let rest = (width - unit).min(wanted.end - m);
            let equal = rest.div_ceil(rest.div_ceil(A_BLOCK));
            let count = equal.next_multiple_of(S::LANES).min(rest);
            let (first, row) = (gate * stride + unit, m - wanted.start);
            let sums = target.sums.each_mut();
            let mut sums = sums.map(|sums| sums.as_mut().map(|sums| &mut sums[row..]));
            pack_columns(s, rows, first..first + count, pairs, &mut memory.a, &mut sums);
            for (panels, c) in memory.b.iter().zip(&mut target.c) {
                if let Some(c) = c {
                    let mut to = Store { c, row, accumulate: true };
                    product_by_columns(s, count, &memory.a, A_BLOCK, panels, &mut to);
                }
            }
            m += count;
        }
    }
}

/// Iterates over every (step, row), in order. A division for each would cost noticeable time.
#[derive(Clone)]
struct Places<'a> {
    steps: usize,
    counts: &'a dyn Fn(usize) -> usize,
    t: usize,
    row: usize,
}

impl Iterator for Places<'_> {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        while self.t < self.steps && self.row >= (self.counts)(self.t) {
            (self.t, self.row) = (self.t + 1, 0);
        }
        let pair = (self.t, self.row);
        self.row += 1;
        (self.t < self.steps).then_some(pair)
    }
}

/// Copies at most [`A_BLOCK`] columns of rows to `to`, whose rows are [`A_BLOCK`] apart, and adds the sums
/// of the columns to `sums`. If `pairs`, two rows become a row of pairs, and the sums use the numbers before
/// rounding. It takes one vector of columns after the other, so that the vector's total stays in a register.
#[inline(always)]
fn pack_columns<E: Element, S: Simd<E>>(
    s: S,
    rows: &[&[E]],
    columns: Range<usize>,
    pairs: bool,
    to: &mut [E],
    sums: &mut [Option<&mut [E]>],
) {
    for at in columns.clone().step_by(S::LANES) {
        let (first, span) = (at - columns.start, at..columns.end);
        let mut total = s.splat(E::ZERO);
        if pairs && E::PAIRS {
            for (two, to) in rows.chunks(2).zip(to.chunks_exact_mut(A_BLOCK)) {
                let one = s.load(&two[0][span.clone()]);
                let other = two.get(1).map_or(s.splat(E::ZERO), |row| s.load(&row[span.clone()]));
                s.store(&mut to[first..], s.pair(one, other));
                total = s.add(s.add(total, one), other);
            }
        } else {
            for (row, to) in rows.iter().zip(to.chunks_exact_mut(A_BLOCK)) {
                let v = s.load(&row[span.clone()]);
                s.store(&mut to[first..], v);
                total = s.add(total, v);
            }
        }
        for sums in sums.iter_mut().flatten() {
            let to = &mut sums[first..columns.len()];
            s.store(to, s.add(s.load(to), total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_steps_and_start_anew_wherever_one_begins() {
        let of = |counts: &[usize]| {
            let mut starts = Vec::new();
            blocks(counts.len(), |step| counts[step], 256, &mut starts);
            starts
        };
        assert_eq!(of(&[]), [0usize; 0]);
        assert_eq!(of(&[100; 5]), [0, 2, 4]);
        assert_eq!(of(&[300, 300, 10, 10]), [0, 1, 2]);
        let counts: Vec<_> = (0..200).map(|step| 60 - step * 60 / 200).collect();
        let starts = of(&counts);
        for &start in &starts {
            let later = starts.iter().filter(|&&later| later >= start).map(|&later| later - start);
            assert_eq!(of(&counts[start..]), later.collect::<Vec<_>>());
        }
    }
}
