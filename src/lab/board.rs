//! The numbers that two threads share while they work on one sequence.
//!
//! Each thread has its own units. What a thread must know of the other's units lies here, in atomic numbers. One writes,
//! the threads meet (threads/team.rs), the other reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::buffer::zeros;
use crate::error::Result;

/// What the threads share of a sequence.
pub(super) struct Board {
    /// h of every step, (T, H).
    pub h: Numbers,
    /// The gradient of every h from the output layer, (T, H).
    pub dh: Numbers,
    /// The sums of squares of the gradients: of the first block of units, the second, and the output layer.
    pub squares: Numbers,
    /// Whether the loss is finite, so that there are gradients.
    pub learns: AtomicBool,
}

impl Board {
    /// For sequences of up to `steps` steps.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(steps: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            h: Numbers::zeros(steps * hidden)?,
            dh: Numbers::zeros(steps * hidden)?,
            squares: Numbers::zeros(3)?,
            learns: AtomicBool::new(false),
        })
    }
}

/// Numbers that one thread writes and another reads.
pub(super) struct Numbers(Vec<AtomicU64>);

impl Numbers {
    fn zeros(len: usize) -> Result<Self> {
        Ok(Self(zeros::<f64>(len)?.into_iter().map(|_| AtomicU64::new(0)).collect()))
    }

    /// Writes numbers from place `first` on.
    #[inline(always)]
    pub fn write(&self, first: usize, numbers: &[f64]) {
        for (place, number) in self.0[first..][..numbers.len()].iter().zip(numbers) {
            place.store(number.to_bits(), Ordering::Relaxed);
        }
    }

    /// Reads numbers from place `first` on.
    #[inline(always)]
    pub fn read(&self, first: usize, numbers: &mut [f64]) {
        for (place, number) in self.0[first..][..numbers.len()].iter().zip(numbers) {
            *number = f64::from_bits(place.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let board = Board::new(2, 3).unwrap();
        board.h.write(2, &[-0.5, f64::NAN, 3.0]);
        let mut read = [7.0; 6];
        board.h.read(0, &mut read);
        assert_eq!(read.map(f64::to_bits), [0.0, 0.0, -0.5, f64::NAN, 3.0, 0.0].map(f64::to_bits));
    }
}
