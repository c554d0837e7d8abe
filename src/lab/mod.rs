//! The two networks that the course notebook writes by hand, in `f64`, one sequence at a time, and
//! their training as published.
//!
//! ```text
//! RNN   h_t = tanh(U x_t + V h_{t-1} + b_hidden)              o_t = softmax(W h_t + b_out)
//! LSTM  z_t = [h_{t-1}; x_t]    i, f, o = sigmoid(W z_t + b)  g = tanh(W_g z_t + b_g)
//!       C_t = f C_{t-1} + i g   h_t = o tanh C_t              out_t = softmax(W_v h_t + b_v)
//! ```
//!
//! The steps are this library's cells and products. There are two kinds of gradients: [`Gradient::Exact`], those of
//! this library, and [`Gradient::Published`], those of the notebook, which differ. Only [`published`] has the notebook's
//! formulas. The notebook adds 1e-12 to every argument of sigmoid and tanh. Here it is a second bias. It is left out of
//! `tanh C_t`, where it changes less than 1e-12.

mod board;
mod kind;
mod layout;
mod network;
mod output;
pub mod published;
mod step;
mod train;
mod unit_block;

pub use kind::{Gradient, Kind};
pub use network::{LabNetwork, Pass};
pub use train::{Progress, Training};
