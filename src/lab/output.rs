//! The output layer of the lab's networks, packed, with the softmax and the loss.

use super::kind::{Gradient, Kind, Sizes};
use super::published::EPSILON;
use super::unit_block::UnitBlock;
use crate::buffer::Buffer;
use crate::error::Result;
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::{product, product_by_columns};
use crate::simd::{Kernel, Simd};
use crate::view::{Rows, RowsMut};

/// The output layer, with memory for a pass over T steps.
pub(super) struct Output {
    sizes: Sizes,
    /// K = H
    pub weights: Panels<f64>,
    pub gradients: Panels<f64>,
    /// Before the softmax, (T, V).
    pub logits: Buffer<f64>,
    /// After the softmax, (T, V).
    pub outputs: Vec<f64>,
    /// The gradients of the logits, (T, V).
    dlogits: Vec<f64>,
    /// `dlogits` as the right-hand side of the weights' gradients, K = T.
    dlogits_packed: Panels<f64>,
    /// The weights as the right-hand side of dh.
    weights_back: Panels<f64>,
}

impl Output {
    pub fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            weights: Panels::default(),
            gradients: Panels::default(),
            logits: Buffer::default(),
            outputs: Vec::new(),
            dlogits: Vec::new(),
            dlogits_packed: Panels::default(),
            weights_back: Panels::default(),
        }
    }

    /// The outputs of `steps` rows [1, h_t, x_t].
    #[inline(always)]
    pub fn forward<S: Simd<f64>>(&mut self, s: S, rows: &[f64], steps: usize) -> Result<()> {
        let Sizes { hidden, vocab, .. } = self.sizes;
        self.logits.resize(steps * vocab)?;
        let h = Rows::new(rows, steps, self.sizes.width()).columns(1, hidden);
        let mut logits = RowsMut::new(&mut self.logits, steps, vocab);
        product(s, &[h], &self.weights, &mut logits);
        self.outputs.clear();
        for logits in self.logits.chunks_exact(vocab) {
            softmax(logits, &mut self.outputs);
        }
        Ok(())
    }

    /// Returns the notebook's loss for targets (T, V), and keeps the gradients of the logits,
    /// `output - onehot(argmax target)`.
    pub fn loss(&mut self, targets: &[f64]) -> f64 {
        let Sizes { kind, vocab, .. } = self.sizes;
        let mut loss = 0.0;
        self.dlogits.clear();
        self.dlogits.extend_from_slice(&self.outputs);
        let added = if kind == Kind::Rnn { EPSILON } else { 0.0 };
        let rows = self.dlogits.chunks_exact_mut(vocab);
        for (output, target) in rows.zip(targets.chunks_exact(vocab)).rev() {
            let mut sum = 0.0;
            let mut class = 0;
            for (n, (&output, &y)) in output.iter().zip(target).enumerate() {
                // Zero times a finite logarithm is zero, without taking the logarithm.
                if y != 0.0 || output.is_nan() || output <= 0.0 {
                    sum += y * (output.ln() + added);
                }
                if y > target[class] {
                    class = n;
                }
            }
            loss -= sum / vocab as f64;
            output[class] -= 1.0;
        }
        loss
    }

    /// The gradients of every h, `dh` (T, H), from those of the logits that [`Output::loss`] has left.
    #[inline(always)]
    pub fn back<S: Simd<f64>>(&mut self, s: S, steps: usize, dh: &mut [f64]) -> Result<()> {
        let Sizes { hidden, vocab, .. } = self.sizes;
        let dlogits = Rows::new(&self.dlogits, steps, vocab);
        self.weights_back.pack_back(s, &self.weights, 0, hidden)?;
        product(s, &[dlogits], &self.weights_back, &mut RowsMut::new(dh, steps, hidden));
        Ok(())
    }

    /// The gradients of the parameters, from those of the logits and from the rows of a block.
    #[inline(always)]
    pub fn weight_gradients<S: Simd<f64>>(
        &mut self,
        s: S,
        block: &UnitBlock,
        steps: usize,
        gradient: Gradient,
    ) -> Result<()> {
        let Sizes { kind, hidden, vocab } = self.sizes;
        // As published, the LSTM's output layer reads the state before the step.
        let reads_before = (kind, gradient) == (Kind::Lstm, Gradient::Published);
        let rows = if reads_before { &block.rows } else { block.later_rows() };
        let right = &mut self.dlogits_packed;
        right.pack_matrix(s, Rows::new(&self.dlogits, steps, vocab))?;
        let width = self.sizes.width();
        product_by_columns(s, 1 + hidden, rows, width, right, &mut self.gradients);
        Ok(())
    }
}

/// Packs the layer's flat parameters, weight (V, H) and bias (V,).
pub(super) struct PackOutput<'a>(pub &'a mut Output, pub &'a [f64]);

impl Kernel<f64> for PackOutput<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self(Output { sizes, weights, gradients, .. }, flat) = self;
        let Sizes { hidden, vocab, .. } = *sizes;
        let (weight, bias) = flat.split_at(vocab * hidden);
        gradients.reshape(s, hidden, Columns::plain(vocab))?;
        weights.reshape(s, hidden, Columns::plain(vocab))?;
        weights.pack_bias(s, &[bias]);
        weights.pack_transposed(s, 0, Rows::new(weight, vocab, hidden));
        Ok(())
    }
}

/// Unpacks the layer's flat parameters, or their gradients, from the panels.
pub(super) struct UnpackOutput<'a>(pub &'a Output, pub &'a Panels<f64>, pub &'a mut [f64]);

impl Kernel<f64> for UnpackOutput<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let Self(output, panels, flat) = self;
        let Sizes { hidden, vocab, .. } = output.sizes;
        let (weight, bias) = flat.split_at_mut(vocab * hidden);
        let mut to = RowsMut::new(weight, vocab, hidden);
        panels.unpack_transposed(s, 0, hidden, 0, &mut to);
        panels.unpack_bias(s, bias);
    }
}

/// Appends the softmax of `logits`. The logits are shifted by their maximum.
fn softmax(logits: &[f64], outputs: &mut Vec<f64>) {
    let first = outputs.len();
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &z| f64::max(most, z));
    outputs.extend(logits.iter().map(|z| (z - most).exp()));
    let sum: f64 = outputs[first..].iter().sum();
    outputs[first..].iter_mut().for_each(|e| *e /= sum);
}
