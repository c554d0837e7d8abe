//! Losses and optimisers for Python. `bptt.losses` and `bptt.optimizers` check the types.

use bptt::{Loss, Optimizer, Rule};
use pyo3::prelude::*;

use crate::error::Result;

/// A loss with its options.
#[pyclass(name = "Loss", module = "bptt._core", frozen)]
pub struct PyLoss(pub Loss);

#[pymethods]
impl PyLoss {
    #[staticmethod]
    #[pyo3(signature = (*, label_smoothing, weight))]
    fn cross_entropy(label_smoothing: f64, weight: Option<Vec<f64>>) -> Self {
        Self(Loss::CrossEntropy { label_smoothing, weight })
    }

    #[staticmethod]
    #[pyo3(signature = (*, pos_weight))]
    fn bce_with_logits(pos_weight: Option<Vec<f64>>) -> Self {
        Self(Loss::BinaryCrossEntropy { pos_weight })
    }

    #[staticmethod]
    fn mse() -> Self {
        Self(Loss::MeanSquaredError)
    }

    #[staticmethod]
    fn mae() -> Self {
        Self(Loss::MeanAbsoluteError)
    }

    #[staticmethod]
    #[pyo3(signature = (*, delta))]
    fn huber(delta: f64) -> Self {
        Self(Loss::Huber { delta })
    }
}

/// An update rule with its learning rate and weight decay.
#[pyclass(name = "Optimizer", module = "bptt._core", frozen)]
pub struct PyOptimizer(pub Optimizer);

impl PyOptimizer {
    fn of(rule: Rule, lr: f64, weight_decay: f64) -> Result<Self> {
        Ok(Self(Optimizer::new(rule, lr, weight_decay)?))
    }
}

#[pymethods]
impl PyOptimizer {
    #[staticmethod]
    #[pyo3(signature = (*, lr, weight_decay, momentum, nesterov))]
    fn sgd(lr: f64, weight_decay: f64, momentum: f64, nesterov: bool) -> Result<Self> {
        Self::of(Rule::SGD { momentum, nesterov }, lr, weight_decay)
    }

    /// Adam, or AdamW if `decoupled`.
    #[staticmethod]
    #[pyo3(signature = (*, lr, weight_decay, betas, eps, decoupled))]
    fn adam(
        lr: f64,
        weight_decay: f64,
        betas: (f64, f64),
        eps: f64,
        decoupled: bool,
    ) -> Result<Self> {
        Self::of(Rule::Adam { betas, eps, decoupled }, lr, weight_decay)
    }

    #[staticmethod]
    #[pyo3(signature = (*, lr, betas, eps))]
    fn sparse_adam(lr: f64, betas: (f64, f64), eps: f64) -> Result<Self> {
        Self::of(Rule::SparseAdam { betas, eps }, lr, 0.0)
    }

    #[staticmethod]
    #[pyo3(signature = (*, lr, weight_decay, alpha, eps, momentum, centered))]
    fn rmsprop(
        lr: f64,
        weight_decay: f64,
        alpha: f64,
        eps: f64,
        momentum: f64,
        centered: bool,
    ) -> Result<Self> {
        Self::of(Rule::RMSprop { alpha, eps, momentum, centered }, lr, weight_decay)
    }

    #[staticmethod]
    #[pyo3(signature = (*, lr, weight_decay, lr_decay, eps))]
    fn adagrad(lr: f64, weight_decay: f64, lr_decay: f64, eps: f64) -> Result<Self> {
        Self::of(Rule::Adagrad { lr_decay, eps }, lr, weight_decay)
    }
}
