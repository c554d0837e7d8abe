//! The values that some hidden units have in a record.

use std::marker::PhantomData;
use std::ops::Range;

use super::RowsMut;
use crate::simd::{Element, Simd};

/// Runs of numbers in a row, one for each slot of a record, equally far apart: for the loops over units, where looking
/// up the row for every vector would be most of the work.
pub(crate) struct UnitLanes<'a, E> {
    data: *mut E,
    slots: usize,
    stride: usize,
    len: usize,
    borrow: PhantomData<&'a mut E>,
}

impl<'a, E: Element> UnitLanes<'a, E> {
    /// All units of the first slots of a record, `stride` long each.
    #[inline(always)]
    pub(crate) fn new(record: &'a mut [E], slots: usize, stride: usize) -> Self {
        assert!(slots * stride <= record.len());
        Self { data: record.as_mut_ptr(), slots, stride, len: stride, borrow: PhantomData }
    }
}

impl<E: Element> RowsMut<'_, E> {
    /// Of row `b` the numbers `units` of each of the first slots, `stride` long each.
    #[inline(always)]
    pub(crate) fn values(
        &mut self,
        b: usize,
        (slots, stride): (usize, usize),
        units: Range<usize>,
    ) -> UnitLanes<'_, E> {
        assert!(b < self.rows && slots * stride <= self.features);
        assert!(units.start <= units.end && units.end <= stride);
        let data = self.at(b).wrapping_add(units.start);
        UnitLanes { data, slots, stride, len: units.len(), borrow: PhantomData }
    }
}

impl<E: Element> UnitLanes<'_, E> {
    /// A vector of a slot, from the unit `at` of these on.
    #[inline(always)]
    pub(crate) fn load<S: Simd<E>>(&self, s: S, slot: usize, at: usize) -> S::V {
        // SAFETY: inside the slot.
        unsafe { s.load_ptr(self.place::<S>(slot, at)) }
    }

    /// Writes it.
    #[inline(always)]
    pub(crate) fn store<S: Simd<E>>(&mut self, s: S, slot: usize, at: usize, v: S::V) {
        // SAFETY: inside the slot; the borrow is exclusive, or of an alias by the promise of whoever made it.
        unsafe { s.store_ptr(self.place::<S>(slot, at), v) }
    }

    #[inline(always)]
    fn place<S: Simd<E>>(&self, slot: usize, at: usize) -> *mut E {
        assert!(slot < self.slots && at <= self.len && S::LANES <= self.len - at);
        self.data.wrapping_add(slot * self.stride + at)
    }
}
