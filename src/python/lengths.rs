//! Sequences of different lengths: between arrays with padding and batches without.

use numpy::{PyArray2, PyArray3, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::batch::{shape_of, view};
use super::tape::Number;
use super::{empty, read, slice_of, with_dtype, write};
use crate::parallel;
use crate::view::{BatchSizes, Seq, SeqMut};

/// A number that is copied takes about as long as so many operations of a kernel.
const FLOPS_PER_COPY: usize = 25;

/// The lengths of a batch's sequences.
#[pyclass(name = "Lengths", module = "bptt._core", frozen)]
pub struct PyLengths {
    pub sizes: BatchSizes,
    order: Vec<usize>,
}

#[pymethods]
impl PyLengths {
    #[new]
    fn new(lengths: Vec<usize>) -> PyResult<Self> {
        let (sizes, order) = BatchSizes::of_lengths(&lengths)?;
        Ok(Self { sizes, order })
    }

    /// Those of a batch that has no padding already: the rows of every step.
    #[staticmethod]
    fn packed(counts: Vec<usize>) -> PyResult<Self> {
        let rows = counts.first().copied().unwrap_or(0);
        Ok(Self { sizes: BatchSizes::new(rows, counts)?, order: (0..rows).collect() })
    }

    /// Which sequence is row b once they are sorted, the longest first.
    #[getter]
    fn order(&self) -> Vec<usize> {
        self.order.clone()
    }

    /// The rows of x, (T, B, F) or with `batch_first` (B, T, F), without padding: (sum of T, F).
    fn pack<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        batch_first: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        with_dtype!(x, E => pack::<E>(py, self, x, batch_first))
    }

    /// Rows without padding in an array of `steps` steps, zero elsewhere.
    fn unpack<'py>(
        &self,
        py: Python<'py>,
        packed: &Bound<'py, PyAny>,
        steps: usize,
        batch_first: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        with_dtype!(packed, E => unpack::<E>(py, self, packed, steps, batch_first))
    }
}

impl PyLengths {
    fn check(&self, steps: usize, rows: usize) -> PyResult<()> {
        if rows != self.order.len() || steps < self.sizes.steps() {
            let (want, longest) = (self.order.len(), self.sizes.steps());
            return Err(PyValueError::new_err(format!(
                "there are {want} lengths up to {longest} for {rows} sequences of {steps} steps"
            )));
        }
        Ok(())
    }
}

fn pack<'py, E: Number>(
    py: Python<'py>,
    lengths: &PyLengths,
    x: &Bound<'py, PyAny>,
    batch_first: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let x = read(x.cast::<PyArray3<E>>()?)?;
    let (numbers, shape) = view(&x, batch_first)?;
    lengths.check(shape.steps, shape.rows)?;
    let features = shape.features;
    let packed: Bound<'_, PyArray2<E>> = empty(py, &[lengths.sizes.total(), features])?;
    {
        let mut to = write(&packed)?;
        let to = to.as_slice_mut()?;
        py.detach(|| {
            let x = Seq::new(numbers, shape)?;
            let to = SeqMut::packed(to, &lengths.sizes, features)?;
            by_rows(to, |first, mut to| {
                for t in 0..lengths.sizes.steps() {
                    let (from, mut to) = (x.step(t), to.step_mut(t));
                    for b in 0..to.count() {
                        to.row_mut(b).copy_from_slice(from.row(lengths.order[first + b]));
                    }
                }
            })
        })?;
    }
    Ok(packed.into_any())
}

fn unpack<'py, E: Number>(
    py: Python<'py>,
    lengths: &PyLengths,
    packed: &Bound<'py, PyAny>,
    steps: usize,
    batch_first: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let packed = read(packed.cast::<PyArray2<E>>()?)?;
    let (rows, features) = (lengths.order.len(), packed.shape()[1]);
    lengths.check(steps, rows)?;
    let dims = if batch_first { [rows, steps, features] } else { [steps, rows, features] };
    let y: Bound<'_, PyArray3<E>> = empty(py, &dims)?;
    {
        let mut to = write(&y)?;
        let (from, to) = (slice_of(&packed)?, to.as_slice_mut()?);
        py.detach(|| {
            let from = Seq::packed(from, &lengths.sizes, features)?;
            let to = SeqMut::new(to, shape_of(&dims, batch_first))?;
            let mut places = vec![0; rows];
            for (place, &row) in lengths.order.iter().enumerate() {
                places[row] = place;
            }
            by_rows(to, |first, mut to| {
                for t in 0..steps {
                    let there = if t < lengths.sizes.steps() { from.count(t) } else { 0 };
                    let mut to = to.step_mut(t);
                    for b in 0..to.count() {
                        let (to, place) = (to.row_mut(b), places[first + b]);
                        match place < there {
                            true => to.copy_from_slice(from.step(t).row(place)),
                            false => to.fill(E::ZERO),
                        }
                    }
                }
            })
        })?;
    }
    Ok(y.into_any())
}

/// Writes a batch, some rows on each thread: `write` is told the first of them.
fn by_rows<E: Number>(
    to: SeqMut<'_, E>,
    write: impl Fn(usize, SeqMut<'_, E>) + Sync,
) -> crate::Result<()> {
    let numbers = to.as_ref().total().saturating_mul(to.shape().features);
    let split = parallel::split_rows(to.shape().rows, numbers.saturating_mul(FLOPS_PER_COPY))?;
    let mut first = 0;
    let parts = to.split_rows(&split).into_iter().zip(&split).map(|(part, rows)| {
        first += rows;
        (first - rows, part)
    });
    parallel::run(parts.collect(), |(first, part)| {
        write(first, part);
        Ok(())
    })
}
