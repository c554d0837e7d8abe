//! Models, data sets and training for Python. A call trains until its time is up, so that Python can
//! draw progress and hear Ctrl-C in between.

use std::time::{Duration, Instant};

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::recurrent::PyLayer;
use super::tape::Number;
use super::{empty, read, slice_of, write};
use crate::nn::{Loss, Sequential, Targets};
use crate::train::{Dataset, Inputs, Metric, Optimizer, Progress, Rate, Rule, Trainer};

/// Sequences one after the other: inputs (sum of T, F) or tokens (sum of T,), targets likewise or one for
/// each sequence, where each sequence starts, and what each one weighs.
#[pyclass(name = "Dataset", module = "bptt._core", frozen)]
pub struct PyDataset {
    inputs: Py<PyAny>,
    targets: Option<Py<PyAny>>,
    offsets: Vec<usize>,
    per_sequence: bool,
    weights: Option<Vec<f64>>,
}

#[pymethods]
impl PyDataset {
    #[new]
    #[pyo3(signature = (inputs, targets, offsets, per_sequence=false, weights=None))]
    fn new(
        inputs: Py<PyAny>,
        targets: Option<Py<PyAny>>,
        offsets: Vec<usize>,
        per_sequence: bool,
        weights: Option<Vec<f64>>,
    ) -> Self {
        Self { inputs, targets, offsets, per_sequence, weights }
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
        let data = match &self.weights {
            Some(weights) => data.with_weights(weights)?,
            None => data,
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

/// (sequences done, steps done of the batch after those, batches done in the epoch, sum of the tokens' losses,
/// what they count, whether a loss was not finite)
type PyProgress = (usize, usize, usize, f64, f64, bool);

fn progress_of((done, steps, batches, loss_sum, count, diverged): PyProgress) -> Progress {
    Progress { done, steps, batches, loss_sum, count, diverged }
}

fn tuple_of(progress: Progress) -> PyProgress {
    let Progress { done, steps, batches, loss_sum, count, diverged } = progress;
    (done, steps, batches, loss_sum, count, diverged)
}

pub fn until(seconds: f64) -> Instant {
    let seconds = if seconds > 0.0 { seconds.min(3600.0) } else { 0.0 };
    Instant::now() + Duration::from_secs_f64(seconds)
}

/// How to train: a dict from Python. Losses and optimisers are a name with numbers: ("huber", [delta]),
/// ("sgd", [lr, weight_decay, momentum, nesterov]) and so on, as below.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    loss: (String, Vec<f64>),
    optimizer: (String, Vec<f64>),
    clip_norm: Option<f64>,
    tbptt: Option<usize>,
    stateful: bool,
    accumulate: usize,
    metrics: Vec<String>,
}

impl Options {
    fn loss(&self) -> PyResult<Loss> {
        let some = |weights: &[f64]| (!weights.is_empty()).then(|| weights.to_vec());
        match (self.loss.0.as_str(), &self.loss.1[..]) {
            ("cross_entropy", [label_smoothing, weight @ ..]) => {
                Ok(Loss::CrossEntropy { label_smoothing: *label_smoothing, weight: some(weight) })
            }
            ("bce_with_logits", weight) => {
                Ok(Loss::BinaryCrossEntropy { pos_weight: some(weight) })
            }
            ("mse", []) => Ok(Loss::MeanSquaredError),
            ("mae", []) => Ok(Loss::MeanAbsoluteError),
            ("huber", [delta]) => Ok(Loss::Huber { delta: *delta }),
            (name, _) => Err(PyValueError::new_err(format!("there is no loss {name:?}"))),
        }
    }

    fn optimizer(&self) -> PyResult<Optimizer> {
        let name = self.optimizer.0.as_str();
        let unknown = || PyValueError::new_err(format!("there is no optimizer {name:?}"));
        let [lr, weight_decay, numbers @ ..] = &self.optimizer.1[..] else { return Err(unknown()) };
        let rule = match (name, numbers) {
            ("sgd", &[momentum, nesterov]) => Rule::SGD { momentum, nesterov: nesterov != 0.0 },
            ("adam" | "adamw", &[beta1, beta2, eps]) => {
                Rule::Adam { betas: (beta1, beta2), eps, decoupled: name == "adamw" }
            }
            ("rmsprop", &[alpha, eps, momentum, centered]) => {
                Rule::RMSprop { alpha, eps, momentum, centered: centered != 0.0 }
            }
            ("adagrad", &[lr_decay, eps]) => Rule::Adagrad { lr_decay, eps },
            _ => return Err(unknown()),
        };
        Ok(Optimizer::new(rule, *lr, *weight_decay)?)
    }

    fn metrics(&self) -> PyResult<Vec<Metric>> {
        let metric = |name: &String| match name.as_str() {
            "accuracy" => Ok(Metric::Accuracy),
            "cross_entropy" => Ok(Metric::CrossEntropy),
            "squared_error" => Ok(Metric::SquaredError),
            name => Err(PyValueError::new_err(format!("there is no metric {name:?}"))),
        };
        self.metrics.iter().map(metric).collect()
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
        trainer = trainer.with_accumulation(self.accumulate)?;
        trainer.set_metrics(&self.metrics()?);
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

    /// Copies the parameters into the layers' flat arrays, if they all are finite; tells whether.
    fn write_params(&self, params: Vec<Bound<'_, PyAny>>) -> PyResult<bool> {
        each!(&self.0, trainer => write_params(&trainer.model.params, &params))
    }

    /// Takes the parameters from the layers' flat arrays.
    fn read_params(&mut self, params: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        each!(&mut self.0, trainer => read_params(&mut trainer.model.params, &params))
    }

    /// Sets (learning rate, momentum or None) for each of the coming steps of the optimiser; the last stays.
    fn set_rates(&mut self, rates: Vec<(f64, Option<f64>)>) -> PyResult<()> {
        let rates = rates.into_iter().map(|(lr, momentum)| Rate { lr, momentum }).collect();
        Ok(each!(&mut self.0, trainer => trainer.set_rates(rates))?)
    }

    /// The steps that the optimiser has taken.
    #[getter]
    fn optimizer_steps(&self) -> usize {
        each!(&self.0, trainer => trainer.optimizer_state().0)
    }

    /// What the optimiser remembers: its steps and three vectors, empty where it needs none.
    fn optimizer_state<'py>(&self, py: Python<'py>) -> PyResult<(usize, Vec<Bound<'py, PyAny>>)> {
        each!(&self.0, trainer => {
            let (steps, vectors) = trainer.optimizer_state();
            Ok((steps, vectors.iter().map(|v| PyArray1::from_slice(py, v).into_any()).collect()))
        })
    }

    /// Goes on from what `optimizer_state` gave, of the same optimiser and model.
    fn restore_optimizer(&mut self, steps: usize, vectors: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        each!(&mut self.0, trainer => restore(trainer, steps, &vectors))
    }

    /// Takes the step that accumulated gradients wait for at the end of an epoch.
    fn finish_epoch(&mut self) {
        each!(&mut self.0, trainer => trainer.finish_epoch());
    }

    /// The means of the metrics since they were last taken, of training or of evaluation.
    fn take_metrics(&mut self, evaluated: bool) -> Vec<f64> {
        each!(&mut self.0, trainer => match evaluated {
            true => trainer.take_evaluated_metrics(),
            false => trainer.take_metrics(),
        })
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

    /// A new array (rows, F) for `predict`.
    fn outputs<'py>(&self, py: Python<'py>, rows: usize) -> PyResult<Bound<'py, PyAny>> {
        each!(&self.0, trainer => outputs_of(py, &trainer.model, rows))
    }

    /// Writes the outputs for every step of every sequence, (sum of T, F), or with LastStep (N, F), from
    /// sequence `done` on, for about `seconds`; gives how many are done.
    fn predict(
        &mut self,
        py: Python<'_>,
        data: &PyDataset,
        done: usize,
        outputs: &Bound<'_, PyAny>,
        seconds: f64,
    ) -> PyResult<usize> {
        let until = until(seconds);
        each!(&mut self.0, trainer => predict(py, &mut trainer.model, data, done, outputs, until))
    }
}

fn outputs_of<'py, E: Number>(
    py: Python<'py>,
    model: &Sequential<E>,
    rows: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let array: Bound<'_, PyArray2<E>> = empty(py, &[rows, model.out_features()])?;
    Ok(array.into_any())
}

fn predict<E: Number>(
    py: Python<'_>,
    model: &mut Sequential<E>,
    data: &PyDataset,
    done: usize,
    outputs: &Bound<'_, PyAny>,
    until: Instant,
) -> PyResult<usize> {
    let mut outputs = write(outputs.cast::<PyArray2<E>>()?)?;
    let outputs = outputs.as_slice_mut()?;
    data.with(py, |data| model.predict_until(data, done, outputs, until))
}

/// A model of layers with their flat parameters.
pub fn model_of<E: Number>(
    layers: Vec<crate::nn::Layer>,
    params: &[Bound<'_, PyAny>],
) -> PyResult<Sequential<E>> {
    let mut model = Sequential::<E>::new(layers)?;
    read_params(&mut model.params, params)?;
    Ok(model)
}

fn read_params<E: Number>(to: &mut [E], params: &[Bound<'_, PyAny>]) -> PyResult<()> {
    let mut rest = to;
    for array in params {
        let array = read(array.cast::<PyArray1<E>>()?)?;
        let values = slice_of(&array)?;
        let (to, after) = rest.split_at_mut(checked(values.len(), rest.len())?);
        to.copy_from_slice(values);
        rest = after;
    }
    checked(rest.len(), 0)?;
    Ok(())
}

fn restore<E: Number>(
    trainer: &mut Trainer<E>,
    steps: usize,
    vectors: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    let vector = |array: &Bound<'_, PyAny>| {
        let array = read(array.cast::<PyArray1<E>>()?)?;
        Ok(slice_of(&array)?.to_vec())
    };
    let vectors = vectors.iter().map(vector).collect::<PyResult<Vec<_>>>()?;
    let wrong = |_| PyValueError::new_err("an optimizer's state has three vectors");
    Ok(trainer.restore_optimizer(steps, vectors.try_into().map_err(wrong)?)?)
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
