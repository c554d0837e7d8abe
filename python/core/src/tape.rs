//! Tapes for Python, and the memory that layers keep between calls.
//!
//! A tape's memory is large, and new memory costs as much time as the computation of a small layer. So a
//! layer keeps the tape of its last backward pass for the next forward pass. It also keeps the tape of its
//! last inference with the packed weights, which are reused as long as the weights stay the same.

use std::sync::{Mutex, MutexGuard, TryLockError};

use bptt::simd::Element;
use bptt::{Buffer, Tape};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array_of;
use crate::error::Result;

/// Memory of more numbers than this is not kept.
const MOST_KEPT: usize = 1 << 24;

/// A tape, and for inference the weights of its last pass.
#[derive(Default)]
pub struct Kept<E: Element> {
    pub tape: Tape<E>,
    pub weights: Buffer<E>,
    /// The caller's version of the weights; none if unknown.
    version: Option<u64>,
}

impl<E: Element> Kept<E> {
    /// A tape without weights.
    pub fn tape(tape: Tape<E>) -> Self {
        Self { tape, ..Self::default() }
    }

    /// Tells the tape whether the weights are those of the last pass. They are if their version is the same,
    /// or else if their numbers are the same.
    pub fn expect_weights(&mut self, params: &[&[E]], version: Option<u64>) -> bptt::Result<()> {
        if version.is_some() && self.version == version {
            self.tape.set_same_weights(true);
            return Ok(());
        }
        self.version = None;
        let len: usize = params.iter().map(|param| param.len()).sum();
        let mut rest = &self.weights[..];
        let same = len == rest.len()
            && params.iter().all(|param| {
                let before = rest.split_off(..param.len()).expect("as many numbers");
                E::same_bits(param, before)
            });
        if !same {
            self.weights.resize(len)?;
            let mut rest = &mut self.weights[..];
            for param in params {
                let to = rest.split_off_mut(..param.len()).expect("as many numbers");
                to.copy_from_slice(param);
            }
        }
        self.tape.set_same_weights(same);
        self.version = version;
        Ok(())
    }
}

/// A [`Kept`] of either dtype.
pub enum AnyKept {
    F32(Kept<f32>),
    F64(Kept<f64>),
}

/// The number types of both arrays and kernels.
pub trait Number: Element + numpy::Element {
    /// Wraps a tape of this type.
    fn wrap(kept: Kept<Self>) -> AnyKept;
    /// Borrows the tape; none if it has the other type.
    fn borrow(kept: &mut AnyKept) -> Option<&mut Kept<Self>>;
    /// Unwraps the tape; none if it has the other type.
    fn unwrap(kept: AnyKept) -> Option<Kept<Self>>;
}

macro_rules! number {
    ($type:ident, $variant:ident) => {
        impl Number for $type {
            fn wrap(kept: Kept<Self>) -> AnyKept {
                AnyKept::$variant(kept)
            }
            fn borrow(kept: &mut AnyKept) -> Option<&mut Kept<Self>> {
                match kept {
                    AnyKept::$variant(kept) => Some(kept),
                    _ => None,
                }
            }
            fn unwrap(kept: AnyKept) -> Option<Kept<Self>> {
                match kept {
                    AnyKept::$variant(kept) => Some(kept),
                    _ => None,
                }
            }
        }
    };
}
number!(f32, F32);
number!(f64, F64);

/// The tape that a layer keeps. If another thread uses it, a thread makes its own tape instead. No thread
/// waits for the lock, because in a forked child it may never be unlocked.
#[derive(Default)]
pub struct Spare(Mutex<Option<AnyKept>>);

impl Spare {
    fn place(&self) -> Option<MutexGuard<'_, Option<AnyKept>>> {
        match self.0.try_lock() {
            Ok(place) => Some(place),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes the tape that is kept, or a new one.
    pub fn take<E: Number>(&self) -> Kept<E> {
        let kept = self.place().and_then(|mut place| place.take());
        kept.and_then(E::unwrap).unwrap_or_default()
    }

    /// Keeps the tape for the next call, unless it is large.
    pub fn put<E: Number>(&self, kept: Kept<E>) {
        if kept.tape.len() <= MOST_KEPT
            && let Some(mut place) = self.place()
        {
            *place = Some(E::wrap(kept));
        }
    }
}

/// The tape of a forward pass; none once a backward pass has used it.
#[pyclass(name = "Tape", module = "bptt._core")]
pub struct PyTape(Option<AnyKept>);

impl PyTape {
    pub fn new<E: Number>(kept: Kept<E>) -> Self {
        Self(Some(E::wrap(kept)))
    }

    /// The tape with the forward pass.
    pub fn recorded<E: Number>(&mut self) -> Result<&mut Kept<E>> {
        let kept = self.0.as_mut().ok_or_else(|| {
            PyValueError::new_err("the tape is used up; call forward once before every backward")
        })?;
        let kept = E::borrow(kept).ok_or_else(|| {
            PyValueError::new_err("the tape belongs to a layer of another dtype; use its own layer")
        })?;
        Ok(kept)
    }

    /// Gives the used tape back to the layer, which reuses its memory.
    pub fn put_back<E: Number>(&mut self, spare: &Spare) {
        if let Some(kept) = self.0.take().and_then(E::unwrap) {
            spare.put(kept);
        }
    }
}

#[pymethods]
impl PyTape {
    /// One of the cell's values, for every step, row and unit (T, B, H) of one direction of one layer, flat.
    fn values<'py>(
        &self,
        py: Python<'py>,
        direction: usize,
        slot: usize,
    ) -> Result<Bound<'py, PyAny>> {
        fn array<'py, E: Number>(
            py: Python<'py>,
            values: Option<Vec<E>>,
        ) -> Result<Bound<'py, PyAny>> {
            let values = values
                .ok_or_else(|| PyValueError::new_err("the tape does not hold these values"))?;
            array_of(py, &values)
        }
        match &self.0 {
            None => array::<f32>(py, None),
            Some(AnyKept::F32(kept)) => array(py, kept.tape.values(direction, slot)),
            Some(AnyKept::F64(kept)) => array(py, kept.tape.values(direction, slot)),
        }
    }
}
