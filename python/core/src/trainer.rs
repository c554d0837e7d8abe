//! Training for Python. The trainer has parameters of its own. They are copied from the layers before
//! training, and back when Python calls `write_params`.

use bptt::{Layer, Metric, Rate, Sequential, Trainer};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::dataset::{PyDataset, until};
use crate::error::Result;
use crate::model::{self, PyModel, read_flat, slices};
use crate::progress::PyProgress;
use crate::rules::{PyLoss, PyOptimizer};
use crate::tape::Number;
use crate::write;

enum Any {
    F32(Trainer<f32>),
    F64(Trainer<f64>),
}

/// A model with its loss and optimiser.
#[pyclass(name = "Trainer", module = "bptt._core")]
pub struct PyTrainer(Any);

macro_rules! each {
    ($trainer:expr, $inner:ident => $body:expr) => {
        match $trainer {
            Any::F32($inner) => $body,
            Any::F64($inner) => $body,
        }
    };
}

/// The settings of training.
struct Options<'a> {
    loss: &'a PyLoss,
    optimizer: &'a PyOptimizer,
    clip_norm: Option<f64>,
    tbptt: Option<usize>,
    stateful: bool,
    accumulate: usize,
    metrics: Vec<Metric>,
}

impl Options<'_> {
    fn trainer<E: Number>(
        &self,
        layers: Vec<Layer>,
        params: &[Bound<'_, PyAny>],
    ) -> Result<Trainer<E>> {
        let mut model = Sequential::new(layers)?;
        read_params(&mut model.params, params)?;
        let (loss, optimizer) = (self.loss.0.clone(), self.optimizer.0);
        let mut trainer = Trainer::new(model, loss, optimizer, self.clip_norm)?;
        if let Some(steps) = self.tbptt {
            trainer = trainer.with_tbptt(steps)?;
        }
        trainer = trainer.with_accumulation(self.accumulate)?;
        trainer.set_metrics(&self.metrics);
        Ok(if self.stateful { trainer.stateful()? } else { trainer })
    }
}

fn metric_of(name: &str) -> Result<Metric> {
    match name {
        "accuracy" => Ok(Metric::Accuracy),
        "cross_entropy" => Ok(Metric::CrossEntropy),
        "squared_error" => Ok(Metric::SquaredError),
        name => Err(PyValueError::new_err(format!(
            "a metric must be accuracy, cross_entropy or squared_error, got {name:?}"
        ))
        .into()),
    }
}

#[pymethods]
impl PyTrainer {
    /// A trainer of a model, with copies of its layers' flat parameters.
    #[new]
    #[pyo3(signature = (
        model, params, *, loss, optimizer, clip_norm, tbptt, stateful, accumulate, metrics
    ))]
    #[allow(clippy::too_many_arguments)] // the arguments of Python's call
    fn new(
        model: &PyModel,
        params: Vec<Bound<'_, PyAny>>,
        loss: &PyLoss,
        optimizer: &PyOptimizer,
        clip_norm: Option<f64>,
        tbptt: Option<usize>,
        stateful: bool,
        accumulate: usize,
        metrics: Vec<String>,
    ) -> Result<Self> {
        let metrics = metrics.iter().map(|name| metric_of(name)).collect::<Result<_>>()?;
        let options = Options { loss, optimizer, clip_norm, tbptt, stateful, accumulate, metrics };
        let layers = model.layers();
        Ok(Self(match &model.0 {
            model::Any::F32(_) => Any::F32(options.trainer(layers, &params)?),
            model::Any::F64(_) => Any::F64(options.trainer(layers, &params)?),
        }))
    }

    /// Sets the seed of dropout for the next step.
    fn set_seed(&mut self, seed: u64) {
        each!(&mut self.0, trainer => trainer.model.set_seed(seed));
    }

    /// The seed of dropout for the next step.
    fn seed(&self) -> u64 {
        each!(&self.0, trainer => trainer.model.seed())
    }

    /// Copies the parameters to the layers' flat arrays if all are finite. Returns whether they are.
    fn write_params(&self, params: Vec<Bound<'_, PyAny>>) -> Result<bool> {
        each!(&self.0, trainer => write_params(&trainer.model.params, &params))
    }

    /// Copies the parameters from the layers' flat arrays.
    fn read_params(&mut self, params: Vec<Bound<'_, PyAny>>) -> Result<()> {
        each!(&mut self.0, trainer => read_params(&mut trainer.model.params, &params))
    }

    /// Sets (learning rate, momentum or None) for each of the next steps of the optimiser. All later steps
    /// use the last.
    fn set_rates(&mut self, rates: Vec<(f64, Option<f64>)>) -> Result<()> {
        let rates = rates.into_iter().map(|(lr, momentum)| Rate { lr, momentum }).collect();
        Ok(each!(&mut self.0, trainer => trainer.set_rates(rates))?)
    }

    /// The number of steps that the optimiser has taken.
    #[getter]
    fn optimizer_steps(&self) -> usize {
        each!(&self.0, trainer => trainer.optimizer_state().0)
    }

    /// The optimiser's state: the number of steps taken, and three vectors. A vector that it does not use is
    /// empty.
    fn optimizer_state<'py>(&self, py: Python<'py>) -> (usize, Vec<Bound<'py, PyAny>>) {
        each!(&self.0, trainer => {
            let (steps, vectors) = trainer.optimizer_state();
            (steps, vectors.iter().map(|v| PyArray1::from_slice(py, v).into_any()).collect())
        })
    }

    /// Continues from a state that `optimizer_state` returned for the same optimiser and model.
    fn restore_optimizer(&mut self, steps: usize, vectors: Vec<Bound<'_, PyAny>>) -> Result<()> {
        each!(&mut self.0, trainer => restore(trainer, steps, &vectors))
    }

    /// Takes a step with the gradients that are accumulated at the end of an epoch, if there are any.
    fn finish_epoch(&mut self) {
        each!(&mut self.0, trainer => trainer.finish_epoch());
    }

    /// Returns the means of the metrics of training, or of evaluation if `evaluated`, since the last call.
    fn take_metrics(&mut self, evaluated: bool) -> Vec<f64> {
        each!(&mut self.0, trainer => match evaluated {
            true => trainer.take_evaluated_metrics(),
            false => trainer.take_metrics(),
        })
    }

    /// Trains on the sequences of `order` from `progress` on, for about `seconds` seconds.
    fn train(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        order: PyReadonlyArray1<'_, u64>,
        batch_size: usize,
        progress: &PyProgress,
        seconds: f64,
    ) -> Result<PyProgress> {
        let order: Vec<usize> = order.as_slice()?.iter().map(|&n| n as usize).collect();
        let (progress, until) = (progress.into(), until(seconds));
        let progress = each!(&mut self.0, trainer => {
            data.with(py, |data| trainer.train(data, &order, batch_size, progress, until))
        })?;
        Ok(progress.into())
    }

    /// Evaluates the sequences from `progress` on, for about `seconds` seconds.
    fn evaluate(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        progress: &PyProgress,
        seconds: f64,
    ) -> Result<PyProgress> {
        let (progress, until) = (progress.into(), until(seconds));
        let progress = each!(&mut self.0, trainer => {
            data.with(py, |data| trainer.evaluate_until(data, progress, until))
        })?;
        Ok(progress.into())
    }
}

fn read_params<E: Number>(to: &mut [E], params: &[Bound<'_, PyAny>]) -> Result<()> {
    let arrays = read_flat::<E>(params)?;
    let params = slices(&arrays)?;
    check_len(params.iter().map(|params| params.len()).sum(), to.len())?;
    let mut rest = to;
    for params in params {
        rest.split_off_mut(..params.len()).expect("as many numbers").copy_from_slice(params);
    }
    Ok(())
}

fn restore<E: Number>(
    trainer: &mut Trainer<E>,
    steps: usize,
    vectors: &[Bound<'_, PyAny>],
) -> Result<()> {
    let arrays = read_flat::<E>(vectors)?;
    let vectors: Vec<_> = slices(&arrays)?.into_iter().map(<[E]>::to_vec).collect();
    let wrong = |_| PyValueError::new_err("an optimizer's state must have three vectors");
    Ok(trainer.restore_optimizer(steps, vectors.try_into().map_err(wrong)?)?)
}

fn write_params<E: Number>(from: &[E], params: &[Bound<'_, PyAny>]) -> Result<bool> {
    if !from.iter().all(|p| p.to_f64().is_finite()) {
        return Ok(false);
    }
    let mut arrays: Vec<_> =
        params.iter().map(|array| write(array.cast::<PyArray1<E>>()?)).collect::<Result<_>>()?;
    let mut slices: Vec<&mut [E]> =
        arrays.iter_mut().map(|array| Ok(array.as_slice_mut()?)).collect::<Result<_>>()?;
    check_len(slices.iter().map(|to| to.len()).sum(), from.len())?;
    let mut rest = from;
    for to in &mut slices {
        to.copy_from_slice(rest.split_off(..to.len()).expect("as many numbers"));
    }
    Ok(true)
}

fn check_len(given: usize, want: usize) -> Result<()> {
    if given != want {
        let message =
            format!("the layers must have {want} parameters, got {given}; make a new trainer");
        return Err(PyValueError::new_err(message).into());
    }
    Ok(())
}
