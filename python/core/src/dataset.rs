//! Data sets for Python, and the time limit of calls. A call returns when its time is up, so that Python can
//! draw progress and react to Ctrl-C.

use std::time::{Duration, Instant};

use bptt::{Dataset, Inputs, Targets};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::error::Result;
use crate::tape::Number;
use crate::vectors::extracted;
use crate::{read, slice_of};

/// Sequences, one after the other. It holds inputs (sum of T, F) or tokens (sum of T,); a target for every
/// step or, with `per_sequence`, for every sequence; the offsets of the sequences; and a weight for each
/// sequence, if given. Only with `may_ignore` can target classes be `IGNORED`: users' arrays are not copied,
/// and what they write there later must not become that.
#[pyclass(name = "Dataset", module = "bptt._core", frozen)]
pub struct PyDataset {
    inputs: Py<PyAny>,
    targets: Option<Py<PyAny>>,
    offsets: Vec<usize>,
    per_sequence: bool,
    weights: Option<Vec<f64>>,
    may_ignore: bool,
}

#[pymethods]
impl PyDataset {
    #[new]
    #[pyo3(signature = (inputs, targets, offsets, per_sequence=false, weights=None, may_ignore=false))]
    fn new(
        inputs: Py<PyAny>,
        targets: Option<Py<PyAny>>,
        offsets: &Bound<'_, PyAny>,
        per_sequence: bool,
        weights: Option<&Bound<'_, PyAny>>,
        may_ignore: bool,
    ) -> Result<Self> {
        let (offsets, weights) = (extracted(offsets)?, weights.map(extracted).transpose()?);
        Ok(Self { inputs, targets, offsets, per_sequence, weights, may_ignore })
    }
}

/// Numbers (N, F) of the model's dtype, or tokens or classes (N,) of uint32.
enum Values<'py, E: Number> {
    Numbers(PyReadonlyArray2<'py, E>),
    Classes(PyReadonlyArray1<'py, u32>),
}

impl<'py, E: Number> Values<'py, E> {
    fn extract(array: &Bound<'py, PyAny>) -> Result<Self> {
        if let Ok(classes) = array.cast::<PyArray1<u32>>() {
            return Ok(Self::Classes(read(classes)?));
        }
        Ok(Self::Numbers(read(array.cast::<PyArray2<E>>()?)?))
    }
}

impl PyDataset {
    /// The tokens of all sequences, if the inputs are tokens.
    pub fn tokens<'py>(&self, py: Python<'py>) -> Result<Option<PyReadonlyArray1<'py, u32>>> {
        self.inputs.bind(py).cast::<PyArray1<u32>>().ok().map(read).transpose()
    }

    /// Calls `work` with the data set, without the GIL.
    pub fn with<E: Number, T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Dataset<'_, E>) -> bptt::Result<T> + Send,
    ) -> Result<T> {
        let inputs = Values::<E>::extract(self.inputs.bind(py))?;
        let targets = self.targets.as_ref();
        let targets = targets.map(|targets| Values::<E>::extract(targets.bind(py))).transpose()?;
        let inputs = match &inputs {
            Values::Numbers(x) => Inputs::Features(slice_of(x)?),
            Values::Classes(x) => Inputs::Tokens(slice_of(x)?),
        };
        let targets = match &targets {
            Some(Values::Numbers(y)) => Some(Targets::Values(slice_of(y)?)),
            Some(Values::Classes(y)) => Some(Targets::Classes(slice_of(y)?)),
            None => None,
        };
        let data = match targets {
            Some(targets) if self.per_sequence => {
                Dataset::per_sequence(inputs, targets, &self.offsets)?
            }
            Some(targets) => Dataset::new(inputs, targets, &self.offsets)?,
            None => Dataset::without_targets(inputs, &self.offsets)?,
        };
        let data = match &self.weights {
            Some(weights) => data.with_weights(weights)?,
            None => data,
        };
        let data = if self.may_ignore { data } else { data.without_ignored() };
        Ok(py.detach(|| work(&data))?)
    }
}

/// The end of a call that may take `seconds` seconds from now on.
pub fn until(seconds: f64) -> Instant {
    let seconds = if seconds > 0.0 { seconds.min(3600.0) } else { 0.0 };
    Instant::now() + Duration::from_secs_f64(seconds)
}
