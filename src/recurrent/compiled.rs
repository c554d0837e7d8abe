//! The kernels of a cell as functions that this crate compiles.
//!
//! A generic function is compiled again in every program that calls it, and these take minutes. So a cell
//! has a table of its functions for each number type. A table of this crate is a static, whose functions
//! are compiled once, with the crate.

use std::marker::PhantomData;

use super::direction::packed::Pack;
use super::forward::stepped::StepAll;
use super::tape::Mode;
use super::{backward, forward};
use crate::cell::{Cell, Gru, GruResetFirst, Lstm, Rnn};
use crate::error::Result;
use crate::simd::{Element, Level, PerType};

/// A cell with its compiled kernels. The passes of a recurrent layer need one.
///
/// For a cell of another crate, `impl Compiled for MyCell {}` is enough: its kernels are compiled there.
pub trait Compiled: Cell {
    /// The kernels in `f32`.
    #[doc(hidden)]
    fn f32() -> &'static Kernels<Self, f32> {
        const { &Kernels::NEW }
    }

    /// The kernels in `f64`.
    #[doc(hidden)]
    fn f64() -> &'static Kernels<Self, f64> {
        const { &Kernels::NEW }
    }
}

type Forward<C, E> = fn(Level, Vec<forward::DirectionPass<'_, C, E>>, Mode) -> Result<()>;
type Backward<C, E> = fn(Level, Vec<backward::DirectionPass<'_, C, E>>) -> Result<()>;

/// The kernels of a cell in one number type.
pub struct Kernels<C: 'static, E: Element> {
    pub(super) forward: Forward<C, E>,
    pub(super) backward: Backward<C, E>,
    pub(super) pack: fn(Level, Pack<'_, C, E>) -> Result<()>,
    pub(super) step: fn(Level, StepAll<'_, C, E>),
}

impl<C: Cell, E: Element> Kernels<C, E> {
    const NEW: Self = Self {
        forward: forward::run,
        backward: backward::run,
        pack: |level, pack| level.run(pack),
        step: |level, step| level.run(step),
    };
}

/// The kernels of a cell in the number type `E`: `E::of::<KernelsOf<C>>()`.
pub(super) struct KernelsOf<C>(PhantomData<C>);

impl<C: Compiled> PerType for KernelsOf<C> {
    type Of<E: Element> = Kernels<C, E>;

    fn f32() -> &'static Kernels<C, f32> {
        C::f32()
    }

    fn f64() -> &'static Kernels<C, f64> {
        C::f64()
    }
}

macro_rules! compiled {
    ($($cell:ty),*) => {$(
        impl Compiled for $cell {
            // The crate's unit tests compile only what they use.
            #[cfg(not(test))]
            fn f32() -> &'static Kernels<Self, f32> {
                static KERNELS: Kernels<$cell, f32> = Kernels::NEW;
                &KERNELS
            }

            #[cfg(not(test))]
            fn f64() -> &'static Kernels<Self, f64> {
                static KERNELS: Kernels<$cell, f64> = Kernels::NEW;
                &KERNELS
            }
        }
    )*};
}

compiled!(Lstm, Gru, GruResetFirst, Rnn);
