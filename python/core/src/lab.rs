//! The lab's networks for Python. `bptt.lab` checks the shapes; here, arrays are flat.

use bptt::clip_by_global_norm;
use bptt::lab::{Gradient, Kind, LabNetwork, Pass, Progress, Training};
use numpy::{PyArray1, PyArrayDyn, PyReadonlyArrayDyn};
use pyo3::prelude::*;

use crate::dataset::{PyDataset, until};
use crate::error::Result;
use crate::{read, slice_of};

type Array<'py> = Bound<'py, PyArrayDyn<f64>>;

fn network(lstm: bool, hidden_size: usize, vocab_size: usize) -> Result<LabNetwork> {
    let kind = if lstm { Kind::Lstm } else { Kind::Rnn };
    Ok(LabNetwork::new(kind, hidden_size, vocab_size)?)
}

fn gradient(exact: bool) -> Gradient {
    if exact { Gradient::Exact } else { Gradient::Published }
}

fn import(network: &LabNetwork, params: &[Array<'_>]) -> Result<Vec<f64>> {
    let arrays: Vec<PyReadonlyArrayDyn<'_, f64>> =
        params.iter().map(|array| read(array)).collect::<Result<_>>()?;
    let slices: Vec<&[f64]> = arrays.iter().map(|array| slice_of(array)).collect::<Result<_>>()?;
    Ok(network.import(&slices)?)
}

fn numbers(array: &Array<'_>) -> Result<Vec<f64>> {
    Ok(slice_of(&read(array)?)?.to_vec())
}

type Arrays<'py> = Vec<Bound<'py, PyArray1<f64>>>;

fn arrays<'py>(py: Python<'py>, vectors: Vec<Vec<f64>>) -> Arrays<'py> {
    vectors.into_iter().map(|vector| PyArray1::from_vec(py, vector)).collect()
}

/// Runs a forward pass from x (T, V) and the initial state: [h], or [h, C] for the LSTM, each (H,). Returns
/// [outputs (T, V), h (T + 1, H)], and for the LSTM also [logits (T, V), C (T + 1, H), i, f, g, o (T, H)],
/// all flat.
#[pyfunction]
pub fn lab_forward<'py>(
    py: Python<'py>,
    params: Vec<Array<'py>>,
    x: Array<'py>,
    state: Vec<Array<'py>>,
    vocab_size: usize,
) -> Result<Arrays<'py>> {
    let h0 = numbers(&state[0])?;
    let c0 = if state.len() > 1 { numbers(&state[1])? } else { vec![] };
    let mut network = network(state.len() > 1, h0.len(), vocab_size)?;
    let params = import(&network, &params)?;
    network.pass.x = numbers(&x)?;
    network.forward(&params, &h0, &c0)?;
    let Pass { h, c, gates, logits, outputs, .. } = network.pass;
    let mut results = vec![outputs, h];
    if state.len() > 1 {
        results.extend([logits, c]);
        results.extend(gates);
    }
    Ok(arrays(py, results))
}

/// Runs the backward pass of a network of `sizes` (H, V). `arrays_of_pass` are [x, outputs, h], and for the
/// LSTM also [C, i, f, g, o], in the shapes of `lab_forward`. Returns the loss, and the gradients, clipped
/// to `max_norm` and flat, in the order of the parameters.
#[pyfunction]
pub fn lab_backward<'py>(
    py: Python<'py>,
    params: Vec<Array<'py>>,
    arrays_of_pass: Vec<Array<'py>>,
    targets: Array<'py>,
    sizes: (usize, usize),
    exact: bool,
    max_norm: f64,
) -> Result<(f64, Arrays<'py>)> {
    let (lstm, (hidden_size, vocab_size)) = (arrays_of_pass.len() > 3, sizes);
    let mut network = network(lstm, hidden_size, vocab_size)?;
    let params = import(&network, &params)?;
    let mut given = arrays_of_pass.iter().map(numbers);
    let mut next = || given.next().unwrap_or(Ok(vec![]));
    let mut pass = Pass { x: next()?, outputs: next()?, h: next()?, c: next()?, ..Pass::default() };
    for gate in &mut pass.gates {
        *gate = next()?;
    }
    pass.steps = pass.x.len() / vocab_size;
    network.pass = pass;
    let mut grads = vec![0.0; params.len()];
    let loss = network.backward(&params, &numbers(&targets)?, gradient(exact), &mut grads)?;
    clip_by_global_norm(&mut grads, max_norm);
    Ok((loss, arrays(py, network.export(&grads)?)))
}

/// A network in training.
#[pyclass(name = "LabTraining", module = "bptt._core")]
pub struct PyLabTraining(Training);

/// How far training or evaluation got in an epoch; see [`bptt::lab::Progress`].
#[pyclass(name = "LabProgress", module = "bptt._core", frozen, get_all)]
#[derive(Default)]
pub struct PyLabProgress {
    done: usize,
    loss_sum: f64,
    diverged: bool,
}

#[pymethods]
impl PyLabProgress {
    /// The progress at the beginning of an epoch.
    #[new]
    fn new() -> Self {
        Self::default()
    }
}

#[pymethods]
impl PyLabTraining {
    #[new]
    fn new(
        params: Vec<Array<'_>>,
        lstm: bool,
        sizes: (usize, usize),
        lr: f64,
        max_norm: f64,
        exact: bool,
    ) -> Result<Self> {
        let network = network(lstm, sizes.0, sizes.1)?;
        let params = import(&network, &params)?;
        Ok(Self(Training::new(network, params, lr, max_norm, gradient(exact))?))
    }

    /// Trains on the sequences, or only evaluates them unless `learn`, for about `seconds` seconds.
    fn walk(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        progress: &PyLabProgress,
        learn: bool,
        seconds: f64,
    ) -> Result<PyLabProgress> {
        let PyLabProgress { done, loss_sum, diverged } = *progress;
        let progress = Progress { done, loss_sum, diverged };
        let until = until(seconds);
        let progress = data.with(py, |data| match learn {
            true => self.0.train(data, progress, until),
            false => self.0.evaluate(data, progress, until),
        })?;
        let Progress { done, loss_sum, diverged } = progress;
        Ok(PyLabProgress { done, loss_sum, diverged })
    }

    /// The parameters, flat, in the notebook's order.
    fn params<'py>(&self, py: Python<'py>) -> Result<Arrays<'py>> {
        Ok(arrays(py, self.0.network().export(&self.0.params())?))
    }
}
