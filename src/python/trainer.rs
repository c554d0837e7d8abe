//! Models, data sets and training for Python. A call trains until its time is up, so that Python can
//! draw progress and hear Ctrl-C in between.

use std::time::{Duration, Instant};

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::layer::PyLayer;
use super::tape::Number;
use super::{read, slice_of, write, zeros};
use crate::nn::{Loss, Sequential, Targets};

use crate::train::{Dataset, Inputs, Optimizer, Progress, Trainer};

/// Sequences one after the other: inputs (sum of T, F) or tokens (sum of T,), targets likewise or one for
/// every sequence, and where each sequence starts.
#[pyclass(name = "Dataset", module = "bptt._core", frozen)]
pub struct PyDataset {
    inputs: Py<PyAny>,
    targets: Option<Py<PyAny>>,
    offsets: Vec<usize>,
    per_sequence: bool,
}

#[pymethods]
impl PyDataset {
    #[new]
    #[pyo3(signature = (inputs, targets, offsets, per_sequence=false))]
    fn new(
        inputs: Py<PyAny>,
        targets: Option<Py<PyAny>>,
        offsets: Vec<usize>,
        per_sequence: bool,
    ) -> Self {
        Self { inputs, targets, offsets, per_sequence }
    }
}

/// Numbers (N, F) of the model's dtype, or classes (N,) of uint32.
enum Values<'py, E: Number> {
    Numbers(PyReadonlyArray2<'py, E>),
    Classes(PyReadonlyArray1<'py, u32>),
}

impl<'py, E: Number> Values<'py, E> {
    fn extract(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(classes) = array.cast::<PyArray1<u32>>() {
            return Ok(Self::Classes(read(classes)?));
        }
        Ok(Self::Numbers(read(array.cast::<PyArray2<E>>()?)?))
    }
}

impl PyDataset {
    /// Calls `work` with the data set, detached from the interpreter.
    pub fn with<E: Number, T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Dataset<'_, E>) -> crate::Result<T> + Send,
    ) -> PyResult<T> {
        let inputs = Values::<E>::extract(self.inputs.bind(py))?;
        let targets = self.targets.as_ref();
        let targets = targets.map(|targets| Values::<E>::extract(targets.bind(py))).transpose()?;
        let inputs = match &inputs {
            Values::Numbers(x) => Inputs::Features(slice_of(x)?),
            Values::Classes(x) => Inputs::Tokens(slice_of(x)?),
        };
        let targets = match &targets {
            Some(Values::Numbers(y)) => Some(Targets::Values(slice_of(y)?)),
            Some(Values::Classes(y)) => Some(Targets::Classes(slice_of(y)?)),
            None => None,
        };
        let data = match targets {
            Some(targets) if self.per_sequence => {
                Dataset::per_sequence(inputs, targets, &self.offsets)?
            }
            Some(targets) => Dataset::new(inputs, targets, &self.offsets)?,
            None => Dataset::without_targets(inputs, &self.offsets)?,
        };
        Ok(py.detach(|| work(&data))?)
    }
}

enum AnyTrainer {
    F32(Trainer<f32>),
    F64(Trainer<f64>),
}

/// A model with its loss and optimiser.
#[pyclass(name = "Trainer", module = "bptt._core")]
pub struct PyTrainer(AnyTrainer);

macro_rules! each {
    ($trainer:expr, $inner:ident => $body:expr) => {
        match $trainer {
            AnyTrainer::F32($inner) => $body,
            AnyTrainer::F64($inner) => $body,
        }
    };
}

/// (sequences done, steps done of the batch after those, sum of losses, whether one was not finite)
type PyProgress = (usize, usize, f64, bool);

fn progress_of((done, steps, loss_sum, diverged): PyProgress) -> Progress {
    Progress { done, steps, loss_sum, diverged }
}

fn tuple_of(Progress { done, steps, loss_sum, diverged }: Progress) -> PyProgress {
    (done, steps, loss_sum, diverged)
}

pub fn until(seconds: f64) -> Instant {
    let seconds = if seconds > 0.0 { seconds.min(3600.0) } else { 0.0 };
    Instant::now() + Duration::from_secs_f64(seconds)
}

/// How to train: a dict from Python. `optimizer` is ("sgd", lr, momentum) or ("adam", lr, beta1, beta2, eps).
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    loss: String,
    optimizer: (String, Vec<f64>),
    clip_norm: Option<f64>,
    tbptt: Option<usize>,
    stateful: bool,
}

impl Options {
    fn loss(&self) -> PyResult<Loss> {
        match self.loss.as_str() {
            "cross_entropy" => Ok(Loss::CrossEntropy),
            "mse" => Ok(Loss::MeanSquaredError),
            other => Err(PyValueError::new_err(format!(
                "loss is {other:?}; it takes \"cross_entropy\" or \"mse\""
            ))),
        }
    }

    fn optimizer(&self) -> PyResult<Optimizer> {
        Ok(match (self.optimizer.0.as_str(), &self.optimizer.1[..]) {
            ("sgd", [lr, momentum]) => Optimizer::sgd(*lr, *momentum)?,
            ("adam", [lr, b1, b2, eps]) => Optimizer::adam_with(*lr, (*b1, *b2), *eps)?,
            (name, _) => {
                return Err(PyValueError::new_err(format!("there is no optimizer {name:?}")));
            }
        })
    }

    fn trainer<E: Number>(
        &self,
        layers: Vec<crate::nn::Layer>,
        params: &[Bound<'_, PyAny>],
    ) -> PyResult<Trainer<E>> {
        let model = model_of(layers, params)?;
        let mut trainer = Trainer::new(model, self.loss()?, self.optimizer()?, self.clip_norm)?;
        if let Some(steps) = self.tbptt {
            trainer = trainer.with_tbptt(steps)?;
        }
        Ok(if self.stateful { trainer.stateful()? } else { trainer })
    }
}

#[pymethods]
impl PyTrainer {
    /// A trainer of the layers with their flat parameters.
    #[new]
    fn new(
        layers: Vec<PyRef<'_, PyLayer>>,
        params: Vec<Bound<'_, PyAny>>,
        double: bool,
        options: Options,
    ) -> PyResult<Self> {
        let layers = layers.iter().map(|layer| layer.layer).collect();
        Ok(Self(match double {
            true => AnyTrainer::F64(options.trainer(layers, &params)?),
            false => AnyTrainer::F32(options.trainer(layers, &params)?),
        }))
    }

    /// What dropout draws from.
    fn set_seed(&mut self, seed: u64) {
        each!(&mut self.0, trainer => trainer.model.set_seed(seed));
    }

    /// What dropout draws from next.
    fn seed(&self) -> u64 {
        each!(&self.0, trainer => trainer.model.seed())
    }

    /// What the optimiser remembers: its steps and its vectors, empty where it needs none.
    fn optimizer_state<'py>(&self, py: Python<'py>) -> (usize, Vec<Bound<'py, PyAny>>) {
        each!(&self.0, trainer => {
            let (steps, vectors) = trainer.optimizer_state();
            (steps, vectors.iter().map(|v| PyArray1::from_slice(py, v).into_any()).collect())
        })
    }

    /// Goes on from what `optimizer_state` gave, of the same optimiser and model.
    fn restore_optimizer(&mut self, steps: usize, vectors: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        each!(&mut self.0, trainer => restore(trainer, steps, &vectors))
    }

    /// Copies the parameters into the layers' flat arrays, if they all are finite; tells whether.
    fn write_params(&self, params: Vec<Bound<'_, PyAny>>) -> PyResult<bool> {
        each!(&self.0, trainer => write_params(&trainer.model.params, &params))
    }

    /// Trains on the sequences of `order` from `progress` on, for about `seconds`.
    fn train(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        order: PyReadonlyArray1<'_, u64>,
        batch_size: usize,
        progress: PyProgress,
        seconds: f64,
    ) -> PyResult<PyProgress> {
        let order: Vec<usize> = order.as_slice()?.iter().map(|&n| n as usize).collect();
        let (progress, until) = (progress_of(progress), until(seconds));
        let progress = each!(&mut self.0, trainer => {
            data.with(py, |data| trainer.train(data, &order, batch_size, progress, until))
        })?;
        Ok(tuple_of(progress))
    }

    /// Evaluates the sequences from `progress` on, for about `seconds`.
    fn evaluate(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        progress: PyProgress,
        seconds: f64,
    ) -> PyResult<PyProgress> {
        let (progress, until) = (progress_of(progress), until(seconds));
        let progress = each!(&mut self.0, trainer => {
            data.with(py, |data| trainer.evaluate_until(data, progress, until))
        })?;
        Ok(tuple_of(progress))
    }

    /// The outputs for every step of every sequence, (sum of T, F), or with LastStep (N, F).
    fn predict<'py>(&mut self, py: Python<'py>, data: &PyDataset) -> PyResult<Bound<'py, PyAny>> {
        each!(&mut self.0, trainer => {
            let outputs = data.with(py, |data| trainer.model.predict(data))?;
            let features = trainer.model.out_features();
            let array: Bound<'_, PyArray2<_>> = zeros(py, &[outputs.len() / features, features])?;
            write(&array)?.as_slice_mut()?.copy_from_slice(&outputs);
            Ok(array.into_any())
        })
    }
}

fn restore<E: Number>(
    trainer: &mut Trainer<E>,
    steps: usize,
    vectors: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    let copy = |array: &Bound<'_, PyAny>| -> PyResult<Vec<E>> {
        Ok(slice_of(&read(array.cast::<PyArray1<E>>()?)?)?.to_vec())
    };
    let vectors: Vec<_> = vectors.iter().map(copy).collect::<PyResult<_>>()?;
    let wrong = |_| PyValueError::new_err("an optimizer's state has two vectors");
    Ok(trainer.restore_optimizer(steps, vectors.try_into().map_err(wrong)?)?)
}

/// A model of layers with their flat parameters.
pub fn model_of<E: Number>(
    layers: Vec<crate::nn::Layer>,
    params: &[Bound<'_, PyAny>],
) -> PyResult<Sequential<E>> {
    let mut model = Sequential::<E>::new(layers)?;
    let mut rest = &mut model.params[..];
    for array in params {
        let array = read(array.cast::<PyArray1<E>>()?)?;
        let values = slice_of(&array)?;
        let (to, after) = rest.split_at_mut(checked(values.len(), rest.len())?);
        to.copy_from_slice(values);
        rest = after;
    }
    checked(rest.len(), 0)?;
    Ok(model)
}

fn write_params<E: Number>(from: &[E], params: &[Bound<'_, PyAny>]) -> PyResult<bool> {
    if !from.iter().all(|p| p.to_f64().is_finite()) {
        return Ok(false);
    }
    let arrays: Vec<_> =
        params.iter().map(|array| write(array.cast::<PyArray1<E>>()?)).collect::<PyResult<_>>()?;
    let mut from = from;
    for mut array in arrays {
        let to = array.as_slice_mut()?;
        let (values, after) = from.split_at(checked(to.len(), from.len())?);
        to.copy_from_slice(values);
        from = after;
    }
    Ok(true)
}

fn checked(len: usize, available: usize) -> PyResult<usize> {
    if len > available {
        return Err(PyValueError::new_err("the parameters do not fit the layers"));
    }
    Ok(len)
}
