//! Layers for Python: one call for a forward pass, one for a backward pass.

use bptt::Compiled;
use bptt::cell::{GruResetFirst, Nonlinearity};
use bptt::{Compute, GRU, Gradients, LSTM, Params, RNN, Recurrent, Tape};
use bptt::{Embedding, Layer, LayerNorm, Linear};
use numpy::{PyArray1, PyArrayDyn, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::batch::{Batch, Layout, States, seq_mut, state_of, states};
use crate::error::Result;
use crate::lengths::PyLengths;
use crate::stateless;
use crate::tape::{Kept, Number, PyTape, Spare};
use crate::{empty, read, slice_of, with_dtype, write, zeros};

/// The kind and sizes of a layer. The caller owns the parameters.
#[pyclass(name = "Layer", module = "bptt._core", frozen)]
pub struct PyLayer {
    pub layer: Layer,
    /// The tape of the last inference, with the weights that it packed.
    inference: Spare,
    /// The tape of the last backward pass.
    training: Spare,
}

impl From<Layer> for PyLayer {
    fn from(layer: Layer) -> Self {
        Self { layer, inference: Spare::default(), training: Spare::default() }
    }
}

/// Runs `$body` with the recurrent layer, of any cell, or returns an error for another layer.
macro_rules! recurrent {
    ($layer:expr, $inner:ident => $body:expr) => {
        match $layer {
            Layer::RNN($inner) => $body,
            Layer::LSTM($inner) => $body,
            Layer::GRU($inner) => $body,
            Layer::GRUResetFirst($inner) => $body,
            other @ (Layer::OneHot(_)
            | Layer::Embedding(_)
            | Layer::Linear(_)
            | Layer::LayerNorm(_)
            | Layer::Dropout(_)
            | Layer::LastStep) => {
                let message = format!("{} has no state; call apply instead", other.name());
                Err(PyValueError::new_err(message).into())
            }
        }
    };
}

/// The options of recurrent layers, for every cell.
struct Options {
    num_layers: usize,
    dropout: (f64, f64, f64),
    bidirectional: bool,
    proj_size: usize,
    layer_norm: bool,
    bf16: bool,
}

impl Options {
    fn of<C: Compiled>(&self, layer: Recurrent<C>) -> bptt::Result<Recurrent<C>> {
        let (between, recurrent, zoneout) = self.dropout;
        let layer = if self.bidirectional { layer.bidirectional() } else { layer };
        let layer = if self.layer_norm { layer.with_layer_norm()? } else { layer };
        let layer = layer.with_layers(self.num_layers)?.with_dropout(between)?;
        let compute = if self.bf16 { Compute::Bf16 } else { Compute::Own };
        let layer = layer.with_compute(compute);
        let layer = layer.with_recurrent_dropout(recurrent)?.with_zoneout(zoneout)?;
        layer.with_projection(self.proj_size)
    }
}

/// What a forward pass keeps. With a seed, it is a training pass: it draws dropout from the seed and keeps
/// what a backward pass needs, or only checkpoints if the second value is true. Without a seed, it computes
/// without dropout and keeps values to look at.
type Record = (Option<u64>, bool);

/// dx, the gradient of the initial state, and the flat gradients of the parameters.
type PyGradients<'py> = (Option<Bound<'py, PyAny>>, States<'py>, Option<Bound<'py, PyAny>>);

#[pymethods]
impl PyLayer {
    #[staticmethod]
    fn one_hot(classes: usize) -> Self {
        Layer::OneHot(classes).into()
    }

    /// A recurrent layer of the cell "tanh", "relu", "lstm", "lstm_peepholes", "gru" or "gru_reset_first".
    /// `dropout` is (dropout between layers, recurrent dropout, zoneout).
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn recurrent(
        cell: &str,
        input_size: usize,
        hidden_size: usize,
        num_layers: usize,
        bias: bool,
        dropout: (f64, f64, f64),
        bidirectional: bool,
        proj_size: usize,
        layer_norm: bool,
        bf16: bool,
    ) -> Result<Self> {
        let options = Options { num_layers, dropout, bidirectional, proj_size, layer_norm, bf16 };
        let (i, h) = (input_size, hidden_size);
        let layer = match cell {
            "lstm" => Layer::LSTM(options.of(LSTM::new(i, h, bias)?)?),
            "lstm_peepholes" => Layer::LSTM(options.of(LSTM::new(i, h, bias)?.with_peepholes())?),
            "gru" => Layer::GRU(options.of(GRU::new(i, h, bias)?)?),
            "gru_reset_first" => {
                let gru = Recurrent::with_cell(GruResetFirst, i, h, bias)?;
                Layer::GRUResetFirst(options.of(gru)?)
            }
            _ => {
                let relu = cell == "relu";
                let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
                Layer::RNN(options.of(RNN::new(i, h, nonlinearity, bias)?)?)
            }
        };
        Ok(layer.into())
    }

    #[staticmethod]
    fn embedding(num_embeddings: usize, embedding_dim: usize) -> Result<Self> {
        Ok(Layer::Embedding(Embedding::new(num_embeddings, embedding_dim)?).into())
    }

    #[staticmethod]
    fn layer_norm(features: usize, eps: f64, weight: bool, bias: bool) -> Result<Self> {
        Ok(Layer::LayerNorm(LayerNorm::new(features, eps, weight, bias)?).into())
    }

    #[staticmethod]
    fn dropout(p: f64) -> Self {
        Layer::Dropout(p).into()
    }

    #[staticmethod]
    fn last_step() -> Self {
        Layer::LastStep.into()
    }

    #[staticmethod]
    fn linear(in_features: usize, out_features: usize, bias: bool) -> Result<Self> {
        Ok(Layer::Linear(Linear::new(in_features, out_features, bias)?).into())
    }

    /// The number of different tokens that the layer takes; None if it takes features.
    #[getter]
    fn tokens(&self) -> Option<usize> {
        self.layer.tokens()
    }

    /// The number of features that the layer takes; None if it takes tokens or any number of features.
    #[getter]
    fn in_features(&self) -> Option<usize> {
        self.layer.in_features()
    }

    /// The number of features that the layer gives; None if it gives as many as it takes.
    #[getter]
    fn out_features(&self) -> Option<usize> {
        self.layer.out_features()
    }

    /// The names and shapes of the parameters, in their order in the flat array.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.layer.parameters()
    }

    /// Applies a layer without a state to x (N, F), tokens (N,), or (sum of T, F) with `lengths`. Returns y
    /// (N, F), or (B, F) for LastStep. The parameters are flat. With a seed, there is dropout. Only LastStep
    /// uses `directions`, the number of directions of the layer before.
    #[pyo3(signature = (params, x, lengths, seed, directions=1))]
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn apply<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        lengths: Option<PyRef<'_, PyLengths>>,
        seed: Option<u64>,
        directions: usize,
    ) -> Result<Bound<'py, PyAny>> {
        let (layer, lengths) = (self.layer, lengths.as_deref());
        with_dtype!(params, E => {
            stateless::forward::<E>(py, layer, params, x, lengths, seed, directions)
        })
    }

    /// Goes back through a call of `apply`. Returns (dx, flat gradients of the parameters); dx is None for
    /// tokens.
    #[pyo3(signature = (params, x, dy, lengths, seed, directions=1))]
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn apply_back<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        dy: &Bound<'py, PyAny>,
        lengths: Option<PyRef<'_, PyLengths>>,
        seed: u64,
        directions: usize,
    ) -> Result<(Option<Bound<'py, PyAny>>, Bound<'py, PyAny>)> {
        let (layer, lengths) = (self.layer, lengths.as_deref());
        with_dtype!(params, E => {
            stateless::backward::<E>(py, layer, params, x, dy, lengths, seed, directions)
        })
    }

    /// Runs a recurrent layer on x from an initial state. x is (T, B, I), or (B, T, I) with `batch_first`,
    /// or (sum of T, I) without padding if there are `lengths`. Returns (y, final state, tape); the tape is
    /// None without `record`. The parameters are a list of arrays, one for each parameter or one for all.
    /// Padding is never read, and it is zero in y. If `version` is the same as in the last call, the
    /// parameters are the same numbers.
    #[pyo3(signature = (params, x, state, batch_first, lengths, record, version=None))]
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn forward<'py>(
        &self,
        py: Python<'py>,
        params: Vec<Bound<'py, PyAny>>,
        x: &Bound<'py, PyAny>,
        state: States<'py>,
        batch_first: bool,
        lengths: Option<PyRef<'_, PyLengths>>,
        record: Option<Record>,
        version: Option<u64>,
    ) -> Result<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
        let layout = Layout { batch_first, sizes: lengths.as_ref().map(|lengths| &lengths.sizes) };
        with_dtype!(x, E => recurrent!(&self.layer,
            layer => forward::<_, E>(py, (self, layer), (params, version), x, state, layout, record)))
    }

    /// Describes what a recurrent layer's pass over x does, and why.
    fn explain(
        &self,
        x: &Bound<'_, PyAny>,
        batch_first: bool,
        lengths: Option<PyRef<'_, PyLengths>>,
    ) -> Result<String> {
        let layout = Layout { batch_first, sizes: lengths.as_ref().map(|lengths| &lengths.sizes) };
        with_dtype!(x, E => recurrent!(&self.layer,
            layer => Ok(layer.explain(Batch::<E>::read(x, layout)?.seq(layout)?)?)))
    }

    /// Backpropagation through the pass from x to y that the tape holds. Returns (dx, gradient of the
    /// initial state, flat gradients of the parameters). dx is None unless `want_dx`, and the last is None
    /// unless `want_grads`.
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn backward<'py>(
        &self,
        py: Python<'py>,
        params: Vec<Bound<'py, PyAny>>,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        tape: &mut PyTape,
        dy: &Bound<'py, PyAny>,
        dstate: States<'py>,
        batch_first: bool,
        lengths: Option<PyRef<'_, PyLengths>>,
        want_dx: bool,
        want_grads: bool,
    ) -> Result<PyGradients<'py>> {
        let layout = Layout { batch_first, sizes: lengths.as_ref().map(|lengths| &lengths.sizes) };
        let (pass, want) = ((x, y), (want_dx, want_grads));
        with_dtype!(dy, E => recurrent!(&self.layer,
            layer => backward::<_, E>(py, (self, layer), params, pass, tape, dy, dstate, layout, want)))
    }
}

/// The numbers of the parameters' arrays.
fn parameters<'a, E: Number>(arrays: &'a [PyReadonlyArrayDyn<'_, E>]) -> Result<Vec<&'a [E]>> {
    arrays.iter().map(|array| slice_of(array)).collect()
}

/// The parameters of a recurrent layer: one flat array, or an array for each.
fn all_of<'a, E: Number>(params: &'a [&'a [E]]) -> Params<'a, E> {
    match params {
        [flat] => Params::Flat(flat),
        all => Params::Arrays(all),
    }
}

fn read_all<'py, E: Number>(
    arrays: &[Bound<'py, PyAny>],
) -> Result<Vec<PyReadonlyArrayDyn<'py, E>>> {
    arrays.iter().map(|array| read(array.cast::<PyArrayDyn<E>>()?)).collect()
}

fn forward<'py, C: Compiled, E: Number>(
    py: Python<'py>,
    (owner, layer): (&PyLayer, &Recurrent<C>),
    (params, version): (Vec<Bound<'py, PyAny>>, Option<u64>),
    x: &Bound<'py, PyAny>,
    state: States<'py>,
    layout: Layout<'_>,
    record: Option<Record>,
) -> Result<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
    let params = read_all::<E>(&params)?;
    let x = Batch::<E>::read(x, layout)?;
    let mut dims = x.dims().to_vec();
    *dims.last_mut().expect("two or three") = layer.output_size();
    let x = x.seq(layout)?;
    let rows = x.shape().rows;
    let mut state = state_of::<C, E>(layer, &state, rows, layout.sizes)?;
    let y: Bound<'_, PyArrayDyn<E>> = empty(py, &dims)?;
    let mut kept = match record {
        None => owner.inference.take::<E>(),
        Some((None, _)) => Kept::tape(Tape::for_looking()),
        Some((Some(seed), checkpoints)) => {
            let mut kept = owner.training.take::<E>();
            kept.tape.set_recording(true);
            kept.tape.set_seed(seed);
            kept.tape.set_checkpoints(checkpoints);
            kept
        }
    };
    {
        let mut y = write(&y)?;
        let (y, params) = (y.as_slice_mut()?, parameters(&params)?);
        py.detach(|| {
            if record.is_none() {
                kept.expect_weights(&params, version)?;
            }
            let y = seq_mut(y, &dims, layout)?;
            layer.forward(all_of(&params), x, &mut state, y, &mut kept.tape)
        })?;
    }
    let states = states(py, layer, &state, rows, layout.sizes)?;
    let tape = match record {
        None => {
            owner.inference.put(kept);
            None
        }
        Some(_) => Some(PyTape::new(kept)),
    };
    Ok((y.into_any(), states, tape))
}

#[allow(clippy::too_many_arguments)] // the arguments of Python's call
fn backward<'py, C: Compiled, E: Number>(
    py: Python<'py>,
    (owner, layer): (&PyLayer, &Recurrent<C>),
    params: Vec<Bound<'py, PyAny>>,
    (x, y): (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    tape: &mut PyTape,
    dy: &Bound<'py, PyAny>,
    dstate: States<'py>,
    layout: Layout<'_>,
    (want_dx, want_grads): (bool, bool),
) -> Result<PyGradients<'py>> {
    let recorded = tape.recorded::<E>()?;
    let params = read_all::<E>(&params)?;
    let (x, y) = (Batch::<E>::read(x, layout)?, Batch::<E>::read(y, layout)?);
    let dy = Batch::<E>::read(dy, layout)?;
    if dy.dims() != y.dims() {
        let message = format!("dy must have the shape of y, {:?}, got {:?}", y.dims(), dy.dims());
        return Err(PyValueError::new_err(message).into());
    }
    let dims = x.dims();
    let dx: Option<Bound<'_, PyArrayDyn<E>>> = want_dx.then(|| empty(py, dims)).transpose()?;
    let grads: Option<Bound<'_, PyArray1<E>>> =
        want_grads.then(|| zeros(py, &[layer.parameter_len()])).transpose()?;
    let (x, y, dy) = (x.seq(layout)?, y.seq(layout)?, dy.seq(layout)?);
    let rows = x.shape().rows;
    let mut dstate = state_of::<C, E>(layer, &dstate, rows, layout.sizes)?;
    {
        let params = parameters(&params)?;
        let mut dx = dx.as_ref().map(write).transpose()?;
        let mut grads = grads.as_ref().map(write).transpose()?;
        let dx = dx.as_mut().map(|dx| dx.as_slice_mut()).transpose()?;
        let grads = grads.as_mut().map(|grads| grads.as_slice_mut()).transpose()?;
        py.detach(|| {
            let dx = dx.map(|dx| seq_mut(dx, dims, layout)).transpose()?;
            let gradients = Gradients { params: grads, x: dx };
            let tape = &mut recorded.tape;
            layer.backward(all_of(&params), x, y, tape, dy, &mut dstate, gradients)
        })?;
    }
    tape.put_back::<E>(&owner.training);
    let dstates = states(py, layer, &dstate, rows, layout.sizes)?;
    Ok((dx.map(Bound::into_any), dstates, grads.map(Bound::into_any)))
}
