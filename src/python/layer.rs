//! Layers and tapes for Python: one call for a forward pass, one for a backward pass.

use numpy::{PyArray1, PyArray2, PyArray3, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{read, slice_of, with_dtype, write, zeros};
use crate::cell::{Cell, Nonlinearity};
use crate::nn::{Layer, Linear, LinearMemory};
use crate::sequence::{Gradients, LSTM, RNN, Recurrent, State, Tape};
use crate::simd::Element;
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

/// The sizes and kind of a layer; parameters stay with the caller.
#[pyclass(name = "Layer", module = "bptt._core", frozen)]
pub struct PyLayer(pub Layer);

/// (h, c), each (B, H); c only where the cell has it.
type States<'py> = Vec<Bound<'py, PyAny>>;

#[pymethods]
impl PyLayer {
    #[staticmethod]
    fn one_hot(classes: usize) -> Self {
        Self(Layer::OneHot(classes))
    }

    #[staticmethod]
    fn rnn(input_size: usize, hidden_size: usize, relu: bool, bias: bool) -> PyResult<Self> {
        let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
        Ok(Self(Layer::RNN(RNN::new(input_size, hidden_size, nonlinearity, bias)?)))
    }

    #[staticmethod]
    fn lstm(input_size: usize, hidden_size: usize, bias: bool) -> PyResult<Self> {
        Ok(Self(Layer::LSTM(LSTM::new(input_size, hidden_size, bias)?)))
    }

    #[staticmethod]
    fn linear(in_features: usize, out_features: usize, bias: bool) -> PyResult<Self> {
        Ok(Self(Layer::Linear(Linear::new(in_features, out_features, bias)?)))
    }

    /// Features that the layer takes; none for tokens.
    #[getter]
    fn in_features(&self) -> Option<usize> {
        self.0.in_features()
    }

    /// Features that the layer gives.
    #[getter]
    fn out_features(&self) -> usize {
        self.0.out_features()
    }

    /// Names and shapes of the parameters, as they follow each other in the flat array.
    fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        match &self.0 {
            Layer::OneHot(_) => vec![],
            Layer::RNN(rnn) => rnn.parameters(),
            Layer::LSTM(lstm) => lstm.parameters(),
            Layer::Linear(linear) => linear.parameters(),
        }
    }

    /// A linear layer on x (N, in): y (N, out).
    fn apply<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Layer::Linear(linear) = &self.0 else { return Err(not_for(&self.0)) };
        with_dtype!(params, E => apply::<E>(py, linear, params, x))
    }

    /// A recurrent layer on x, (T, B, I) or with `batch_first` (B, T, I), from an initial state:
    /// (y, final state, tape), the tape only if the pass is to be recorded.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        state: States<'py>,
        batch_first: bool,
        record: bool,
    ) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
        with_dtype!(params, E => match &self.0 {
            Layer::RNN(rnn) => forward::<_, E>(py, rnn, params, x, state, batch_first, record),
            Layer::LSTM(lstm) => forward::<_, E>(py, lstm, params, x, state, batch_first, record),
            other => Err(not_for(other)),
        })
    }

    /// Backpropagation through the pass that the tape holds: (dx, gradient of the initial state,
    /// flat gradients of the parameters).
    fn backward<'py>(
        &self,
        py: Python<'py>,
        params: &Bound<'py, PyAny>,
        tape: &mut PyTape,
        dy: &Bound<'py, PyAny>,
        dstate: States<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, States<'py>, Bound<'py, PyAny>)> {
        with_dtype!(params, E => match &self.0 {
            Layer::RNN(rnn) => backward::<_, E>(py, rnn, params, tape, dy, dstate),
            Layer::LSTM(lstm) => backward::<_, E>(py, lstm, params, tape, dy, dstate),
            other => Err(not_for(other)),
        })
    }
}

fn not_for(layer: &Layer) -> PyErr {
    PyValueError::new_err(format!("{layer:?} has no such pass"))
}

/// What a forward pass recorded, with the arrays it ran on.
#[pyclass(name = "Tape", module = "bptt._core")]
pub struct PyTape {
    pass: Pass,
    batch_first: bool,
}

/// A recorded pass of either dtype.
pub enum Pass {
    F32(Recorded<f32>),
    F64(Recorded<f64>),
}

/// A tape with the arrays of its pass.
pub struct Recorded<E: Element + numpy::Element> {
    tape: Tape<E>,
    x: Py<PyArray3<E>>,
    y: Py<PyArray3<E>>,
}

/// The number types that arrays and kernels share.
pub trait Number: Element + numpy::Element {
    /// Wraps a recording of this type.
    fn pass(recorded: Recorded<Self>) -> Pass;
    /// The recording, if it is of this type.
    fn recorded(pass: &mut Pass) -> Option<&mut Recorded<Self>>;
}

macro_rules! number {
    ($type:ident, $variant:ident) => {
        impl Number for $type {
            fn pass(recorded: Recorded<Self>) -> Pass {
                Pass::$variant(recorded)
            }
            fn recorded(pass: &mut Pass) -> Option<&mut Recorded<Self>> {
                match pass {
                    Pass::$variant(recorded) => Some(recorded),
                    _ => None,
                }
            }
        }
    };
}
number!(f32, F32);
number!(f64, F64);

fn shape_of(dims: &[usize], batch_first: bool) -> Shape {
    match batch_first {
        true => Shape::batch_major(dims[1], dims[0], dims[2]),
        false => Shape::time_major(dims[0], dims[1], dims[2]),
    }
}

fn state_of<C: Cell, E: Number>(
    layer: &Recurrent<C>,
    arrays: &[Bound<'_, PyAny>],
    rows: usize,
) -> PyResult<State<E>> {
    let count = if C::HAS_C { 2 } else { 1 };
    if arrays.len() != count {
        let names = if C::HAS_C { "(h, c)" } else { "(h,)" };
        let message = format!("the state is a tuple {names}, got {} arrays", arrays.len());
        return Err(PyValueError::new_err(message));
    }
    let mut read_arrays = Vec::with_capacity(count);
    for array in arrays {
        let array = read(array.cast::<PyArray2<E>>()?)?;
        if array.shape() != [rows, layer.hidden_size()] {
            let message = format!(
                "each array of the state must be {:?} (batch, hidden_size), got {:?}",
                [rows, layer.hidden_size()],
                array.shape()
            );
            return Err(PyValueError::new_err(message));
        }
        read_arrays.push(array);
    }
    let mut state = State::zeros(layer, rows)?;
    for (to, array) in [&mut state.h, &mut state.c].into_iter().zip(&read_arrays) {
        to.copy_from_slice(slice_of(array)?);
    }
    Ok(state)
}

fn states<'py, C: Cell, E: Number>(
    py: Python<'py>,
    layer: &Recurrent<C>,
    state: &State<E>,
    rows: usize,
) -> PyResult<States<'py>> {
    let parts = [&state.h, &state.c].into_iter().take(if C::HAS_C { 2 } else { 1 });
    parts
        .map(|part| {
            let array: Bound<'_, PyArray2<E>> = zeros(py, &[rows, layer.hidden_size()])?;
            write(&array)?.as_slice_mut()?.copy_from_slice(part);
            Ok(array.into_any())
        })
        .collect()
}

fn apply<'py, E: Number>(
    py: Python<'py>,
    linear: &Linear,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let x = read(x.cast::<PyArray2<E>>()?)?;
    let (rows, features) = (x.shape()[0], x.shape()[1]);
    let y: Bound<'_, PyArray2<E>> = zeros(py, &[rows, linear.out_features()])?;
    {
        let mut y = write(&y)?;
        let (params, x, y) = (slice_of(&params)?, slice_of(&x)?, y.as_slice_mut()?);
        py.detach(|| {
            let x = Rows::new(x, rows, features);
            let y = RowsMut::new(y, rows, linear.out_features());
            linear.forward(params, x, y, &mut LinearMemory::default())
        })?;
    }
    Ok(y.into_any())
}

fn forward<'py, C: Cell, E: Number>(
    py: Python<'py>,
    layer: &Recurrent<C>,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    state: States<'py>,
    batch_first: bool,
    record: bool,
) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let x = x.cast::<PyArray3<E>>()?;
    let x_shape = shape_of(x.shape(), batch_first);
    let mut state = state_of::<C, E>(layer, &state, x_shape.rows)?;
    let dims = [x.shape()[0], x.shape()[1], layer.hidden_size()];
    let y_shape = shape_of(&dims, batch_first);
    let y: Bound<'_, PyArray3<E>> = zeros(py, &dims)?;
    let mut tape = if record { Tape::new() } else { Tape::for_inference() };
    {
        let (readonly, mut y) = (read(x)?, write(&y)?);
        let (params, x, y) = (slice_of(&params)?, slice_of(&readonly)?, y.as_slice_mut()?);
        py.detach(|| {
            let (x, y) = (Seq::new(x, x_shape)?, SeqMut::new(y, y_shape)?);
            layer.forward(params, x, &mut state, y, &mut tape)
        })?;
    }
    let states = states(py, layer, &state, x_shape.rows)?;
    let tape = record.then(|| {
        let recorded = Recorded { tape, x: x.clone().unbind(), y: y.clone().unbind() };
        PyTape { pass: E::pass(recorded), batch_first }
    });
    Ok((y.into_any(), states, tape))
}

fn backward<'py, C: Cell, E: Number>(
    py: Python<'py>,
    layer: &Recurrent<C>,
    params: &Bound<'py, PyAny>,
    tape: &mut PyTape,
    dy: &Bound<'py, PyAny>,
    dstate: States<'py>,
) -> PyResult<(Bound<'py, PyAny>, States<'py>, Bound<'py, PyAny>)> {
    let batch_first = tape.batch_first;
    let Some(Recorded { tape, x, y }) = E::recorded(&mut tape.pass) else {
        return Err(PyValueError::new_err("the tape was recorded by a layer of another dtype"));
    };
    // Cast again: arrays can be given another shape or dtype in place.
    let (x, y) =
        (x.bind(py).as_any().cast::<PyArray3<E>>()?, y.bind(py).as_any().cast::<PyArray3<E>>()?);
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let dy = read(dy.cast::<PyArray3<E>>()?)?;
    if dy.shape() != y.shape() {
        let message = format!("dy must have the shape of y, {:?}, got {:?}", y.shape(), dy.shape());
        return Err(PyValueError::new_err(message));
    }
    let x_shape = shape_of(x.shape(), batch_first);
    let y_shape = shape_of(y.shape(), batch_first);
    let mut dstate = state_of::<C, E>(layer, &dstate, x_shape.rows)?;
    let dx: Bound<'_, PyArray3<E>> = zeros(py, x.shape())?;
    let grads: Bound<'_, PyArray1<E>> = zeros(py, &[layer.parameter_len()])?;
    {
        let (x, y, mut dx, mut grads) = (read(x)?, read(y)?, write(&dx)?, write(&grads)?);
        let (params, x, y) = (slice_of(&params)?, slice_of(&x)?, slice_of(&y)?);
        let (dy, dx, grads) = (slice_of(&dy)?, dx.as_slice_mut()?, grads.as_slice_mut()?);
        py.detach(|| {
            let (x, y, dy) = (Seq::new(x, x_shape)?, Seq::new(y, y_shape)?, Seq::new(dy, y_shape)?);
            let gradients = Gradients { params: grads, x: Some(SeqMut::new(dx, x_shape)?) };
            layer.backward(params, x, y, tape, dy, &mut dstate, gradients)
        })?;
    }
    let dstates = states(py, layer, &dstate, x_shape.rows)?;
    Ok((dx.into_any(), dstates, grads.into_any()))
}
