//! The state of a layer, and the tape: what a forward pass leaves for the backward pass.

use std::any::TypeId;

use super::Recurrent;
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::outer::OuterMemory;
use crate::panel::Panels;
use crate::simd::{Element, Level};
use crate::view::{Rows, RowsMut, Shape};

/// The state of a layer, or its gradient: h and, for an LSTM, c, each (B, H); c is empty otherwise.
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
        let len = rows.saturating_mul(layer.hidden_size);
        self.h.resize(len)?;
        self.c.resize(if C::HAS_C { len } else { 0 })?;
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
        let h = layer.hidden_size;
        (Rows::new(&self.h, rows, h), Rows::new(&self.c, rows, if C::HAS_C { h } else { 0 }))
    }

    pub(super) fn rows_mut<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        rows: usize,
    ) -> (RowsMut<'_, E>, RowsMut<'_, E>) {
        let h = layer.hidden_size;
        let c = if C::HAS_C { h } else { 0 };
        (RowsMut::new(&mut self.h, rows, h), RowsMut::new(&mut self.c, rows, c))
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
    /// (T, B, TAPE * padded H)
    pub(super) values: Buffer<E>,
    pub(super) initial: State<E>,
    /// Packed for the level of the current call: [W_ih | W_hh] with the biases, K = I + H.
    pub(super) weights: Panels<E>,
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
    pub(super) cell: (TypeId, u64),
    /// The cell's values, each filled up to so many numbers.
    pub(super) values: usize,
    pub(super) padded: usize,
}

impl Recording {
    /// Of `values`: (T, B, TAPE * padded H).
    pub(super) fn shape(&self) -> Shape {
        Shape::time_major(self.steps, self.rows, self.values * self.padded)
    }

    pub(super) fn len(&self) -> usize {
        let Shape { steps, rows, features, .. } = self.shape();
        steps.saturating_mul(rows).saturating_mul(features)
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
