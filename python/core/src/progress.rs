//! The progress of training or evaluation, from which the next call continues.

use bptt::Progress;
use pyo3::prelude::*;

/// How far training or evaluation got in an epoch; see [`bptt::Progress`].
#[pyclass(name = "Progress", module = "bptt._core", frozen, get_all)]
pub struct PyProgress {
    done: usize,
    steps: usize,
    batches: usize,
    loss_sum: f64,
    count: f64,
    diverged: bool,
}

#[pymethods]
impl PyProgress {
    /// The progress at the beginning of an epoch. If every batch is a data set of its own, the arguments are
    /// those of the epoch so far.
    #[new]
    #[pyo3(signature = (*, batches=0, loss_sum=0.0, count=0.0))]
    fn new(batches: usize, loss_sum: f64, count: f64) -> Self {
        Self { done: 0, steps: 0, batches, loss_sum, count, diverged: false }
    }
}

impl From<Progress> for PyProgress {
    fn from(progress: Progress) -> Self {
        let Progress { done, steps, batches, loss_sum, count, diverged } = progress;
        Self { done, steps, batches, loss_sum, count, diverged }
    }
}

impl From<&PyProgress> for Progress {
    fn from(progress: &PyProgress) -> Self {
        let PyProgress { done, steps, batches, loss_sum, count, diverged } = *progress;
        Self { done, steps, batches, loss_sum, count, diverged }
    }
}
