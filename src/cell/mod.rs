//! Recurrent cells: what happens to one vector of hidden units between two products.
//!
//! The product before a step has computed the gates' arguments, `W_ih x_t + b_ih + W_hh h_{t-1} +
//! b_hh`, for all gates of a vector of units; the cell turns them into the new state while they are
//! at hand. Going back, it turns the gradient of that state into the gradients of the arguments.

mod lstm;
mod rnn;

pub use lstm::Lstm;
pub use rnn::{Nonlinearity, Rnn};

use crate::simd::{Element, Simd};

/// The most gates a cell has and the most values it keeps.
pub(crate) const MAX_GATES: usize = 4;
pub(crate) const MAX_TAPE: usize = 5;

/// The pointwise part of a recurrent layer, forward and backward, on one vector of hidden units.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Gates a unit has: rows of the weights are `GATES * hidden_size`.
    const GATES: usize;
    /// Vectors of units in a group of panels of packed weights; `GATES * UNITS` is 2 or 4.
    const UNITS: usize;
    /// Values of a unit and step that training keeps. The first `GATES` of them are overwritten by
    /// the gradients of the gates' arguments; the last one is c, if the cell has it.
    const TAPE: usize;
    /// Whether the state is (h, c) rather than h alone.
    const HAS_C: bool;

    /// Tells cells of one type apart whose tapes do not fit each other.
    fn variant(self) -> u64 {
        0
    }

    /// One step: from the gates' arguments (`GATES` vectors) and c to the new c and h. Writes what
    /// `backward` needs to `tape` (`TAPE` vectors).
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        gates: &[S::V],
        c: &mut S::V,
        tape: &mut [S::V],
    ) -> S::V;

    /// One step back: from the tape, the c before the step and the gradients of the step's h and c
    /// to the gradient of the c before, and to those of the gates' arguments in `tape[..GATES]`.
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        tape: &mut [S::V],
        c_before: S::V,
        dh: S::V,
        dc: &mut S::V,
    );
}
