//! A model: layers one after the other, with all parameters in one flat vector and memory for the
//! activations and gradients of a batch.

use super::input::Input;
use super::instance::Instance;
use super::layer::{Layer, directions_before, features, recurrent};
use crate::buffer::{Buffer, zeros};
use crate::error::{Result, ensure};
use crate::recurrent::State;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut};

/// Layers one after the other.
///
/// ```
/// use bptt::{BatchSizes, Input, LSTM, Layer, Linear, Sequential};
///
/// let layers = vec![Layer::LSTM(LSTM::new(1, 8, true)?), Layer::Linear(Linear::new(8, 1, true)?)];
/// let mut model = Sequential::<f32>::new(layers)?;
/// model.params.fill(0.05);
/// let sizes = BatchSizes::of_lengths(&[3, 2])?;
/// let y = model.forward(Input::Features(&[1.0; 5]), &sizes, false)?; // (sum of T, F) = (5, 1)
/// assert_eq!(y.len(), 5);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Sequential<E: Element> {
    /// The parameters of all layers, one after the other; zeros in a new model.
    pub params: Vec<E>,
    stages: Vec<Stage<E>>,
    seed: u64,
    /// The recurrent layers' states in [`Sequential::forward`].
    states: Vec<State<E>>,
    /// The sizes of the pass that can be gone back through.
    recorded: Option<BatchSizes>,
}

/// A layer with its place in the model.
struct Stage<E: Element> {
    instance: Instance<E>,
    /// Where its parameters lie.
    range: std::ops::Range<usize>,
    /// (sum of T, F), from LastStep on (B, F)
    output: Buffer<E>,
    gradient: Buffer<E>,
}

impl<E: Element> Sequential<E> {
    /// A model of these layers.
    ///
    /// # Errors
    /// If there are none, a layer does not take the features that the one before gives, one that takes tokens
    /// is not the first, one that takes sequences comes after [`Layer::LastStep`], or something that mixes
    /// features stands between that and a layer with two directions.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        let features = features(&layers)?;
        let mut end = 0;
        let mut stages = Vec::with_capacity(layers.len());
        for (n, (&layer, features)) in layers.iter().zip(features).enumerate() {
            let directions = match layer {
                Layer::LastStep => directions_before(&layers[..n])?,
                _ => 1,
            };
            let range = end..end + layer.parameter_len();
            end = range.end;
            stages.push(Stage {
                instance: Instance::new(layer, features, directions),
                range,
                output: Buffer::default(),
                gradient: Buffer::default(),
            });
        }
        Ok(Self { params: zeros(end)?, stages, seed: 0, states: Vec::new(), recorded: None })
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

    /// The layers with their flat parameters.
    pub(super) fn layers_and_params(&self) -> impl Iterator<Item = (&Layer, &[E])> {
        self.stages.iter().map(|stage| (&stage.instance.layer, &self.params[stage.range.clone()]))
    }

    fn recurrent_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers().filter(|layer| layer.directions().is_some())
    }

    /// The layers.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.stages.iter().map(|stage| &stage.instance.layer)
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

    fn check_params(&self, len: usize, name: &str) -> Result<()> {
        let want = self.stages.last().expect("not empty").range.end;
        ensure!(len == want, "{name} has {len} numbers, the model's parameters are {want}");
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
                _ => unreachable!("they have no states"));
        }
        Ok(())
    }

    /// Runs the model on a batch, from the zero state; gives the last layer's output (sum of T, F), or with
    /// [`Layer::LastStep`] (B, F). With `record`, the pass is kept for [`Sequential::backward`].
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
        let (last_step, one) = (self.last_step(), one_step(sizes.rows())?);
        for index in 0..self.stages.len() {
            let (before, rest) = self.stages.split_at_mut(index);
            let Stage { instance, range, output, .. } = &mut rest[0];
            let sizes = if last_step.is_some_and(|last| last < index) { &one } else { sizes };
            output.resize(instance.output_len(sizes))?;
            let input = before.last().map_or(input, |before| Input::Features(&before.output));
            let state = instance.layer.directions().and_then(|_| states.next());
            if record {
                // Far apart: every pass takes the next number.
                instance.set_seed(self.seed.wrapping_add((index as u64) << 40));
            }
            let params = &self.params[range.clone()];
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
        let (last_step, one) = (self.last_step(), one_step(sizes.rows())?);
        // Below the first layer with parameters nobody asks for a gradient.
        let first = self.stages.iter().position(|stage| !stage.range.is_empty());
        for index in (first.unwrap_or(self.stages.len())..self.stages.len()).rev() {
            let (before, rest) = self.stages.split_at_mut(index);
            let Stage { instance, range, output, gradient } = &mut rest[0];
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
            let (params, grads) = (&self.params[range.clone()], &mut grads[range.clone()]);
            instance.backward(params, input, sizes, (output, gradient), dx, grads)?;
        }
        Ok(())
    }
}

/// The sizes of a batch after LastStep.
fn one_step(rows: usize) -> Result<BatchSizes> {
    BatchSizes::new(rows, if rows > 0 { vec![rows] } else { Vec::new() })
}
