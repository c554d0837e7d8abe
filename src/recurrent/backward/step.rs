//! One step back, for some rows of one direction.
//!
//! ```text
//! dh_t += dy_t                                            (then back through zoneout and W_hr, if used)
//! da_t, dc_{t-1}, dh_{t-1} = cell'(record, h_{t-1}, c_{t-1}, dh_t, dc_t)     da goes to the record
//! dh_{t-1} += da_t W_hh                                   (and dx_t = da_t W_ih)
//! ```

use std::ops::Range;

use crate::cell::{Block, Cell, MAX_SLOTS, MAX_UNIT_WEIGHTS};
use crate::error::Result;
use crate::matmul::bf16::{operand, operands};
use crate::matmul::panel::Panels;
use crate::matmul::product::{PanelRange, product};
use crate::matmul::sink::Store;
use crate::recurrent::direction::record::{load, own, store};
use crate::recurrent::direction::{Compute, Direction};
use crate::recurrent::options::norm;
use crate::recurrent::options::zoneout::zone_out_back;
use crate::recurrent::plan::FEW_ROWS;
use crate::recurrent::state::StateRows;
use crate::simd::{Element, Simd};
use crate::threads::team::Member;
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

/// The task that takes some rows back through all steps.
pub(crate) struct Backward<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: BackWeights<'a, E>,
    pub recorded: Recorded<'a, E>,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state. The pass turns it into that of the initial state.
    pub dstate: StateRows<'a, E>,
    pub gradients: StepGradients<'a, E>,
    pub scratch: Scratch<'a, E>,
}

/// The weights that the steps back multiply with, packed.
#[derive(Clone, Copy)]
pub(crate) struct BackWeights<'a, E: Element> {
    /// The units' own weights.
    pub units: &'a [E],
    /// W_hh, for dh.
    pub hidden: &'a Panels<E>,
    /// W_ih, for dx, if it is wanted.
    pub input: Option<&'a Panels<E>>,
    /// W_hr, or the block of W_hh for the reset h, if the layer has one of them.
    pub projection: Option<&'a Panels<E>>,
}

/// What the forward pass kept.
pub(crate) struct Recorded<'a, E> {
    /// The initial state, (B, P) and (B, H).
    pub h0: Rows<'a, E>,
    pub c0: Rows<'a, E>,
    /// The mask of recurrent dropout (B, P); none without recurrent dropout.
    pub mask: Option<Rows<'a, E>>,
    pub y: Seq<'a, E>,
    /// The records (T, B, record). The steps overwrite the cell's values with da.
    pub records: SeqMut<'a, E>,
}

/// The gradients that the steps write, apart from the gradient of the state.
pub(crate) struct StepGradients<'a, E> {
    pub dx: Option<SeqMut<'a, E>>,
    /// With a projection, the steps write the gradient of every output here (T, B, P); no columns otherwise.
    pub outputs: SeqMut<'a, E>,
    /// The steps add the gradients of the units' own weights here (B, units).
    pub units: RowsMut<'a, E>,
}

/// Memory for a step. A matrix that the layer does not need has no columns.
pub(crate) struct Scratch<'a, E> {
    /// The gradient of the cell's output, if it differs from dh + dy, and the gradient of a reset h (B, H).
    pub dm: RowsMut<'a, E>,
    /// With recurrent dropout, the gradient of the masked h (B, P), which the products write.
    pub dgiven: RowsMut<'a, E>,
    /// In bf16, the rounded gradients that the products read (matmul/bf16.rs).
    pub rounded: RowsMut<'a, E>,
}

impl<'a, E: Element> BackWeights<'a, E> {
    /// The weights of a layer that needs only W_hh.
    pub fn hidden(hidden: &'a Panels<E>) -> Self {
        Self { units: &[], hidden, input: None, projection: None }
    }
}

impl<E> StepGradients<'_, E> {
    /// No gradients, for `rows` rows, if only the gradient of the state is wanted.
    pub fn none(rows: usize) -> Self {
        let outputs = Shape::time_major(0, rows, 0);
        let outputs = SeqMut::new(&mut [], outputs).expect("no numbers are needed");
        Self { dx: None, outputs, units: RowsMut::new(&mut [], rows, 0) }
    }
}

impl<E> Scratch<'_, E> {
    /// No memory, for `rows` rows of a layer that needs none.
    pub fn none(rows: usize) -> Self {
        let [dm, dgiven, rounded] = [(); 3].map(|()| RowsMut::new(&mut [], rows, 0));
        Self { dm, dgiven, rounded }
    }
}

/// The panels, which the layer has packed because it needs them.
#[inline(always)]
fn packed<E: Element>(panels: Option<&Panels<E>>) -> &Panels<E> {
    panels.expect("packed where they are needed")
}

impl<C: Cell, E: Element> Backward<'_, C, E> {
    /// Goes back through all steps on this thread.
    ///
    /// # Errors
    /// Never: only members of a team can fail.
    #[inline(always)]
    pub fn steps<S: Simd<E>>(&mut self, s: S) -> Result<()> {
        // A closure here would be compiled without the level's instructions.
        for n in 0..=self.dy.shape().steps {
            self.round(s, n, &mut Member::alone())?;
        }
        Ok(())
    }

    /// Computes a member's units in round `n`. Round 0 is the step that the forward pass computed last. The
    /// round after all steps computes dx for all steps at once, if this is faster.
    #[inline(always)]
    pub fn round<S: Simd<E>>(&mut self, s: S, n: usize, member: &mut Member<'_>) -> Result<()> {
        let steps = self.dy.shape().steps;
        // dx is computed at once if a step has few rows, and the rows of all steps form one matrix.
        let plain = self.layer.compute == Compute::Own;
        let (records, dx) = (self.recorded.records.as_ref(), &self.gradients.dx);
        let few =
            plain && self.dstate.h.count() <= FEW_ROWS && records.together(0..steps).is_some();
        let at_once = few && dx.as_ref().is_some_and(|dx| dx.as_ref().together(0..steps).is_some());
        if n < steps {
            let k = steps - 1 - n;
            let t = self.layer.nth_step(k, steps);
            let before = k.checked_sub(1).map(|k| self.layer.nth_step(k, steps));
            return match self.dy.count(t) {
                0 => Ok(()),
                _ => self.step(s, (t, before), !at_once, member),
            };
        }
        if let Some(dx) = self.gradients.dx.as_mut().filter(|_| at_once)
            && let (Some(records), Some(mut to)) =
                (self.recorded.records.as_ref().together(0..steps), dx.together_mut(0..steps))
        {
            let weights = packed(self.weights.input);
            let rounded = (&mut self.scratch.rounded, &mut false);
            input_gradient(s, self.layer, weights, records, &mut to, member, rounded);
        }
        Ok(())
    }

    /// Computes a member's units in step `t`. The forward pass computed step `before` just before `t`.
    ///
    /// # Errors
    /// If another member failed.
    #[inline(always)]
    pub(crate) fn step<S: Simd<E>>(
        &mut self,
        s: S,
        (t, before): (usize, Option<usize>),
        wants_dx: bool,
        member: &mut Member<'_>,
    ) -> Result<()> {
        let layer = self.layer;
        if layer.separates() {
            self.incoming(s, t);
        }
        self.cells(s, t, before, layer.units_of(member, S::LANES));
        if C::RESETS {
            self.reset_back(s, t, before);
        }
        member.meet()?;
        let values = self.recorded.records.as_ref().step(t);
        let (mask, hidden) = (self.recorded.mask, self.weights.hidden);
        let Scratch { dgiven, rounded, .. } = &mut self.scratch;
        // The products do not read padding, where infinite inputs have become NaN.
        let mut parts = [values.columns(0, 0); MAX_SLOTS];
        let blocks = layer.blocks();
        let by_product = &blocks[..if C::RESETS { blocks.len() - 1 } else { blocks.len() }];
        let mut is_rounded = false;
        let to_round = (&mut *rounded, &mut is_rounded);
        let da = gates(s, values, layer, by_product, |block| block.h, &mut parts, to_round);
        let mut dh = self.dstate.h.rows_mut(0, values.count());
        let adds = C::USES_H || layer.regular.zoneout > 0.0;
        let mut dgiven = dgiven.rows_mut(0, if mask.is_some() { values.count() } else { 0 });
        let mut to = match mask {
            None => Store { c: &mut dh, row: 0, accumulate: adds },
            Some(_) => Store { c: &mut dgiven, row: 0, accumulate: C::RESETS },
        };
        // The columns are the units.
        let panels = PanelRange::from(hidden).panels(member.part(hidden.panels()));
        product(s, da, panels.backwards(t % 2 == 1), &mut to);
        if let Some(mask) = mask {
            for b in 0..values.count() {
                let (d, mask, to) = (dgiven.row_mut(b), mask.row(b), dh.row_mut(b));
                for p in (0..to.len()).step_by(S::LANES) {
                    let sum = if adds { s.load(&to[p..]) } else { s.splat(E::ZERO) };
                    s.store(&mut to[p..], s.mul_add(s.load(&mask[p..]), s.load(&d[p..]), sum));
                }
            }
        }
        if let Some(dx) = self.gradients.dx.as_mut().filter(|_| wants_dx) {
            let mut dx = dx.step_mut(t);
            // If every block uses both x and h, dx and dh need the same gradients, which are already rounded.
            is_rounded =
                !C::RESETS && blocks.iter().all(|block| block.x.is_some() == block.h.is_some());
            let weights = packed(self.weights.input);
            input_gradient(s, layer, weights, values, &mut dx, member, (rounded, &mut is_rounded));
        }
        Ok(())
    }

    /// Computes the gradient of the cell's output from dh + dy. Zoneout leaves in dh what belongs to the h
    /// before; the rest goes back through the projection.
    #[inline(always)]
    fn incoming<S: Simd<E>>(&mut self, s: S, t: usize) {
        let layer = self.layer;
        let kept = layer.slots().kept * layer.padded(S::LANES);
        let projects = C::HAS_C && layer.proj_size > 0;
        let (dy, records) = (self.dy.step(t), self.recorded.records.as_ref().step(t));
        let mut outputs = self.gradients.outputs.step_mut(t);
        let Scratch { dm, rounded, .. } = &mut self.scratch;
        for b in 0..dy.count() {
            let (dh, dy) = (self.dstate.h.row_mut(b), dy.row(b));
            let to = if projects { outputs.row_mut(b) } else { dm.row_mut(b) };
            for p in (0..dy.len()).step_by(S::LANES) {
                let sum = s.add(s.load(&dh[p..]), s.load(&dy[p..]));
                s.store(&mut dh[p..dy.len()], sum);
                s.store(&mut to[p..], sum);
            }
            if layer.regular.zoneout > 0.0 {
                let kept = &records.row(b)[kept..kept + dy.len()];
                zone_out_back(s, kept, &mut dh[..dy.len()], to);
            }
        }
        if projects {
            let mut dm = dm.rows_mut(0, dy.count());
            let dh = operand(s, outputs.as_ref(), rounded, &mut false);
            let weights = packed(self.weights.projection);
            product(s, &[dh], weights, &mut Store { c: &mut dm, row: 0, accumulate: false });
        }
    }

    /// Runs the cells of some units at step `t`. The record's values become da, and dc and dh become the
    /// gradients of the c and h before the step.
    #[inline(always)]
    fn cells<S: Simd<E>>(&mut self, s: S, t: usize, before: Option<usize>, units: Range<usize>) {
        let Direction { cell, regular, .. } = *self.layer;
        let units_weights = self.weights.units;
        let own_weights = Rows::new(units_weights, 1, units_weights.len());
        let (padded, separates) = (self.layer.padded(S::LANES), self.layer.separates());
        let dy = self.dy.step(t);
        let Recorded { h0, c0, y, records, .. } = &mut self.recorded;
        let h_before = before.map(|before| y.step(before));
        let (record_before, mut now) = records.step_beside(t, before);
        let StateRows { h: dh, c: dc } = &mut self.dstate;
        let (dunits, dm) = (&mut self.gradients.units, self.scratch.dm.as_ref());
        let (start, count) = (units.start, units.len());
        let (of_h, of_c) = (if C::USES_H { count } else { 0 }, if C::HAS_C { count } else { 0 });
        for b in 0..dy.count() {
            // c is the last of the cell's values.
            let c_before = match &record_before {
                _ if !C::HAS_C => &[],
                Some(before) if b < before.count() => {
                    before.part_of_row(b, (C::TAPE - 1) * padded + start, count)
                }
                _ => c0.part_of_row(b, start, count),
            };
            let h_before = match &h_before {
                Some(before) if b < before.count() => before.part_of_row(b, start, of_h),
                _ => h0.part_of_row(b, start, of_h),
            };
            if C::HAS_C && regular.layer_norm {
                let to = (dc.row_mut(b), dunits.row_mut(b));
                norm::output_back(s, self.layer, units_weights, now.row_mut(b), dm.row(b), to);
            }
            let filled = start..units.end.next_multiple_of(S::LANES);
            let mut record = now.values(b, (C::TAPE, padded), filled);
            // With a projection, dh is the gradient of its output, and `dm` that of the cell's output.
            let of_dh = if separates && !C::USES_H { 0..0 } else { start..units.end };
            let dh_row = dh.part_of_row(b, of_dh.start, of_dh.len());
            let dc_row = dc.part_of_row(b, if C::HAS_C { start } else { 0 }, of_c);
            let coming = match separates {
                true => dm.part_of_row(b, start, count),
                false => dy.part_of_row(b, start, count),
            };
            for at in (0..count).step_by(S::LANES) {
                let mut values = load::<C, E, S>(s, &record, at);
                let values = &mut values[..C::TAPE];
                let mut dh = s.load(&coming[at..]);
                if !separates {
                    dh = s.add(s.load(&dh_row[at..]), dh);
                }
                let zero = s.splat(E::ZERO);
                let (mut h, mut c, mut dc) = (zero, zero, zero);
                if C::USES_H {
                    h = s.load(&h_before[at..]);
                }
                if C::HAS_C {
                    c = s.load(&c_before[at..]);
                    dc = s.load(&dc_row[at..]);
                    if !regular.layer_norm {
                        dc = s.add(dc, cell.output_back(s, values, values[C::TAPE - 1], dh));
                    }
                }
                let (mut weights, mut dweights) =
                    ([zero; MAX_UNIT_WEIGHTS], [zero; MAX_UNIT_WEIGHTS]);
                if cell.unit_weights() > 0 {
                    weights = own(s, cell, own_weights, 0, start + at, padded);
                    dweights = own(s, cell, dunits.as_ref(), b, start + at, padded);
                }
                let through =
                    cell.backward(s, values, &weights, (h, c), dh, &mut dc, &mut dweights);
                if cell.unit_weights() > 0 {
                    let dweights = &dweights[..cell.unit_weights()];
                    let to = (cell.unit_weights(), padded);
                    store(s, dweights, &mut dunits.values(b, to, 0..padded), start + at);
                }
                if C::USES_H {
                    let mut through = through;
                    if regular.zoneout > 0.0 {
                        through = s.add(through, s.load(&dh_row[at..]));
                    }
                    s.store(&mut dh_row[at..], through);
                }
                if C::HAS_C {
                    s.store(&mut dc_row[at..], dc);
                }
                store(s, &values[..slots_of::<C>()], &mut record, at);
            }
            if regular.layer_norm {
                let dunits = dunits.row_mut(b);
                norm::arguments_back(s, self.layer, units_weights, now.row_mut(b), dunits);
            }
        }
    }

    /// Goes back through the last block and through the reset before it.
    #[inline(always)]
    fn reset_back<S: Simd<E>>(&mut self, s: S, t: usize, before: Option<usize>) {
        let Direction { cell, hidden_size, .. } = *self.layer;
        let (padded, slot) = (self.layer.padded(S::LANES), C::BLOCKS[C::BLOCKS.len() - 1].slot);
        let given = self.layer.slots().given;
        let Recorded { h0, mask, y, records, .. } = &mut self.recorded;
        let h_before = before.map(|before| y.step(before));
        let mut now = records.step_mut(t);
        let Scratch { dm, dgiven, rounded } = &mut self.scratch;
        let rows = now.count();
        let da = now.as_ref().columns(slot * padded, hidden_size);
        let da = operand(s, da, rounded, &mut false);
        let mut dm = dm.rows_mut(0, rows);
        let weights = packed(self.weights.projection);
        product(s, &[da], weights, &mut Store { c: &mut dm, row: 0, accumulate: false });
        for b in 0..rows {
            let dm = dm.as_ref().row(b);
            for unit in (0..hidden_size).step_by(S::LANES) {
                let h = match (&h_before, *mask) {
                    (_, Some(_)) => &now.as_ref().row(b)[given * padded..],
                    (Some(before), _) if b < before.count() => before.row(b),
                    _ => h0.row(b),
                };
                let h = s.load(&h[unit..]);
                let mut record = now.values(b, (C::TAPE, padded), 0..padded);
                let mut values = load::<C, E, S>(s, &record, unit);
                let values = &mut values[..C::TAPE];
                let through = cell.reset_back(s, values, h, s.load(&dm[unit..]));
                // With recurrent dropout, the reset was applied to the masked h.
                match mask {
                    Some(_) => s.store(&mut dgiven.row_mut(b)[unit..], through),
                    None => {
                        let dh = &mut self.dstate.h.row_mut(b)[unit..];
                        s.store(dh, s.add(s.load(dh), through));
                    }
                }
                store(s, &values[..slots_of::<C>()], &mut record, unit);
            }
        }
    }
}

/// Computes dx for some rows, of one step or of several. (Seven arguments, because the caller borrows the
/// fields of its step separately.)
#[inline(always)]
pub(crate) fn input_gradient<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    weights: &Panels<E>,
    values: Rows<'_, E>,
    dx: &mut RowsMut<'_, E>,
    member: &Member<'_>,
    rounded: (&mut RowsMut<'_, E>, &mut bool),
) {
    let mut parts = [values.columns(0, 0); MAX_SLOTS];
    let da = gates(s, values, layer, layer.blocks(), |block| block.x, &mut parts, rounded);
    let panels = member.part(weights.panels());
    product(
        s,
        da,
        PanelRange::from(weights).panels(panels),
        &mut Store { c: dx, row: 0, accumulate: false },
    );
}

/// The gradients of the arguments that x (or h) contributes to, in the order of the weights, as the
/// left-hand side of a product (`operands`). (Seven arguments, for the same reason.)
#[inline(always)]
fn gates<'s, 'v, C: Cell, E: Element, S: Simd<E>>(
    s: S,
    values: Rows<'v, E>,
    layer: &Direction<C>,
    blocks: &[Block],
    part: impl Fn(&Block) -> Option<usize>,
    parts: &'s mut [Rows<'v, E>; MAX_SLOTS],
    (rounded, is_rounded): (&'v mut RowsMut<'_, E>, &mut bool),
) -> &'s [Rows<'v, E>] {
    let (padded, hidden) = (layer.padded(S::LANES), layer.hidden_size);
    let mut count = 0;
    for block in blocks.iter().filter(|block| part(block).is_some()) {
        // Gates without padding between them form one matrix.
        let at_once = if padded == hidden { block.gates } else { 1 };
        for slot in (block.slot..block.slot + block.gates).step_by(at_once) {
            parts[count] = values.columns(slot * padded, at_once * hidden);
            count += 1;
        }
    }
    let parts = &mut parts[..count];
    operands(s, parts, rounded, is_rounded);
    parts
}

/// How many slots of a cell hold arguments.
const fn slots_of<C: Cell>() -> usize {
    let last = C::BLOCKS[C::BLOCKS.len() - 1];
    last.slot + last.gates
}
