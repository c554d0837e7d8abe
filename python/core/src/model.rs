//! Models for Python: layers that fit together. The layers own the parameters and pass them to every call.

use bptt::{Layer, Network};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::batch::{FlatStates, read_flat_states, write_flat_states};
use crate::dataset::{PyDataset, until};
use crate::error::Result;
use crate::recurrent::PyLayer;
use crate::tape::Number;
use crate::{empty, read, slice_of, write};

pub enum Any {
    F32(Network<f32>),
    F64(Network<f64>),
}

/// Layers, one after the other, for parameters of one dtype.
#[pyclass(name = "Model", module = "bptt._core")]
pub struct PyModel(pub Any);

macro_rules! each {
    ($model:expr, $inner:ident => $body:expr) => {
        match $model {
            Any::F32($inner) => $body,
            Any::F64($inner) => $body,
        }
    };
}

#[pymethods]
impl PyModel {
    #[new]
    fn new(layers: Vec<PyRef<'_, PyLayer>>, double: bool) -> Result<Self> {
        let layers = layers.iter().map(|layer| layer.layer).collect();
        Ok(Self(match double {
            true => Any::F64(Network::new(layers)?),
            false => Any::F32(Network::new(layers)?),
        }))
    }

    /// For every layer, the number of features that it takes (None for tokens) and the number that it gives.
    #[getter]
    fn features(&self) -> Vec<(Option<usize>, usize)> {
        each!(&self.0, network => network.features().collect())
    }

    /// A new array (rows, F) for the outputs of `predict`.
    fn outputs<'py>(&self, py: Python<'py>, rows: usize) -> Result<Bound<'py, PyAny>> {
        each!(&self.0, network => outputs(py, network, rows))
    }

    /// Writes the outputs, (sum of T, F), or (N, F) with LastStep, from sequence `done` on, for about
    /// `seconds` seconds. `params` are the layers' flat arrays. Sequences start from `states`, if they are
    /// given, which become the final states. Returns the number of sequences done.
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn predict(
        &mut self,
        py: Python<'_>,
        params: Vec<Bound<'_, PyAny>>,
        data: &PyDataset,
        done: usize,
        outputs: &Bound<'_, PyAny>,
        states: Option<FlatStates<'_>>,
        seconds: f64,
    ) -> Result<usize> {
        each!(&mut self.0, network => {
            predict(py, network, &params, data, done, outputs, states, seconds)
        })
    }
}

impl PyModel {
    pub fn layers(&self) -> Vec<Layer> {
        each!(&self.0, network => network.layers().copied().collect())
    }
}

fn outputs<'py, E: Number>(
    py: Python<'py>,
    network: &Network<E>,
    rows: usize,
) -> Result<Bound<'py, PyAny>> {
    let array: Bound<'_, PyArray2<E>> = empty(py, &[rows, network.out_features()])?;
    Ok(array.into_any())
}

#[allow(clippy::too_many_arguments)] // the arguments of Python's call
fn predict<E: Number>(
    py: Python<'_>,
    network: &mut Network<E>,
    params: &[Bound<'_, PyAny>],
    data: &PyDataset,
    done: usize,
    outputs: &Bound<'_, PyAny>,
    flat_states: Option<FlatStates<'_>>,
    seconds: f64,
) -> Result<usize> {
    let arrays = read_flat::<E>(params)?;
    let params = slices(&arrays)?;
    let mut outputs = write(outputs.cast::<PyArray2<E>>()?)?;
    let outputs = outputs.as_slice_mut()?;
    let mut states = flat_states.as_ref().map(read_flat_states::<E>).transpose()?;
    let until = until(seconds);
    let done = data.with(py, |data| {
        network.predict_until(&params, data, done, outputs, states.as_deref_mut(), until)
    })?;
    if let (Some(states), Some(flat)) = (states, flat_states) {
        write_flat_states(&states, &flat)?;
    }
    Ok(done)
}

/// Read access to the flat parameters of every layer.
pub fn read_flat<'py, E: Number>(
    params: &[Bound<'py, PyAny>],
) -> Result<Vec<PyReadonlyArray1<'py, E>>> {
    params.iter().map(|array| read(array.cast::<PyArray1<E>>()?)).collect()
}

/// The numbers of these arrays.
pub fn slices<'a, E: Number>(arrays: &'a [PyReadonlyArray1<'_, E>]) -> Result<Vec<&'a [E]>> {
    arrays.iter().map(slice_of).collect()
}
