//! Loads and stores the values of one vector of units, in a record and in the units' own weights.

use crate::cell::{Cell, MAX_TAPE, MAX_UNIT_WEIGHTS};
use crate::simd::{Element, Simd};
use crate::view::{Rows, UnitLanes};

/// Loads the values of a vector of units from a record. It loads the last slot first, so one bounds check
/// covers all slots.
#[inline(always)]
pub(crate) fn load<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    record: &UnitLanes<'_, E>,
    at: usize,
) -> [S::V; MAX_TAPE] {
    let mut values = [s.splat(E::ZERO); MAX_TAPE];
    for (slot, value) in values[..C::TAPE].iter_mut().enumerate().rev() {
        *value = record.load(s, slot, at);
    }
    values
}

/// Stores the values of a vector of units in a record. It stores the last slot first, as [`load`] does.
#[inline(always)]
pub(crate) fn store<E: Element, S: Simd<E>>(
    s: S,
    values: &[S::V],
    record: &mut UnitLanes<'_, E>,
    at: usize,
) {
    for (slot, &value) in values.iter().enumerate().rev() {
        record.store(s, slot, at, value);
    }
}

/// Loads the cell's own weights of a vector of units, or the gradients of these weights.
#[inline(always)]
pub(crate) fn own<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    cell: C,
    units: Rows<'_, E>,
    b: usize,
    unit: usize,
    padded: usize,
) -> [S::V; MAX_UNIT_WEIGHTS] {
    let mut weights = [s.splat(E::ZERO); MAX_UNIT_WEIGHTS];
    for (n, weight) in weights[..cell.unit_weights()].iter_mut().enumerate() {
        *weight = s.load(units.part_of_row(b, n * padded + unit, S::LANES));
    }
    weights
}
