//! The gradients of the weights: sums of outer products over all steps and rows.

use std::ops::Range;

use super::Compute;
use super::direction::Direction;
use super::share::Records;
use crate::cell::Cell;
use crate::error::Result;
use crate::outer::{OuterMemory, OuterProducts};
use crate::parallel;
use crate::simd::{Element, Simd, Task};
use crate::view::{Rows, RowsMut, Seq};

/// What the gradients are sums of.
pub(super) struct Sums<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    /// (T, B, record), the gradients of the gates' arguments in front.
    pub da: Records<'a, E>,
    /// With a projection, the gradients of its outputs (T, B, P).
    pub dh: Seq<'a, E>,
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub h0: Rows<'a, E>,
    /// Whether the products were given h with dropout, which is in the records.
    pub masked: bool,
}

/// The gradients of some rows of the weights.
pub(super) struct WeightGradients<'a, C, E: Element> {
    sums: &'a Sums<'a, C, E>,
    /// The first slot of the rows' gates; none for rows of W_hr.
    slot: Option<usize>,
    /// Which rows, from the first of that gate on.
    range: Range<usize>,
    dw_ih: Option<RowsMut<'a, E>>,
    dw_hh: Option<RowsMut<'a, E>>,
    db: [Option<&'a mut [E]>; 2],
    memory: &'a mut OuterMemory<E>,
}

/// Splits the work on a layer's flat gradients into about `parts` tasks for every block of gates.
pub(super) fn split<'a, C: Cell, E: Element>(
    sums: &'a Sums<'a, C, E>,
    grads: &'a mut [E],
    parts: usize,
    memory: &'a mut Vec<OuterMemory<E>>,
    tasks: &mut Vec<WeightGradients<'a, C, E>>,
) {
    let Direction { input_size, hidden_size, proj_size, .. } = *sums.layer;
    let (outputs, blocks) = (sums.layer.output_size(), sums.layer.blocks());
    let mut rest = grads;
    let [mut dw_ih, mut dw_hh, mut db_ih, mut db_hh, dw_hr, ..] =
        sums.layer.lengths().map(|len| take(&mut rest, len));
    memory.resize_with(blocks.len() * parts + 1, OuterMemory::default);
    let mut memory = memory.iter_mut();
    let mut memory = || memory.next().expect("one a task");
    for block in blocks {
        let mut first = 0;
        for rows in parallel::split(block.gates * hidden_size, parts) {
            // Normalised products have their biases after that: gradients of the units' own weights.
            let biased = sums.layer.bias && !sums.layer.regular.layer_norm;
            let db = if biased { rows } else { 0 };
            tasks.push(WeightGradients {
                sums,
                slot: Some(block.slot),
                range: first..first + rows,
                dw_ih: block
                    .x
                    .map(|_| RowsMut::new(take(&mut dw_ih, rows * input_size), rows, input_size)),
                dw_hh: block
                    .h
                    .map(|_| RowsMut::new(take(&mut dw_hh, rows * outputs), rows, outputs)),
                db: [block.x.map(|_| take(&mut db_ih, db)), block.h.map(|_| take(&mut db_hh, db))],
                memory: memory(),
            });
            first += rows;
        }
    }
    if proj_size > 0 {
        tasks.push(WeightGradients {
            sums,
            slot: None,
            range: 0..proj_size,
            dw_ih: None,
            dw_hh: Some(RowsMut::new(dw_hr, proj_size, hidden_size)),
            db: [None, None],
            memory: memory(),
        });
    }
}

/// Takes the first `len` numbers off a slice.
fn take<'a, E>(from: &mut &'a mut [E], len: usize) -> &'a mut [E] {
    from.split_off_mut(..len).expect("gradients have the layer's length")
}

impl<'a, C: Cell, E: Element> Task<E> for WeightGradients<'a, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Sums { layer, ref da, dh, x, y, h0, masked } = *self.sums;
        let (steps, padded, slots) = (x.shape().steps, layer.padded(S::LANES), layer.slots());
        // Steps are counted in the order in which they were computed.
        let nth = |k: usize| layer.nth_step(k, steps);
        let counts = |k: usize| x.count(nth(k));
        let x_row = |k: usize, b: usize| x.step(nth(k)).row(b);
        let h_before = |k: usize, b: usize| match k.checked_sub(1).map(nth) {
            Some(before) if b < y.count(before) => y.step(before).row(b),
            _ => h0.row(b),
        };
        let m_row = |k: usize, b: usize| {
            &da.row(nth(k), b)[slots.projected * padded..][..layer.hidden_size]
        };
        let left = |k: usize, b: usize| match self.slot {
            Some(slot) => &da.row(nth(k), b)[slot * padded..],
            None => dh.step(nth(k)).row(b),
        };
        // What the last block of a cell that resets was given for h is the last of the cell's values.
        let reset =
            |k: usize, b: usize| &da.row(nth(k), b)[(C::TAPE - 1) * padded..][..layer.hidden_size];
        let given =
            |k: usize, b: usize| &da.row(nth(k), b)[slots.given * padded..][..layer.output_size()];
        let resets = C::RESETS && self.slot == Some(C::BLOCKS[C::BLOCKS.len() - 1].slot);
        let from_h: &dyn Fn(usize, usize) -> &'a [E] = match (resets, masked) {
            (true, _) => &reset,
            (false, true) => &given,
            (false, false) => &h_before,
        };
        let from_xh: [&dyn Fn(usize, usize) -> &'a [E]; 2] = [&x_row, from_h];
        let from_m: [&dyn Fn(usize, usize) -> &'a [E]; 1] = [&m_row];
        let (mut one, mut two);
        let (c, right) = match (self.dw_ih, self.dw_hh) {
            (Some(ih), Some(hh)) => {
                two = [ih, hh];
                (&mut two[..], &from_xh[..])
            }
            (Some(ih), None) => {
                one = [ih];
                (&mut one[..], &from_xh[..1])
            }
            (None, Some(hh)) => {
                one = [hh];
                (&mut one[..], if self.slot.is_some() { &from_xh[1..] } else { &from_m[..] })
            }
            (None, None) => return Ok(()),
        };
        let mut sums: Vec<_> = self.db.into_iter().flatten().filter(|db| !db.is_empty()).collect();
        let outer = OuterProducts {
            steps,
            counts: &counts,
            width: if self.slot.is_some() { layer.hidden_size } else { layer.proj_size },
            stride: padded,
            columns: self.range,
            c,
            sums: &mut sums,
            pairs: layer.compute == Compute::Bf16,
            memory: self.memory,
        };
        outer.add(s, left, right)
    }
}

/// Adds the gradients of the units' own weights, (B, units) as the backward pass left them, to a layer's
/// flat gradients.
pub(super) fn add_units<C: Cell, E: Element>(
    layer: &Direction<C>,
    dunits: Rows<'_, E>,
    padded: usize,
    grads: &mut [E],
) {
    let lengths = layer.lengths();
    for (parameter, first, count) in layer.unit_parameters() {
        let start: usize = lengths[..parameter].iter().sum();
        for b in 0..if count > 0 { dunits.count() } else { 0 } {
            let from = dunits.row(b)[first * padded..].chunks_exact(padded);
            let to = grads[start..].chunks_exact_mut(layer.hidden_size);
            for (to, from) in to.zip(from).take(count) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = *to + from;
                }
            }
        }
    }
}
