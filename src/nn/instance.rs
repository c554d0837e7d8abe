//! One layer at work: its passes over a batch, whichever layer it is, and the memory it works in.

use super::last_step;
use super::layer::{Layer, recurrent};
use super::linear::LinearMemory;
use super::sequential::Input;
use crate::error::{Error, Result, ensure};
use crate::sequence::{Gradients, State, Tape};
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// A layer and the memory it works in.
pub(crate) struct Instance<E: Element> {
    pub layer: Layer,
    /// What it takes, none for tokens, and gives.
    pub features: (Option<usize>, usize),
    tape: Tape<E>,
    /// The gradient of the state.
    dstate: State<E>,
    linear: LinearMemory<E>,
}

impl<E: Element> Instance<E> {
    pub fn new(layer: Layer, features: (Option<usize>, usize)) -> Self {
        let (tape, dstate, linear) = (Tape::new(), State::default(), LinearMemory::default());
        Self { layer, features, tape, dstate, linear }
    }

    /// What dropout in the next recorded pass draws from.
    pub fn set_seed(&mut self, seed: u64) {
        self.tape.set_seed(seed);
    }

    /// Numbers of the output for a batch.
    pub fn output_len(&self, sizes: &BatchSizes) -> usize {
        let rows = if matches!(self.layer, Layer::LastStep) { sizes.rows() } else { sizes.total() };
        rows.saturating_mul(self.features.1)
    }

    /// Whether a batch fits the layer.
    pub fn check(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        let name = self.layer.name();
        let total = sizes.total();
        match (input, self.layer.tokens(), self.features.0) {
            (Input::Tokens(tokens), Some(classes), _) => {
                ensure!(tokens.len() == total, "there are {} tokens, not {total}", tokens.len());
                if let Some(token) = tokens.iter().find(|&&token| token as usize >= classes) {
                    ensure!(false, "token {token} is out of range: {name} has {classes} classes");
                }
            }
            (Input::Tokens(_), None, _) => {
                return Err(Error::new(
                    "tokens need a model that starts with OneHot; give features",
                ));
            }
            (Input::Features(x), None, Some(features)) => {
                let want = total.saturating_mul(features);
                ensure!(x.len() == want, "there are {} input numbers, not {want}", x.len());
            }
            (Input::Features(_), ..) => {
                ensure!(false, "a model that starts with {name} takes tokens, not features");
            }
        }
        Ok(())
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

    /// Writes the output for a batch that fits; `state` is a recurrent layer's.
    pub fn forward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        state: Option<&mut State<E>>,
        y: &mut [E],
        record: bool,
    ) -> Result<()> {
        let Self { layer, features: (_, gives), tape, linear, .. } = self;
        let x = match input {
            Input::Tokens(tokens) => {
                y.fill(E::ZERO);
                for (one_hot, &token) in y.chunks_exact_mut(*gives).zip(tokens) {
                    one_hot[token as usize] = E::ONE;
                }
                return Ok(());
            }
            Input::Features(x) => x,
        };
        let takes = self.features.0.unwrap_or(0);
        tape.set_recording(record);
        recurrent!(layer, layer => {
            let state = state.expect("a state for every recurrent layer");
            let x = Seq::packed(x, sizes, takes)?;
            layer.forward(params, x, state, SeqMut::packed(y, sizes, *gives)?, tape)
        },
        Layer::OneHot(_) => unreachable!("it takes tokens"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let (x, y) = (Rows::new(x, n, takes), RowsMut::new(y, n, *gives));
            layer.forward(params, x, y, linear)
        },
        Layer::LastStep => {
            last_step::forward(x, sizes, y, *gives);
            Ok(())
        })
    }

    /// Back from the gradient `dy` of the recorded pass's output `y`: writes `dx`, if it is wanted (there is
    /// none of tokens), and adds to the parameters' gradients.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        (y, dy): (&[E], &[E]),
        dx: Option<&mut [E]>,
        grads: &mut [E],
    ) -> Result<()> {
        let Self { layer, features: (_, gives), tape, dstate, linear, .. } = self;
        let Input::Features(x) = input else {
            return Ok(()); // a one-hot layer has no parameters
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
        Layer::OneHot(_) => unreachable!("it takes tokens"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let (x, dy) = (Rows::new(x, n, takes), Rows::new(dy, n, *gives));
            let dx = dx.map(|dx| RowsMut::new(dx, n, takes));
            layer.backward(params, x, dy, dx, grads, linear)
        },
        Layer::LastStep => {
            if let Some(dx) = dx {
                last_step::backward(dy, sizes, dx, takes);
            }
            Ok(())
        })
    }
}
