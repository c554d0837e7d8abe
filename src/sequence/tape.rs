//! The state of a layer, and the tape: what a forward pass leaves for the backward pass.

use std::any::TypeId;

use super::Recurrent;
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::outer::OuterMemory;
use crate::panel::Panels;
use crate::simd::{Element, Level};
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// The state of a layer, or its gradient: h (B, H), or (B, P) with a projection, and, for an LSTM, c (B, H);
/// c is empty otherwise.
#[derive(Default)]
pub struct State<E: Element> {
    /// Hidden state (B, H).
    pub h: Buffer<E>,
    /// Cell state (B, H).
    pub c: Buffer<E>,
}

impl<E: Element> State<E> {
    /// The zero state of `rows` rows.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn zeros<C: Cell>(layer: &Recurrent<C>, rows: usize) -> Result<Self> {
        let mut state = Self::default();
        state.reset(layer, rows)?;
        Ok(state)
    }

    /// Makes this the zero state of `rows` rows, keeping the memory if it fits.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn reset<C: Cell>(&mut self, layer: &Recurrent<C>, rows: usize) -> Result<()> {
        self.h.resize(rows.saturating_mul(layer.output_size()))?;
        self.c.resize(if C::HAS_C { rows.saturating_mul(layer.hidden_size) } else { 0 })?;
        self.h.fill(E::ZERO);
        self.c.fill(E::ZERO);
        Ok(())
    }

    /// h and c as matrices; c has no columns if the cell has none.
    pub(super) fn rows<C: Cell>(
        &self,
        layer: &Recurrent<C>,
        rows: usize,
    ) -> (Rows<'_, E>, Rows<'_, E>) {
        let c = if C::HAS_C { layer.hidden_size } else { 0 };
        (Rows::new(&self.h, rows, layer.output_size()), Rows::new(&self.c, rows, c))
    }

    pub(super) fn rows_mut<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        rows: usize,
    ) -> (RowsMut<'_, E>, RowsMut<'_, E>) {
        let c = if C::HAS_C { layer.hidden_size } else { 0 };
        (RowsMut::new(&mut self.h, rows, layer.output_size()), RowsMut::new(&mut self.c, rows, c))
    }

    pub(super) fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.h.resize(other.h.len())?;
        self.c.resize(other.c.len())?;
        self.h.copy_from_slice(&other.h);
        self.c.copy_from_slice(&other.c);
        Ok(())
    }
}

/// What a layer keeps of a forward pass for the backward pass, and memory that both use again when
/// the next call has the same sizes.
///
/// Recorded: for every unit and step, the cell's values (an LSTM's i, f, g, o, c), padded to whole
/// vectors, and the initial state. The backward pass writes the gradients of the gates' arguments
/// over them, so a recording serves one backward pass.
#[derive(Default)]
pub struct Tape<E: Element> {
    pub(super) records: bool,
    pub(super) recorded: Option<Recording>,
    pub(super) sizes: Option<BatchSizes>,
    /// (T, B, record), a record being the cell's values, padded, and with a projection what goes into it.
    pub(super) values: Buffer<E>,
    pub(super) initial: State<E>,
    /// Without recording, one step of it; with a projection, what comes back out of it, (B, H).
    pub(super) scratch: Buffer<E>,
    /// With a projection, the gradient of every h, (T, B, P).
    pub(super) dh: Buffer<E>,
    /// Packed for the level of the current call: for every block of gates [W_ih | W_hh] with the biases.
    pub(super) weights: Vec<Panels<E>>,
    /// W_hr' or, going back, W_hr.
    pub(super) projection: Panels<E>,
    /// W_hh for dh and W_ih for dx, K = GATES * H.
    pub(super) hidden_weights: Panels<E>,
    pub(super) input_weights: Panels<E>,
    pub(super) outer: Vec<OuterMemory<E>>,
}

/// Which forward pass a tape holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recording {
    pub(super) level: Level,
    pub(super) steps: usize,
    pub(super) rows: usize,
    pub(super) input_size: usize,
    pub(super) hidden_size: usize,
    pub(super) proj_size: usize,
    pub(super) reverse: bool,
    pub(super) cell: (TypeId, u64),
    /// The cell's values, each filled up to so many numbers.
    pub(super) values: usize,
    pub(super) padded: usize,
}

impl Recording {
    /// The numbers of a record.
    pub(super) fn record(&self) -> usize {
        self.values * self.padded
    }

    pub(super) fn len<E>(&self, x: Seq<'_, E>) -> usize {
        x.total().saturating_mul(self.record())
    }

    /// The values of a tape for this `x`: (T, B, record).
    pub(super) fn values<'a, E>(&self, values: &'a [E], x: Seq<'a, E>) -> Result<Seq<'a, E>> {
        x.like(values, self.record())
    }

    pub(super) fn values_mut<'a, E>(
        &self,
        values: &'a mut [E],
        x: Seq<'a, E>,
    ) -> Result<SeqMut<'a, E>> {
        x.like_mut(values, self.record())
    }
}

impl<E: Element> Tape<E> {
    /// A tape that records forward passes.
    pub fn new() -> Self {
        Self { records: true, ..Self::default() }
    }

    /// A tape that keeps nothing but memory: forward passes only.
    pub fn for_inference() -> Self {
        Self::default()
    }

    /// Whether forward passes are recorded from now on.
    pub fn set_recording(&mut self, records: bool) {
        self.records = records;
    }

    /// Whether it holds a forward pass that has not been used yet.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }
}
