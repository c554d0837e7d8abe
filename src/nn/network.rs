//! The layers of a model, one after the other: their passes over a batch, with parameters that the
//! caller owns, and memory for the activations and gradients.

use super::input::Input;
use super::instance::Instance;
use super::layer::{Layer, recurrent};
use crate::buffer::Buffer;
use crate::error::{Result, ensure};
use crate::recurrent::State;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut};

/// Layers one after the other, without parameters: every pass takes them from the caller, one flat
/// slice for each layer (empty where a layer has none). A [`Sequential`](crate::Sequential) is a network
/// that owns its parameters.
///
/// ```
/// use bptt::{BatchSizes, Input, LSTM, Layer, Linear, Network};
///
/// let layers = [Layer::LSTM(LSTM::new(1, 8, true)?), Layer::Linear(Linear::new(8, 1, true)?)];
/// let params = layers.map(|layer| vec![0.05_f32; layer.parameter_len()]);
/// let params = [&params[0][..], &params[1]];
/// let mut network = Network::new(layers.to_vec())?;
/// let sizes = BatchSizes::of_lengths(&[3, 2])?;
/// let y = network.forward(&params, Input::Features(&[1.0; 5]), &sizes, false)?;
/// assert_eq!(y.len(), 5); // (sum of T, F) = (5, 1)
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Network<E: Element> {
    stages: Vec<Stage<E>>,
    seed: u64,
    /// The recurrent layers' states in [`Network::forward`].
    states: Vec<State<E>>,
    /// The sizes of the pass that can be gone back through.
    recorded: Option<BatchSizes>,
}

/// A layer with its place in the model.
struct Stage<E: Element> {
    instance: Instance<E>,
    /// (sum of T, F), from LastStep on (B, F)
    output: Buffer<E>,
    gradient: Buffer<E>,
}

impl<E: Element> Network<E> {
    /// A network of these layers.
    ///
    /// # Errors
    /// If there are none, a layer does not take the features that the one before gives, one that takes tokens
    /// is not the first, one that takes sequences comes after [`Layer::LastStep`], or something that mixes
    /// features stands between that and a layer with two directions.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        let features = Layer::features(&layers)?;
        let stages = layers.iter().zip(features).enumerate().map(|(n, (&layer, features))| {
            let directions = match layer {
                Layer::LastStep => Layer::directions_before(&layers[..n])?,
                _ => 1,
            };
            let instance = Instance::new(layer, features, directions);
            Ok(Stage { instance, output: Buffer::default(), gradient: Buffer::default() })
        });
        let stages = stages.collect::<Result<_>>()?;
        Ok(Self { stages, seed: 0, states: Vec::new(), recorded: None })
    }

    /// What dropout in the layers draws from in the next recorded pass; every one after it draws anew, from
    /// the next number.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// What dropout draws from in the next recorded pass: set it in another model to go on there.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn recurrent_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers().filter(|layer| layer.directions().is_some())
    }

    /// The layers.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.stages.iter().map(|stage| &stage.instance.layer)
    }

    /// How many numbers the parameters of all layers are.
    pub fn parameter_len(&self) -> usize {
        self.layers().map(Layer::parameter_len).sum()
    }

    /// Features of the input; none if it is tokens.
    pub fn in_features(&self) -> Option<usize> {
        self.stages[0].instance.features.0
    }

    /// Features of the output.
    pub fn out_features(&self) -> usize {
        self.stages.last().expect("not empty").instance.features.1
    }

    /// Whether there is one output for every sequence rather than for every step ([`Layer::LastStep`]).
    pub fn gives_last_step(&self) -> bool {
        self.last_step().is_some()
    }

    fn last_step(&self) -> Option<usize> {
        self.layers().position(|layer| matches!(layer, Layer::LastStep))
    }

    /// Of every layer, the features that it takes (none for tokens) and gives.
    pub fn features(&self) -> impl Iterator<Item = (Option<usize>, usize)> {
        self.stages.iter().map(|stage| stage.instance.features)
    }

    /// The parameters of each layer, of those of all in one slice.
    pub(crate) fn split_params<'a>(&self, flat: &'a [E]) -> Result<Vec<&'a [E]>> {
        let (given, want) = (flat.len(), self.parameter_len());
        ensure!(given == want, "params has {given} numbers, the model's parameters are {want}");
        let mut rest = flat;
        let lens = self.layers().map(Layer::parameter_len);
        Ok(lens.map(|len| rest.split_off(..len).expect("as many numbers")).collect())
    }

    /// Whether there is one slice for every layer, and each has the layer's parameters.
    pub(crate) fn check_params(&self, params: &[&[E]]) -> Result<()> {
        let (given, want) = (params.len(), self.stages.len());
        ensure!(given == want, "got the parameters of {given} layers, the model has {want}");
        for (n, (layer, params)) in self.layers().zip(params).enumerate() {
            let (given, want) = (params.len(), layer.parameter_len());
            ensure!(
                given == want,
                "layer {n}, {}, has {want} parameters, got {given} numbers",
                layer.name()
            );
        }
        Ok(())
    }

    fn check_input(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        self.stages[0].instance.check(input, sizes)?;
        self.stages.iter().try_for_each(|stage| stage.instance.check_lengths(sizes))
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

    /// Zero states of `rows` rows, one for every recurrent layer, for [`Network::forward_from`].
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
                _ => unreachable!("they have no states"));
        }
        Ok(())
    }

    /// Runs the model on a batch, from the zero state; gives the last layer's output (sum of T, F), or with
    /// [`Layer::LastStep`] (B, F). With `record`, the pass is kept for [`Network::backward`].
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes.
    pub fn forward(
        &mut self,
        params: &[&[E]],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        record: bool,
    ) -> Result<&[E]> {
        self.check_input(input, sizes)?;
        let mut states = std::mem::take(&mut self.states);
        let done = self.reset_states(&mut states, sizes.rows());
        let done = done.and_then(|()| self.pass(params, input, sizes, &mut states, record));
        self.states = states;
        done?;
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// Runs the model from given states of the recurrent layers, in their order, which become the final
    /// ones: so a long sequence can be given in parts. The rows of a batch must keep their order; one that
    /// has ended has no more steps ([`BatchSizes`]), and its state stays. [`Network::backward`] ends at
    /// the beginning of the part.
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes, or the states are not those of as many rows of
    /// this model; nothing is changed then.
    pub fn forward_from(
        &mut self,
        params: &[&[E]],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        states: &mut [State<E>],
        record: bool,
    ) -> Result<&[E]> {
        self.check_input(input, sizes)?;
        self.check_states(states, sizes.rows())?;
        self.pass(params, input, sizes, states, record)?;
        Ok(&self.stages.last().expect("not empty").output)
    }

    /// A forward pass, everything checked but the parameters.
    fn pass(
        &mut self,
        params: &[&[E]],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        states: &mut [State<E>],
        record: bool,
    ) -> Result<()> {
        self.check_params(params)?;
        self.recorded = None;
        // An old gradient is not that of this pass.
        self.stages.last_mut().expect("not empty").gradient.resize(0)?;
        let mut states = states.iter_mut();
        let (last_step, one) = (self.last_step(), one_step(sizes.rows())?);
        for (index, params) in params.iter().enumerate() {
            let (before, rest) = self.stages.split_at_mut(index);
            let Stage { instance, output, .. } = &mut rest[0];
            let sizes = if last_step.is_some_and(|last| last < index) { &one } else { sizes };
            output.resize(instance.output_len(sizes))?;
            let input = before.last().map_or(input, |before| Input::Features(&before.output));
            let state = instance.layer.directions().and_then(|_| states.next());
            if record {
                // Far apart: every pass takes the next number.
                instance.set_seed(self.seed.wrapping_add((index as u64) << 40));
            }
            instance.forward(params, input, sizes, state, output, record)?;
        }
        if record {
            self.seed = self.seed.wrapping_add(1);
            self.recorded = Some(sizes.clone());
        }
        Ok(())
    }

    /// The output of the last forward pass (N, F) and the place for its gradient, N being the steps of all
    /// sequences together, or with [`Layer::LastStep`] the sequences.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn output_and_gradient(&mut self) -> Result<(Rows<'_, E>, RowsMut<'_, E>)> {
        let stage = self.stages.last_mut().expect("not empty");
        let features = stage.instance.features.1;
        let rows = stage.output.len() / features;
        stage.gradient.resize(rows * features)?;
        let gradient = RowsMut::new(&mut stage.gradient, rows, features);
        Ok((Rows::new(&stage.output, rows, features), gradient))
    }

    /// Goes back through the recorded pass from the gradient written to
    /// [`Network::output_and_gradient`], adding to the parameters' gradients.
    ///
    /// # Errors
    /// If no such pass was recorded, or the gradient was not written; nothing is changed then.
    pub fn backward(
        &mut self,
        params: &[&[E]],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        grads: &mut [E],
    ) -> Result<()> {
        self.check_input(input, sizes)?;
        self.check_params(params)?;
        let (given, want) = (grads.len(), self.parameter_len());
        ensure!(given == want, "grads has {given} numbers, the model's parameters are {want}");
        let last = self.stages.last().expect("not empty");
        ensure!(
            self.recorded.as_ref() == Some(sizes) && last.gradient.len() == last.output.len(),
            "no pass of these sizes is recorded: run forward with record, then write the gradient, once \
             for every backward"
        );
        self.recorded = None;
        let (last_step, one) = (self.last_step(), one_step(sizes.rows())?);
        // Below the first layer with parameters nobody asks for a gradient.
        let first = params.iter().position(|params| !params.is_empty());
        let mut end = grads.len();
        for index in (first.unwrap_or(self.stages.len())..self.stages.len()).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let Stage { instance, output, gradient } = &mut rest[0];
            let sizes = if last_step.is_some_and(|last| last < index) { &one } else { sizes };
            let (input, dx) = match before.last_mut() {
                None => (input, None),
                Some(before) => {
                    let wanted = first < Some(index);
                    before.gradient.resize(if wanted { before.output.len() } else { 0 })?;
                    let dx = wanted.then_some(&mut before.gradient[..]);
                    (Input::Features(&before.output), dx)
                }
            };
            let params = params[index];
            let grads = &mut grads[end - params.len()..end];
            end -= params.len();
            instance.backward(params, input, sizes, (output, gradient), dx, grads)?;
        }
        Ok(())
    }
}

/// The sizes of a batch after LastStep.
fn one_step(rows: usize) -> Result<BatchSizes> {
    BatchSizes::new(rows, if rows > 0 { vec![rows] } else { Vec::new() })
}
