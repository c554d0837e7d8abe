//! The passes of layers without a state, for Python. Every call makes its own [`Stateless`].

use bptt::{BatchSizes, Input, Layer, Stateless};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::Result;
use crate::lengths::PyLengths;
use crate::tape::Number;
use crate::{empty, read, slice_of, write, zeros};

/// The input of a layer: features (N, F) or tokens (N,), and the sizes of the batch that the N rows form.
struct Given<'py, E: Number> {
    x: X<'py, E>,
    sizes: BatchSizes,
}

enum X<'py, E: Number> {
    Features(PyReadonlyArray2<'py, E>),
    Tokens(PyReadonlyArray1<'py, u32>),
}

impl<'py, E: Number> Given<'py, E> {
    fn new(x: &Bound<'py, PyAny>, lengths: Option<&PyLengths>) -> Result<Self> {
        let x = match x.cast::<PyArray1<u32>>() {
            Ok(tokens) => X::Tokens(read(tokens)?),
            Err(_) => X::Features(read(x.cast::<PyArray2<E>>()?)?),
        };
        let rows = match &x {
            X::Features(x) => x.shape()[0],
            X::Tokens(x) => x.shape()[0],
        };
        let sizes = match lengths {
            Some(lengths) => lengths.sizes.copied()?,
            None => BatchSizes::new(rows, if rows > 0 { vec![rows] } else { Vec::new() })?,
        };
        Ok(Self { x, sizes })
    }

    fn input(&self) -> Result<Input<'_, E>> {
        Ok(match &self.x {
            X::Features(x) => Input::Features(slice_of(x)?),
            X::Tokens(x) => Input::Tokens(slice_of(x)?),
        })
    }

    fn dims(&self) -> Option<[usize; 2]> {
        match &self.x {
            X::Features(x) => Some([x.shape()[0], x.shape()[1]]),
            X::Tokens(_) => None,
        }
    }

    /// The layer for this input.
    fn layer(&self, layer: Layer, seed: u64, directions: usize) -> Result<Stateless<E>> {
        let mut layer = Stateless::new(layer, self.dims().map(|dims| dims[1]), directions)?;
        layer.set_seed(seed);
        Ok(layer)
    }
}

#[allow(clippy::too_many_arguments)] // the arguments of Python's call
pub fn forward<'py, E: Number>(
    py: Python<'py>,
    layer: Layer,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    lengths: Option<&PyLengths>,
    seed: Option<u64>,
    directions: usize,
) -> Result<Bound<'py, PyAny>> {
    let given = Given::<E>::new(x, lengths)?;
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let params = slice_of(&params)?;
    let mut layer = given.layer(layer, seed.unwrap_or(0), directions)?;
    let dims = [layer.output_rows(&given.sizes), layer.out_features()];
    let y: Bound<'_, PyArray2<E>> = empty(py, &dims)?;
    {
        let mut y = write(&y)?;
        let (y, input) = (y.as_slice_mut()?, given.input()?);
        py.detach(|| layer.forward(params, input, &given.sizes, y, seed.is_some()))?;
    }
    Ok(y.into_any())
}

/// Returns dx, or none if x is tokens, and the flat gradients of the parameters.
#[allow(clippy::too_many_arguments)] // the arguments of Python's call
pub fn backward<'py, E: Number>(
    py: Python<'py>,
    layer: Layer,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    lengths: Option<&PyLengths>,
    seed: u64,
    directions: usize,
) -> Result<(Option<Bound<'py, PyAny>>, Bound<'py, PyAny>)> {
    let given = Given::<E>::new(x, lengths)?;
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let params = slice_of(&params)?;
    let mut layer = given.layer(layer, seed, directions)?;
    let dy = read(dy.cast::<PyArray2<E>>()?)?;
    let dy = slice_of(&dy)?;
    let dx: Option<Bound<'_, PyArray2<E>>> =
        given.dims().map(|dims| empty(py, &dims)).transpose()?;
    let grads: Bound<'_, PyArray1<E>> = zeros(py, &[params.len()])?;
    {
        let mut dx = dx.as_ref().map(write).transpose()?;
        let dx = dx.as_mut().map(|dx| dx.as_slice_mut()).transpose()?;
        let mut grads = write(&grads)?;
        let (grads, input) = (grads.as_slice_mut()?, given.input()?);
        py.detach(|| layer.backward(params, input, &given.sizes, dy, dx, grads))?;
    }
    Ok((dx.map(Bound::into_any), grads.into_any()))
}
