//! A model that is given one step at a time.

use super::layer::Layer;
use super::linear::Linear;
use super::sequential::{Input, Sequential};
use crate::buffer::Buffer;
use crate::cell::{Gru, GruResetFirst, Lstm, Rnn};
use crate::error::{Error, Result, ensure};
use crate::panel::Panels;
use crate::sequence::{State, Stepper};
use crate::simd::{Element, Level};

/// A [`Sequential`] model that is given one step at a time and keeps its states in between.
///
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
    stages: Vec<Stage<E>>,
}

enum Stage<E: Element> {
    OneHot(usize, Buffer<E>),
    Rnn(Box<Stepper<Rnn, E>>),
    Lstm(Box<Stepper<Lstm, E>>),
    Gru(Box<Stepper<Gru, E>>),
    GruResetFirst(Box<Stepper<GruResetFirst, E>>),
    Linear(Linear, Level, Panels<E>, Buffer<E>),
    /// Of the steps so far, the last is this one.
    LastStep,
}

/// Runs `$body` with a recurrent stage's stepper, or `$other`.
macro_rules! recurrent {
    ($stage:expr, $stepper:ident => $body:expr, $other:expr) => {
        match $stage {
            Stage::Rnn($stepper) => $body,
            Stage::Lstm($stepper) => $body,
            Stage::Gru($stepper) => $body,
            Stage::GruResetFirst($stepper) => $body,
            Stage::OneHot(..) | Stage::Linear(..) | Stage::LastStep => $other,
        }
    };
}

impl<E: Element> SequentialStepper<E> {
    /// A stepper for `rows` rows, from the zero state, with the model's parameters as they are now.
    ///
    /// # Errors
    /// If there is no row, or a layer has two directions.
    pub fn new(model: &Sequential<E>, rows: usize) -> Result<Self> {
        ensure!(rows > 0, "a stepper needs at least 1 row, got 0");
        let stages = model.layers_and_params().map(|(layer, params)| {
            Ok(match layer {
                Layer::OneHot(classes) => {
                    Stage::OneHot(*classes, Buffer::zeros(rows.saturating_mul(*classes))?)
                }
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
                Layer::LastStep => Stage::LastStep,
            })
        });
        Ok(Self { rows, stages: stages.collect::<Result<_>>()? })
    }

    /// One step: from x (B, F), or tokens (B,), to the model's outputs (B, F).
    ///
    /// # Errors
    /// If the input is not the model's; nothing is changed then.
    pub fn step<'a>(&'a mut self, input: Input<'a, E>) -> Result<&'a [E]> {
        let mut x: &'a [E] = match (input, &self.stages[0]) {
            (Input::Tokens(tokens), Stage::OneHot(classes, _)) => {
                let (rows, classes) = (self.rows, *classes);
                ensure!(tokens.len() == rows, "a step takes {rows} tokens, got {}", tokens.len());
                if let Some(token) = tokens.iter().find(|&&token| token as usize >= classes) {
                    ensure!(false, "token {token} is out of range: OneHot has {classes} classes");
                }
                &[]
            }
            (Input::Features(x), Stage::OneHot(..)) => {
                ensure!(
                    false,
                    "a model that starts with OneHot takes tokens, got {} numbers",
                    x.len()
                );
                unreachable!()
            }
            (Input::Features(x), _) => x,
            (Input::Tokens(_), _) => {
                return Err(Error::new(
                    "tokens need a model that starts with OneHot; give features",
                ));
            }
        };
        for stage in &mut self.stages {
            x = match stage {
                Stage::OneHot(classes, to) => {
                    to.fill(E::ZERO);
                    if let Input::Tokens(tokens) = input {
                        for (row, &token) in to.chunks_exact_mut(*classes).zip(tokens) {
                            row[token as usize] = E::ONE;
                        }
                    }
                    to
                }
                Stage::Rnn(stepper) => stepper.step(x)?,
                Stage::Lstm(stepper) => stepper.step(x)?,
                Stage::Gru(stepper) => stepper.step(x)?,
                Stage::GruResetFirst(stepper) => stepper.step(x)?,
                Stage::Linear(linear, level, weights, to) => {
                    let want = self.rows * linear.in_features();
                    ensure!(x.len() == want, "x has {} numbers, a step takes {want}", x.len());
                    linear.apply_packed(*level, weights, x, to);
                    to
                }
                Stage::LastStep => x,
            };
        }
        Ok(x)
    }

    /// Back to the zero state.
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

    /// Goes on from such states.
    ///
    /// # Errors
    /// If one is of other sizes, or they are too many or few; nothing is changed then.
    pub fn set_states(&mut self, states: &[State<E>]) -> Result<()> {
        let kept = self.states()?;
        ensure!(states.len() == kept.len(), "got {} states, not {}", states.len(), kept.len());
        for (state, kept) in states.iter().zip(&kept) {
            let (given, want) = ((state.h.len(), state.c.len()), (kept.h.len(), kept.c.len()));
            ensure!(
                given == want,
                "a state has {given:?} numbers in h and c, it must have {want:?}"
            );
        }
        let mut states = states.iter();
        for stage in &mut self.stages {
            recurrent!(stage, stepper => stepper.set_state(states.next().expect("counted"))?, {});
        }
        Ok(())
    }
}
