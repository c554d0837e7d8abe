//! Steppers for Python.

use bptt::{BatchSizes, Buffer, Input, Layer, Network, SequentialStepper, Stateless};
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
    F32(Steps<f32>),
    F64(Steps<f64>),
}

/// Layers that compute one step per call.
#[pyclass(name = "Stepper", module = "bptt._core")]
pub struct PyStepper(Any);

/// The layers, in two parts: an embedding looks rows up in Python's array, because a copy of its table would
/// cost more than many steps. All others have copies of their parameters.
struct Steps<E: Number> {
    embedding: Option<Lookup<E>>,
    others: Option<SequentialStepper<E>>,
}

struct Lookup<E: Number> {
    layer: Stateless<E>,
    table: Py<PyArray1<E>>,
    /// The sizes of one step.
    sizes: BatchSizes,
    rows: Buffer<E>,
}

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
    /// A stepper of a model. It copies the layers' flat parameters, but for an embedding's: nobody may change
    /// that array before `set_table` gives another.
    #[new]
    fn new(model: &PyModel, params: Vec<Bound<'_, PyAny>>, rows: usize) -> Result<Self> {
        Ok(Self(match &model.0 {
            model::Any::F32(network) => Any::F32(Steps::new(network, params, rows)?),
            model::Any::F64(network) => Any::F64(Steps::new(network, params, rows)?),
        }))
    }

    /// Computes one step from x (B, F) or tokens (B,), and writes the outputs to y (B, F). Returns False and
    /// does nothing if x must be copied first: it is not in C order, not aligned, or shares memory with y.
    fn step(&mut self, x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> Result<bool> {
        each!(&mut self.0, steps => step(steps, x, y))
    }

    /// Gives the embedding another array with the same numbers.
    fn set_table(&mut self, table: &Bound<'_, PyAny>) -> Result<()> {
        each!(&mut self.0, steps => steps.set_table(table))
    }

    fn reset(&mut self) {
        each!(&mut self.0, steps => steps.others.iter_mut().for_each(SequentialStepper::reset));
    }

    fn states<'py>(&self, py: Python<'py>) -> Result<FlatStates<'py>> {
        each!(&self.0, steps => steps.states(py))
    }

    fn set_states(&mut self, given: FlatStates<'_>) -> Result<()> {
        each!(&mut self.0, steps => steps.set_states(&given))
    }
}

impl<E: Number> Steps<E> {
    fn new(network: &Network<E>, mut params: Vec<Bound<'_, PyAny>>, rows: usize) -> Result<Self> {
        let mut layers: Vec<_> = network.layers().copied().collect();
        let embedding = match layers[0] {
            Layer::Embedding(_) => {
                let layer = Stateless::new(layers.remove(0), None, 1)?;
                let table = params.remove(0).cast::<PyArray1<E>>()?.clone();
                let sizes = BatchSizes::new(rows, vec![rows])?;
                let rows = Buffer::zeros(rows.saturating_mul(layer.out_features()))?;
                Some(Lookup { layer, table: table.unbind(), sizes, rows })
            }
            _ => None,
        };
        let others = match layers.is_empty() {
            true => None,
            false => {
                let arrays = read_flat::<E>(&params)?;
                let network = Network::new(layers)?;
                Some(SequentialStepper::of_network(&network, &slices(&arrays)?, rows)?)
            }
        };
        Ok(Self { embedding, others })
    }

    fn set_table(&mut self, table: &Bound<'_, PyAny>) -> Result<()> {
        if let Some(lookup) = &mut self.embedding {
            lookup.table = table.cast::<PyArray1<E>>()?.clone().unbind();
        }
        Ok(())
    }

    /// The outputs of one step.
    fn step<'a>(&'a mut self, py: Python<'_>, mut input: Input<'a, E>) -> Result<&'a [E]> {
        if let Some(Lookup { layer, table, sizes, rows }) = &mut self.embedding {
            let table = read(table.bind(py))?;
            layer.forward(slice_of(&table)?, input, sizes, rows, false)?;
            input = Input::Features(rows);
        }
        match (&mut self.others, input) {
            (Some(others), input) => Ok(others.step(input)?),
            (None, Input::Features(rows)) => Ok(rows),
            (None, Input::Tokens(_)) => unreachable!("a stepper has a layer"),
        }
    }

    fn states<'py>(&self, py: Python<'py>) -> Result<FlatStates<'py>> {
        let Some(others) = &self.others else { return Ok(Vec::new()) };
        let states = others.states()?;
        states.iter().map(|state| Ok((array_of(py, &state.h)?, array_of(py, &state.c)?))).collect()
    }

    fn set_states(&mut self, given: &FlatStates<'_>) -> Result<()> {
        let states = read_flat_states(given)?;
        match &mut self.others {
            Some(others) => Ok(others.set_states(&states)?),
            None => Ok(()), // an embedding has no state
        }
    }
}

fn step<E: Number>(
    steps: &mut Steps<E>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
) -> Result<bool> {
    let y = y.cast::<PyArray2<E>>()?;
    let (py, y_memory) = (y.py(), memory(y));
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
    let outputs = steps.step(py, input)?;
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
