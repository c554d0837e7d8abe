//! Room in vectors. Where there is no memory for it, that is an error, and does not end the process.

use crate::error::{Error, Result};

/// Makes room for one more item at the end of a vector, and for as many again where it must grow.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn add_room<X>(vector: &mut Vec<X>) -> Result<()> {
    let len = vector.len() + 1;
    let failed = |_| Error::out_of_memory(len, std::any::type_name::<X>());
    vector.try_reserve(1).map_err(failed)
}

/// Empties a vector and makes room in it for `len` numbers.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn make_room<X>(vector: &mut Vec<X>, len: usize) -> Result<()> {
    vector.clear();
    let failed = |_| Error::out_of_memory(len, std::any::type_name::<X>());
    vector.try_reserve_exact(len).map_err(failed)
}

/// A copy of a slice.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn copied<X: Copy>(from: &[X]) -> Result<Vec<X>> {
    let mut copy = Vec::new();
    make_room(&mut copy, from.len())?;
    copy.extend_from_slice(from);
    Ok(copy)
}
