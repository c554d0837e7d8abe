//! The state of a recurrent layer.

use super::Recurrent;
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::simd::Element;
use crate::view::RowsMut;

/// The state of a layer, or its gradient, for L layers and D directions: h (L D, B, H), or (L D, B, P) with a
/// projection, and c (L D, B, H). c is empty unless the layer is an LSTM.
#[derive(Default)]
pub struct State<E: Element> {
    /// The hidden state.
    pub h: Buffer<E>,
    /// The cell state.
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

    /// Makes this the zero state of `rows` rows. The memory is reused if it is large enough.
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

    /// The states of `count` directions from direction `first` on, counted over all layers.
    pub(super) fn directions<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        rows: usize,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = StateRows<'_, E>> {
        let (h, c) = layer.state_sizes();
        let all = StateRows {
            h: RowsMut::new(&mut self.h, rows * (first + count), h),
            c: RowsMut::new(&mut self.c, rows * (first + count), c),
        };
        all.split_rows(&vec![rows; first + count]).skip(first)
    }
}

/// The state of one direction for some rows, or its gradient: h (B, P) and c (B, H). If the cell has no c, c
/// has no columns.
pub(crate) struct StateRows<'a, E> {
    pub h: RowsMut<'a, E>,
    pub c: RowsMut<'a, E>,
}

impl<'a, E> StateRows<'a, E> {
    /// Splits into states of `sizes[0]`, `sizes[1]`, ... rows. The sizes must add up to all rows.
    pub fn split_rows(self, sizes: &[usize]) -> impl Iterator<Item = Self> + use<'a, E> {
        let (h, c) = (self.h.split_rows(sizes), self.c.split_rows(sizes));
        h.into_iter().zip(c).map(|(h, c)| Self { h, c })
    }

    /// The same state, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> StateRows<'_, E> {
        let rows = self.h.count();
        StateRows { h: self.h.rows_mut(0, rows), c: self.c.rows_mut(0, rows) }
    }

    /// Copies another state; if that has more rows, its first ones.
    #[inline(always)]
    pub fn copy(&mut self, from: &StateRows<'_, E>)
    where
        E: Copy,
    {
        self.h.copy(from.h.as_ref());
        self.c.copy(from.c.as_ref());
    }
}
