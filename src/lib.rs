//! Backpropagation through time at the speed of the machine: vanilla RNN, LSTM and GRU layers as fused
//! SIMD kernels, forward and backward, and the training of small models made of them.
//!
//! - [`LSTM`], [`GRU`], [`RNN`]: layers over a batch of sequences, with torch's options. The caller owns all
//!   memory: parameters are a flat slice, inputs and outputs are strided views ([`Seq`], [`SeqMut`]). The
//!   sequences have one length or, with [`BatchSizes`], different lengths. A [`Tape`] keeps what the
//!   backward pass needs. A [`Stepper`] computes one step at a time.
//! - [`Sequential`], [`Trainer`]: layers one after the other, trained on a [`Dataset`] with a [`Loss`]
//!   and an [`Optimizer`].
//! - [`cell`]: the pointwise part of a layer; a new cell is one file there.
//! - [`simd`]: the instructions that kernels run on, chosen at run time; `BPTT_SIMD` lowers the choice.
//! - [`lab`]: the networks of the course notebook that the project started from, as published.
//!
//! Results are bitwise independent of the number of threads ([`set_num_threads`], `BPTT_NUM_THREADS`), and
//! a row's results do not depend on the rows beside it. ARCHITECTURE.md in the repository explains how.

mod buffer;
pub mod cell;
mod error;
pub mod lab;
mod math;
mod matmul;
mod nn;
mod recurrent;
mod room;
pub mod simd;
mod threads;
mod train;
mod view;

pub use buffer::Buffer;
pub use error::{Error, Result};
pub use nn::{
    Embedding, IGNORED, Input, Layer, LayerNorm, Linear, LinearMemory, Loss, Network, Sequential,
    SequentialStepper, Stateless, Targets,
};
pub use recurrent::{
    Compiled, Compute, GRU, Gradients, LSTM, Params, RNN, Recurrent, State, Stepper, Tape,
};
pub use threads::{num_threads, set_num_threads};
pub use train::{
    Dataset, EVALUATION_ROWS, EVALUATION_STEPS, Inputs, Metric, Optimizer, Progress, Rate, Rule,
    TakenStep, Trainer, clip_by_global_norm,
};
pub use view::{BatchSizes, Rows, RowsMut, Seq, SeqMut, Shape};

/// The Rust code blocks of the documents, as doctests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
}
