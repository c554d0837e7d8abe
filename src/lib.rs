//! Backpropagation through time at the speed of the machine.

mod buffer;
pub mod cell;
mod error;
mod math;
mod nn;
mod outer;
mod panel;
mod parallel;
#[cfg(feature = "python")]
mod python;
pub mod reference;
mod sequence;
pub mod simd;
mod train;

pub use buffer::{Buffer, Rows, RowsMut, Seq, SeqMut, Shape};
pub use error::{Error, Result};
pub use nn::{Input, Layer, Linear, LinearMemory, Loss, Sequential, Targets};
pub use parallel::{num_threads, set_num_threads};
pub use sequence::{Gradients, LSTM, RNN, Recurrent, State, Tape};
pub use train::{Dataset, Inputs, Optimizer, Progress, Trainer, clip_by_global_norm};
