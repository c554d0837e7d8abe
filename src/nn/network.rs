//! The layers of a model, one after the other: their passes over a batch, and memory for activations and
//! gradients. The caller owns the parameters.

use super::input::Input;
use super::instance::Instance;
use super::layer::{Layer, recurrent};
use crate::buffer::Buffer;
use crate::error::{Result, ensure};
use crate::recurrent::State;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut};

/// Layers one after the other, without parameters. The caller passes the parameters to every call, one flat
/// slice for each layer (empty if a layer has none). A [`Sequential`](crate::Sequential) is a network that
/// owns its parameters.
///
/// # Examples
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
    /// The states of the recurrent layers in [`Network::forward`].
    states: Vec<State<E>>,
    /// The sizes of the pass that backward can use; none if there is no such pass.
    recorded: Option<BatchSizes>,
}

/// A layer of the network, with its output and the gradient of the output.
struct Stage<E: Element> {
    instance: Instance<E>,
    /// (sum of T, F), or (B, F) from LastStep on.
    output: Buffer<E>,
    gradient: Buffer<E>,
}

impl<E: Element> Network<E> {
    /// A network of these layers.
    ///
    /// # Errors
    /// If there are no layers, or a layer does not take the number of features that the layer before gives.
    /// If a layer that takes tokens is not the first. If a layer that takes sequences comes after
    /// [`Layer::LastStep`]. If a layer that mixes features stands between a layer with two directions and
    /// [`Layer::LastStep`].
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

    /// Sets the seed of dropout for the next pass with `record`. Every later pass uses the next number.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// The seed of dropout for the next pass with `record`. Another model that is given this seed continues
    /// the same random numbers.
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

    /// The number of numbers in the parameters of all layers.
    pub fn parameter_len(&self) -> usize {
        self.layers().map(Layer::parameter_len).sum()
    }

    /// The number of input features; none if the input is tokens.
    pub fn in_features(&self) -> Option<usize> {
        self.stages[0].instance.features.0
    }

    /// The number of output features.
    pub fn out_features(&self) -> usize {
        self.stages.last().expect("not empty").instance.features.1
    }

    /// Whether there is one output for every sequence ([`Layer::LastStep`]) rather than for every step.
    pub fn gives_last_step(&self) -> bool {
        self.last_step().is_some()
    }

    fn last_step(&self) -> Option<usize> {
        self.layers().position(|layer| matches!(layer, Layer::LastStep))
    }

    /// For every layer, the number of features that it takes (none for tokens) and the number that it gives.
    pub fn features(&self) -> impl Iterator<Item = (Option<usize>, usize)> {
        self.stages.iter().map(|stage| stage.instance.features)
    }

    /// Splits the parameters of all layers into those of each layer.
    pub(crate) fn split_params<'a>(&self, flat: &'a [E]) -> Result<Vec<&'a [E]>> {
        let (given, want) = (flat.len(), self.parameter_len());
        ensure!(given == want, "params must have {want} numbers, as the model's, got {given}");
        let mut rest = flat;
        let lens = self.layers().map(Layer::parameter_len);
        Ok(lens.map(|len| rest.split_off(..len).expect("as many numbers")).collect())
    }

    /// Checks that there is one slice for every layer, of the right length.
    pub(crate) fn check_params(&self, params: &[&[E]]) -> Result<()> {
        let (given, want) = (params.len(), self.stages.len());
        ensure!(given == want, "params must have {want} slices, one for each layer, got {given}");
        for (n, (layer, params)) in self.layers().zip(params).enumerate() {
            let (given, want) = (params.len(), layer.parameter_len());
            ensure!(
                given == want,
                "the parameters of layer {n}, {}, must have {want} numbers, got {given}",
                layer.name()
            );
        }
        Ok(())
    }

    fn check_input(&self, input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        self.stages[0].instance.check(input, sizes)?;
        self.stages.iter().try_for_each(|stage| stage.instance.check_lengths(sizes))
    }

    pub(crate) fn check_states(&self, states: &[State<E>], rows: usize) -> Result<()> {
        let layers: Vec<_> = self.recurrent_layers().collect();
        let (given, want) = (states.len(), layers.len());
        ensure!(
            given == want,
            "got {given} states, but the model needs {want}, one for each recurrent layer"
        );
        for (n, (layer, state)) in layers.into_iter().zip(states).enumerate() {
            let (h, c) = layer.state_len();
            let want = (h.saturating_mul(rows), c.saturating_mul(rows));
            let given = (state.h.len(), state.c.len());
            ensure!(
                given == want,
                "state {n} must have {want:?} numbers in h and c for {rows} rows, got {given:?}"
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

    /// Makes these the zero states of `rows` rows. Their memory is reused if it is large enough.
    pub(crate) fn reset_states(&self, states: &mut Vec<State<E>>, rows: usize) -> Result<()> {
        states.resize_with(self.recurrent_layers().count(), State::default);
        for (layer, state) in self.recurrent_layers().zip(states) {
            recurrent!(layer, layer => state.reset(layer, rows)?,
                _ => unreachable!("they have no states"));
        }
        Ok(())
    }

    /// Runs the layers on a batch, from zero states. Returns the last layer's output, (sum of T, F), or (B,
    /// F) with [`Layer::LastStep`]. With `record`, dropout applies, and the pass is kept for
    /// [`Network::backward`].
    ///
    /// # Errors
    /// If the input does not fit the layers or the sizes, or the parameters do not fit the layers.
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

    /// Runs the layers from given states of the recurrent layers, in their order. The states become the
    /// final states, so a long sequence can be passed in time chunks. The rows of a batch must keep their
    /// order. A row that has ended has no more steps ([`BatchSizes`]), and its state stays.
    /// [`Network::backward`] ends at the first step of the chunk.
    ///
    /// # Errors
    /// If the input does not fit the layers or the sizes, the parameters do not fit the layers, or the
    /// states do not fit the layers or the number of rows. Nothing changes then.
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

    /// Runs a forward pass. It checks the parameters; the caller has checked the rest.
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
        // The gradient of an earlier pass must not be used for this one.
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
                // The seeds of layers are far apart, because every pass uses the next number.
                instance.set_seed(self.seed.wrapping_add((index as u64) << 40));
            }
            instance.forward(params, input, sizes, state, output, record)?;
        }
        if record {
            self.seed = self.seed.wrapping_add(1);
            self.recorded = Some(sizes.copied()?);
        }
        Ok(())
    }

    /// The output of the last forward pass, (N, F), and memory for its gradient, (N, F). N is the number of
    /// steps of all sequences together, or the number of sequences with [`Layer::LastStep`].
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

    /// Goes back through the last pass with `record`, from the gradient in [`Network::output_and_gradient`].
    /// Adds the gradients of the parameters of all layers to `grads`.
    ///
    /// # Errors
    /// If the input, the sizes, the parameters or `grads` do not fit, there was no such pass, or there is no
    /// gradient. Nothing changes then.
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
        ensure!(given == want, "grads must have {want} numbers, as the parameters, got {given}");
        let last = self.stages.last().expect("not empty");
        ensure!(
            self.recorded.as_ref() == Some(sizes) && last.gradient.len() == last.output.len(),
            "no pass of these sizes is ready for backward; before every backward, call forward with record \
             and write the gradient"
        );
        self.recorded = None;
        let (last_step, one) = (self.last_step(), one_step(sizes.rows())?);
        // No gradient is needed below the first layer with parameters.
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

/// The sizes of a batch after LastStep: one step of `rows` rows.
fn one_step(rows: usize) -> Result<BatchSizes> {
    BatchSizes::new(rows, if rows > 0 { vec![rows] } else { Vec::new() })
}
