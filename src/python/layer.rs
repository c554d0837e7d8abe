//! Layers and tapes for Python: one call for a forward pass, one for a backward pass.

use numpy::{
    PyArray1, PyArray2, PyArray3, PyArrayDyn, PyArrayMethods, PyReadonlyArray3, PyReadonlyArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{read, slice_of, with_dtype, write, zeros};
use crate::cell::{Cell, Nonlinearity};
use crate::nn::{Layer, Linear, LinearMemory};
use crate::sequence::{Gradients, LSTM, Params, RNN, Recurrent, State, Tape};
use crate::simd::Element;
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

/// The sizes and kind of a layer; parameters stay with the caller.
#[pyclass(name = "Layer", module = "bptt._core", frozen)]
pub struct PyLayer(pub Layer);

/// (h, c), each (B, H); c only where the cell has it. An empty list given stands for zeros.
type States<'py> = Vec<Bound<'py, PyAny>>;

/// dx, the gradient of the initial state, the flat gradients of the parameters.
type PyGradients<'py> = (Option<Bound<'py, PyAny>>, States<'py>, Option<Bound<'py, PyAny>>);

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

    /// A linear layer on x (N, in): y (N, out). The parameters are flat.
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
    /// (y, final state, tape), the tape only if the pass is to be recorded. The parameters are a list
    /// of arrays.
    fn forward<'py>(
        &self,
        py: Python<'py>,
        params: Vec<Bound<'py, PyAny>>,
        x: &Bound<'py, PyAny>,
        state: States<'py>,
        batch_first: bool,
        record: bool,
    ) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
        with_dtype!(x, E => match &self.0 {
            Layer::RNN(rnn) => forward::<_, E>(py, rnn, params, x, state, batch_first, record),
            Layer::LSTM(lstm) => forward::<_, E>(py, lstm, params, x, state, batch_first, record),
            other => Err(not_for(other)),
        })
    }

    /// Backpropagation through the pass from x to y that the tape holds: (dx, gradient of the initial
    /// state, flat gradients of the parameters), the first and last if they are wanted.
    #[allow(clippy::too_many_arguments)]
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
        want_dx: bool,
        want_grads: bool,
    ) -> PyResult<PyGradients<'py>> {
        let (pass, want, bf) = ((x, y), (want_dx, want_grads), batch_first);
        with_dtype!(dy, E => match &self.0 {
            Layer::RNN(l) => backward::<_, E>(py, l, params, pass, tape, dy, dstate, bf, want),
            Layer::LSTM(l) => backward::<_, E>(py, l, params, pass, tape, dy, dstate, bf, want),
            other => Err(not_for(other)),
        })
    }
}

fn not_for(layer: &Layer) -> PyErr {
    PyValueError::new_err(format!("{layer:?} has no such pass"))
}

/// What a forward pass recorded.
#[pyclass(name = "Tape", module = "bptt._core")]
pub struct PyTape(Recording);

/// A tape of either dtype.
pub enum Recording {
    F32(Tape<f32>),
    F64(Tape<f64>),
}

/// The number types that arrays and kernels share.
pub trait Number: Element + numpy::Element {
    /// Wraps a tape of this type.
    fn wrap(tape: Tape<Self>) -> Recording;
    /// The tape, if it is of this type.
    fn unwrap(recording: &mut Recording) -> Option<&mut Tape<Self>>;
}

macro_rules! number {
    ($type:ident, $variant:ident) => {
        impl Number for $type {
            fn wrap(tape: Tape<Self>) -> Recording {
                Recording::$variant(tape)
            }
            fn unwrap(recording: &mut Recording) -> Option<&mut Tape<Self>> {
                match recording {
                    Recording::$variant(tape) => Some(tape),
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

/// The numbers of an array (T, B, F) or (B, T, F) and where they lie: in C order, or as such an array
/// with its first two axes swapped.
fn view<'a, E: Number>(
    array: &'a PyReadonlyArray3<'_, E>,
    batch_first: bool,
) -> PyResult<(&'a [E], Shape)> {
    let dims = array.shape();
    if !(array.data() as usize).is_multiple_of(align_of::<E>()) {
        return Err(PyValueError::new_err("arrays must be aligned in memory; give a copy"));
    }
    if !array.is_c_contiguous() {
        let swapped = array.as_array().permuted_axes([1, 0, 2]);
        if let Some(slice) = swapped.to_slice() {
            return Ok((slice, shape_of(&[dims[1], dims[0], dims[2]], !batch_first)));
        }
    }
    Ok((slice_of(array)?, shape_of(dims, batch_first)))
}

/// The numbers of the parameters' arrays.
fn parameters<'a, E: Number>(arrays: &'a [PyReadonlyArrayDyn<'_, E>]) -> PyResult<Vec<&'a [E]>> {
    arrays.iter().map(|array| slice_of(array)).collect()
}

fn read_all<'py, E: Number>(
    arrays: &[Bound<'py, PyAny>],
) -> PyResult<Vec<PyReadonlyArrayDyn<'py, E>>> {
    arrays.iter().map(|array| read(array.cast::<PyArrayDyn<E>>()?)).collect()
}

fn state_of<C: Cell, E: Number>(
    layer: &Recurrent<C>,
    arrays: &[Bound<'_, PyAny>],
    rows: usize,
) -> PyResult<State<E>> {
    let count = if C::HAS_C { 2 } else { 1 };
    if arrays.is_empty() {
        return Ok(State::zeros(layer, rows)?);
    }
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
    params: Vec<Bound<'py, PyAny>>,
    x: &Bound<'py, PyAny>,
    state: States<'py>,
    batch_first: bool,
    record: bool,
) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
    let params = read_all::<E>(&params)?;
    let x = x.cast::<PyArray3<E>>()?;
    let dims = [x.shape()[0], x.shape()[1], layer.hidden_size()];
    let y_shape = shape_of(&dims, batch_first);
    let mut state = state_of::<C, E>(layer, &state, y_shape.rows)?;
    let y: Bound<'_, PyArray3<E>> = zeros(py, &dims)?;
    let mut tape = if record { Tape::new() } else { Tape::for_inference() };
    {
        let (readonly, mut y) = (read(x)?, write(&y)?);
        let ((x, x_shape), y) = (view(&readonly, batch_first)?, y.as_slice_mut()?);
        let params = parameters(&params)?;
        py.detach(|| {
            let (x, y) = (Seq::new(x, x_shape)?, SeqMut::new(y, y_shape)?);
            layer.forward(Params::Arrays(&params), x, &mut state, y, &mut tape)
        })?;
    }
    let states = states(py, layer, &state, y_shape.rows)?;
    let tape = record.then(|| PyTape(E::wrap(tape)));
    Ok((y.into_any(), states, tape))
}

#[allow(clippy::too_many_arguments)]
fn backward<'py, C: Cell, E: Number>(
    py: Python<'py>,
    layer: &Recurrent<C>,
    params: Vec<Bound<'py, PyAny>>,
    (x, y): (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    tape: &mut PyTape,
    dy: &Bound<'py, PyAny>,
    dstate: States<'py>,
    batch_first: bool,
    (want_dx, want_grads): (bool, bool),
) -> PyResult<PyGradients<'py>> {
    let Some(tape) = E::unwrap(&mut tape.0) else {
        return Err(PyValueError::new_err("the tape was recorded by a layer of another dtype"));
    };
    let (x, y) = (x.cast::<PyArray3<E>>()?, y.cast::<PyArray3<E>>()?);
    let params = read_all::<E>(&params)?;
    let dy = read(dy.cast::<PyArray3<E>>()?)?;
    if dy.shape() != y.shape() {
        let message = format!("dy must have the shape of y, {:?}, got {:?}", y.shape(), dy.shape());
        return Err(PyValueError::new_err(message));
    }
    let y_shape = shape_of(y.shape(), batch_first);
    let mut dstate = state_of::<C, E>(layer, &dstate, y_shape.rows)?;
    let dx_shape = shape_of(x.shape(), batch_first);
    let dx: Option<Bound<'_, PyArray3<E>>> = want_dx.then(|| zeros(py, x.shape())).transpose()?;
    let grads: Option<Bound<'_, PyArray1<E>>> =
        want_grads.then(|| zeros(py, &[layer.parameter_len()])).transpose()?;
    {
        let (x, y) = (read(x)?, read(y)?);
        let ((x, x_shape), y) = (view(&x, batch_first)?, slice_of(&y)?);
        let ((dy, dy_shape), params) = (view(&dy, batch_first)?, parameters(&params)?);
        let mut dx = dx.as_ref().map(write).transpose()?;
        let mut grads = grads.as_ref().map(write).transpose()?;
        let dx = dx.as_mut().map(|dx| dx.as_slice_mut()).transpose()?;
        let grads = grads.as_mut().map(|grads| grads.as_slice_mut()).transpose()?;
        py.detach(|| {
            let (x, y, dy) =
                (Seq::new(x, x_shape)?, Seq::new(y, y_shape)?, Seq::new(dy, dy_shape)?);
            let dx = dx.map(|dx| SeqMut::new(dx, dx_shape)).transpose()?;
            let gradients = Gradients { params: grads, x: dx };
            layer.backward(Params::Arrays(&params), x, y, tape, dy, &mut dstate, gradients)
        })?;
    }
    let dstates = states(py, layer, &dstate, y_shape.rows)?;
    Ok((dx.map(Bound::into_any), dstates, grads.map(Bound::into_any)))
}
