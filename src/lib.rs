//! Backpropagation through time at the speed of the machine.

mod buffer;
pub mod cell;
mod error;
mod math;
mod panel;
mod parallel;
pub mod reference;
mod sequence;
pub mod simd;

pub use buffer::{Buffer, Seq, SeqMut, Shape};
pub use error::{Error, Result};
pub use parallel::{num_threads, set_num_threads};
pub use sequence::{Gradients, LSTM, RNN, Recurrent, State, Tape};
