//! A model: layers one after the other, with all parameters in one flat vector and memory for the
//! activations and gradients of a batch.

use super::linear::{Linear, LinearMemory};
use crate::buffer::{Buffer, zeros};
use crate::cell::GruResetFirst;
use crate::error::{Error, Result, ensure};
use crate::sequence::{GRU, Gradients, LSTM, RNN, Recurrent, State, Tape};
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// One layer of a model.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Turns tokens into one-hot vectors of this many classes; only as the first layer.
    OneHot(usize),
    /// A vanilla recurrent layer.
    RNN(RNN),
    /// A long short-term memory layer.
    LSTM(LSTM),
    /// A layer of gated recurrent units.
    GRU(GRU),
    /// One of the original form, with the reset before the product.
    GRUResetFirst(Recurrent<GruResetFirst>),
    /// A linear layer, on every step.
    Linear(Linear),
}

/// A batch of sequences without padding, as its [`BatchSizes`] say.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a, E> {
    /// Numbers (sum of T, F); (T, B, F) where all sequences have one length.
    Features(&'a [E]),
    /// Tokens (sum of T,), for a model that starts with [`Layer::OneHot`].
    Tokens(&'a [u32]),
}

/// Runs `$body` with the recurrent layer, of whichever cell, or `$other`.
macro_rules! recurrent {
    ($layer:expr, $inner:ident => $body:expr, $($other:pat => $result:expr),+) => {
        match $layer {
            Layer::RNN($inner) => $body,
            Layer::LSTM($inner) => $body,
            Layer::GRU($inner) => $body,
            Layer::GRUResetFirst($inner) => $body,
            $($other => $result),+
        }
    };
}
#[cfg(feature = "python")]
pub(crate) use recurrent;

impl Layer {
    /// Features that the layer takes; none for tokens.
    pub fn in_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.input_size()),
            Layer::OneHot(_) => None,
            Layer::Linear(linear) => Some(linear.in_features()))
    }

    /// Features that the layer gives.
    pub fn out_features(&self) -> usize {
        recurrent!(self, layer => layer.output_size(),
            Layer::OneHot(classes) => *classes,
            Layer::Linear(linear) => linear.out_features())
    }

    /// Names and shapes of the parameters in their order, the names torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        recurrent!(self, layer => layer.parameters(),
            Layer::OneHot(_) => Vec::new(),
            Layer::Linear(linear) => linear.parameters())
    }

    /// How many numbers its parameters are.
    pub fn parameter_len(&self) -> usize {
        recurrent!(self, layer => layer.parameter_len(),
            Layer::OneHot(_) => 0,
            Layer::Linear(linear) => linear.parameter_len())
    }
}

/// Layers one after the other.
///
/// ```
/// use bptt::{BatchSizes, Input, LSTM, Layer, Linear, Sequential};
///
/// let layers = vec![Layer::LSTM(LSTM::new(1, 8, true)?), Layer::Linear(Linear::new(8, 1, true)?)];
/// let mut model = Sequential::<f32>::new(layers)?;
/// model.params.fill(0.05);
/// let (sizes, _) = BatchSizes::of_lengths(&[3, 2])?;
/// let y = model.forward(Input::Features(&[1.0; 5]), &sizes, false)?; // (sum of T, F) = (5, 1)
/// assert_eq!(y.len(), 5);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Sequential<E: Element> {
    /// The parameters of all layers, one after the other; zeros in a new model.
    pub params: Vec<E>,
    stages: Vec<Stage<E>>,
    /// The sizes of the pass that can be gone back through.
    recorded: Option<BatchSizes>,
}

/// A layer and the memory it works in.
struct Stage<E: Element> {
    layer: Layer,
    /// Where its parameters lie.
    range: std::ops::Range<usize>,
    tape: Tape<E>,
    state: State<E>,
    linear: LinearMemory<E>,
    /// (sum of T, F)
    output: Buffer<E>,
    gradient: Buffer<E>,
}

impl<E: Element> Sequential<E> {
    /// A model of these layers.
    ///
    /// # Errors
    /// If there are none, a layer does not take the features that the one before gives, or a one-hot
    /// layer is not the first.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        ensure!(!layers.is_empty(), "a model needs at least one layer");
        ensure!(!matches!(layers[0], Layer::OneHot(0)), "OneHot needs at least 1 class, got 0");
        for (index, pair) in layers.windows(2).enumerate() {
            let gives = pair[0].out_features();
            match pair[1].in_features() {
                Some(takes) => ensure!(
                    gives == takes,
                    "layer {} gives {gives} features, layer {} takes {takes}",
                    index,
                    index + 1
                ),
                None => ensure!(false, "OneHot takes tokens: it can only be the first layer"),
            }
        }
        let mut end = 0;
        let mut stages = Vec::with_capacity(layers.len());
        for layer in layers {
            let range = end..end + layer.parameter_len();
            end = range.end;
            stages.push(Stage {
                layer,
                range,
                tape: Tape::new(),
                state: State::default(),
                linear: LinearMemory::default(),
                output: Buffer::default(),
                gradient: Buffer::default(),
            });
        }
        Ok(Self { params: zeros(end)?, stages, recorded: None })
    }

    /// What dropout in the layers draws from, from the next recorded pass on.
    pub fn set_seed(&mut self, seed: u64) {
        for (n, stage) in self.stages.iter_mut().enumerate() {
            // Far apart: every pass takes the next number.
            stage.tape.set_seed(seed.wrapping_add((n as u64) << 40));
        }
    }

    /// The layers with their flat parameters.
    pub(super) fn layers_and_params(&self) -> impl Iterator<Item = (&Layer, &[E])> {
        self.stages.iter().map(|stage| (&stage.layer, &self.params[stage.range.clone()]))
    }

    /// Features of the input; none if it is tokens.
    pub fn in_features(&self) -> Option<usize> {
        self.stages[0].layer.in_features()
    }

    /// Features of the output.
    pub fn out_features(&self) -> usize {
        self.stages.last().expect("not empty").layer.out_features()
    }

    fn check_params(&self, len: usize, name: &str) -> Result<()> {
        let want = self.stages.last().expect("not empty").range.end;
        ensure!(len == want, "{name} has {len} numbers, the model's parameters are {want}");
        Ok(())
    }

    fn check_input(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        match (input, &self.stages[0].layer) {
            (Input::Tokens(tokens), Layer::OneHot(classes)) => {
                let want = sizes.total();
                ensure!(tokens.len() == want, "there are {} tokens, not {want}", tokens.len());
                match tokens.iter().find(|&&token| token as usize >= *classes) {
                    Some(token) => Err(Error::new(format!(
                        "token {token} is out of range: OneHot has {classes} classes"
                    ))),
                    None => Ok(()),
                }
            }
            (Input::Tokens(_), _) => {
                Err(Error::new("tokens need a model that starts with OneHot; give features"))
            }
            (Input::Features(_), Layer::OneHot(_)) => {
                Err(Error::new("a model that starts with OneHot takes tokens, not features"))
            }
            (Input::Features(x), layer) => {
                let features = layer.in_features().expect("takes features");
                let want = sizes.total().saturating_mul(features);
                ensure!(x.len() == want, "there are {} input numbers, not {want}", x.len());
                Ok(())
            }
        }
    }

    /// Runs the model on a batch; gives the last layer's output (sum of T, F). With `record`, the pass is
    /// kept for [`Sequential::backward`].
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes.
    pub fn forward(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        record: bool,
    ) -> Result<&[E]> {
        self.check_input(input, sizes)?;
        self.check_params(self.params.len(), "params")?;
        self.recorded = None;
        // An old gradient is not that of this pass.
        self.stages.last_mut().expect("not empty").gradient.resize(0)?;
        for index in 0..self.stages.len() {
            let (before, rest) = self.stages.split_at_mut(index);
            let stage = &mut rest[0];
            let features = stage.layer.out_features();
            stage.output.resize(sizes.total().saturating_mul(features))?;
            let x = match (input, before.last()) {
                (_, Some(before)) => &before.output[..],
                (Input::Features(x), None) => x,
                (Input::Tokens(tokens), None) => {
                    stage.output.fill(E::ZERO);
                    for (one_hot, &token) in stage.output.chunks_exact_mut(features).zip(tokens) {
                        one_hot[token as usize] = E::ONE;
                    }
                    continue;
                }
            };
            stage.forward(&self.params, x, sizes, record)?;
        }
        self.recorded = record.then(|| sizes.clone());
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// The output of the last forward pass (N, F) and the place for its gradient, N being the steps of all
    /// sequences together.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn output_and_gradient(&mut self) -> Result<(Rows<'_, E>, RowsMut<'_, E>)> {
        let stage = self.stages.last_mut().expect("not empty");
        let features = stage.layer.out_features();
        let rows = stage.output.len() / features;
        stage.gradient.resize(rows * features)?;
        let gradient = RowsMut::new(&mut stage.gradient, rows, features);
        Ok((Rows::new(&stage.output, rows, features), gradient))
    }

    /// Goes back through the recorded pass from the gradient written to
    /// [`Sequential::output_and_gradient`], adding to the parameters' gradients.
    ///
    /// # Errors
    /// If no such pass was recorded, or the gradient was not written; nothing is changed then.
    pub fn backward(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        grads: &mut [E],
    ) -> Result<()> {
        self.check_input(input, sizes)?;
        self.check_params(grads.len(), "grads")?;
        let last = self.stages.last().expect("not empty");
        ensure!(
            self.recorded.as_ref() == Some(sizes) && last.gradient.len() == last.output.len(),
            "no pass of these sizes is recorded: run forward with record, then write the gradient, once \
             for every backward"
        );
        self.recorded = None;
        for index in (0..self.stages.len()).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let (x, dx) = match (before.last_mut(), input) {
                // A one-hot layer has no parameters, and nobody asks for the gradient of tokens.
                (Some(Stage { layer: Layer::OneHot(_), output, .. }), _) => (&output[..], None),
                (Some(before), _) => {
                    before.gradient.resize(before.output.len())?;
                    (&before.output[..], Some(&mut before.gradient[..]))
                }
                (None, Input::Features(x)) => (x, None),
                (None, Input::Tokens(_)) => break,
            };
            rest[0].backward(&self.params, x, dx, sizes, grads)?;
        }
        Ok(())
    }
}

impl<E: Element> Stage<E> {
    fn forward(&mut self, params: &[E], x: &[E], sizes: &BatchSizes, record: bool) -> Result<()> {
        let params = &params[self.range.clone()];
        let Self { layer, tape, state, output, linear, .. } = self;
        let features = (layer.in_features().unwrap_or(0), layer.out_features());
        tape.set_recording(record);
        recurrent!(layer, layer => {
            state.reset(layer, sizes.rows())?;
            let x = Seq::packed(x, sizes, features.0)?;
            layer.forward(params, x, state, SeqMut::packed(output, sizes, features.1)?, tape)
        },
        Layer::OneHot(_) => unreachable!("written by the model"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let x = Rows::new(x, n, features.0);
            layer.forward(params, x, RowsMut::new(output, n, features.1), linear)
        })
    }

    fn backward(
        &mut self,
        params: &[E],
        x: &[E],
        dx: Option<&mut [E]>,
        sizes: &BatchSizes,
        grads: &mut [E],
    ) -> Result<()> {
        let params = &params[self.range.clone()];
        let grads = &mut grads[self.range.clone()];
        let Self { layer, tape, state, output, gradient, linear, .. } = self;
        let features = (layer.in_features().unwrap_or(0), layer.out_features());
        recurrent!(layer, layer => {
            state.reset(layer, sizes.rows())?;
            let x = Seq::packed(x, sizes, features.0)?;
            let y = Seq::packed(output, sizes, features.1)?;
            let dy = Seq::packed(gradient, sizes, features.1)?;
            let dx = dx.map(|dx| SeqMut::packed(dx, sizes, features.0)).transpose()?;
            let gradients = Gradients { params: Some(grads), x: dx };
            layer.backward(params, x, y, tape, dy, state, gradients)
        },
        Layer::OneHot(_) => unreachable!("it has no gradient"),
        Layer::Linear(layer) => {
            let n = sizes.total();
            let x = Rows::new(x, n, features.0);
            let dy = Rows::new(gradient, n, features.1);
            let dx = dx.map(|dx| RowsMut::new(dx, n, features.0));
            layer.backward(params, x, dy, dx, grads, linear)
        })
    }
}
