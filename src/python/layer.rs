//! Layers and tapes for Python: one call for a forward pass, one for a backward pass.

use numpy::{
    PyArray1, PyArray2, PyArray3, PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyReadonlyArray3,
    PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::lengths::PyLengths;
use super::{read, slice_of, with_dtype, write, zeros};
use crate::cell::{Cell, GruResetFirst, Nonlinearity};
use crate::nn::{Layer, Linear, LinearMemory, recurrent};
use crate::sequence::{GRU, Gradients, LSTM, Params, RNN, Recurrent, State, Tape};
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut, Shape};

/// The sizes and kind of a layer; parameters stay with the caller.
#[pyclass(name = "Layer", module = "bptt._core", frozen)]
pub struct PyLayer(pub Layer);

/// (h, c), each (L D, B, H); c only where the cell has it. An empty list given stands for zeros.
type States<'py> = Vec<Bound<'py, PyAny>>;

/// dx, the gradient of the initial state, the flat gradients of the parameters.
type PyGradients<'py> = (Option<Bound<'py, PyAny>>, States<'py>, Option<Bound<'py, PyAny>>);

/// How a batch lies in memory: (T, B, F), or with `batch_first` (B, T, F), or without padding
/// (sum of T, F).
#[derive(Clone, Copy)]
struct Layout<'a> {
    batch_first: bool,
    sizes: Option<&'a BatchSizes>,
}

#[pymethods]
impl PyLayer {
    #[staticmethod]
    fn one_hot(classes: usize) -> Self {
        Self(Layer::OneHot(classes))
    }

    /// A recurrent layer of the cell "tanh", "relu", "lstm", "gru" or "gru_reset_first".
    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn recurrent(
        cell: &str,
        input_size: usize,
        hidden_size: usize,
        num_layers: usize,
        bias: bool,
        dropout: f64,
        bidirectional: bool,
        proj_size: usize,
    ) -> PyResult<Self> {
        fn with_options<C: Cell>(
            layer: Recurrent<C>,
            num_layers: usize,
            dropout: f64,
            bidirectional: bool,
            proj_size: usize,
        ) -> crate::Result<Recurrent<C>> {
            let layer = if bidirectional { layer.bidirectional() } else { layer };
            layer.with_layers(num_layers)?.with_dropout(dropout)?.with_projection(proj_size)
        }
        let (i, h) = (input_size, hidden_size);
        let (n, p, d, r) = (num_layers, dropout, bidirectional, proj_size);
        Ok(Self(match cell {
            "lstm" => Layer::LSTM(with_options(LSTM::new(i, h, bias)?, n, p, d, r)?),
            "gru" => Layer::GRU(with_options(GRU::new(i, h, bias)?, n, p, d, r)?),
            "gru_reset_first" => {
                let gru = Recurrent::with_cell(GruResetFirst, i, h, bias)?;
                Layer::GRUResetFirst(with_options(gru, n, p, d, r)?)
            }
            _ => {
                let relu = cell == "relu";
                let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
                let rnn = RNN::new(i, h, nonlinearity, bias)?;
                Layer::RNN(with_options(rnn, n, p, d, r)?)
            }
        }))
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
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        self.0.parameters()
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

    /// A recurrent layer on x, (T, B, I) or with `batch_first` (B, T, I) or with `lengths` (sum of T, I),
    /// from an initial state: (y, final state, tape), the tape only if the pass is to be recorded, with a
    /// seed for dropout. The parameters are a list of arrays.
    #[allow(clippy::too_many_arguments)]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        params: Vec<Bound<'py, PyAny>>,
        x: &Bound<'py, PyAny>,
        state: States<'py>,
        batch_first: bool,
        lengths: Option<PyRef<'_, PyLengths>>,
        record: Option<u64>,
    ) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
        let layout = Layout { batch_first, sizes: lengths.as_ref().map(|lengths| &lengths.sizes) };
        with_dtype!(x, E => recurrent!(&self.0,
            layer => forward::<_, E>(py, layer, params, x, state, layout, record),
            other => Err(not_for(other))))
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
        lengths: Option<PyRef<'_, PyLengths>>,
        want_dx: bool,
        want_grads: bool,
    ) -> PyResult<PyGradients<'py>> {
        let layout = Layout { batch_first, sizes: lengths.as_ref().map(|lengths| &lengths.sizes) };
        let (pass, want) = ((x, y), (want_dx, want_grads));
        with_dtype!(dy, E => recurrent!(&self.0,
            layer => backward::<_, E>(py, layer, params, pass, tape, dy, dstate, layout, want),
            other => Err(not_for(other))))
    }
}

fn not_for(layer: &Layer) -> PyErr {
    PyValueError::new_err(format!("{layer:?} has no such pass"))
}

/// What a forward pass recorded.
#[pyclass(name = "Tape", module = "bptt._core")]
pub struct PyTape(Recording);

#[pymethods]
impl PyTape {
    /// One of the cell's values of one direction of one layer, flat: every step, row and unit.
    fn values<'py>(
        &self,
        py: Python<'py>,
        direction: usize,
        slot: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        fn array<'py, E: Number>(
            py: Python<'py>,
            values: Option<Vec<E>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let values =
                values.ok_or_else(|| PyValueError::new_err("the tape has no such values"))?;
            Ok(PyArray1::from_vec(py, values).into_any())
        }
        match &self.0 {
            Recording::F32(tape) => array(py, tape.values(direction, slot)),
            Recording::F64(tape) => array(py, tape.values(direction, slot)),
        }
    }
}

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

pub fn shape_of(dims: &[usize], batch_first: bool) -> Shape {
    match batch_first {
        true => Shape::batch_major(dims[1], dims[0], dims[2]),
        false => Shape::time_major(dims[0], dims[1], dims[2]),
    }
}

/// The numbers of an array (T, B, F) or (B, T, F) and where they lie: in C order, or as such an array
/// with its first two axes swapped.
pub fn view<'a, E: Number>(
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

/// Shapes of h and c.
fn state_shapes<C: Cell>(layer: &Recurrent<C>, rows: usize) -> Vec<[usize; 3]> {
    let (h, c) = layer.state_sizes();
    let all = layer.num_layers() * layer.directions();
    [h, c].into_iter().filter(|&size| size > 0).map(|size| [all, rows, size]).collect()
}

fn state_of<C: Cell, E: Number>(
    layer: &Recurrent<C>,
    arrays: &[Bound<'_, PyAny>],
    rows: usize,
) -> PyResult<State<E>> {
    let shapes = state_shapes(layer, rows);
    if arrays.is_empty() {
        return Ok(State::zeros(layer, rows)?);
    }
    if arrays.len() != shapes.len() {
        let names = if C::HAS_C { "(h, c)" } else { "(h,)" };
        let message = format!("the state is a tuple {names}, got {} arrays", arrays.len());
        return Err(PyValueError::new_err(message));
    }
    let mut read_arrays = Vec::with_capacity(shapes.len());
    for (array, want) in arrays.iter().zip(shapes) {
        let array = read(array.cast::<PyArray3<E>>()?)?;
        if array.shape() != want {
            let message =
                format!("an array of the state must be {want:?}, got {:?}", array.shape());
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
    let parts = [&state.h, &state.c].into_iter().zip(state_shapes(layer, rows));
    parts
        .map(|(part, shape)| {
            let array: Bound<'_, PyArray3<E>> = zeros(py, &shape)?;
            write(&array)?.as_slice_mut()?.copy_from_slice(part);
            Ok(array.into_any())
        })
        .collect()
}

/// A batch in any layout to read, and its shape.
enum Batch<'py, E: Number> {
    Padded(PyReadonlyArray3<'py, E>),
    Packed(PyReadonlyArray2<'py, E>),
}

impl<'py, E: Number> Batch<'py, E> {
    fn read(array: &Bound<'py, PyAny>, layout: Layout<'_>) -> PyResult<Self> {
        Ok(match layout.sizes {
            None => Self::Padded(read(array.cast::<PyArray3<E>>()?)?),
            Some(_) => Self::Packed(read(array.cast::<PyArray2<E>>()?)?),
        })
    }

    fn dims(&self) -> &[usize] {
        match self {
            Self::Padded(array) => array.shape(),
            Self::Packed(array) => array.shape(),
        }
    }

    fn seq<'a>(&'a self, layout: Layout<'a>) -> PyResult<Seq<'a, E>> {
        Ok(match (self, layout.sizes) {
            (Self::Packed(array), Some(sizes)) => {
                let [rows, features] = [array.shape()[0], array.shape()[1]];
                if rows != sizes.total() {
                    let message = format!("there are {rows} rows for {} steps", sizes.total());
                    return Err(PyValueError::new_err(message));
                }
                Seq::packed(slice_of(array)?, sizes, features)?
            }
            (Self::Padded(array), _) => {
                let (numbers, shape) = view(array, layout.batch_first)?;
                Seq::new(numbers, shape)?
            }
            _ => unreachable!("read with the same layout"),
        })
    }
}

/// A new array of these dimensions as a batch to write.
fn seq_mut<'a, E: Number>(
    numbers: &'a mut [E],
    dims: &[usize],
    layout: Layout<'a>,
) -> crate::Result<SeqMut<'a, E>> {
    match layout.sizes {
        Some(sizes) => SeqMut::packed(numbers, sizes, dims[1]),
        None => SeqMut::new(numbers, shape_of(dims, layout.batch_first)),
    }
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
    layout: Layout<'_>,
    record: Option<u64>,
) -> PyResult<(Bound<'py, PyAny>, States<'py>, Option<PyTape>)> {
    let params = read_all::<E>(&params)?;
    let x = Batch::<E>::read(x, layout)?;
    let mut dims = x.dims().to_vec();
    *dims.last_mut().expect("two or three") = layer.output_size();
    let x = x.seq(layout)?;
    let rows = x.shape().rows;
    let mut state = state_of::<C, E>(layer, &state, rows)?;
    let y: Bound<'_, PyArrayDyn<E>> = zeros(py, &dims)?;
    let mut tape = if record.is_some() { Tape::new() } else { Tape::for_inference() };
    tape.set_seed(record.unwrap_or(0));
    {
        let mut y = write(&y)?;
        let (y, params) = (y.as_slice_mut()?, parameters(&params)?);
        py.detach(|| {
            let y = seq_mut(y, &dims, layout)?;
            layer.forward(Params::Arrays(&params), x, &mut state, y, &mut tape)
        })?;
    }
    let states = states(py, layer, &state, rows)?;
    let tape = record.map(|_| PyTape(E::wrap(tape)));
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
    layout: Layout<'_>,
    (want_dx, want_grads): (bool, bool),
) -> PyResult<PyGradients<'py>> {
    let Some(tape) = E::unwrap(&mut tape.0) else {
        return Err(PyValueError::new_err("the tape was recorded by a layer of another dtype"));
    };
    let params = read_all::<E>(&params)?;
    let (x, y) = (Batch::<E>::read(x, layout)?, Batch::<E>::read(y, layout)?);
    let dy = Batch::<E>::read(dy, layout)?;
    if dy.dims() != y.dims() {
        let message = format!("dy must have the shape of y, {:?}, got {:?}", y.dims(), dy.dims());
        return Err(PyValueError::new_err(message));
    }
    let dims = x.dims();
    let dx: Option<Bound<'_, PyArrayDyn<E>>> = want_dx.then(|| zeros(py, dims)).transpose()?;
    let grads: Option<Bound<'_, PyArray1<E>>> =
        want_grads.then(|| zeros(py, &[layer.parameter_len()])).transpose()?;
    let (x, y, dy) = (x.seq(layout)?, y.seq(layout)?, dy.seq(layout)?);
    let rows = x.shape().rows;
    let mut dstate = state_of::<C, E>(layer, &dstate, rows)?;
    {
        let params = parameters(&params)?;
        let mut dx = dx.as_ref().map(write).transpose()?;
        let mut grads = grads.as_ref().map(write).transpose()?;
        let dx = dx.as_mut().map(|dx| dx.as_slice_mut()).transpose()?;
        let grads = grads.as_mut().map(|grads| grads.as_slice_mut()).transpose()?;
        py.detach(|| {
            let dx = dx.map(|dx| seq_mut(dx, dims, layout)).transpose()?;
            let gradients = Gradients { params: grads, x: dx };
            layer.backward(Params::Arrays(&params), x, y, tape, dy, &mut dstate, gradients)
        })?;
    }
    let dstates = states(py, layer, &dstate, rows)?;
    Ok((dx.map(Bound::into_any), dstates, grads.map(Bound::into_any)))
}
