//! Training: data sets and their batches, the training step, optimisers, metrics. The loop over an epoch
//! runs here, so Python is not entered for every step.

mod accumulate;
mod batch;
mod clip;
mod data;
mod evaluate;
mod metric;
mod optim;
mod touched;
mod trainer;

pub use clip::clip_by_global_norm;
pub(crate) use clip::sum_of_squares;
pub use data::{Dataset, Inputs};
pub use evaluate::{EVALUATION_ROWS, EVALUATION_STEPS};
pub use metric::Metric;
pub use optim::{Optimizer, Rate, Rule};
pub use trainer::{Progress, TakenStep, Trainer};
