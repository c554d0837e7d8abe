//! The Python extension module `bptt._core`, the only pyo3 code: it takes arrays, releases the GIL
//! and maps errors. The package `bptt` around it (python/bptt) converts what users give to
//! contiguous arrays of one dtype; what does not fit after that is refused here or in the core.

mod layer;
mod trainer;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;
use crate::simd::Level;

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        PyValueError::new_err(error.to_string())
    }
}

/// Runs `$body` with `$e` being `f32` or `f64`, whichever the array's dtype is.
macro_rules! with_dtype {
    ($array:expr, $e:ident => $body:expr) => {
        if $array.cast::<numpy::PyArray1<f32>>().is_ok() {
            type $e = f32;
            $body
        } else if $array.cast::<numpy::PyArray1<f64>>().is_ok() {
            type $e = f64;
            $body
        } else {
            Err($crate::python::wrong_params($array))
        }
    };
}
use with_dtype;

fn wrong_params(params: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "parameters must be a 1-D array of float32 or float64, got {}",
        params.get_type()
    ))
}

/// The instructions the kernels run on: "avx512", "avx2" or "portable".
#[pyfunction]
fn simd_level() -> PyResult<&'static str> {
    Ok(Level::current()?.name())
}

/// The number of threads that kernels use.
#[pyfunction]
fn get_num_threads() -> PyResult<usize> {
    Ok(crate::num_threads()?)
}

/// Sets the number of threads that kernels use.
#[pyfunction]
fn set_num_threads(threads: usize) -> PyResult<()> {
    Ok(crate::set_num_threads(threads)?)
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(simd_level, module)?)?;
    module.add_function(wrap_pyfunction!(get_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_class::<layer::PyLayer>()?;
    module.add_class::<layer::PyTape>()?;
    module.add_class::<trainer::PyDataset>()?;
    module.add_class::<trainer::PyTrainer>()?;
    Ok(())
}
