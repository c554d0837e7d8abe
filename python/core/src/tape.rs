//! Tapes for Python, and the memory that layers keep between calls.
//!
//! A tape's memory is large, and new memory costs as much as the computation of a small layer. So a layer
//! keeps the tape of its last backward pass for the next forward pass, and that of its last inference with
//! the packed weights, which serve again while the weights are the same.

use std::sync::{Mutex, MutexGuard, TryLockError};

use bptt::simd::Element;
use bptt::{Buffer, Tape};
use numpy::PyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Result;

/// Of more numbers than that, memory is given back.
const MOST_KEPT: usize = 1 << 24;

/// A tape, and for inference the weights that it was last given.
#[derive(Default)]
pub struct Kept<E: Element> {
    pub tape: Tape<E>,
    pub weights: Buffer<E>,
    /// Which version of the caller's they are, if that is known.
    version: Option<u64>,
}

impl<E: Element> Kept<E> {
    /// A tape, and no weights.
    pub fn tape(tape: Tape<E>) -> Self {
        Self { tape, ..Self::default() }
    }

    /// Tells the tape whether the weights are those of the last pass: if they are of its version, or else if
    /// they are the same numbers.
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

/// One of either dtype.
pub enum AnyKept {
    F32(Kept<f32>),
    F64(Kept<f64>),
}

/// The number types that arrays and kernels share.
pub trait Number: Element + numpy::Element {
    /// Wraps one of this type.
    fn wrap(kept: Kept<Self>) -> AnyKept;
    /// What is of this type.
    fn borrow(kept: &mut AnyKept) -> Option<&mut Kept<Self>>;
    /// The same, owned.
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

/// What a layer keeps. A thread that finds nothing, because another uses it, makes its own; nobody waits,
/// because in a child forked meanwhile nobody would ever unlock it.
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

    /// What is kept, or something new.
    pub fn take<E: Number>(&self) -> Kept<E> {
        let kept = self.place().and_then(|mut place| place.take());
        kept.and_then(E::unwrap).unwrap_or_default()
    }

    /// Keeps it for the next call, unless it is large.
    pub fn put<E: Number>(&self, kept: Kept<E>) {
        if kept.tape.len() <= MOST_KEPT
            && let Some(mut place) = self.place()
        {
            *place = Some(E::wrap(kept));
        }
    }
}

/// What a forward pass recorded; nothing once it is used up.
#[pyclass(name = "Tape", module = "bptt._core")]
pub struct PyTape(Option<AnyKept>);

impl PyTape {
    pub fn new<E: Number>(kept: Kept<E>) -> Self {
        Self(Some(E::wrap(kept)))
    }

    /// The recording.
    pub fn recorded<E: Number>(&mut self) -> Result<&mut Kept<E>> {
        let kept = self.0.as_mut().ok_or_else(|| {
            PyValueError::new_err("the tape is used up: call forward once for every backward")
        })?;
        let kept = E::borrow(kept).ok_or_else(|| {
            PyValueError::new_err("the tape was recorded by a layer of another dtype")
        })?;
        Ok(kept)
    }

    /// Leaves a recording that is used up to the layer.
    pub fn put_back<E: Number>(&mut self, spare: &Spare) {
        if let Some(kept) = self.0.take().and_then(E::unwrap) {
            spare.put(kept);
        }
    }
}

#[pymethods]
impl PyTape {
    /// One of the cell's values of one direction of one layer, flat: every step, row and unit.
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
            let values =
                values.ok_or_else(|| PyValueError::new_err("the tape has no such values"))?;
            Ok(PyArray1::from_vec(py, values).into_any())
        }
        match &self.0 {
            None => array::<f32>(py, None),
            Some(AnyKept::F32(kept)) => array(py, kept.tape.values(direction, slot)),
            Some(AnyKept::F64(kept)) => array(py, kept.tape.values(direction, slot)),
        }
    }
}
