//! The state of a recurrent layer.

use super::Recurrent;
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::simd::Element;
use crate::view::RowsMut;

/// The state of a layer, or its gradient: h (L D, B, H), with a projection (L D, B, P), and, for an
/// LSTM, c (L D, B, H), for L layers and D directions; c is empty otherwise.
#[derive(Default)]
pub struct State<E: Element> {
    /// Hidden state.
    pub h: Buffer<E>,
    /// Cell state.
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
        let (h, c) = layer.state_sizes();
        let rows = rows.saturating_mul(layer.num_layers() * layer.directions());
        self.h.resize(rows.saturating_mul(h))?;
        self.c.resize(rows.saturating_mul(c))?;
        self.h.fill(E::ZERO);
        self.c.fill(E::ZERO);
        Ok(())
    }

    /// h and c of every direction of some layers, `count` of both together, as matrices.
    pub(super) fn parts<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        rows: usize,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (RowsMut<'_, E>, RowsMut<'_, E>)> {
        let (h, c) = layer.state_sizes();
        let h_parts = RowsMut::new(&mut self.h, rows * (first + count), h);
        let c_parts = RowsMut::new(&mut self.c, rows * (first + count), c);
        let split = vec![rows; first + count];
        h_parts.split_rows(&split).into_iter().zip(c_parts.split_rows(&split)).skip(first)
    }
}
