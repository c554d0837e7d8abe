//! The aligned memory that kernels own.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::error::{Error, Result};
use crate::simd::Element;
use crate::view::Rows;

/// The size of a cache line and of an AVX-512 register. A load that crosses two lines costs two loads.
const ALIGN: usize = 64;

/// Numbers aligned to a cache line. A new buffer is filled with zeros.
pub struct Buffer<E: Element> {
    data: NonNull<E>,
    len: usize,
    /// How many numbers fit into the memory; at least `len`.
    capacity: usize,
}

// SAFETY: a buffer owns its memory as a Vec does, and E is Send and Sync.
unsafe impl<E: Element> Send for Buffer<E> {}
// SAFETY: as above.
unsafe impl<E: Element> Sync for Buffer<E> {}

impl<E: Element> Buffer<E> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn zeros(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self::default());
        }
        let data = match Self::layout(len) {
            // SAFETY: the layout has a size above zero; all-zero bytes are a valid f32 and f64.
            Some(layout) => NonNull::new(unsafe { alloc_zeroed(layout) }.cast()),
            None => None,
        };
        let Some(data) = data else {
            return Err(Error::out_of_memory(len, E::NAME));
        };
        Ok(Self { data, len, capacity: len })
    }

    /// Sets the length to `len`. The memory is reused if it is large enough. The contents are
    /// unspecified numbers.
    ///
    /// # Errors
    /// If there is not enough memory. The buffer is then empty.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        if len > self.capacity {
            *self = Self::default(); // frees first
            *self = Self::zeros(len)?;
        }
        self.len = len;
        Ok(())
    }

    /// Copies a matrix (B, F) into this buffer, without the gaps between its rows.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(crate) fn copy_rows(&mut self, rows: Rows<'_, E>) -> Result<()> {
        self.resize(rows.count() * rows.features())?;
        for b in 0..if rows.features() > 0 { rows.count() } else { 0 } {
            self[b * rows.features()..][..rows.features()].copy_from_slice(rows.row(b));
        }
        Ok(())
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.checked_mul(size_of::<E>())?, ALIGN).ok()
    }
}

impl<E: Element> Default for Buffer<E> {
    fn default() -> Self {
        Self { data: NonNull::dangling(), len: 0, capacity: 0 }
    }
}

impl<E: Element> Drop for Buffer<E> {
    fn drop(&mut self) {
        if let (1.., Some(layout)) = (self.capacity, Self::layout(self.capacity)) {
            // SAFETY: allocated in `zeros` with this very layout.
            unsafe { dealloc(self.data.as_ptr().cast(), layout) }
        }
    }
}

impl<E: Element> Deref for Buffer<E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        // SAFETY: `capacity >= len` numbers were allocated and initialised. Without numbers, the
        // pointer dangles but is aligned.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<E: Element> DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: as in deref; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

/// A vector of `len` zeros.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn zeros<E: Element>(len: usize) -> Result<Vec<E>> {
    let failed = || Error::out_of_memory(len, E::NAME);
    let layout = Layout::array::<E>(len).map_err(|_| failed())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // Memory that the system gives is zero already, and takes no time until it is used.
    // SAFETY: the layout has a size above zero.
    let data = NonNull::new(unsafe { alloc_zeroed(layout) }.cast()).ok_or_else(failed)?;
    // SAFETY: the global allocator gave memory for `len` numbers with the layout of a vector's. All-zero bytes are
    // a valid f32 and f64.
    Ok(unsafe { Vec::from_raw_parts(data.as_ptr(), len, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 15, 16, 1000] {
            let buffer = Buffer::<f32>::zeros(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(len == 0 || (buffer.as_ptr() as usize).is_multiple_of(ALIGN));
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn buffers_keep_their_memory_and_refuse_what_does_not_fit() {
        let mut buffer = Buffer::<f64>::zeros(100).unwrap();
        let place = buffer.as_ptr();
        buffer.resize(10).unwrap();
        buffer.resize(100).unwrap();
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 100));
        assert!(buffer.resize(usize::MAX).unwrap_err().to_string().contains("memory"));
        assert!(Buffer::<f32>::zeros(1 << 60).is_err());
        assert!(buffer.is_empty());
    }
}
