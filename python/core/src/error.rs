//! Errors of functions for Python, and their conversion to Python's exceptions.

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::{CastError, PyErr};

/// An error of the core or of Python.
pub enum Error {
    Core(bptt::Error),
    Python(PyErr),
}

/// The result of functions for Python.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Python(error) => error,
            Error::Core(error) if error.is_out_of_memory() => {
                PyMemoryError::new_err(error.to_string())
            }
            Error::Core(error) => PyValueError::new_err(error.to_string()),
        }
    }
}

impl From<bptt::Error> for Error {
    fn from(error: bptt::Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Error {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<CastError<'_, '_>> for Error {
    fn from(error: CastError<'_, '_>) -> Self {
        Self::Python(error.into())
    }
}

impl From<numpy::AsSliceError> for Error {
    fn from(error: numpy::AsSliceError) -> Self {
        Self::Python(error.into())
    }
}
