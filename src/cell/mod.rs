//! Recurrent cells: what happens to one vector of hidden units between two products.
//!
//! The product before a step has computed the gates' arguments, `W_ih x_t + b_ih + W_hh h_{t-1} +
//! b_hh`, for all gates of a vector of units; the cell turns them into the new state while they are
//! at hand. Going back, it turns the gradient of that state into the gradients of the arguments.

mod gru;
mod lstm;
mod rnn;

pub use gru::{Gru, GruResetFirst};
pub use lstm::Lstm;
pub use rnn::{Nonlinearity, Rnn};

use crate::simd::{Element, Simd};

/// The most slots of a cell, the most values it keeps, and the most weights it has for a unit.
pub(crate) const MAX_SLOTS: usize = 4;
pub(crate) const MAX_TAPE: usize = 5;
pub(crate) const MAX_UNIT_WEIGHTS: usize = 3;

/// Gates whose arguments one product computes, in neighbouring slots.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// The first slot.
    pub slot: usize,
    /// How many gates.
    pub gates: usize,
    /// The first of these gates in `W_ih` and `b_ih`, if x has a part in them.
    pub x: Option<usize>,
    /// The first of these gates in `W_hh` and `b_hh`, if h has.
    pub h: Option<usize>,
}

/// The pointwise part of a recurrent layer, forward and backward, on one vector of hidden units.
///
/// What a unit has at a step is a record of `TAPE` values. Products leave the gates' arguments in the
/// first slots, `forward` turns them into what `backward` needs, and `backward` into the gradients of the
/// arguments.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Gates a unit has: rows of the weights are `GATES * hidden_size`.
    const GATES: usize;
    /// Where the arguments are, in the order of the gates and of the slots. Most cells sum what x and
    /// h contribute; a gate that needs the two apart has two slots.
    const BLOCKS: &'static [Block];
    /// Values of a unit and step. The last one is c, if the cell has it.
    const TAPE: usize;
    /// Whether the state is (h, c) rather than h alone.
    const HAS_C: bool;
    /// Whether the h before the step goes into it other than by a product.
    const USES_H: bool = false;
    /// Whether the last block is not given h but what `reset` makes of it, which lies in the last value.
    const RESETS: bool = false;

    /// Tells cells of one type apart whose tapes do not fit each other.
    fn variant(self) -> u64 {
        0
    }

    /// How many weights a unit has that stay within it: an LSTM's peepholes.
    fn unit_weights(self) -> usize {
        0
    }

    /// One step: from the arguments (the first of `values`), the unit's own weights, h before the step and
    /// c to the new c. Leaves what `output` and `backward` need in `values`.
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        h: S::V,
        c: &mut S::V,
    );

    /// The new h, of what `forward` left, h before the step and c (which may have been normalised).
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], h: S::V, c: S::V) -> S::V;

    /// Of a cell with a c, back through `output`: from the gradient of h to that of c. What goes to the
    /// arguments without c is left in their places in `values`.
    fn output_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        _values: &mut [S::V],
        _c: S::V,
        _dh: S::V,
    ) -> S::V {
        s.splat(E::ZERO)
    }

    /// One step back: from `values`, h and c before the step and the gradient of the step's h (of a cell
    /// with a c, of its c instead: `output_back` has taken that of h) to the gradient of the c before, to
    /// those of the arguments in the first of `values`, and to that of the h before, but for what the
    /// products add to it. The gradients of the unit's own weights are added to `dweights`.
    #[allow(clippy::too_many_arguments)] // the quantities of the formula, in registers
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        before: (S::V, S::V),
        dh: S::V,
        dc: &mut S::V,
        dweights: &mut [S::V],
    ) -> S::V;

    /// Of a cell that resets: from the arguments of the first blocks and h before the step to what the last
    /// block is given for it, in the last of `values`.
    fn reset<E: Element, S: Simd<E>>(self, _s: S, _values: &mut [S::V], _h: S::V) {}

    /// And back: from the gradient of that to the gradients of those arguments that it depends on, in
    /// `values`, and to what it adds to the gradient of h.
    fn reset_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        _values: &mut [S::V],
        _h: S::V,
        _d: S::V,
    ) -> S::V {
        s.splat(E::ZERO)
    }
}
