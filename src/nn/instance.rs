//! Any layer with its memory: the passes over a batch.

use super::embedding::changed;
use super::input::Input;
use super::last_step;
use super::layer::{Layer, recurrent};
use super::linear::LinearMemory;
use crate::error::{Result, ensure};
use crate::math::dropout::{Dropout, mix};
use crate::recurrent::{Gradients, State, Tape};
use crate::simd::{Element, Level};
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// A layer and its memory.
pub(crate) struct Instance<E: Element> {
    pub layer: Layer,
    /// The number of features that the layer takes (none for tokens), and the number that it gives.
    pub features: (Option<usize>, usize),
    /// For LastStep, the number of directions of the layer whose output it takes.
    directions: usize,
    tape: Tape<E>,
    /// The gradient of the state.
    dstate: State<E>,
    linear: LinearMemory<E>,
    /// The seed of dropout.
    seed: u64,
}

impl<E: Element> Instance<E> {
    /// The layer with empty memory. For LastStep, `directions` is that of the layer whose output it takes.
    pub fn new(layer: Layer, features: (Option<usize>, usize), directions: usize) -> Self {
        let (tape, dstate, linear) = (Tape::new(), State::default(), LinearMemory::default());
        Self { layer, features, directions, tape, dstate, linear, seed: 0 }
    }

    /// Sets the seed of dropout for the next pass with `record`. Its backward pass needs the same seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.tape.set_seed(seed);
        self.seed = seed;
    }

    /// The number of numbers in the output for a batch.
    pub fn output_len(&self, sizes: &BatchSizes) -> usize {
        let rows = if matches!(self.layer, Layer::LastStep) { sizes.rows() } else { sizes.total() };
        rows.saturating_mul(self.features.1)
    }

    /// Checks that the input of a batch fits the layer.
    pub fn check(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        self.layer.check_input(input, self.features.0, sizes.total())
    }

    /// Checks that the lengths of a batch's sequences fit the layer.
    pub fn check_lengths(&self, sizes: &BatchSizes) -> Result<()> {
        let there = if sizes.steps() > 0 { sizes.count(0) } else { 0 };
        ensure!(
            there == sizes.rows() || !matches!(self.layer, Layer::LastStep),
            "LastStep needs at least one step of every sequence, but {} of {} have length 0; leave them out",
            sizes.rows() - there,
            sizes.rows()
        );
        Ok(())
    }

    /// Writes the output for a batch that fits to `y`. A recurrent layer needs `state`. With `record`,
    /// dropout applies, and the pass is kept for `backward`. (Seven arguments: all that a forward pass of
    /// any layer needs.)
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
                return embedding.forward(params, tokens, y);
            }
            (Input::Tokens(tokens), _) => {
                y.fill(E::ZERO);
                for (one_hot, &token) in y.chunks_exact_mut(*gives).zip(tokens) {
                    *one_hot.get_mut(token as usize).ok_or_else(|| changed(token))? = E::ONE;
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

    /// Goes back through the last pass with `record`, from `dy`, the gradient of its output `y`. Writes
    /// `dx`, if it is given (tokens have no gradient), and adds the gradients of the parameters to `grads`.
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
                return embedding.backward(tokens, dy, grads);
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

/// Writes `from`, with dropout, to `to`. The same seed keeps the same numbers.
fn dropout<E: Element>(seed: u64, probability: f64, from: &[E], to: &mut [E]) -> Result<()> {
    Level::current()?.run(Dropout { seed: mix(seed), probability, from: Some(from), to });
    Ok(())
}
