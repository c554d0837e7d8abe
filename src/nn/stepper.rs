//! Runs a model one step at a time.

use super::input::Input;
use super::instance::Instance;
use super::layer::Layer;
use super::linear::Linear;
use super::network::Network;
use super::sequential::Sequential;
use crate::buffer::Buffer;
use crate::cell::{Gru, GruResetFirst, Lstm, Rnn};
use crate::error::{Result, ensure};
use crate::matmul::panel::Panels;
use crate::recurrent::{State, Stepper};
use crate::room::copied;
use crate::simd::{Element, Level};
use crate::view::BatchSizes;

/// A [`Sequential`] model that computes one step per call and keeps its states between calls.
///
/// # Examples
/// ```
/// use bptt::{Input, Layer, Linear, RNN, Sequential, SequentialStepper, cell::Nonlinearity};
///
/// let rnn = RNN::new(3, 4, Nonlinearity::Tanh, true)?;
/// let layers = vec![Layer::OneHot(3), Layer::RNN(rnn), Layer::Linear(Linear::new(4, 3, true)?)];
/// let mut model = Sequential::<f32>::new(layers)?;
/// model.params.fill(0.1);
/// let mut stepper = SequentialStepper::new(&model, 1)?;
/// assert_eq!(stepper.step(Input::Tokens(&[2]))?.len(), 3);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct SequentialStepper<E: Element> {
    rows: usize,
    /// The sizes of one step.
    sizes: BatchSizes,
    /// The first layer, and the number of features that it takes (none for tokens).
    first: (Layer, Option<usize>),
    stages: Vec<Stage<E>>,
}

enum Stage<E: Element> {
    Rnn(Box<Stepper<Rnn, E>>),
    Lstm(Box<Stepper<Lstm, E>>),
    Gru(Box<Stepper<Gru, E>>),
    GruResetFirst(Box<Stepper<GruResetFirst, E>>),
    Linear(Linear, Level, Panels<E>, Buffer<E>),
    /// Any other layer, with its parameters and output. LastStep copies its input: the last step so far is
    /// this one.
    Plain(Box<Instance<E>>, Vec<E>, Buffer<E>),
}

/// Runs `$body` with a recurrent stage's stepper, or `$other`.
macro_rules! recurrent {
    ($stage:expr, $stepper:ident => $body:expr, $other:expr) => {
        match $stage {
            Stage::Rnn($stepper) => $body,
            Stage::Lstm($stepper) => $body,
            Stage::Gru($stepper) => $body,
            Stage::GruResetFirst($stepper) => $body,
            Stage::Linear(..) | Stage::Plain(..) => $other,
        }
    };
}

impl<E: Element> SequentialStepper<E> {
    /// A stepper for `rows` rows that begins with zero states. It copies the model's parameters.
    ///
    /// # Errors
    /// If `rows` is zero, a layer has two directions, or there is not enough memory.
    pub fn new(model: &Sequential<E>, rows: usize) -> Result<Self> {
        Self::of_network(&model.network, &model.layer_params()?, rows)
    }

    /// Same as [`SequentialStepper::new`], for a [`Network`] and the parameters of its layers.
    ///
    /// # Errors
    /// As for [`SequentialStepper::new`], and if the parameters do not fit the layers.
    pub fn of_network(network: &Network<E>, params: &[&[E]], rows: usize) -> Result<Self> {
        network.check_params(params)?;
        ensure!(rows > 0, "a stepper needs at least 1 row, got 0");
        let sizes = BatchSizes::new(rows, vec![rows])?;
        let first = (*network.layers().next().expect("not empty"), network.in_features());
        let layers = network.layers().zip(network.features());
        let stages = layers.zip(params).map(|((layer, features), &params)| {
            Ok(match layer {
                Layer::RNN(rnn) => Stage::Rnn(Box::new(Stepper::new(*rnn, params, rows)?)),
                Layer::LSTM(lstm) => Stage::Lstm(Box::new(Stepper::new(*lstm, params, rows)?)),
                Layer::GRU(gru) => Stage::Gru(Box::new(Stepper::new(*gru, params, rows)?)),
                Layer::GRUResetFirst(gru) => {
                    Stage::GruResetFirst(Box::new(Stepper::new(*gru, params, rows)?))
                }
                Layer::Linear(linear) => {
                    let level = Level::current()?;
                    let outputs = Buffer::zeros(rows.saturating_mul(linear.out_features()))?;
                    Stage::Linear(*linear, level, linear.packed(level, params)?, outputs)
                }
                _ => {
                    let instance = Box::new(Instance::new(*layer, features, 1));
                    let outputs = Buffer::zeros(instance.output_len(&sizes))?;
                    Stage::Plain(instance, copied(params)?, outputs)
                }
            })
        });
        let stages = stages.collect::<Result<_>>()?;
        Ok(Self { rows, sizes, first, stages })
    }

    /// Computes one step, from x (B, F) or tokens (B,) to the model's output (B, F).
    ///
    /// # Errors
    /// If the input does not fit the model. The states do not change then.
    pub fn step<'a>(&'a mut self, input: Input<'a, E>) -> Result<&'a [E]> {
        let (layer, features) = &self.first;
        layer.check_input(input, *features, self.rows)?;
        let mut x: &'a [E] = if let Input::Features(x) = input { x } else { &[] };
        for (n, stage) in self.stages.iter_mut().enumerate() {
            x = match stage {
                Stage::Rnn(stepper) => stepper.step(x)?,
                Stage::Lstm(stepper) => stepper.step(x)?,
                Stage::Gru(stepper) => stepper.step(x)?,
                Stage::GruResetFirst(stepper) => stepper.step(x)?,
                Stage::Linear(linear, level, weights, to) => {
                    linear.apply_packed(*level, weights, x, to);
                    to
                }
                Stage::Plain(instance, params, to) => {
                    let input = if n == 0 { input } else { Input::Features(x) };
                    instance.forward(params, input, &self.sizes, None, to, false)?;
                    to
                }
            };
        }
        Ok(x)
    }

    /// Sets all states to zero.
    pub fn reset(&mut self) {
        for stage in &mut self.stages {
            recurrent!(stage, stepper => stepper.reset(), {});
        }
    }

    /// Copies of the states of the recurrent layers, in their order.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn states(&self) -> Result<Vec<State<E>>> {
        let states = self.stages.iter();
        states
            .filter_map(|stage| recurrent!(stage, stepper => Some(stepper.state()), None))
            .collect()
    }

    /// Sets the states of the recurrent layers, in their order.
    ///
    /// # Errors
    /// If the number of states or the sizes of a state do not fit the model. The states do not change then.
    pub fn set_states(&mut self, states: &[State<E>]) -> Result<()> {
        let kept = self.states()?;
        ensure!(
            states.len() == kept.len(),
            "got {} states, but the model needs {}, one for each recurrent layer",
            states.len(),
            kept.len()
        );
        for (state, kept) in states.iter().zip(&kept) {
            let (given, want) = ((state.h.len(), state.c.len()), (kept.h.len(), kept.c.len()));
            ensure!(given == want, "a state must have {want:?} numbers in h and c, got {given:?}");
        }
        let mut states = states.iter();
        for stage in &mut self.stages {
            recurrent!(stage, stepper => stepper.set_state(states.next().expect("counted"))?, {});
        }
        Ok(())
    }
}
