//! Sequences of different lengths, and conversion between arrays with padding and batches without.

use bptt::{BatchSizes, Seq, SeqMut};
use numpy::{PyArray2, PyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::batch::{shape_of, view};
use crate::error::Result;
use crate::tape::Number;
use crate::vectors::{collected, extracted};
use crate::{empty, read, slice_of, with_dtype, write};

/// The lengths of a batch's sequences.
#[pyclass(name = "Lengths", module = "bptt._core", frozen)]
pub struct PyLengths {
    pub sizes: BatchSizes,
}

#[pymethods]
impl PyLengths {
    #[new]
    fn new(lengths: &Bound<'_, PyAny>) -> Result<Self> {
        Ok(Self { sizes: BatchSizes::of_lengths(&extracted::<usize>(lengths)?)? })
    }

    /// The lengths of a batch without padding, from the number of rows of every step.
    #[staticmethod]
    fn packed(counts: &Bound<'_, PyAny>) -> Result<Self> {
        let counts = extracted::<usize>(counts)?;
        let rows = counts.first().copied().unwrap_or(0);
        Ok(Self { sizes: BatchSizes::new(rows, counts)? })
    }

    /// For every row of the sorted batch, the longest first: the index of its sequence.
    #[getter]
    fn order(&self) -> Result<Vec<usize>> {
        collected((0..self.sizes.rows()).map(|b| self.sizes.place(b)))
    }

    /// Copies x, (T, B, F) or (B, T, F) with `batch_first`, to an array without padding, (sum of T, F).
    fn pack<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        batch_first: bool,
    ) -> Result<Bound<'py, PyAny>> {
        with_dtype!(x, E => pack::<E>(py, self, x, batch_first))
    }

    /// Copies an array without padding, (sum of T, F), to one of `steps` steps, (T, B, F) or (B, T, F) with
    /// `batch_first`. The padding is zero.
    fn unpack<'py>(
        &self,
        py: Python<'py>,
        packed: &Bound<'py, PyAny>,
        steps: usize,
        batch_first: bool,
    ) -> Result<Bound<'py, PyAny>> {
        with_dtype!(packed, E => unpack::<E>(py, self, packed, steps, batch_first))
    }
}

fn pack<'py, E: Number>(
    py: Python<'py>,
    lengths: &PyLengths,
    x: &Bound<'py, PyAny>,
    batch_first: bool,
) -> Result<Bound<'py, PyAny>> {
    let x = read(x.cast::<PyArray3<E>>()?)?;
    let (numbers, shape) = view(&x, batch_first)?;
    let (sizes, features) = (&lengths.sizes, shape.features);
    let x = Seq::padded(numbers, shape, sizes)?;
    let packed: Bound<'_, PyArray2<E>> = empty(py, &[sizes.total(), features])?;
    {
        let mut to = write(&packed)?;
        let to = SeqMut::packed(to.as_slice_mut()?, sizes, features)?;
        py.detach(|| to.copy_from(x))?;
    }
    Ok(packed.into_any())
}

fn unpack<'py, E: Number>(
    py: Python<'py>,
    lengths: &PyLengths,
    packed: &Bound<'py, PyAny>,
    steps: usize,
    batch_first: bool,
) -> Result<Bound<'py, PyAny>> {
    let packed = read(packed.cast::<PyArray2<E>>()?)?;
    let (sizes, features) = (&lengths.sizes, packed.shape()[1]);
    let from = Seq::packed(slice_of(&packed)?, sizes, features)?;
    let rows = sizes.rows();
    let dims = if batch_first { [rows, steps, features] } else { [steps, rows, features] };
    let y: Bound<'_, PyArray3<E>> = empty(py, &dims)?;
    {
        let mut to = write(&y)?;
        let to = SeqMut::padded(to.as_slice_mut()?, shape_of(&dims, batch_first), sizes)?;
        py.detach(|| to.copy_from(from))?;
    }
    Ok(y.into_any())
}
