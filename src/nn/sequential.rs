//! A model: layers one after the other, with all parameters in one flat vector and memory for the
//! activations and gradients of a batch.

use super::linear::{Linear, LinearMemory};
use crate::buffer::{Buffer, zeros};
use crate::error::{Error, Result, ensure};
use crate::sequence::{Gradients, LSTM, RNN, State, Tape};
use crate::simd::Element;
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

/// One layer of a model.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Turns tokens into one-hot vectors of this many classes; only as the first layer.
    OneHot(usize),
    /// A vanilla recurrent layer.
    RNN(RNN),
    /// A long short-term memory layer.
    LSTM(LSTM),
    /// A linear layer, on every step.
    Linear(Linear),
}

/// A batch of sequences of one length.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a, E> {
    /// Numbers (T, B, F), contiguous.
    Features(&'a [E]),
    /// Tokens (T, B), for a model that starts with [`Layer::OneHot`].
    Tokens(&'a [u32]),
}

impl Layer {
    /// Features that the layer takes; none for tokens.
    pub fn in_features(&self) -> Option<usize> {
        match self {
            Layer::OneHot(_) => None,
            Layer::RNN(rnn) => Some(rnn.input_size()),
            Layer::LSTM(lstm) => Some(lstm.input_size()),
            Layer::Linear(linear) => Some(linear.in_features()),
        }
    }

    /// Features that the layer gives.
    pub fn out_features(&self) -> usize {
        match self {
            Layer::OneHot(classes) => *classes,
            Layer::RNN(rnn) => rnn.hidden_size(),
            Layer::LSTM(lstm) => lstm.hidden_size(),
            Layer::Linear(linear) => linear.out_features(),
        }
    }

    /// How many numbers its parameters are.
    pub fn parameter_len(&self) -> usize {
        match self {
            Layer::OneHot(_) => 0,
            Layer::RNN(rnn) => rnn.parameter_len(),
            Layer::LSTM(lstm) => lstm.parameter_len(),
            Layer::Linear(linear) => linear.parameter_len(),
        }
    }
}

/// Layers one after the other.
///
/// ```
/// use bptt::{Input, LSTM, Layer, Linear, Sequential};
///
/// let layers = vec![Layer::LSTM(LSTM::new(1, 8, true)?), Layer::Linear(Linear::new(8, 1, true)?)];
/// let mut model = Sequential::<f32>::new(layers)?;
/// model.params.fill(0.05);
/// let y = model.forward(Input::Features(&[1.0; 6]), 3, 2, false)?; // (T, B, F) = (3, 2, 1)
/// assert_eq!(y.len(), 6);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Sequential<E: Element> {
    /// The parameters of all layers, one after the other; zeros in a new model.
    pub params: Vec<E>,
    stages: Vec<Stage<E>>,
    /// T and B of the pass that can be gone back through.
    recorded: Option<(usize, usize)>,
}

/// A layer and the memory it works in.
struct Stage<E: Element> {
    layer: Layer,
    /// Where its parameters lie.
    range: std::ops::Range<usize>,
    tape: Tape<E>,
    state: State<E>,
    linear: LinearMemory<E>,
    /// (T, B, F)
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

    fn check_input(&self, input: Input<'_, E>, steps: usize, rows: usize) -> Result<()> {
        match (input, &self.stages[0].layer) {
            (Input::Tokens(tokens), Layer::OneHot(classes)) => {
                let want = steps.saturating_mul(rows);
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
                let want = steps.saturating_mul(rows).saturating_mul(features);
                ensure!(x.len() == want, "there are {} input numbers, not {want}", x.len());
                Ok(())
            }
        }
    }

    /// Runs the model on a batch; gives the last layer's output (T, B, F). With `record`, the pass is
    /// kept for [`Sequential::backward`].
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes.
    pub fn forward(
        &mut self,
        input: Input<'_, E>,
        steps: usize,
        rows: usize,
        record: bool,
    ) -> Result<&[E]> {
        self.check_input(input, steps, rows)?;
        self.check_params(self.params.len(), "params")?;
        self.recorded = None;
        // An old gradient is not that of this pass.
        self.stages.last_mut().expect("not empty").gradient.resize(0)?;
        for index in 0..self.stages.len() {
            let (before, rest) = self.stages.split_at_mut(index);
            let stage = &mut rest[0];
            let features = stage.layer.out_features();
            stage.output.resize(steps.saturating_mul(rows).saturating_mul(features))?;
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
            stage.forward(&self.params, x, steps, rows, record)?;
        }
        self.recorded = record.then_some((steps, rows));
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// The output of the last forward pass (N, F) and the place for its gradient, N = T B.
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
        steps: usize,
        rows: usize,
        grads: &mut [E],
    ) -> Result<()> {
        self.check_input(input, steps, rows)?;
        self.check_params(grads.len(), "grads")?;
        let last = self.stages.last().expect("not empty");
        ensure!(
            self.recorded == Some((steps, rows)) && last.gradient.len() == last.output.len(),
            "no pass of {steps} steps and {rows} rows is recorded: run forward with record, then write \
             the gradient, once for every backward"
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
            rest[0].backward(&self.params, x, dx, steps, rows, grads)?;
        }
        Ok(())
    }
}

impl<E: Element> Stage<E> {
    fn forward(
        &mut self,
        params: &[E],
        x: &[E],
        steps: usize,
        rows: usize,
        record: bool,
    ) -> Result<()> {
        let params = &params[self.range.clone()];
        let features = self.layer.out_features();
        let x_shape = Shape::time_major(steps, rows, self.layer.in_features().unwrap_or(0));
        let y_shape = Shape::time_major(steps, rows, features);
        let Self { tape, state, output, .. } = self;
        tape.set_recording(record);
        match &self.layer {
            Layer::OneHot(_) => unreachable!("written by the model"),
            Layer::RNN(rnn) => {
                state.reset(rnn, rows)?;
                let y = SeqMut::new(output, y_shape)?;
                rnn.forward(params, Seq::new(x, x_shape)?, state, y, tape)
            }
            Layer::LSTM(lstm) => {
                state.reset(lstm, rows)?;
                let y = SeqMut::new(output, y_shape)?;
                lstm.forward(params, Seq::new(x, x_shape)?, state, y, tape)
            }
            Layer::Linear(linear) => {
                let n = steps * rows;
                let x = Rows::new(x, n, linear.in_features());
                linear.forward(params, x, RowsMut::new(output, n, features), &mut self.linear)
            }
        }
    }

    fn backward(
        &mut self,
        params: &[E],
        x: &[E],
        dx: Option<&mut [E]>,
        steps: usize,
        rows: usize,
        grads: &mut [E],
    ) -> Result<()> {
        let params = &params[self.range.clone()];
        let grads = &mut grads[self.range.clone()];
        let features = self.layer.out_features();
        let x_shape = Shape::time_major(steps, rows, self.layer.in_features().unwrap_or(0));
        let y_shape = Shape::time_major(steps, rows, features);
        let Self { tape, state, output, gradient, .. } = self;
        if let Layer::Linear(linear) = &self.layer {
            let n = steps * rows;
            let x = Rows::new(x, n, linear.in_features());
            let dy = Rows::new(gradient, n, features);
            let dx = dx.map(|dx| RowsMut::new(dx, n, linear.in_features()));
            return linear.backward(params, x, dy, dx, grads, &mut self.linear);
        }
        let x = Seq::new(x, x_shape)?;
        let (y, dy) = (Seq::new(output, y_shape)?, Seq::new(gradient, y_shape)?);
        let dx = dx.map(|dx| SeqMut::new(dx, x_shape)).transpose()?;
        let gradients = Gradients { params: Some(grads), x: dx };
        match &self.layer {
            Layer::RNN(rnn) => {
                state.reset(rnn, rows)?;
                rnn.backward(params, x, y, tape, dy, state, gradients)
            }
            Layer::LSTM(lstm) => {
                state.reset(lstm, rows)?;
                lstm.backward(params, x, y, tape, dy, state, gradients)
            }
            Layer::OneHot(_) | Layer::Linear(_) => unreachable!("handled before"),
        }
    }
}
