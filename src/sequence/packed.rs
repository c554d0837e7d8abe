//! A direction's parameters as the kernels read them.

use super::direction::{Direction, Weights};
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::panel::{Columns, Panels};
use crate::simd::{Element, Simd, Task};
use crate::view::Rows;

/// Packed for the forward pass.
#[derive(Default)]
pub(super) struct Packed<E: Element> {
    /// For every block of gates [W_ih | W_hh] with the biases.
    pub weights: Vec<Panels<E>>,
    /// W_hr'
    pub projection: Panels<E>,
    /// The units' own weights, each padded ([`Direction::units`]); the backward pass reads them, too.
    pub units: Buffer<E>,
}

/// Packs them.
pub(super) struct Pack<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub packed: &'a mut Packed<E>,
}

impl<C: Cell, E: Element> Task<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { layer, weights, packed } = self;
        let Direction { input_size, hidden_size, .. } = *layer;
        let blocks = layer.blocks();
        // Normalised products have their biases after that.
        let biased = layer.bias && !layer.regular.layer_norm;
        packed.weights.resize_with(blocks.len(), Panels::default);
        for (block, panels) in blocks.iter().zip(&mut packed.weights) {
            let rows = block.gates * hidden_size;
            let columns = Columns { gates: block.gates, width: hidden_size };
            let parts = [
                (block.x, weights.weight_ih, input_size, weights.bias_ih),
                (block.h, weights.weight_hh, layer.output_size(), weights.bias_hh),
            ];
            let k = parts.iter().filter(|part| part.0.is_some()).map(|part| part.2).sum();
            panels.reshape(s, k, columns)?;
            let (mut k, mut biases, mut count) = (0, [&[][..]; 2], 0);
            for (gate, weight, width, bias) in parts {
                if let Some(gate) = gate {
                    let weight = &weight[gate * hidden_size * width..];
                    panels.pack_transposed(s, k, Rows::new(weight, rows, width));
                    k += width;
                    if biased {
                        biases[count] = &bias[gate * hidden_size..][..rows];
                        count += 1;
                    }
                }
            }
            panels.pack_bias(s, &biases[..count]);
        }
        if layer.proj_size > 0 {
            let weight_hr = Rows::new(weights.weight_hr, layer.proj_size, hidden_size);
            packed.projection.reshape(s, hidden_size, Columns::plain(layer.proj_size))?;
            packed.projection.pack_bias(s, &[]);
            packed.projection.pack_transposed(s, 0, weight_hr);
        }
        let padded = layer.padded(S::LANES);
        packed.units.resize(layer.units().count * padded)?;
        packed.units.fill(E::ZERO);
        for (own, (_, first, count)) in weights.units().into_iter().zip(layer.unit_parameters()) {
            let to = packed.units[first * padded..].chunks_mut(padded.max(1));
            for (to, from) in to.zip(own.chunks_exact(hidden_size)).take(count) {
                to[..hidden_size].copy_from_slice(from);
            }
        }
        Ok(())
    }
}
