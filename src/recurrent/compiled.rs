//! The passes of a layer as functions that this crate compiles.
//!
//! A generic function is compiled again in every program that calls it, and these take minutes. So a cell
//! has a table of its functions for each number type. A table of this crate is a static, whose functions
//! are compiled once, with the crate.

use std::marker::PhantomData;

use super::direction::packed::Pack;
use super::forward::stepped::StepAll;
use super::{Gradients, Params, Recurrent, State, Tape};
use crate::cell::{Cell, Gru, GruResetFirst, Lstm, Rnn};
use crate::error::Result;
use crate::simd::{Element, Level, PerType};
use crate::view::{Seq, SeqMut};

/// A cell with its compiled passes. A recurrent layer needs one.
///
/// For a cell of another crate, `impl Compiled for MyCell {}` is enough: its passes are compiled there.
pub trait Compiled: Cell {
    /// The passes in `f32`.
    #[doc(hidden)]
    fn f32() -> &'static Passes<Self, f32> {
        const { &Passes::NEW }
    }

    /// The passes in `f64`.
    #[doc(hidden)]
    fn f64() -> &'static Passes<Self, f64> {
        const { &Passes::NEW }
    }
}

/// The passes of a cell in one number type.
pub struct Passes<C: 'static, E: Element> {
    forward: Forward<C, E>,
    backward: Backward<C, E>,
    pub(super) pack: fn(Level, Pack<'_, C, E>) -> Result<()>,
    pub(super) step: fn(Level, StepAll<'_, C, E>),
}

type Forward<C, E> = fn(
    &Recurrent<C>,
    Params<'_, E>,
    Seq<'_, E>,
    &mut State<E>,
    SeqMut<'_, E>,
    &mut Tape<E>,
) -> Result<()>;

type Backward<C, E> = fn(
    &Recurrent<C>,
    Params<'_, E>,
    Seq<'_, E>,
    Seq<'_, E>,
    &mut Tape<E>,
    Seq<'_, E>,
    &mut State<E>,
    Gradients<'_, E>,
) -> Result<()>;

impl<C: Cell, E: Element> Passes<C, E> {
    const NEW: Self = Self {
        forward: Recurrent::run_forward,
        backward: Recurrent::run_backward,
        pack: |level, pack| level.run(pack),
        step: |level, step| level.run(step),
    };
}

/// The passes of a cell in the number type `E`: `E::of::<PassesOf<C>>()`.
pub(super) struct PassesOf<C>(PhantomData<C>);

impl<C: Compiled> PerType for PassesOf<C> {
    type Of<E: Element> = Passes<C, E>;

    fn f32() -> &'static Passes<C, f32> {
        C::f32()
    }

    fn f64() -> &'static Passes<C, f64> {
        C::f64()
    }
}

macro_rules! compiled {
    ($($cell:ty),*) => {$(
        impl Compiled for $cell {
            // The crate's unit tests compile only what they use.
            #[cfg(not(test))]
            fn f32() -> &'static Passes<Self, f32> {
                static PASSES: Passes<$cell, f32> = Passes::NEW;
                &PASSES
            }

            #[cfg(not(test))]
            fn f64() -> &'static Passes<Self, f64> {
                static PASSES: Passes<$cell, f64> = Passes::NEW;
                &PASSES
            }
        }
    )*};
}

compiled!(Lstm, Gru, GruResetFirst, Rnn);

impl<C: Compiled> Recurrent<C> {
    /// Runs the layer over a batch of sequences.
    ///
    /// `x` is (T, B, I). Every h_t goes to `y`, (T, B, D H) or (T, B, D P) with a projection. `state` is the
    /// initial state and becomes the final one. T and B may be zero. With sequences of different lengths
    /// ([`Seq::packed`], [`Seq::padded`]), steps that a row does not have are not computed, and its final
    /// state is that of its own last step.
    ///
    /// # Errors
    /// If a size does not fit the layer, or `E` is `f64` and the products are in bf16; nothing is written
    /// then. If there is not enough memory.
    pub fn forward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        state: &mut State<E>,
        y: SeqMut<'_, E>,
        tape: &mut Tape<E>,
    ) -> Result<()> {
        let forward = E::of::<PassesOf<C>>().forward;
        forward(self, params.into(), x, state, y, tape)
    }

    /// Backpropagation through time, for the forward pass that `tape` holds, with the same `x` and `y`.
    ///
    /// `dy`, of the shape of `y`, is the gradient of the loss with respect to `y`. `dstate` is the gradient
    /// with respect to the final state, and becomes that with respect to the initial state. Afterwards the
    /// tape holds no pass.
    ///
    /// # Errors
    /// If a size does not fit, or the tape holds no unused forward pass of this layer and these sizes;
    /// nothing is written then. If there is not enough memory.
    #[allow(clippy::too_many_arguments)] // the quantities of the formula
    pub fn backward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        y: Seq<'_, E>,
        tape: &mut Tape<E>,
        dy: Seq<'_, E>,
        dstate: &mut State<E>,
        gradients: Gradients<'_, E>,
    ) -> Result<()> {
        let backward = E::of::<PassesOf<C>>().backward;
        backward(self, params.into(), x, y, tape, dy, dstate, gradients)
    }
}
