//! The Python extension module `bptt._core`. It reads arrays, releases the GIL and maps errors. The package
//! `bptt` around it (python/bptt) converts users' data to contiguous arrays of one dtype. This module and
//! the crate `bptt` check everything else.
//!
//! Functions have the arguments of Python's call, however many these are.

mod batch;
mod dataset;
mod error;
mod lab;
mod lengths;
mod model;
mod progress;
mod recurrent;
mod rules;
mod stateless;
mod stepper;
mod tape;
mod trainer;
mod vectors;

use numpy::{
    PyArray, PyArrayMethods, PyReadonlyArray, PyReadwriteArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use bptt::simd::{Element, Level, peak};

use crate::error::Result;

/// A new array of zeros. If there is not enough memory, the error is a MemoryError.
fn zeros<'py, E: numpy::Element + Element, D: numpy::ndarray::Dimension>(
    py: Python<'py>,
    shape: &[usize],
) -> Result<Bound<'py, PyArray<E, D>>> {
    static ZEROS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    new_array(py, ZEROS.import(py, "numpy", "zeros")?, shape)
}

/// A new array whose numbers are unspecified, for a caller that writes all of them. If this thread wrote
/// zeros first, the threads that write the numbers would have to fetch them from its cache.
fn empty<'py, E: numpy::Element + Element, D: numpy::ndarray::Dimension>(
    py: Python<'py>,
    shape: &[usize],
) -> Result<Bound<'py, PyArray<E, D>>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    new_array(py, EMPTY.import(py, "numpy", "empty")?, shape)
}

/// A new array (n,) of these numbers.
fn array_of<'py, E: numpy::Element + Element>(
    py: Python<'py>,
    numbers: &[E],
) -> Result<Bound<'py, PyAny>> {
    let array: Bound<'py, numpy::PyArray1<E>> = empty(py, &[numbers.len()])?;
    write(&array)?.as_slice_mut()?.copy_from_slice(numbers);
    Ok(array.into_any())
}

fn new_array<'py, E: numpy::Element + Element, D: numpy::ndarray::Dimension>(
    py: Python<'py>,
    function: &Bound<'py, PyAny>,
    shape: &[usize],
) -> Result<Bound<'py, PyArray<E, D>>> {
    let len = shape.iter().fold(1, |len: usize, &n| len.saturating_mul(n));
    if len.saturating_mul(size_of::<E>()) > isize::MAX as usize {
        // NumPy would raise an error about the shape instead.
        let message = format!("there is not enough memory for {len} numbers of {}", E::NAME);
        return Err(PyMemoryError::new_err(message).into());
    }
    let array = function.call1((PyTuple::new(py, shape)?, dtype::<E>(py)))?;
    Ok(array.cast_into().map_err(PyErr::from)?)
}

/// Refuses an array whose numbers do not lie at multiples of their size.
fn check_aligned<E: numpy::Element, D: numpy::ndarray::Dimension>(
    array: &PyReadonlyArray<'_, E, D>,
) -> Result<()> {
    if !(array.data() as usize).is_multiple_of(align_of::<E>()) {
        return Err(PyValueError::new_err("arrays must be aligned in memory; give a copy").into());
    }
    Ok(())
}

/// The numbers of an aligned array in C order.
fn slice_of<'a, E: numpy::Element, D: numpy::ndarray::Dimension>(
    array: &'a PyReadonlyArray<'_, E, D>,
) -> Result<&'a [E]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err("arrays must be in C order; give a copy").into());
    }
    check_aligned(array)?;
    Ok(array.as_slice()?)
}

/// Read access to an array. It is an error if other code writes to the array.
fn read<'py, E: numpy::Element, D: numpy::ndarray::Dimension>(
    array: &Bound<'py, PyArray<E, D>>,
) -> Result<PyReadonlyArray<'py, E, D>> {
    Ok(array.try_readonly().map_err(in_use)?)
}

/// Write access to an array. It is an error if other code uses the array.
fn write<'py, E: numpy::Element, D: numpy::ndarray::Dimension>(
    array: &Bound<'py, PyArray<E, D>>,
) -> Result<PyReadwriteArray<'py, E, D>> {
    Ok(array.try_readwrite().map_err(in_use)?)
}

fn in_use(error: numpy::BorrowError) -> PyErr {
    PyRuntimeError::new_err(format!("an array is in use by another thread, or read-only: {error}"))
}

/// Runs `$body` with `$e` as `f32` or `f64`, according to the array's dtype.
macro_rules! with_dtype {
    ($array:expr, $e:ident => $body:expr) => {
        if $array.cast::<numpy::PyArrayDyn<f32>>().is_ok() {
            type $e = f32;
            $body
        } else if $array.cast::<numpy::PyArrayDyn<f64>>().is_ok() {
            type $e = f64;
            $body
        } else {
            Err($crate::wrong_dtype($array).into())
        }
    };
}
use with_dtype;

fn wrong_dtype(array: &Bound<'_, PyAny>) -> PyErr {
    let kind = array.getattr("dtype").unwrap_or_else(|_| array.get_type().into_any());
    PyTypeError::new_err(format!("arrays must have dtype float32 or float64, got {kind}"))
}

/// The level of instructions that kernels run on: "avx512", "avx2" or "portable".
#[pyfunction]
fn simd_level() -> Result<&'static str> {
    Ok(Level::current()?.name())
}

/// The number of threads that kernels use.
#[pyfunction]
fn get_num_threads() -> Result<usize> {
    Ok(bptt::num_threads()?)
}

/// Sets the number of threads that kernels use.
#[pyfunction]
fn set_num_threads(threads: i64) -> Result<()> {
    // Negative numbers are refused like zero.
    Ok(bptt::set_num_threads(usize::try_from(threads).unwrap_or(0))?)
}

/// Measures the machine's FMA peak with the kernels' number of threads, in operations per second. It uses
/// the best level of the machine, even if `BPTT_SIMD` lowers the level of kernels, and takes about `seconds`
/// seconds.
#[pyfunction]
fn fma_peak(py: Python<'_>, double: bool, seconds: f64) -> Result<f64> {
    let level = *Level::available().last().expect("portable is always there");
    let threads = bptt::num_threads()?;
    Ok(py.detach(|| match double {
        true => peak::fma_peak::<f64>(level, threads, seconds),
        false => peak::fma_peak::<f32>(level, threads, seconds),
    }))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("IGNORED", bptt::IGNORED)?;
    module.add("LAB_EPSILON", bptt::lab::published::EPSILON)?;
    module.add("EVALUATION_ROWS", bptt::EVALUATION_ROWS)?;
    module.add("EVALUATION_STEPS", bptt::EVALUATION_STEPS)?;
    module.add_function(wrap_pyfunction!(simd_level, module)?)?;
    module.add_function(wrap_pyfunction!(get_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(fma_peak, module)?)?;
    module.add_function(wrap_pyfunction!(lab::lab_forward, module)?)?;
    module.add_function(wrap_pyfunction!(lab::lab_backward, module)?)?;
    module.add_class::<lab::PyLabProgress>()?;
    module.add_class::<lab::PyLabTraining>()?;
    module.add_class::<recurrent::PyLayer>()?;
    module.add_class::<tape::PyTape>()?;
    module.add_class::<lengths::PyLengths>()?;
    module.add_class::<model::PyModel>()?;
    module.add_class::<stepper::PyStepper>()?;
    module.add_class::<rules::PyLoss>()?;
    module.add_class::<rules::PyOptimizer>()?;
    module.add_class::<dataset::PyDataset>()?;
    module.add_class::<progress::PyProgress>()?;
    module.add_class::<trainer::PyTrainer>()?;
    Ok(())
}
