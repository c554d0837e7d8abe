//! A layer without a state, outside a model: its passes and its memory.

use super::input::Input;
use super::instance::Instance;
use super::layer::Layer;
use crate::error::{Result, ensure};
use crate::simd::Element;
use crate::view::BatchSizes;

/// One layer without a state, outside a model: [`Layer::OneHot`], [`Layer::Embedding`],
/// [`Layer::Linear`], [`Layer::LayerNorm`], [`Layer::Dropout`] or [`Layer::LastStep`].
///
/// # Examples
/// ```
/// use bptt::{BatchSizes, Input, Layer, Stateless};
///
/// let sizes = BatchSizes::of_lengths(&[3, 1])?; // two sequences
/// let mut last = Stateless::new(Layer::LastStep, Some(1), 1)?;
/// // Step 0 of both sequences, then steps 1 and 2 of the first.
/// let x = [1.0_f32, 10.0, 2.0, 3.0];
/// let mut y = [0.0; 2];
/// last.forward(&[], Input::Features(&x), &sizes, &mut y, false)?;
/// assert_eq!(y, [3.0, 10.0]);
/// let mut dx = [0.0; 4];
/// last.backward(&[], Input::Features(&x), &sizes, &[1.0, 1.0], Some(&mut dx), &mut [])?;
/// assert_eq!(dx, [0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Stateless<E: Element> {
    instance: Instance<E>,
}

impl<E: Element> Stateless<E> {
    /// The layer, for inputs of `in_features` features (`None` for tokens). Only [`Layer::LastStep`] uses
    /// `directions`, the number of directions, 1 or 2, of the layer whose output it takes.
    ///
    /// # Errors
    /// If the layer is recurrent or does not take such inputs, or `directions` is not 1 or 2.
    pub fn new(layer: Layer, in_features: Option<usize>, directions: usize) -> Result<Self> {
        let name = layer.name();
        ensure!(
            layer.directions().is_none(),
            "{name} has a state; use its own forward and backward"
        );
        let tokens = layer.tokens().is_some();
        ensure!(
            tokens == in_features.is_none(),
            "{name} takes {}, got {}",
            if tokens { "tokens" } else { "features" },
            if tokens { "features" } else { "tokens" }
        );
        if let (Some(given), Some(want)) = (in_features, layer.in_features()) {
            ensure!(given == want, "x must have {want} features, got {given}");
        }
        let gives = layer.out_features().or(in_features).unwrap_or(0);
        ensure!(gives > 0, "x must have at least 1 feature, got 0");
        ensure!(matches!(directions, 1 | 2), "directions must be 1 or 2, got {directions}");
        ensure!(
            gives.is_multiple_of(directions),
            "x of two directions must have an even number of features, got {gives}"
        );
        Ok(Self { instance: Instance::new(layer, (in_features, gives), directions) })
    }

    /// The number of output features.
    pub fn out_features(&self) -> usize {
        self.instance.features.1
    }

    /// The number of output rows for a batch: one for every step, or for every sequence with
    /// [`Layer::LastStep`].
    pub fn output_rows(&self, sizes: &BatchSizes) -> usize {
        self.instance.output_len(sizes) / self.out_features()
    }

    /// Sets the seed of dropout for the next pass with dropout. Its backward pass needs the same seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.instance.set_seed(seed);
    }

    /// Writes the output for a batch to y (N, F). [`Layer::Dropout`] drops numbers only if `dropout` is true.
    ///
    /// # Errors
    /// If the parameters, the input or y do not fit; nothing is written then.
    pub fn forward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        y: &mut [E],
        dropout: bool,
    ) -> Result<()> {
        self.check(params, input, sizes)?;
        self.check_output("y", y.len(), sizes)?;
        self.instance.forward(params, input, sizes, None, y, dropout)
    }

    /// Goes back from `dy` (N, F), the gradient of the output. Writes `dx`, of the shape of the input, if it
    /// is given (tokens have no gradient), and adds the gradients of the parameters to `grads`. (Seven
    /// arguments: the quantities of the formula.)
    ///
    /// # Errors
    /// If the parameters, the input or a gradient do not fit; nothing is written then.
    pub fn backward(
        &mut self,
        params: &[E],
        input: Input<'_, E>,
        sizes: &BatchSizes,
        dy: &[E],
        dx: Option<&mut [E]>,
        grads: &mut [E],
    ) -> Result<()> {
        self.check(params, input, sizes)?;
        self.check_output("dy", dy.len(), sizes)?;
        let (given, want) = (grads.len(), params.len());
        ensure!(given == want, "grads must have {want} numbers, as the parameters, got {given}");
        if let Some(dx) = &dx {
            let want = match input {
                Input::Features(x) => x.len(),
                Input::Tokens(_) => 0,
            };
            ensure!(dx.len() == want, "dx must have {want} numbers, as x, got {}", dx.len());
        }
        self.instance.backward(params, input, sizes, (&[], dy), dx, grads)
    }

    fn check(&self, params: &[E], input: Input<'_, E>, sizes: &BatchSizes) -> Result<()> {
        let (given, want) = (params.len(), self.instance.layer.parameter_len());
        ensure!(given == want, "params must have {want} numbers, got {given}");
        self.instance.check(input, sizes)?;
        self.instance.check_lengths(sizes)
    }

    fn check_output(&self, name: &str, given: usize, sizes: &BatchSizes) -> Result<()> {
        let want = self.instance.output_len(sizes);
        ensure!(given == want, "{name} must have {want} numbers, as the output, got {given}");
        Ok(())
    }
}
