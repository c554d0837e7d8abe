//! Unit lanes: the numbers of some hidden units in the slots of one record.

use std::marker::PhantomData;
use std::ops::Range;

use super::RowsMut;
use crate::simd::{Element, Simd};

/// For every slot of a record, the numbers of some units; the slots are equally far apart. Loops over units
/// use it, because looking up the row for every vector would be most of their work.
pub(crate) struct UnitLanes<'a, E> {
    data: *mut E,
    slots: usize,
    stride: usize,
    len: usize,
    borrow: PhantomData<&'a mut E>,
}

impl<'a, E: Element> UnitLanes<'a, E> {
    /// All units of the first `slots` slots of a record; each slot has `stride` numbers.
    #[inline(always)]
    pub(crate) fn new(record: &'a mut [E], slots: usize, stride: usize) -> Self {
        assert!(slots * stride <= record.len());
        Self { data: record.as_mut_ptr(), slots, stride, len: stride, borrow: PhantomData }
    }
}

impl<E: Element> RowsMut<'_, E> {
    /// The units `units` in each of the first `slots` slots of row `b`; each slot has `stride` numbers.
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
    /// Loads a vector of slot `slot`, from number `at` of these units on.
    #[inline(always)]
    pub(crate) fn load<S: Simd<E>>(&self, s: S, slot: usize, at: usize) -> S::V {
        // SAFETY: inside the slot, which `place` checks.
        unsafe { s.load_ptr(self.place::<S>(slot, at)) }
    }

    /// Writes a vector of slot `slot`, from number `at` of these units on.
    #[inline(always)]
    pub(crate) fn store<S: Simd<E>>(&mut self, s: S, slot: usize, at: usize, v: S::V) {
        // SAFETY: inside the slot, which `place` checks; the borrow is exclusive, or of an alias whose maker
        // promised that nobody else uses these numbers.
        unsafe { s.store_ptr(self.place::<S>(slot, at), v) }
    }

    #[inline(always)]
    fn place<S: Simd<E>>(&self, slot: usize, at: usize) -> *mut E {
        assert!(slot < self.slots && at <= self.len && S::LANES <= self.len - at);
        self.data.wrapping_add(slot * self.stride + at)
    }
}
