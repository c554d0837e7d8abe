//! The gradients of the weights: sums of outer products over all steps and rows.

use std::ops::Range;

use super::direction::Direction;
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
    pub da: Seq<'a, E>,
    /// With a projection, the gradients of its outputs (T, B, P).
    pub dh: Seq<'a, E>,
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub h0: Rows<'a, E>,
}

impl<C, E: Element> Clone for Sums<'_, C, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C, E: Element> Copy for Sums<'_, C, E> {}

/// The gradients of some rows of the weights.
pub(super) struct WeightGradients<'a, C, E: Element> {
    sums: Sums<'a, C, E>,
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
    sums: Sums<'a, C, E>,
    grads: &'a mut [E],
    parts: usize,
    memory: &'a mut Vec<OuterMemory<E>>,
    tasks: &mut Vec<WeightGradients<'a, C, E>>,
) {
    let Direction { input_size, hidden_size, proj_size, .. } = *sums.layer;
    let (gates, outputs) = (C::GATES * hidden_size, sums.layer.output_size());
    let (mut dw_ih, rest) = grads.split_at_mut(gates * input_size);
    let (mut dw_hh, rest) = rest.split_at_mut(gates * outputs);
    let (biases, dw_hr) = rest.split_at_mut(if sums.layer.bias { 2 * gates } else { 0 });
    let (mut db_ih, mut db_hh) = biases.split_at_mut(biases.len() / 2);
    memory.resize_with(C::BLOCKS.len() * parts + 1, OuterMemory::default);
    let mut memory = memory.iter_mut();
    let mut memory = || memory.next().expect("one a task");
    for block in C::BLOCKS {
        let mut first = 0;
        for rows in parallel::split(block.gates * hidden_size, parts) {
            let db = if sums.layer.bias { rows } else { 0 };
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
        let Sums { layer, da, dh, x, y, h0 } = self.sums;
        let (steps, padded) = (x.shape().steps, layer.padded(S::LANES));
        let biases = if layer.bias && self.slot.is_some() { self.range.len() } else { 0 };
        let mut sums = vec![E::ZERO; biases];
        let counts = |t: usize| x.count(t);
        let x_row = |t: usize, b: usize| x.step(t).row(b);
        let h_before = |t: usize, b: usize| match layer.step_before(t, steps) {
            Some(before) if b < y.count(before) => y.step(before).row(b),
            _ => h0.row(b),
        };
        let m_row =
            |t: usize, b: usize| &da.step(t).row(b)[C::TAPE * padded..][..layer.hidden_size];
        let left = |t: usize, b: usize| match self.slot {
            Some(slot) => &da.step(t).row(b)[slot * padded..],
            None => dh.step(t).row(b),
        };
        // What the last block of a cell that resets was given for h is the last value of its record.
        let reset =
            |t: usize, b: usize| &da.step(t).row(b)[(C::TAPE - 1) * padded..][..layer.hidden_size];
        let resets = C::RESETS && self.slot == Some(C::BLOCKS[C::BLOCKS.len() - 1].slot);
        let from_h: &dyn Fn(usize, usize) -> &'a [E] = if resets { &reset } else { &h_before };
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
        let outer = OuterProducts {
            steps,
            counts: &counts,
            width: if self.slot.is_some() { layer.hidden_size } else { layer.proj_size },
            stride: padded,
            columns: self.range,
            c,
            sums: &mut sums,
            memory: self.memory,
        };
        outer.add(s, left, right)?;
        for db in self.db.into_iter().flatten() {
            for (db, &sum) in db.iter_mut().zip(&sums) {
                *db = *db + sum;
            }
        }
        Ok(())
    }
}
