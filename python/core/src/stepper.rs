//! Steppers for Python.

use bptt::{Input, Network, SequentialStepper};
use numpy::ndarray::Dimension;
use numpy::{PyArray, PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::batch::{FlatStates, read_flat_states};
use crate::error::Result;
use crate::model::{self, PyModel, read_flat, slices};
use crate::tape::Number;
use crate::{array_of, read, slice_of, write};

enum Any {
    F32(SequentialStepper<f32>),
    F64(SequentialStepper<f64>),
}

/// Layers that compute one step per call.
#[pyclass(name = "Stepper", module = "bptt._core")]
pub struct PyStepper(Any);

macro_rules! each {
    ($stepper:expr, $inner:ident => $body:expr) => {
        match $stepper {
            Any::F32($inner) => $body,
            Any::F64($inner) => $body,
        }
    };
}

#[pymethods]
impl PyStepper {
    /// A stepper of a model. It copies the layers' flat parameters.
    #[new]
    fn new(model: &PyModel, params: Vec<Bound<'_, PyAny>>, rows: usize) -> Result<Self> {
        Ok(Self(match &model.0 {
            model::Any::F32(network) => Any::F32(stepper(network, &params, rows)?),
            model::Any::F64(network) => Any::F64(stepper(network, &params, rows)?),
        }))
    }

    /// Computes one step from x (B, F) or tokens (B,), and writes the outputs to y (B, F). Returns False and
    /// does nothing if x must be copied first: it is not in C order, not aligned, or shares memory with y.
    fn step(&mut self, x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> Result<bool> {
        each!(&mut self.0, stepper => step(stepper, x, y))
    }

    fn reset(&mut self) {
        each!(&mut self.0, stepper => stepper.reset());
    }

    fn states<'py>(&self, py: Python<'py>) -> Result<FlatStates<'py>> {
        each!(&self.0, stepper => states(py, stepper))
    }

    fn set_states(&mut self, given: FlatStates<'_>) -> Result<()> {
        each!(&mut self.0, stepper => set_states(stepper, &given))
    }
}

fn stepper<E: Number>(
    network: &Network<E>,
    params: &[Bound<'_, PyAny>],
    rows: usize,
) -> Result<SequentialStepper<E>> {
    let arrays = read_flat::<E>(params)?;
    Ok(SequentialStepper::of_network(network, &slices(&arrays)?, rows)?)
}

fn step<E: Number>(
    stepper: &mut SequentialStepper<E>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
) -> Result<bool> {
    let y = y.cast::<PyArray2<E>>()?;
    let y_memory = memory(y);
    let mut y = write(y)?;
    let y = y.as_slice_mut()?;
    let (features, tokens);
    let input = if let Ok(x) = x.cast::<PyArray2<E>>() {
        if !is_ready(x, y_memory) {
            return Ok(false);
        }
        features = read(x)?;
        Input::Features(slice_of(&features)?)
    } else {
        let x = x.cast::<PyArray1<u32>>()?;
        if !is_ready(x, y_memory) {
            return Ok(false);
        }
        tokens = read(x)?;
        Input::Tokens(slice_of(&tokens)?)
    };
    let outputs = stepper.step(input)?;
    if outputs.len() != y.len() {
        let message = format!("y must have {} numbers, got {}", outputs.len(), y.len());
        return Err(PyValueError::new_err(message).into());
    }
    y.copy_from_slice(outputs);
    Ok(true)
}

/// The addresses where an array in C order begins and ends.
fn memory<E: numpy::Element, D: Dimension>(array: &Bound<'_, PyArray<E, D>>) -> (usize, usize) {
    let start = array.data() as usize;
    (start, start + array.len() * size_of::<E>())
}

/// Whether an array can be read where it lies, while these addresses are written.
fn is_ready<E: numpy::Element, D: Dimension>(
    array: &Bound<'_, PyArray<E, D>>,
    written: (usize, usize),
) -> bool {
    let (start, end) = memory(array);
    let aligned = start.is_multiple_of(align_of::<E>());
    array.is_c_contiguous() && aligned && (end <= written.0 || written.1 <= start)
}

fn states<'py, E: Number>(
    py: Python<'py>,
    stepper: &SequentialStepper<E>,
) -> Result<FlatStates<'py>> {
    let states = stepper.states()?;
    states.iter().map(|state| Ok((array_of(py, &state.h)?, array_of(py, &state.c)?))).collect()
}

fn set_states<E: Number>(stepper: &mut SequentialStepper<E>, given: &FlatStates<'_>) -> Result<()> {
    Ok(stepper.set_states(&read_flat_states(given)?)?)
}
