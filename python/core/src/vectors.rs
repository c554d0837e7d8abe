//! Vectors of what Python gives. If there is no memory for one, it is an error: Rust's own `collect`, and pyo3's
//! conversion of lists, end the process.

use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::error::Result;

/// A vector of these items.
pub fn collected<X>(items: impl ExactSizeIterator<Item = X>) -> Result<Vec<X>> {
    let mut vector = room(items.len())?;
    vector.extend(items);
    Ok(vector)
}

/// The items of a Python sequence.
pub fn extracted<'py, X: FromPyObjectOwned<'py>>(items: &Bound<'py, PyAny>) -> Result<Vec<X>> {
    let count = items.len()?;
    let mut vector = room(count)?;
    for n in 0..count {
        vector.push(items.get_item(n)?.extract().map_err(Into::into)?);
    }
    Ok(vector)
}

fn room<X>(count: usize) -> Result<Vec<X>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(count).map_err(|_| {
        PyMemoryError::new_err(format!("there is not enough memory for {count} items"))
    })?;
    Ok(vector)
}
