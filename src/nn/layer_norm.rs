//! Layer normalisation of the features of every step (Ba, Kiros and Hinton 2016), as torch.nn.LayerNorm does
//! it:
//!
//! ```text
//! y = weight a + bias,   a = (x - mean x) / sqrt(var x + eps),   var x = sum of (x - mean x)^2 / F
//! ```
//!
//! With g = weight dy, the gradient of x is (g - mean g - a mean(g a)) / sqrt(var x + eps). The backward pass
//! computes a again.

use crate::buffer::zeros;
use crate::error::{Result, ensure};
use crate::math::normalise::{normalise, total};
use crate::simd::{Element, Kernel, Level, Simd};

/// A layer that normalises the F features of every step. Its parameters are `weight` (F,), then `bias` (F,);
/// both are optional.
///
/// # Examples
/// ```
/// use bptt::{BatchSizes, Input, Layer, LayerNorm, Sequential};
///
/// let norm = Layer::LayerNorm(LayerNorm::new(2, 1e-5, true, true)?);
/// let mut model = Sequential::<f64>::new(vec![norm])?;
/// model.params = vec![3.0, 3.0, 0.5, 0.5]; // weight, bias
/// let sizes = BatchSizes::new(1, vec![1])?;
/// let y = model.forward(Input::Features(&[10.0, 20.0]), &sizes, false)?;
/// assert!((y[0] + 2.5).abs() < 1e-5 && (y[1] - 3.5).abs() < 1e-5); // -1 and 1, times 3, plus 0.5
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    features: usize,
    eps: f64,
    weight: bool,
    bias: bool,
}

impl LayerNorm {
    /// A layer for `features` features. `eps` is added to their variance.
    ///
    /// # Errors
    /// If there are no features, `eps` is not above 0 and finite, or there is a bias without a weight.
    pub fn new(features: usize, eps: f64, weight: bool, bias: bool) -> Result<Self> {
        ensure!(features > 0, "normalized_shape must be at least 1, got 0");
        ensure!(eps > 0.0 && eps.is_finite(), "eps must be above 0 and finite, got {eps}");
        ensure!(weight || !bias, "a LayerNorm with a bias needs a weight; leave the bias out");
        Ok(Self { features, eps, weight, bias })
    }

    /// F, the number of features of input and output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The names and shapes of the parameters, in order. The names are torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let there = [("weight", self.weight), ("bias", self.bias)];
        let names = there.into_iter().filter(|&(_, there)| there);
        names.map(|(name, _)| (name.into(), vec![self.features])).collect()
    }

    /// The number of numbers in all parameters.
    pub fn parameter_len(&self) -> usize {
        self.features * (usize::from(self.weight) + usize::from(self.bias))
    }

    /// Splits parameters, or their gradients, into weight and bias.
    fn split<'a, E>(&self, params: &'a [E]) -> (&'a [E], &'a [E]) {
        params.split_at(if self.weight { self.features } else { 0 })
    }

    /// Writes the output for x (N, F) to y (N, F).
    pub(super) fn forward<E: Element>(&self, params: &[E], x: &[E], y: &mut [E]) -> Result<()> {
        Level::current()?.run(Forward { layer: self, params, x, y });
        Ok(())
    }

    /// Writes dx (N, F), if it is wanted, and adds the gradients of the parameters to `grads`.
    pub(super) fn backward<E: Element>(
        &self,
        params: &[E],
        x: &[E],
        dy: &[E],
        dx: Option<&mut [E]>,
        grads: &mut [E],
    ) -> Result<()> {
        let scratch = zeros(self.features)?;
        Level::current()?.run(Backward { layer: self, params, x, dy, dx, grads, scratch });
        Ok(())
    }
}

struct Forward<'a, E> {
    layer: &'a LayerNorm,
    params: &'a [E],
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Kernel<E> for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let Self { layer, params, x, y } = self;
        let (size, (weight, bias)) = (layer.features, layer.split(params));
        for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)) {
            y.copy_from_slice(x);
            normalise(s, y, 1, size, size, layer.eps);
            for first in (0..size).step_by(S::LANES) {
                if layer.weight {
                    let to = &mut y[first..];
                    let mut new = s.mul(s.load(&weight[first..]), s.load(to));
                    if layer.bias {
                        new = s.add(new, s.load(&bias[first..]));
                    }
                    s.store(to, new);
                }
            }
        }
    }
}

struct Backward<'a, E> {
    layer: &'a LayerNorm,
    params: &'a [E],
    x: &'a [E],
    dy: &'a [E],
    dx: Option<&'a mut [E]>,
    grads: &'a mut [E],
    /// The normalised numbers of a row, (F,).
    scratch: Vec<E>,
}

impl<E: Element> Kernel<E> for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let Self { layer, params, x, dy, mut dx, grads, scratch: mut normal } = self;
        let (size, (weight, _)) = (layer.features, layer.split(params));
        let (dweight, dbias) = grads.split_at_mut(if layer.weight { size } else { 0 });
        let count = E::from_f64(size as f64);
        for (row, (x, dy)) in x.chunks_exact(size).zip(dy.chunks_exact(size)).enumerate() {
            normal.copy_from_slice(x);
            let scale = s.splat(normalise(s, &mut normal, 1, size, size, layer.eps));
            let (mut of_g, mut of_ga) = (s.splat(E::ZERO), s.splat(E::ZERO));
            for first in (0..size).step_by(S::LANES) {
                let (mut d, a) = (s.load(&dy[first..]), s.load(&normal[first..]));
                if layer.bias {
                    let sum = &mut dbias[first..];
                    s.store(sum, s.add(d, s.load(sum)));
                }
                if layer.weight {
                    let sum = &mut dweight[first..];
                    s.store(sum, s.mul_add(d, a, s.load(sum)));
                    d = s.mul(d, s.load(&weight[first..]));
                }
                of_g = s.add(of_g, d);
                of_ga = s.mul_add(d, a, of_ga);
            }
            let Some(dx) = &mut dx else { continue };
            let dx = &mut dx[row * size..][..size];
            let (of_g, of_ga) = (s.splat(total(s, of_g) / count), s.splat(total(s, of_ga) / count));
            for first in (0..size).step_by(S::LANES) {
                let (mut g, a) = (s.load(&dy[first..]), s.load(&normal[first..]));
                if layer.weight {
                    g = s.mul(g, s.load(&weight[first..]));
                }
                let d = s.mul(scale, s.neg_mul_add(a, of_ga, s.sub(g, of_g)));
                s.store(&mut dx[first..], d);
            }
        }
    }
}
