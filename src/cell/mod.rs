//! Recurrent cells: the pointwise part of a step, for one vector of hidden units.
//!
//! The products of a step compute the gates' arguments, `W_ih x_t + b_ih + W_hh h_{t-1} + b_hh`, for all
//! gates of a vector of units. Forward, the cell turns the arguments into the new state. Backward, it turns
//! the gradient of that state into the gradients of the arguments.

mod gru;
mod lstm;
mod rnn;

pub use gru::{Gru, GruResetFirst};
pub use lstm::Lstm;
pub use rnn::{Nonlinearity, Rnn};

use crate::simd::{Element, Simd};

/// The most slots with arguments, the most values in a record, and the most weights of a unit, of any cell.
pub(crate) const MAX_SLOTS: usize = 4;
pub(crate) const MAX_TAPE: usize = 5;
pub(crate) const MAX_UNIT_WEIGHTS: usize = 3;

/// Gates in neighbouring slots, whose arguments one product computes.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// The first slot.
    pub slot: usize,
    /// The number of gates.
    pub gates: usize,
    /// The first of these gates in `W_ih` and `b_ih`; none if x does not contribute to the arguments.
    pub x: Option<usize>,
    /// The first of these gates in `W_hh` and `b_hh`; none if h does not contribute.
    pub h: Option<usize>,
}

/// The pointwise part of a recurrent layer, forward and backward, on one vector of hidden units.
///
/// A unit has `TAPE` values at a step, in the first slots of the record. The products write the gates'
/// arguments there. `forward` replaces them by the values that `backward` needs, and `backward` replaces
/// these by the gradients of the arguments.
pub trait Cell: Copy + Send + Sync + 'static {
    /// The number of gates. The weights have `GATES * hidden_size` rows.
    const GATES: usize;
    /// The slots of the arguments, in the order of the gates and of the slots. Most cells need the sum of
    /// what x and h contribute. A gate that needs the two apart has two slots.
    const BLOCKS: &'static [Block];
    /// How many values a unit has at a step. The last one is c, if the cell has a c.
    const TAPE: usize;
    /// Whether the state is (h, c) rather than h alone.
    const HAS_C: bool;
    /// Whether the cell itself reads the h before the step, apart from the products.
    const USES_H: bool = false;
    /// Whether the hidden operand of the last block is the reset h, which `reset` writes to the last value.
    const RESETS: bool = false;

    /// A number that differs between cells of one type if they cannot use each other's tapes.
    fn variant(self) -> u64 {
        0
    }

    /// How many weights of its own a unit has, such as an LSTM's peepholes. They connect the unit only with
    /// itself.
    fn unit_weights(self) -> usize {
        0
    }

    /// Computes one step. It reads the arguments (the first of `values`), the unit's own weights, and h and c
    /// before the step. It writes the new c, and to `values` what `output` and `backward` need.
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        h: S::V,
        c: &mut S::V,
    );

    /// The new h, from the values that `forward` wrote, h before the step and the new c (normalised with
    /// layer normalisation).
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], h: S::V, c: S::V) -> S::V;

    /// Goes back through `output`, in a cell with a c. Returns the gradient of c from `dh`, the gradient of
    /// h. The gradients of arguments that `output` reads directly go to their slots in `values`.
    fn output_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        _values: &mut [S::V],
        _c: S::V,
        _dh: S::V,
    ) -> S::V {
        s.splat(E::ZERO)
    }

    /// Computes one step back.
    ///
    /// It reads `values`, the unit's own weights, h and c before the step, and the gradient of the step's h,
    /// `dh`. A cell with a c reads the gradient of its c, `dc`, instead, because `output_back` has already
    /// used `dh`. It writes the gradient of the c before to `dc` and the gradients of the arguments to the
    /// first of `values`. It adds the gradients of the unit's own weights to `dweights`. It returns the
    /// gradient of the h before, without what the products add to it.
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

    /// Computes the reset h, in a cell that resets, from the arguments of the first blocks and h before the
    /// step. The reset h goes to the last of `values`.
    fn reset<E: Element, S: Simd<E>>(self, _s: S, _values: &mut [S::V], _h: S::V) {}

    /// Goes back through `reset`, from `d`, the gradient of the reset h. The gradients of the arguments that
    /// it depends on go to `values`. Returns what it adds to the gradient of h.
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
