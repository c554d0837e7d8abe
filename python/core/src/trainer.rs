//! Training for Python. The trainer has parameters of its own. They are copied from the layers before
//! training, and back when Python calls `write_params`. If the optimiser does not change rows of an
//! embedding's table without a gradient, only the rows of the data's tokens are copied.

use bptt::{Layer, Metric, Progress, Rate, Sequential, Trainer};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::dataset::{PyDataset, until};
use crate::error::Result;
use crate::model::{self, PyModel, read_flat, slices};
use crate::progress::PyProgress;
use crate::rules::{PyLoss, PyOptimizer};
use crate::tape::Number;
use crate::vectors::{collected, extracted};
use crate::{array_of, empty, read, slice_of, write};

enum Any {
    F32(Copied<f32>),
    F64(Copied<f64>),
}

/// A model with its loss and optimiser.
#[pyclass(name = "Trainer", module = "bptt._core")]
pub struct PyTrainer {
    trainer: Any,
    /// The flat parameters of every layer.
    params: Vec<Py<PyAny>>,
}

/// A trainer with copies of the layers' parameters.
struct Copied<E: Number> {
    trainer: Trainer<E>,
    table: Option<Table>,
}

/// The table of an embedding, of which only some rows are copied.
struct Table {
    /// The numbers in a row.
    size: usize,
    copied: Vec<bool>,
}

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
    ) -> Result<Copied<E>> {
        let model = Sequential::new(layers)?;
        let (loss, optimizer) = (self.loss.0.clone(), self.optimizer.0);
        let mut trainer = Trainer::new(model, loss, optimizer, self.clip_norm)?;
        if let Some(steps) = self.tbptt {
            trainer = trainer.with_tbptt(steps)?;
        }
        trainer = trainer.with_accumulation(self.accumulate)?;
        trainer.set_metrics(&self.metrics);
        if self.stateful {
            trainer = trainer.stateful()?;
        }
        let table = match trainer.model.layers().next() {
            Some(Layer::Embedding(table)) if trainer.is_local() => Some(Table {
                size: table.embedding_dim(),
                copied: collected(std::iter::repeat_n(false, table.num_embeddings()))?,
            }),
            _ => None,
        };
        let mut copied = Copied { trainer, table };
        copied.read(params)?;
        Ok(copied)
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
        let trainer = match &model.0 {
            model::Any::F32(_) => Any::F32(options.trainer(layers, &params)?),
            model::Any::F64(_) => Any::F64(options.trainer(layers, &params)?),
        };
        Ok(Self { trainer, params: params.into_iter().map(Bound::unbind).collect() })
    }

    /// Sets the seed of dropout for the next step.
    fn set_seed(&mut self, seed: u64) {
        each!(&mut self.trainer, copied => copied.trainer.model.set_seed(seed));
    }

    /// The seed of dropout for the next step.
    fn seed(&self) -> u64 {
        each!(&self.trainer, copied => copied.trainer.model.seed())
    }

    /// Copies the parameters to the layers' flat arrays if all are finite. Returns whether they are.
    fn write_params(&self, py: Python<'_>) -> Result<bool> {
        let params: Vec<_> = self.params.iter().map(|params| params.bind(py).clone()).collect();
        each!(&self.trainer, copied => copied.write(&params))
    }

    /// Copies the parameters from the layers' flat arrays.
    fn read_params(&mut self, py: Python<'_>) -> Result<()> {
        let params: Vec<_> = self.params.iter().map(|params| params.bind(py).clone()).collect();
        each!(&mut self.trainer, copied => copied.read(&params))
    }

    /// Sets (learning rate, momentum or None) for each of the next steps of the optimiser. All later steps
    /// use the last.
    fn set_rates(&mut self, rates: &Bound<'_, PyAny>) -> Result<()> {
        let rates = extracted::<(f64, Option<f64>)>(rates)?;
        let rates = collected(rates.into_iter().map(|(lr, momentum)| Rate { lr, momentum }))?;
        Ok(each!(&mut self.trainer, copied => copied.trainer.set_rates(rates))?)
    }

    /// The number of steps that the optimiser has taken.
    #[getter]
    fn optimizer_steps(&self) -> usize {
        each!(&self.trainer, copied => copied.trainer.optimizer_state().0)
    }

    /// The optimiser's state: the number of steps taken, and three vectors. A vector that it does not use is
    /// empty.
    fn optimizer_state<'py>(&self, py: Python<'py>) -> Result<(usize, Vec<Bound<'py, PyAny>>)> {
        each!(&self.trainer, copied => {
            let (steps, vectors) = copied.trainer.optimizer_state();
            Ok((steps, vectors.iter().map(|v| array_of(py, v)).collect::<Result<_>>()?))
        })
    }

    /// Continues from a state that `optimizer_state` returned for the same optimiser and model.
    fn restore_optimizer(&mut self, steps: usize, vectors: Vec<Bound<'_, PyAny>>) -> Result<()> {
        each!(&mut self.trainer, copied => restore(&mut copied.trainer, steps, &vectors))
    }

    /// The steps of the optimiser that the last call of `train` or `finish_epoch` took, and forgets them: an
    /// array (steps, 3) of float64 with the loss, the norm of the gradients and the learning rate.
    fn take_steps<'py>(&mut self, py: Python<'py>) -> Result<Bound<'py, PyArray2<f64>>> {
        let taken = each!(&mut self.trainer, copied => copied.trainer.take_steps());
        let array: Bound<'py, PyArray2<f64>> = empty(py, &[taken.len(), 3])?;
        for (row, step) in write(&array)?.as_slice_mut()?.chunks_exact_mut(3).zip(taken) {
            row.copy_from_slice(&[step.loss, step.gradient_norm, step.lr]);
        }
        Ok(array)
    }

    /// Takes a step with the gradients that are accumulated at the end of an epoch, if there are any.
    fn finish_epoch(&mut self) {
        each!(&mut self.trainer, copied => copied.trainer.finish_epoch());
    }

    /// Returns the means of the metrics of training, or of evaluation if `evaluated`, since the last call.
    fn take_metrics(&mut self, evaluated: bool) -> Vec<f64> {
        each!(&mut self.trainer, copied => match evaluated {
            true => copied.trainer.take_evaluated_metrics(),
            false => copied.trainer.take_metrics(),
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
        let order = collected(order.as_slice()?.iter().map(|&n| n as usize))?;
        let (progress, until) = (progress.into(), until(seconds));
        let progress = each!(&mut self.trainer, copied => {
            copied.prepare(py, &self.params, data, progress)?;
            let trainer = &mut copied.trainer;
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
        let progress = each!(&mut self.trainer, copied => {
            copied.prepare(py, &self.params, data, progress)?;
            let trainer = &mut copied.trainer;
            data.with(py, |data| trainer.evaluate_until(data, progress, until))
        })?;
        Ok(progress.into())
    }
}

impl<E: Number> Copied<E> {
    /// Copies the parameters from the layers' flat arrays; of a table only when data need them.
    fn read(&mut self, params: &[Bound<'_, PyAny>]) -> Result<()> {
        let arrays = read_flat::<E>(params)?;
        let params = slices(&arrays)?;
        let to = &mut self.trainer.model.params;
        check_len(params.iter().map(|params| params.len()).sum(), to.len())?;
        let mut rest = &mut to[..];
        for (n, params) in params.into_iter().enumerate() {
            let to = rest.split_off_mut(..params.len()).expect("as many numbers");
            match &mut self.table {
                Some(table) if n == 0 => table.copied.fill(false),
                _ => to.copy_from_slice(params),
            }
        }
        Ok(())
    }

    /// Before a pass over data begins: copies the rows of the table that they have. If the optimiser has
    /// come to change all rows, because a schedule gave it a momentum, copies all.
    fn prepare(
        &mut self,
        py: Python<'_>,
        params: &[Py<PyAny>],
        data: &PyDataset,
        progress: Progress,
    ) -> Result<()> {
        let is_local = self.trainer.is_local();
        let Some(Table { size, copied }) = &mut self.table else { return Ok(()) };
        if is_local && (progress.done, progress.steps) != (0, 0) {
            return Ok(());
        }
        let from = read(params[0].bind(py).cast::<PyArray1<E>>()?)?;
        let (from, to) = (slice_of(&from)?, &mut self.trainer.model.params);
        let mut copy = |token: usize| {
            // The core refuses tokens that are out of range.
            if let Some(copied) = copied.get_mut(token).filter(|copied| !**copied) {
                let row = token * *size..(token + 1) * *size;
                to[row.clone()].copy_from_slice(&from[row]);
                *copied = true;
            }
        };
        if is_local {
            let tokens = data.tokens(py)?;
            tokens.iter().flat_map(|tokens| tokens.as_array()).for_each(|&n| copy(n as usize));
        } else {
            (0..from.len() / *size).for_each(copy);
            self.table = None;
        }
        Ok(())
    }

    /// Copies the parameters to the layers' flat arrays if all are finite. Returns whether they are.
    fn write(&self, params: &[Bound<'_, PyAny>]) -> Result<bool> {
        let mut arrays: Vec<_> = params
            .iter()
            .map(|array| write(array.cast::<PyArray1<E>>()?))
            .collect::<Result<_>>()?;
        let slices: Vec<&mut [E]> =
            arrays.iter_mut().map(|array| Ok(array.as_slice_mut()?)).collect::<Result<_>>()?;
        let from = &self.trainer.model.params;
        check_len(slices.iter().map(|to| to.len()).sum(), from.len())?;
        let (mut rest, mut pairs) = (&from[..], Vec::new());
        for (n, to) in slices.into_iter().enumerate() {
            let from = rest.split_off(..to.len()).expect("as many numbers");
            match &self.table {
                Some(Table { size, copied }) if n == 0 => {
                    let rows = from.chunks_exact(*size).zip(to.chunks_exact_mut(*size));
                    pairs.extend(
                        rows.zip(copied).filter(|(_, copied)| **copied).map(|(row, _)| row),
                    );
                }
                _ => pairs.push((from, to)),
            }
        }
        let finite = |numbers: &[E]| numbers.iter().all(|p| p.to_f64().is_finite());
        if !pairs.iter().all(|(from, _)| finite(from)) {
            return Ok(false);
        }
        pairs.into_iter().for_each(|(from, to)| to.copy_from_slice(from));
        Ok(true)
    }
}

fn restore<E: Number>(
    trainer: &mut Trainer<E>,
    steps: usize,
    vectors: &[Bound<'_, PyAny>],
) -> Result<()> {
    let arrays = read_flat::<E>(vectors)?;
    let vectors = slices(&arrays)?.into_iter().map(|vector| collected(vector.iter().copied()));
    let vectors = vectors.collect::<Result<Vec<_>>>()?;
    let wrong = |_| PyValueError::new_err("an optimizer's state must have three vectors");
    Ok(trainer.restore_optimizer(steps, vectors.try_into().map_err(wrong)?)?)
}

fn check_len(given: usize, want: usize) -> Result<()> {
    if given != want {
        let message =
            format!("the layers must have {want} parameters, got {given}; make a new trainer");
        return Err(PyValueError::new_err(message).into());
    }
    Ok(())
}
