//! The output layer of the lab's networks, packed, with the softmax and the loss.

use super::part::Part;
use super::{EPSILON, Gradient, Kind};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::{product, product_by_columns};
use crate::simd::{Kernel, Simd};
use crate::view::{Rows, RowsMut};

/// The layer, with memory for a pass over T steps.
#[derive(Default)]
pub(super) struct Output {
    pub hidden: usize,
    pub vocab: usize,
    /// K = H
    pub weights: Panels<f64>,
    pub gradients: Panels<f64>,
    /// Before the softmax and after it, (T, V).
    pub logits: Buffer<f64>,
    pub outputs: Vec<f64>,
    dlogits: Vec<f64>,
    /// dlogits packed, K = T.
    right: Panels<f64>,
    /// W for going back.
    back: Panels<f64>,
}

impl Output {
    pub fn new(hidden: usize, vocab: usize) -> Self {
        Self { hidden, vocab, ..Self::default() }
    }

    /// The outputs of rows [1, h_t, ...], (T, `width`).
    #[inline(always)]
    pub fn forward<S: Simd<f64>>(
        &mut self,
        s: S,
        rows: &[f64],
        width: usize,
        steps: usize,
    ) -> Result<()> {
        self.logits.resize(steps * self.vocab)?;
        let h = Rows::new(rows, steps, width).columns(1, self.hidden);
        let mut logits = RowsMut::new(&mut self.logits, steps, self.vocab);
        product(s, &[h], &self.weights, &mut logits);
        self.outputs.clear();
        for logits in self.logits.chunks_exact(self.vocab) {
            softmax(logits, &mut self.outputs);
        }
        Ok(())
    }

    /// The notebook's loss for targets (T, V); leaves the gradients of the logits,
    /// `output - onehot(argmax target)`.
    pub fn loss(&mut self, kind: Kind, targets: &[f64]) -> f64 {
        let mut loss = 0.0;
        self.dlogits.clear();
        self.dlogits.extend_from_slice(&self.outputs);
        let added = if kind == Kind::Rnn { EPSILON } else { 0.0 };
        let rows = self.dlogits.chunks_exact_mut(self.vocab);
        for (output, target) in rows.zip(targets.chunks_exact(self.vocab)).rev() {
            let mut sum = 0.0;
            let mut class = 0;
            for (n, (&output, &y)) in output.iter().zip(target).enumerate() {
                // Zero times a finite logarithm is not worth taking it.
                if y != 0.0 || output.is_nan() || output <= 0.0 {
                    sum += y * (output.ln() + added);
                }
                if y > target[class] {
                    class = n;
                }
            }
            loss -= sum / self.vocab as f64;
            output[class] -= 1.0;
        }
        loss
    }

    /// The gradients of every h, from those of the logits that [`Output::loss`] left: `dh` (T, H).
    #[inline(always)]
    pub fn back<S: Simd<f64>>(&mut self, s: S, steps: usize, dh: &mut [f64]) -> Result<()> {
        let (hidden, vocab) = (self.hidden, self.vocab);
        let dlogits = Rows::new(&self.dlogits, steps, vocab);
        self.back.pack_back(s, &self.weights, 0, hidden)?;
        product(s, &[dlogits], &self.back, &mut RowsMut::new(dh, steps, hidden));
        Ok(())
    }

    /// The gradients of the parameters, from those of the logits.
    #[inline(always)]
    pub fn weight_gradients<S: Simd<f64>>(
        &mut self,
        s: S,
        part: &Part,
        steps: usize,
        gradient: Gradient,
    ) -> Result<()> {
        let width = part.width();
        // As published, the LSTM's output layer is given the state before the step.
        let late = (part.kind, gradient) == (Kind::Lstm, Gradient::Published);
        let rows = &part.rows[if late { 0 } else { width }..];
        self.right.pack_matrix(s, Rows::new(&self.dlogits, steps, self.vocab))?;
        product_by_columns(s, 1 + self.hidden, rows, width, &self.right, &mut self.gradients);
        Ok(())
    }
}

/// Packs the layer's flat parameters, weight (V, H) and bias (V,).
pub(super) struct PackOutput<'a>(pub &'a mut Output, pub &'a [f64]);

impl Kernel<f64> for PackOutput<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self(Output { hidden, vocab, weights, gradients, .. }, flat) = self;
        let (weight, bias) = flat.split_at(*vocab * *hidden);
        gradients.reshape(s, *hidden, Columns::plain(*vocab))?;
        weights.reshape(s, *hidden, Columns::plain(*vocab))?;
        weights.pack_bias(s, &[bias]);
        weights.pack_transposed(s, 0, Rows::new(weight, *vocab, *hidden));
        Ok(())
    }
}

/// Writes the layer's flat parameters, or their gradients.
pub(super) struct UnpackOutput<'a>(pub &'a Output, pub &'a Panels<f64>, pub &'a mut [f64]);

impl Kernel<f64> for UnpackOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let Self(Output { hidden, vocab, .. }, panels, flat) = self;
        let (weight, bias) = flat.split_at_mut(vocab * hidden);
        let mut to = RowsMut::new(weight, *vocab, *hidden);
        panels.unpack_transposed(s, 0, *hidden, 0, &mut to);
        panels.unpack_bias(s, bias);
    }
}

/// Appends the softmax of `logits`, shifted by their maximum.
fn softmax(logits: &[f64], outputs: &mut Vec<f64>) {
    let first = outputs.len();
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &z| f64::max(most, z));
    outputs.extend(logits.iter().map(|z| (z - most).exp()));
    let sum: f64 = outputs[first..].iter().sum();
    outputs[first..].iter_mut().for_each(|e| *e /= sum);
}
