//! A model: a [`Network`] with its parameters in one flat vector.

use super::input::Input;
use super::layer::Layer;
use super::network::Network;
use crate::buffer::zeros;
use crate::error::Result;
use crate::recurrent::State;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows, RowsMut};

/// Layers one after the other, with their parameters.
///
/// # Examples
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
    /// The parameters of all layers, one after the other. They are zeros in a new model.
    pub params: Vec<E>,
    pub(crate) network: Network<E>,
}

impl<E: Element> Sequential<E> {
    /// A model of these layers.
    ///
    /// # Errors
    /// As for [`Network::new`], and if there is not enough memory.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        let network = Network::new(layers)?;
        Ok(Self { params: zeros(network.parameter_len())?, network })
    }

    /// Sets the seed of dropout for the next pass with `record`. Every later pass uses the next number.
    pub fn set_seed(&mut self, seed: u64) {
        self.network.set_seed(seed);
    }

    /// The seed of dropout for the next pass with `record`. Another model that is given this seed continues
    /// the same random numbers.
    pub fn seed(&self) -> u64 {
        self.network.seed()
    }

    /// The layers.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.network.layers()
    }

    /// The number of input features; none if the input is tokens.
    pub fn in_features(&self) -> Option<usize> {
        self.network.in_features()
    }

    /// The number of output features.
    pub fn out_features(&self) -> usize {
        self.network.out_features()
    }

    /// Whether there is one output for every sequence ([`Layer::LastStep`]) rather than for every step.
    pub fn gives_last_step(&self) -> bool {
        self.network.gives_last_step()
    }

    /// For every layer, the number of features that it takes (none for tokens) and the number that it gives.
    pub fn features(&self) -> impl Iterator<Item = (Option<usize>, usize)> {
        self.network.features()
    }

    /// Zero states of `rows` rows, one for every recurrent layer, for [`Sequential::forward_from`].
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn states(&self, rows: usize) -> Result<Vec<State<E>>> {
        self.network.states(rows)
    }

    /// The parameters of each layer.
    pub(crate) fn layer_params(&self) -> Result<Vec<&[E]>> {
        self.network.split_params(&self.params)
    }

    /// Runs the model on a batch, from zero states. Returns the last layer's output, (sum of T, F), or (B,
    /// F) with [`Layer::LastStep`]. With `record`, dropout applies, and the pass is kept for
    /// [`Sequential::backward`].
    ///
    /// # Errors
    /// If the input does not fit the model or the sizes.
    pub fn forward(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        record: bool,
    ) -> Result<&[E]> {
        let params = self.network.split_params(&self.params)?;
        self.network.forward(&params, input, sizes, record)
    }

    /// Runs the model from given states of the recurrent layers, in their order. The states become the final
    /// states, so a long sequence can be passed in time chunks. The rows of a batch must keep their order. A
    /// row that has ended has no more steps ([`BatchSizes`]), and its state stays. [`Sequential::backward`]
    /// ends at the first step of the chunk.
    ///
    /// # Examples
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
    /// If the input does not fit the model or the sizes, or the states do not fit the model or the number of
    /// rows. Nothing changes then.
    pub fn forward_from(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        states: &mut [State<E>],
        record: bool,
    ) -> Result<&[E]> {
        let params = self.network.split_params(&self.params)?;
        self.network.forward_from(&params, input, sizes, states, record)
    }

    /// The output of the last forward pass, (N, F), and memory for its gradient, (N, F). N is the number of
    /// steps of all sequences together, or the number of sequences with [`Layer::LastStep`].
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn output_and_gradient(&mut self) -> Result<(Rows<'_, E>, RowsMut<'_, E>)> {
        self.network.output_and_gradient()
    }

    /// Goes back through the last pass with `record`, from the gradient in
    /// [`Sequential::output_and_gradient`]. Adds the gradients of all parameters to `grads`.
    ///
    /// # Errors
    /// If the input, the sizes or `grads` do not fit, there was no such pass, or there is no gradient.
    /// Nothing changes then.
    pub fn backward(
        &mut self,
        input: Input<'_, E>,
        sizes: &BatchSizes,
        grads: &mut [E],
    ) -> Result<()> {
        let params = self.network.split_params(&self.params)?;
        self.network.backward(&params, input, sizes, grads)
    }
}
