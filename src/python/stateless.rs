//! Passes of layers without a state for Python, each with an [`Instance`] of its own.

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::lengths::PyLengths;
use super::tape::Number;
use super::{empty, read, slice_of, write, zeros};
use crate::error::ensure;
use crate::nn::{Input, Instance, Layer};
use crate::view::BatchSizes;

/// What a layer is given: features (N, F), or tokens (N,), and which of the N steps are whose.
struct Given<'py, E: Number> {
    x: X<'py, E>,
    sizes: BatchSizes,
}

enum X<'py, E: Number> {
    Features(PyReadonlyArray2<'py, E>),
    Tokens(PyReadonlyArray1<'py, u32>),
}

impl<'py, E: Number> Given<'py, E> {
    fn new(x: &Bound<'py, PyAny>, lengths: Option<&PyLengths>) -> PyResult<Self> {
        let x = match x.cast::<PyArray1<u32>>() {
            Ok(tokens) => X::Tokens(read(tokens)?),
            Err(_) => X::Features(read(x.cast::<PyArray2<E>>()?)?),
        };
        let rows = match &x {
            X::Features(x) => x.shape()[0],
            X::Tokens(x) => x.shape()[0],
        };
        let sizes = match lengths {
            Some(lengths) => lengths.sizes.clone(),
            None => BatchSizes::new(rows, if rows > 0 { vec![rows] } else { Vec::new() })?,
        };
        Ok(Self { x, sizes })
    }

    fn input(&self) -> PyResult<Input<'_, E>> {
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

    /// The layer at work, if it fits what is given.
    fn instance(
        &self,
        layer: Layer,
        params: &[E],
        seed: u64,
        directions: usize,
    ) -> PyResult<Instance<E>> {
        if layer.directions().is_some() {
            return Err(PyValueError::new_err(format!("{} has other passes", layer.name())));
        }
        let takes = self.dims().map(|dims| dims[1]);
        let gives = layer.out_features().or(takes).unwrap_or(0);
        let mut instance = Instance::new(layer, (takes, gives), directions);
        let fits = || {
            let len = layer.parameter_len();
            ensure!(params.len() == len, "the layer has {len} parameters, got {}", params.len());
            if let Some(want) = layer.in_features() {
                ensure!(takes == Some(want), "x must have {want} features, got {takes:?}");
            }
            ensure!(gives > 0, "x must have at least 1 feature");
            ensure!(
                matches!(directions, 1 | 2) && gives.is_multiple_of(directions),
                "x of two directions must have an even number of features, got {gives}"
            );
            Ok(())
        };
        fits()?;
        instance.check(self.input()?, &self.sizes)?;
        instance.check_lengths(&self.sizes)?;
        instance.set_seed(seed);
        Ok(instance)
    }
}

#[allow(clippy::too_many_arguments)]
pub fn forward<'py, E: Number>(
    py: Python<'py>,
    layer: Layer,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    lengths: Option<&PyLengths>,
    seed: Option<u64>,
    directions: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let given = Given::<E>::new(x, lengths)?;
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let params = slice_of(&params)?;
    let mut instance = given.instance(layer, params, seed.unwrap_or(0), directions)?;
    let gives = instance.features.1;
    let rows = instance.output_len(&given.sizes) / gives;
    let y: Bound<'_, PyArray2<E>> = empty(py, &[rows, gives])?;
    {
        let mut y = write(&y)?;
        let (y, input) = (y.as_slice_mut()?, given.input()?);
        py.detach(|| instance.forward(params, input, &given.sizes, None, y, seed.is_some()))?;
    }
    Ok(y.into_any())
}

/// dx, if x is no tokens, and the flat gradients of the parameters.
#[allow(clippy::too_many_arguments)]
pub fn backward<'py, E: Number>(
    py: Python<'py>,
    layer: Layer,
    params: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
    lengths: Option<&PyLengths>,
    seed: u64,
    directions: usize,
) -> PyResult<(Option<Bound<'py, PyAny>>, Bound<'py, PyAny>)> {
    let given = Given::<E>::new(x, lengths)?;
    let params = read(params.cast::<PyArray1<E>>()?)?;
    let params = slice_of(&params)?;
    let mut instance = given.instance(layer, params, seed, directions)?;
    let dy = read(dy.cast::<PyArray2<E>>()?)?;
    let (dy, len) = (slice_of(&dy)?, instance.output_len(&given.sizes));
    if dy.len() != len {
        let message = format!("dy must have the {len} numbers of the output, got {}", dy.len());
        return Err(PyValueError::new_err(message));
    }
    let dx: Option<Bound<'_, PyArray2<E>>> =
        given.dims().map(|dims| empty(py, &dims)).transpose()?;
    let grads: Bound<'_, PyArray1<E>> = zeros(py, &[params.len()])?;
    {
        let mut dx = dx.as_ref().map(write).transpose()?;
        let dx = dx.as_mut().map(|dx| dx.as_slice_mut()).transpose()?;
        let mut grads = write(&grads)?;
        let (grads, input) = (grads.as_slice_mut()?, given.input()?);
        py.detach(|| instance.backward(params, input, &given.sizes, (&[], dy), dx, grads))?;
    }
    Ok((dx.map(Bound::into_any), grads.into_any()))
}
