//! A layer without a state by itself: its passes, and the memory it works in.

use super::input::Input;
use super::instance::Instance;
use super::layer::Layer;
use crate::error::{Result, ensure};
use crate::simd::Element;
use crate::view::BatchSizes;

/// One layer without a state, outside a model: [`Layer::OneHot`], [`Layer::Embedding`],
/// [`Layer::Linear`], [`Layer::LayerNorm`], [`Layer::Dropout`] or [`Layer::LastStep`].
///
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
    /// The layer, for inputs of so many features (`None` for tokens). `directions`, 1 or 2, matters to
    /// [`Layer::LastStep`] alone: those of the layer whose output it takes.
    ///
    /// # Errors
    /// If the layer is recurrent, or does not take such inputs.
    pub fn new(layer: Layer, in_features: Option<usize>, directions: usize) -> Result<Self> {
        let name = layer.name();
        ensure!(
            layer.directions().is_none(),
            "{name} has a state: call its own forward and backward"
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

    /// Features of the output.
    pub fn out_features(&self) -> usize {
        self.instance.features.1
    }

    /// Rows of the output for a batch: a row for every step, or with [`Layer::LastStep`] for every sequence.
    pub fn output_rows(&self, sizes: &BatchSizes) -> usize {
        self.instance.output_len(sizes) / self.out_features()
    }

    /// What dropout draws from in the next pass with dropout, and in going back through it.
    pub fn set_seed(&mut self, seed: u64) {
        self.instance.set_seed(seed);
    }

    /// Writes the output y (N, F) for a batch, with dropout if so asked.
    ///
    /// # Errors
    /// If the number of parameters, the input or y does not fit; nothing is written then.
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

    /// Back from the gradient `dy` of the output: writes `dx`, if it is wanted (there is none of tokens),
    /// and adds to the parameters' gradients. (Its arguments are the quantities of the formula.)
    ///
    /// # Errors
    /// If the number of parameters, the input or a gradient does not fit; nothing is written then.
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
        ensure!(given == want, "the layer has {want} parameters, got {given}");
        self.instance.check(input, sizes)?;
        self.instance.check_lengths(sizes)
    }

    fn check_output(&self, name: &str, given: usize, sizes: &BatchSizes) -> Result<()> {
        let want = self.instance.output_len(sizes);
        ensure!(given == want, "{name} must have the {want} numbers of the output, got {given}");
        Ok(())
    }
}
