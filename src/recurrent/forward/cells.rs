//! Runs the cells in one step forward.

use std::ops::Range;

use crate::cell::{Cell, MAX_UNIT_WEIGHTS};
use crate::recurrent::direction::Direction;
use crate::recurrent::direction::record::{load, own, store};
use crate::recurrent::options::norm;
use crate::simd::{Element, Simd};
use crate::view::{Rows, RowsMut};

/// Runs the cells of some units in one step, from the arguments in `values` to the new c and h. h goes to
/// `y`; if there is no `y`, to the slot of the projection's input. (Seven arguments, because the caller
/// borrows the fields of its step separately.)
#[inline(always)]
pub(crate) fn cells<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    (weights, units): (&[E], Range<usize>),
    h_before: Rows<'_, E>,
    c: &mut RowsMut<'_, E>,
    mut y: Option<&mut RowsMut<'_, E>>,
    values: &mut RowsMut<'_, E>,
) {
    let (cell, padded) = (layer.cell, layer.padded(S::LANES));
    let projected = layer.slots().projected;
    let slots = if y.is_some() { C::TAPE } else { projected + 1 };
    let own_weights = Rows::new(weights, 1, weights.len());
    let (start, count) = (units.start, units.len());
    let of_c = if C::HAS_C { units.clone() } else { 0..0 };
    for b in 0..values.as_ref().count() {
        if layer.regular.layer_norm {
            norm::arguments(s, layer, weights, values.row_mut(b));
        }
        let filled = start..units.end.next_multiple_of(S::LANES);
        let mut record = values.values(b, (slots, padded), filled);
        let h_before = h_before.part_of_row(b, start, if C::USES_H { count } else { 0 });
        let c = c.part_of_row(b, of_c.start, of_c.len());
        let mut to = y.as_mut().map(|y| y.part_of_row(b, start, count));
        for at in (0..count).step_by(S::LANES) {
            let mut now = load::<C, E, S>(s, &record, at);
            let now = &mut now[..C::TAPE];
            let (mut h, mut c_now) = (s.splat(E::ZERO), s.splat(E::ZERO));
            if C::USES_H {
                h = s.load(&h_before[at..]);
            }
            if C::HAS_C {
                c_now = s.load(&c[at..]);
            }
            let mut weights = [s.splat(E::ZERO); MAX_UNIT_WEIGHTS];
            if cell.unit_weights() > 0 {
                weights = own(s, cell, own_weights, 0, start + at, padded);
            }
            cell.forward(s, now, &weights, h, &mut c_now);
            if C::HAS_C {
                s.store(&mut c[at..], c_now);
            }
            store(s, now, &mut record, at);
            if !(C::HAS_C && layer.regular.layer_norm) {
                let h = cell.output(s, now, h, c_now);
                match &mut to {
                    Some(to) => s.store(&mut to[at..], h),
                    None => record.store(s, projected, at, h),
                }
            }
        }
        if C::HAS_C && layer.regular.layer_norm {
            norm::output(s, layer, weights, values.row_mut(b), y.as_mut().map(|y| y.row_mut(b)));
        }
    }
}
