//! One step forward of some rows of one direction.
//!
//! ```text
//! arguments = bias + x_t W_ih' + h_{t-1} W_hh'     into the record
//! h_t, c_t = cell(arguments, h_{t-1}, c_{t-1})     the cell's values over the arguments
//! y_t = h_t, or W_hr h_t in a layer with a projection, whose next step reads that
//! ```
//!
//! and around these what regularises (regular.rs, norm.rs).

use super::direction::Direction;
use super::norm;
use super::packed::Packed;
use super::regular::{Draw, give, zone_out};
use crate::cell::{Cell, MAX_TAPE, MAX_UNIT_WEIGHTS};
use crate::product::{AddTo, product, product_with_rows};
use crate::simd::{Element, Simd};
use crate::view::{Rows, RowsMut};

/// What a step reads and writes.
pub(super) struct Step<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub packed: &'a Packed<E>,
    /// None if what x contributes to the arguments is there already ([`from_x`]).
    pub x: Option<Rows<'a, E>>,
    /// h before the step.
    pub h: Rows<'a, E>,
    /// c before and after it.
    pub c: RowsMut<'a, E>,
    /// Receives h after it.
    pub y: RowsMut<'a, E>,
    /// (B, record)
    pub values: RowsMut<'a, E>,
    /// What recurrent dropout multiplies h with (B, P), where there is any.
    pub mask: Option<Rows<'a, E>>,
    /// What zoneout draws from; none for its average.
    pub draw: Option<Draw>,
}

impl<C: Cell, E: Element> Step<'_, C, E> {
    #[inline(always)]
    pub fn run<S: Simd<E>>(mut self, s: S) {
        let Self { layer, packed, h, .. } = self;
        let (padded, slots) = (layer.padded(S::LANES), layer.slots());
        if let Some(mask) = self.mask {
            give(s, h, mask, slots.given * padded, &mut self.values);
        }
        self.arguments(s);
        let projects = C::HAS_C && layer.proj_size > 0;
        let to = if projects { None } else { Some(&mut self.y) };
        cells(s, layer, &packed.units, h, &mut self.c, to, &mut self.values);
        if projects {
            let m = self.values.as_ref().columns(slots.projected * padded, layer.hidden_size);
            product(s, &[m], &packed.projection, &mut self.y);
        }
        if layer.regular.zoneout > 0.0 {
            let kept = (slots.kept * padded, &mut self.values);
            zone_out(s, layer.regular.zoneout, self.draw, h, &mut self.y, kept);
        }
    }

    /// The arguments of the gates, from x and h: one product for every block.
    #[inline(always)]
    fn arguments<S: Simd<E>>(&mut self, s: S) {
        let (layer, rows) = (self.layer, self.h.count());
        let (padded, slots) = (layer.padded(S::LANES), layer.slots());
        let (blocks, outputs) = (layer.blocks(), layer.output_size());
        for (n, (block, weights)) in blocks.iter().zip(&self.packed.weights).enumerate() {
            let resets = C::RESETS && n + 1 == blocks.len();
            if resets {
                self.reset(s);
            }
            // What is read of a record lies behind what is written to it.
            let read = match self.mask {
                _ if resets => Some((C::TAPE - 1, layer.hidden_size)),
                Some(_) => Some((slots.given, outputs)),
                None => None,
            };
            let end = read.map_or(self.values.as_ref().features(), |(slot, _)| slot * padded);
            let (mut arguments, last) = self.values.split_columns(end);
            let h = read.map_or(self.h, |(_, width)| last.columns(0, width));
            let (first, columns) = (block.slot * padded, block.gates * padded);
            let mut to = arguments.part(0, rows, first, columns).expect("a record has all slots");
            let (mut parts, mut from) = ([h; 2], 0);
            let parts = match (block.x, self.x, block.h) {
                (Some(_), Some(x), _) => {
                    parts[0] = x;
                    &parts[..if block.h.is_some() { 2 } else { 1 }]
                }
                (Some(_), None, Some(_)) => {
                    from = layer.input_size;
                    &parts[..1]
                }
                (Some(_), None, None) => continue,
                (None, ..) => &parts[..1],
            };
            let mut to = AddTo { c: &mut to, row: 0, add: from > 0 };
            product_with_rows(s, parts, weights, from, &mut to);
        }
    }

    /// What the last block of a cell that resets is given for h.
    #[inline(always)]
    fn reset<S: Simd<E>>(&mut self, s: S) {
        let Direction { cell, hidden_size, .. } = *self.layer;
        let (padded, given) = (self.layer.padded(S::LANES), self.layer.slots().given);
        for b in 0..self.h.count() {
            let (record, rest) = self.values.row_mut(b).split_at_mut(C::TAPE * padded);
            let h = match self.mask {
                Some(_) => &rest[(given - C::TAPE) * padded..],
                None => self.h.row(b),
            };
            for unit in (0..hidden_size).step_by(S::LANES) {
                let mut values = load::<C, E, S>(s, &record[unit..], padded);
                cell.reset(s, &mut values[..C::TAPE], s.load(&h[unit..]));
                store(s, &values[..C::TAPE], &mut record[unit..], padded);
            }
        }
    }
}

/// What x contributes to the arguments, for the rows of any number of steps at once. The sums are those that
/// [`Step`] computes with x, in the same order: bias, x, then h.
#[inline(always)]
pub(super) fn from_x<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    packed: &Packed<E>,
    x: Rows<'_, E>,
    values: &mut RowsMut<'_, E>,
) {
    let padded = layer.padded(S::LANES);
    for (block, weights) in layer.blocks().iter().zip(&packed.weights) {
        if block.x.is_some() {
            let (first, columns) = (block.slot * padded, block.gates * padded);
            let mut to = values.part(0, x.count(), first, columns).expect("a record has all slots");
            product_with_rows(s, &[x], weights, 0, &mut AddTo { c: &mut to, row: 0, add: false });
        }
    }
}

/// The values of a vector of units in a record.
#[inline(always)]
pub(super) fn load<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    record: &[E],
    padded: usize,
) -> [S::V; MAX_TAPE] {
    let mut values = [s.splat(E::ZERO); MAX_TAPE];
    for (slot, value) in values[..C::TAPE].iter_mut().enumerate() {
        *value = s.load(&record[slot * padded..]);
    }
    values
}

/// Puts values back.
#[inline(always)]
pub(super) fn store<E: Element, S: Simd<E>>(
    s: S,
    values: &[S::V],
    record: &mut [E],
    padded: usize,
) {
    for (slot, &value) in values.iter().enumerate() {
        s.store(&mut record[slot * padded..], value);
    }
}

/// The own weights of a vector of units, or their gradients, those of the cell.
#[inline(always)]
pub(super) fn own<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    cell: C,
    units: &[E],
    padded: usize,
) -> [S::V; MAX_UNIT_WEIGHTS] {
    let mut weights = [s.splat(E::ZERO); MAX_UNIT_WEIGHTS];
    for (n, weight) in weights[..cell.unit_weights()].iter_mut().enumerate() {
        *weight = s.load(&units[n * padded..]);
    }
    weights
}

/// The cells of one step: from the arguments in `values` to the new c and h. h goes to `y`, or if there
/// is none to what is projected.
#[inline(always)]
pub(crate) fn cells<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    units: &[E],
    h_before: Rows<'_, E>,
    c: &mut RowsMut<'_, E>,
    mut y: Option<&mut RowsMut<'_, E>>,
    values: &mut RowsMut<'_, E>,
) {
    let (cell, padded) = (layer.cell, layer.padded(S::LANES));
    let projected = layer.slots().projected * padded;
    for b in 0..values.as_ref().count() {
        let record = values.row_mut(b);
        if layer.regular.layer_norm {
            norm::arguments(s, layer, units, record);
        }
        for unit in (0..layer.hidden_size).step_by(S::LANES) {
            let mut values = load::<C, E, S>(s, &record[unit..], padded);
            let values = &mut values[..C::TAPE];
            let (mut h, mut c_now) = (s.splat(E::ZERO), s.splat(E::ZERO));
            if C::USES_H {
                h = s.load(&h_before.row(b)[unit..]);
            }
            if C::HAS_C {
                c_now = s.load(&c.as_ref().row(b)[unit..]);
            }
            let mut weights = [s.splat(E::ZERO); MAX_UNIT_WEIGHTS];
            if cell.unit_weights() > 0 {
                weights = own(s, cell, &units[unit..], padded);
            }
            cell.forward(s, values, &weights, h, &mut c_now);
            if C::HAS_C {
                s.store(&mut c.row_mut(b)[unit..], c_now);
            }
            store(s, values, &mut record[unit..], padded);
            if !(C::HAS_C && layer.regular.layer_norm) {
                let h = cell.output(s, values, h, c_now);
                match &mut y {
                    Some(y) => s.store(&mut y.row_mut(b)[unit..], h),
                    None => s.store(&mut record[projected + unit..], h),
                }
            }
        }
        if C::HAS_C && layer.regular.layer_norm {
            norm::output(s, layer, units, record, y.as_mut().map(|y| y.row_mut(b)));
        }
    }
}
