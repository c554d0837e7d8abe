//! One step forward, for some rows of one direction.
//!
//! ```text
//! arguments = bias + x_t W_ih' + h_{t-1} W_hh'     written to the record
//! h_t, c_t = cell(arguments, h_{t-1}, c_{t-1})     the cell's values replace the arguments
//! y_t = h_t, or W_hr h_t with a projection         the next step reads y_t
//! ```
//!
//! The options (options/zoneout.rs, norm.rs) come before and after these.

use std::ops::Range;

use super::cells::cells;
use crate::cell::{Block, Cell};
use crate::error::Result;
use crate::matmul::bf16::operand;
use crate::matmul::panel::Panels;
use crate::matmul::product::{PanelRange, product};
use crate::matmul::sink::Store;
use crate::recurrent::direction::Direction;
use crate::recurrent::direction::packed::Packed;
use crate::recurrent::direction::record::{load, store};
use crate::recurrent::options::zoneout::{Regularised, give, zone_out};
use crate::simd::{Element, Simd};
use crate::threads::team::Member;
use crate::view::{Rows, RowsMut};

/// One step: what it reads and writes.
pub(crate) struct Step<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub packed: &'a Packed<E>,
    /// The inputs (B, I); none if the record already holds what x contributes to the arguments ([`from_x`]).
    pub x: Option<Rows<'a, E>>,
    pub state: StepState<'a, E>,
    /// The records (B, record).
    pub values: RowsMut<'a, E>,
    /// Memory for the rounded x, and for the rounded h or projection input; no columns if products do not
    /// round.
    pub rounded: [RowsMut<'a, E>; 2],
    /// Whether the weights are traversed from the last to the first. Steps alternate, so that the weights
    /// that one step reads last are still in the cache when the next step begins.
    pub back: bool,
    pub regularised: Regularised<'a, E>,
}

/// The state of some rows before and after a step.
pub(crate) struct StepState<'a, E> {
    /// h before the step (B, P).
    pub h: Rows<'a, E>,
    /// c before the step (B, H). The step replaces it by the c after the step.
    pub c: RowsMut<'a, E>,
    /// The step writes h after the step here (B, P).
    pub y: RowsMut<'a, E>,
}

/// What a block of gates uses for h in its product.
enum HiddenOperand {
    /// h itself.
    State,
    /// h with recurrent dropout, from the record.
    Dropped,
    /// The reset h, which is the last of the cell's values in the record.
    Reset,
}

impl HiddenOperand {
    /// The hidden operand of block `n`.
    #[inline(always)]
    fn of<C: Cell>(n: usize, blocks: usize, masked: bool) -> Self {
        match masked {
            _ if C::RESETS && n + 1 == blocks => Self::Reset,
            true => Self::Dropped,
            false => Self::State,
        }
    }

    /// Its slot in the record and its width; none if it is not in the record.
    #[inline(always)]
    fn place<C: Cell>(&self, layer: &Direction<C>) -> Option<(usize, usize)> {
        match self {
            Self::State => None,
            Self::Dropped => Some((layer.slots().given, layer.output_size())),
            Self::Reset => Some((C::TAPE - 1, layer.hidden_size)),
        }
    }
}

impl<C: Cell, E: Element> Step<'_, C, E> {
    /// Computes the units of one member.
    ///
    /// # Errors
    /// If another member failed.
    #[inline(always)]
    pub fn run<S: Simd<E>>(mut self, s: S, member: &mut Member<'_>) -> Result<()> {
        let Self { layer, packed, .. } = self;
        let (h, Regularised { mask, draw }) = (self.state.h, self.regularised);
        let (padded, slots) = (layer.padded(S::LANES), layer.slots());
        if let Some(mask) = mask {
            give(s, h, mask, slots.given * padded, &mut self.values);
        }
        self.arguments(s, member);
        // A panel that reaches over a gate's end computes arguments of another member's units.
        if !padded.is_multiple_of(2 * S::LANES) {
            member.meet()?;
        }
        let own = layer.units_of(member, S::LANES);
        let projects = C::HAS_C && layer.proj_size > 0;
        let StepState { c, y, .. } = &mut self.state;
        let to = if projects { None } else { Some(&mut *y) };
        cells(s, layer, (&packed.units, own), h, c, to, &mut self.values);
        if projects {
            let m = self.values.as_ref().columns(slots.projected * padded, layer.hidden_size);
            let m = operand(s, m, &mut self.rounded[1], &mut false);
            product(s, &[m], &packed.projection, &mut Store { c: y, row: 0, accumulate: false });
        }
        if layer.regular.zoneout > 0.0 {
            let kept = (slots.kept * padded, &mut self.values);
            zone_out(s, layer.regular.zoneout, draw, h, y, kept);
        }
        Ok(())
    }

    /// Computes the arguments of the gates from x and h, with one product for every block.
    #[inline(always)]
    fn arguments<S: Simd<E>>(&mut self, s: S, member: &Member<'_>) {
        let (layer, rows) = (self.layer, self.state.h.count());
        let (padded, blocks) = (layer.padded(S::LANES), layer.blocks());
        let masked = self.regularised.mask.is_some();
        // In bf16, all blocks use the same rounded x and h.
        let mut is_rounded = [false; 2];
        for (n, (block, weights)) in blocks.iter().zip(&self.packed.weights).enumerate() {
            let hidden = HiddenOperand::of::<C>(n, blocks.len(), masked);
            if let HiddenOperand::Reset = hidden {
                self.reset(s);
                is_rounded[1] = false;
            }
            // In a record, the slot that the product reads lies behind those that it writes.
            let read = hidden.place(layer);
            let end = read.map_or(self.values.as_ref().features(), |(slot, _)| slot * padded);
            let (mut arguments, last) = self.values.split_columns(end);
            let mut h = read.map_or(self.state.h, |(_, width)| last.columns(0, width));
            let mut x = self.x;
            let [for_x, for_h] = &mut self.rounded;
            if let (Some(_), Some(as_it_is)) = (block.x, x) {
                x = Some(operand(s, as_it_is, for_x, &mut is_rounded[0]));
            }
            if block.h.is_some() {
                h = operand(s, h, for_h, &mut is_rounded[1]);
            }
            let (first, columns) = (block.slot * padded, block.gates * padded);
            let mut to = arguments.part(0, rows, first, columns).expect("a record has all slots");
            let (mut parts, mut from) = ([h; 2], 0);
            let parts = match (block.x, x, block.h) {
                (Some(_), Some(x), _) => {
                    parts[0] = x;
                    &parts[..if block.h.is_some() { 2 } else { 1 }]
                }
                (Some(_), None, Some(_)) => {
                    from = layer.k_of(layer.input_size);
                    &parts[..1]
                }
                (Some(_), None, None) => continue,
                (None, ..) => &parts[..1],
            };
            let mut to = Store { c: &mut to, row: 0, accumulate: from > 0 };
            for panels in panels_of(layer, block, weights, member, (S::LANES, self.back)) {
                let part = PanelRange::from(weights).rows(from).panels(panels).backwards(self.back);
                product(s, parts, part, &mut to);
            }
        }
    }

    /// Computes the reset h, which is the hidden operand of the last block of a cell that resets.
    #[inline(always)]
    fn reset<S: Simd<E>>(&mut self, s: S) {
        let Direction { cell, hidden_size, .. } = *self.layer;
        let (padded, given) = (self.layer.padded(S::LANES), self.layer.slots().given);
        for b in 0..self.state.h.count() {
            for unit in (0..hidden_size).step_by(S::LANES) {
                let records = self.values.as_ref();
                let h = match self.regularised.mask {
                    Some(_) => s.load(&records.row(b)[given * padded + unit..]),
                    None => s.load(&self.state.h.row(b)[unit..]),
                };
                let mut record = self.values.values(b, (C::TAPE, padded), 0..padded);
                let mut values = load::<C, E, S>(s, &record, unit);
                cell.reset(s, &mut values[..C::TAPE], h);
                store(s, &values[..C::TAPE], &mut record, unit);
            }
        }
    }
}

/// Computes what x contributes to the arguments, for the rows of any number of steps at once. [`Step`] then
/// adds what h contributes. The order of additions is that of a step with x: bias, x, then h.
#[inline(always)]
pub(crate) fn from_x<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    packed: &Packed<E>,
    x: Rows<'_, E>,
    values: &mut RowsMut<'_, E>,
    member: &Member<'_>,
) {
    let padded = layer.padded(S::LANES);
    for (block, weights) in layer.blocks().iter().zip(&packed.weights) {
        if block.x.is_some() {
            let (first, columns) = (block.slot * padded, block.gates * padded);
            let mut to = values.part(0, x.count(), first, columns).expect("a record has all slots");
            for panels in panels_of(layer, block, weights, member, (S::LANES, false)) {
                let mut to = Store { c: &mut to, row: 0, accumulate: false };
                product(s, &[x], PanelRange::from(weights).panels(panels), &mut to);
            }
        }
    }
}

/// The panels of a block's weights whose first column belongs to a member's unit, gate by gate; if `back`,
/// from the last gate to the first.
#[inline(always)]
fn panels_of<C: Cell, E: Element>(
    layer: &Direction<C>,
    block: &Block,
    weights: &Panels<E>,
    member: &Member<'_>,
    (lanes, back): (usize, bool),
) -> impl Iterator<Item = Range<usize>> {
    let alone = member.count == 1;
    let (padded, units) = (layer.padded(lanes), layer.units_of(member, lanes));
    let (all, end) = (0..weights.panels(), layer.hidden_size);
    let gates = if alone { 1 } else { block.gates };
    (0..gates).map(move |gate| {
        let gate = if back { gates - 1 - gate } else { gate };
        let first_from = |unit: usize| {
            // The last member also computes the padding.
            let unit = if unit == end { padded } else { unit };
            (gate * padded + unit).div_ceil(2 * lanes)
        };
        if alone { all.clone() } else { first_from(units.start)..first_from(units.end) }
    })
}
