//! Converts batches and states between NumPy arrays and the core's views.

use bptt::cell::Cell;
use bptt::{BatchSizes, Seq, SeqMut, Shape};
use bptt::{Recurrent, State};
use numpy::{
    PyArray1, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Result;
use crate::tape::Number;
use crate::{check_aligned, empty, read, slice_of, write};

/// (h, c), each (L D, B, H), or (h,) if the cell has no c. As an argument, an empty list means zeros.
pub type States<'py> = Vec<Bound<'py, PyAny>>;

/// For every recurrent layer of a model, h and c, flat. c is empty if the layer has none.
pub type FlatStates<'py> = Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>;

/// Copies the states of a model from flat arrays.
pub fn read_flat_states<E: Number>(given: &FlatStates<'_>) -> Result<Vec<State<E>>> {
    let mut states = Vec::with_capacity(given.len());
    for (h, c) in given {
        let mut state = State::default();
        for (to, from) in [(&mut state.h, h), (&mut state.c, c)] {
            let from = read(from.cast::<PyArray1<E>>()?)?;
            let from = slice_of(&from)?;
            to.resize(from.len())?;
            to.copy_from_slice(from);
        }
        states.push(state);
    }
    Ok(states)
}

/// Copies the states of a model to flat arrays of the same lengths.
pub fn write_flat_states<E: Number>(states: &[State<E>], to: &FlatStates<'_>) -> Result<()> {
    for (state, (h, c)) in states.iter().zip(to) {
        for (from, to) in [(&state.h, h), (&state.c, c)] {
            write(to.cast::<PyArray1<E>>()?)?.as_slice_mut()?.copy_from_slice(from);
        }
    }
    Ok(())
}

/// The layout of a batch in memory: (T, B, F), or (B, T, F) with `batch_first`. Sequences of different
/// lengths lie in such an array with padding, or without padding in (sum of T, F).
#[derive(Clone, Copy)]
pub struct Layout<'a> {
    pub batch_first: bool,
    pub sizes: Option<&'a BatchSizes>,
}

pub fn shape_of(dims: &[usize], batch_first: bool) -> Shape {
    match batch_first {
        true => Shape::batch_major(dims[1], dims[0], dims[2]),
        false => Shape::time_major(dims[0], dims[1], dims[2]),
    }
}

/// The numbers of an array (T, B, F) or (B, T, F), and their layout. The array must be in C order, or be
/// such an array with its first two axes swapped.
pub fn view<'a, E: Number>(
    array: &'a PyReadonlyArray3<'_, E>,
    batch_first: bool,
) -> Result<(&'a [E], Shape)> {
    let dims = array.shape();
    check_aligned(array)?;
    if !array.is_c_contiguous() {
        let swapped = array.as_array().permuted_axes([1, 0, 2]);
        if let Some(slice) = swapped.to_slice() {
            return Ok((slice, shape_of(&[dims[1], dims[0], dims[2]], !batch_first)));
        }
    }
    Ok((slice_of(array)?, shape_of(dims, batch_first)))
}

/// The shapes of h and, if the cell has it, c.
fn state_shapes<C: Cell>(layer: &Recurrent<C>, rows: usize) -> Vec<[usize; 3]> {
    let (h, c) = layer.state_sizes();
    let all = layer.num_layers() * layer.directions();
    [h, c].into_iter().filter(|&size| size > 0).map(|size| [all, rows, size]).collect()
}

/// Converts arrays to the state of a layer. The rows of the arrays are in the caller's order.
pub fn state_of<C: Cell, E: Number>(
    layer: &Recurrent<C>,
    arrays: &[Bound<'_, PyAny>],
    rows: usize,
    sizes: Option<&BatchSizes>,
) -> Result<State<E>> {
    let shapes = state_shapes(layer, rows);
    if arrays.is_empty() {
        return Ok(State::zeros(layer, rows)?);
    }
    if arrays.len() != shapes.len() {
        let names = if C::HAS_C { "(h, c)" } else { "(h,)" };
        let message = format!("the state must be a tuple {names}, got {} arrays", arrays.len());
        return Err(PyValueError::new_err(message).into());
    }
    let mut read_arrays = Vec::with_capacity(shapes.len());
    for (array, want) in arrays.iter().zip(shapes) {
        let array = read(array.cast::<PyArray3<E>>()?)?;
        if array.shape() != want {
            let message =
                format!("an array of the state must have shape {want:?}, got {:?}", array.shape());
            return Err(PyValueError::new_err(message).into());
        }
        read_arrays.push(array);
    }
    let mut state = State::zeros(layer, rows)?;
    for (to, array) in [&mut state.h, &mut state.c].into_iter().zip(&read_arrays) {
        let (size, from) = (array.shape()[2], slice_of(array)?);
        for (to, place) in to.chunks_exact_mut(size).zip(places(rows, sizes)) {
            to.copy_from_slice(&from[place * size..][..size]);
        }
    }
    Ok(state)
}

/// For the rows of states (L D, B, H), in the core's order: their places in the caller's order.
fn places(rows: usize, sizes: Option<&BatchSizes>) -> impl Iterator<Item = usize> {
    let row = move |b| sizes.map_or(b, |sizes| sizes.place(b));
    (0..).flat_map(move |n| (0..rows).map(move |b| n * rows + row(b)))
}

/// Converts a state to arrays. The rows of the arrays are in the caller's order.
pub fn states<'py, C: Cell, E: Number>(
    py: Python<'py>,
    layer: &Recurrent<C>,
    state: &State<E>,
    rows: usize,
    sizes: Option<&BatchSizes>,
) -> Result<States<'py>> {
    let parts = [&state.h, &state.c].into_iter().zip(state_shapes(layer, rows));
    parts
        .map(|(part, shape)| {
            let array: Bound<'_, PyArray3<E>> = empty(py, &shape)?;
            {
                let (mut array, size) = (write(&array)?, shape[2]);
                let to = array.as_slice_mut()?;
                for (from, place) in part.chunks_exact(size).zip(places(rows, sizes)) {
                    to[place * size..][..size].copy_from_slice(from);
                }
            }
            Ok(array.into_any())
        })
        .collect()
}

/// An array with a batch in any layout, to read.
pub enum Batch<'py, E: Number> {
    Padded(PyReadonlyArray3<'py, E>),
    Packed(PyReadonlyArray2<'py, E>),
}

impl<'py, E: Number> Batch<'py, E> {
    pub fn read(array: &Bound<'py, PyAny>, layout: Layout<'_>) -> Result<Self> {
        Ok(match (layout.sizes, array.cast::<PyArray2<E>>()) {
            (Some(_), Ok(array)) => Self::Packed(read(array)?),
            _ => Self::Padded(read(array.cast::<PyArray3<E>>()?)?),
        })
    }

    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Padded(array) => array.shape(),
            Self::Packed(array) => array.shape(),
        }
    }

    pub fn seq<'a>(&'a self, layout: Layout<'a>) -> Result<Seq<'a, E>> {
        Ok(match (self, layout.sizes) {
            (Self::Packed(array), Some(sizes)) => {
                let [rows, features] = [array.shape()[0], array.shape()[1]];
                if rows != sizes.total() {
                    let message = format!("x must have {} rows, got {rows}", sizes.total());
                    return Err(PyValueError::new_err(message).into());
                }
                Seq::packed(slice_of(array)?, sizes, features)?
            }
            (Self::Padded(array), sizes) => {
                let (numbers, shape) = view(array, layout.batch_first)?;
                match sizes {
                    Some(sizes) => Seq::padded(numbers, shape, sizes)?,
                    None => Seq::new(numbers, shape)?,
                }
            }
            _ => unreachable!("read with the same layout"),
        })
    }
}

/// The numbers of a new array of dimensions `dims`, as a batch to write.
pub fn seq_mut<'a, E: Number>(
    numbers: &'a mut [E],
    dims: &[usize],
    layout: Layout<'a>,
) -> bptt::Result<SeqMut<'a, E>> {
    match layout.sizes {
        Some(sizes) if dims.len() == 2 => SeqMut::packed(numbers, sizes, dims[1]),
        Some(sizes) => SeqMut::padded(numbers, shape_of(dims, layout.batch_first), sizes),
        None => SeqMut::new(numbers, shape_of(dims, layout.batch_first)),
    }
}
