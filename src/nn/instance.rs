//! One layer at work: its passes over a batch, whichever layer it is, and the memory it works in.

use super::input::Input;
use super::last_step;
use super::layer::{Layer, recurrent};
use super::linear::LinearMemory;
use crate::error::{Result, ensure};
use crate::math::dropout::{Dropout, mix};
use crate::recurrent::{Gradients, State, Tape};
use crate::simd::{Element, Level};
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// A layer and the memory it works in.
pub(crate) struct Instance<E: Element> {
    pub layer: Layer,
    /// What it takes, none for tokens, and gives.
    pub features: (Option<usize>, usize),
    /// Of LastStep, the directions of the layer whose output it takes.
    directions: usize,
    tape: Tape<E>,
    /// The gradient of the state.
    dstate: State<E>,
    linear: LinearMemory<E>,
    /// What dropout draws from.
    seed: u64,
}

impl<E: Element> Instance<E> {
    /// `directions` are those of the layer before, for LastStep.
    pub fn new(layer: Layer, features: (Option<usize>, usize), directions: usize) -> Self {
        let (tape, dstate, linear) = (Tape::new(), State::default(), LinearMemory::default());
        Self { layer, features, directions, tape, dstate, linear, seed: 0 }
    }

    /// What dropout in the next recorded pass draws from, and in going back through it.
    pub fn set_seed(&mut self, seed: u64) {
        self.tape.set_seed(seed);
        self.seed = seed;
    }

    /// Numbers of the output for a batch.
    pub fn output_len(&self, sizes: &BatchSizes) -> usize {
        let rows = if matches!(self.layer, Layer::LastStep) { sizes.rows() } else { sizes.total() };
        rows.saturating_mul(self.features.1)
    }

    /// Whether a batch fits the layer.
    pub fn check(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        self.layer.check_input(input, self.features.0, sizes.total())
    }

    /// Whether the lengths of a batch's sequences fit the layer.
    pub fn check_lengths(&self, sizes: &BatchSizes) -> Result<()> {
        let there = if sizes.steps() > 0 { sizes.count(0) } else { 0 };
        ensure!(
            there == sizes.rows() || !matches!(self.layer, Layer::LastStep),
            "LastStep needs a step of every sequence: {} of {} have length 0, leave them out",
            sizes.rows() - there,
            sizes.rows()
        );
        Ok(())
    }

    /// Writes the output for a batch that fits; `state` is a recurrent layer's. (Its arguments are what a
    /// forward pass of any layer takes.)
    pub fn forward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        state: Option<&mut State<E>>,
        y: &mut [E],
        record: bool,
    ) -> Result<()> {
        let Self { layer, features: (_, gives), tape, linear, seed, .. } = self;
        let x = match (input, &layer) {
            (Input::Features(x), _) => x,
            (Input::Tokens(tokens), Layer::Embedding(embedding)) => {
                embedding.forward(params, tokens, y);
                return Ok(());
            }
            (Input::Tokens(tokens), _) => {
                y.fill(E::ZERO);
                for (one_hot, &token) in y.chunks_exact_mut(*gives).zip(tokens) {
                    one_hot[token as usize] = E::ONE;
                }
                return Ok(());
            }
        };
        let takes = self.features.0.unwrap_or(0);
        tape.set_recording(record);
        recurrent!(layer, layer => {
            let state = state.expect("a state for every recurrent layer");
            let x = Seq::packed(x, sizes, takes)?;
            layer.forward(params, x, state, SeqMut::packed(y, sizes, *gives)?, tape)
        },
        Layer::OneHot(_) | Layer::Embedding(_) => unreachable!("they take tokens"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let (x, y) = (Rows::new(x, n, takes), RowsMut::new(y, n, *gives));
            layer.forward(params, x, y, linear)
        },
        Layer::LayerNorm(layer) => layer.forward(params, x, y),
        Layer::Dropout(p) => match record {
            true => dropout(*seed, *p, x, y),
            false => {
                y.copy_from_slice(x);
                Ok(())
            }
        },
        Layer::LastStep => {
            last_step::forward(x, sizes, self.directions, y, *gives);
            Ok(())
        })
    }

    /// Back from the gradient `dy` of the recorded pass's output `y`: writes `dx`, if it is wanted (there is
    /// none of tokens), and adds to the parameters' gradients.
    #[allow(clippy::too_many_arguments)] // the quantities of the formula
    pub fn backward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        (y, dy): (&[E], &[E]),
        dx: Option<&mut [E]>,
        grads: &mut [E],
    ) -> Result<()> {
        let Self { layer, features: (_, gives), tape, dstate, linear, seed, .. } = self;
        let x = match (input, &layer) {
            (Input::Features(x), _) => x,
            (Input::Tokens(tokens), Layer::Embedding(embedding)) => {
                embedding.backward(tokens, dy, grads);
                return Ok(());
            }
            (Input::Tokens(_), _) => return Ok(()), // a one-hot layer has no parameters
        };
        let takes = self.features.0.unwrap_or(0);
        recurrent!(layer, layer => {
            dstate.reset(layer, sizes.rows())?;
            let x = Seq::packed(x, sizes, takes)?;
            let (y, dy) = (Seq::packed(y, sizes, *gives)?, Seq::packed(dy, sizes, *gives)?);
            let dx = dx.map(|dx| SeqMut::packed(dx, sizes, takes)).transpose()?;
            let gradients = Gradients { params: Some(grads), x: dx };
            layer.backward(params, x, y, tape, dy, dstate, gradients)
        },
        Layer::OneHot(_) | Layer::Embedding(_) => unreachable!("they take tokens"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let (x, dy) = (Rows::new(x, n, takes), Rows::new(dy, n, *gives));
            let dx = dx.map(|dx| RowsMut::new(dx, n, takes));
            layer.backward(params, x, dy, dx, grads, linear)
        },
        Layer::LayerNorm(layer) => layer.backward(params, x, dy, dx, grads),
        Layer::Dropout(p) => dx.map_or(Ok(()), |dx| dropout(*seed, *p, dy, dx)),
        Layer::LastStep => {
            if let Some(dx) = dx {
                last_step::backward(dy, sizes, self.directions, dx, takes);
            }
            Ok(())
        })
    }
}

/// Writes numbers with dropout: the same are kept whenever the seed is the same.
fn dropout<E: Element>(seed: u64, probability: f64, from: &[E], to: &mut [E]) -> Result<()> {
    Level::current()?.run(Dropout { seed: mix(seed), probability, from: Some(from), to });
    Ok(())
}
