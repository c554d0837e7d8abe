//! A model: layers one after the other, with all parameters in one flat vector and memory for the
//! activations and gradients of a batch.

use super::layer::{Layer, recurrent};
use super::linear::LinearMemory;
use crate::buffer::{Buffer, zeros};
use crate::error::{Error, Result, ensure};
use crate::sequence::{Gradients, State, Tape};
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut, Seq, SeqMut};

/// A batch of sequences without padding, as its [`BatchSizes`] say.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a, E> {
    /// Numbers (sum of T, F); (T, B, F) where all sequences have one length.
    Features(&'a [E]),
    /// Tokens (sum of T,), for a model that starts with [`Layer::OneHot`].
    Tokens(&'a [u32]),
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
    /// The recurrent layers' states in [`Sequential::forward`].
    states: Vec<State<E>>,
    /// The sizes of the pass that can be gone back through.
    recorded: Option<BatchSizes>,
}

/// A layer and the memory it works in.
struct Stage<E: Element> {
    layer: Layer,
    /// Where its parameters lie.
    range: std::ops::Range<usize>,
    tape: Tape<E>,
    /// The gradient of the state.
    dstate: State<E>,
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
                dstate: State::default(),
                linear: LinearMemory::default(),
                output: Buffer::default(),
                gradient: Buffer::default(),
            });
        }
        Ok(Self { params: zeros(end)?, stages, states: Vec::new(), recorded: None })
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

    fn recurrent_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers().filter(|layer| layer.directions().is_some())
    }

    /// The layers.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.stages.iter().map(|stage| &stage.layer)
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

    fn check_states(&self, states: &[State<E>], rows: usize) -> Result<()> {
        let layers: Vec<_> = self.recurrent_layers().collect();
        let (given, want) = (states.len(), layers.len());
        ensure!(given == want, "got {given} states, the model has {want} recurrent layers");
        for (n, (layer, state)) in layers.into_iter().zip(states).enumerate() {
            let (h, c) = layer.state_len();
            let want = (h.saturating_mul(rows), c.saturating_mul(rows));
            let given = (state.h.len(), state.c.len());
            ensure!(
                given == want,
                "state {n} has {given:?} numbers in h and c; for {rows} rows it needs {want:?}"
            );
        }
        Ok(())
    }

    /// Zero states of `rows` rows, one for every recurrent layer, for [`Sequential::forward_from`].
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn states(&self, rows: usize) -> Result<Vec<State<E>>> {
        let mut states = Vec::new();
        self.reset_states(&mut states, rows)?;
        Ok(states)
    }

    /// Makes these the zero states of `rows` rows, keeping their memory if it fits.
    pub(crate) fn reset_states(&self, states: &mut Vec<State<E>>, rows: usize) -> Result<()> {
        states.resize_with(self.recurrent_layers().count(), State::default);
        for (layer, state) in self.recurrent_layers().zip(states) {
            recurrent!(layer, layer => state.reset(layer, rows)?,
                Layer::OneHot(_) | Layer::Linear(_) => unreachable!("they have no states"));
        }
        Ok(())
    }

    /// Runs the model on a batch, from the zero state; gives the last layer's output (sum of T, F). With
    /// `record`, the pass is kept for [`Sequential::backward`].
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
        let mut states = std::mem::take(&mut self.states);
        let done = self.reset_states(&mut states, sizes.rows());
        let done = done.and_then(|()| self.pass(input, sizes, &mut states, record));
        self.states = states;
        done?;
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// Runs the model from given states of the recurrent layers, in their order, which become the final
    /// ones: so a long sequence can be given in parts. The rows of a batch must keep their order; one that
    /// has ended has no more steps ([`BatchSizes`]), and its state stays. [`Sequential::backward`] ends at
    /// the beginning of the part.
    ///
    /// ```
    /// use bptt::{BatchSizes, GRU, Input, Layer, Sequential};
    ///
    /// let mut model = Sequential::<f32>::new(vec![Layer::GRU(GRU::new(1, 2, true)?)])?;
    /// model.params.fill(0.2);
    /// let (x, sizes) = ([0.1, 0.2, 0.3, 0.4], |steps| BatchSizes::new(1, vec![1; steps]));
    /// let whole = model.forward(Input::Features(&x), &sizes(4)?, false)?.to_vec();
    /// let mut states = model.states(1)?;
    /// for (x, whole) in x.chunks(2).zip(whole.chunks(4)) {
    ///     let y = model.forward_from(Input::Features(x), &sizes(2)?, &mut states, false)?;
    ///     assert_eq!(y, whole);
    /// }
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes, or the states are not those of as many rows of
    /// this model; nothing is changed then.
    pub fn forward_from(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        states: &mut [State<E>],
        record: bool,
    ) -> Result<&[E]> {
        self.check_input(input, sizes)?;
        self.check_states(states, sizes.rows())?;
        self.pass(input, sizes, states, record)?;
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// A forward pass, everything checked but the parameters.
    fn pass(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        states: &mut [State<E>],
        record: bool,
    ) -> Result<()> {
        self.check_params(self.params.len(), "params")?;
        self.recorded = None;
        // An old gradient is not that of this pass.
        self.stages.last_mut().expect("not empty").gradient.resize(0)?;
        let mut states = states.iter_mut();
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
            stage.forward(&self.params, x, sizes, &mut states, record)?;
        }
        self.recorded = record.then(|| sizes.clone());
        Ok(())
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
    /// `states` are those of the recurrent layers from this one on.
    fn forward<'s>(
        &mut self,
        params: &[E],
        x: &[E],
        sizes: &BatchSizes,
        states: &mut impl Iterator<Item = &'s mut State<E>>,
        record: bool,
    ) -> Result<()>
    where
        E: 's,
    {
        let params = &params[self.range.clone()];
        let Self { layer, tape, output, linear, .. } = self;
        let features = (layer.in_features().unwrap_or(0), layer.out_features());
        tape.set_recording(record);
        recurrent!(layer, layer => {
            let state = states.next().expect("a state for every recurrent layer");
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
        let Self { layer, tape, dstate, output, gradient, linear, .. } = self;
        let features = (layer.in_features().unwrap_or(0), layer.out_features());
        recurrent!(layer, layer => {
            dstate.reset(layer, sizes.rows())?;
            let x = Seq::packed(x, sizes, features.0)?;
            let y = Seq::packed(output, sizes, features.1)?;
            let dy = Seq::packed(gradient, sizes, features.1)?;
            let dx = dx.map(|dx| SeqMut::packed(dx, sizes, features.0)).transpose()?;
            let gradients = Gradients { params: Some(grads), x: dx };
            layer.backward(params, x, y, tape, dy, dstate, gradients)
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
