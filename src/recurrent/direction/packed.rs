//! The packed parameters of a direction, as the kernels read them.

use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::Result;
use crate::matmul::bf16::operand;
use crate::matmul::panel::{Columns, Panels};
use crate::recurrent::direction::{Compute, Direction, PassKey, Weights};
use crate::simd::{Element, Kernel, Simd};
use crate::view::{Rows, RowsMut};

/// Parameters packed for the forward pass.
#[derive(Default)]
pub(crate) struct Packed<E: Element> {
    /// For every block of gates, [W_ih | W_hh] with the biases.
    pub weights: Vec<Panels<E>>,
    /// W_hr, transposed.
    pub projection: Panels<E>,
    /// The units' own weights, each padded ([`Direction::units`]). The backward pass also reads them.
    pub units: Buffer<E>,
    /// The layer and level that the parameters are packed for.
    pub key: Option<PassKey>,
    /// Temporary memory for weights in bf16.
    rounded: Buffer<E>,
}

/// The kernel that packs the parameters.
pub(crate) struct Pack<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub packed: &'a mut Packed<E>,
}

impl<C: Cell, E: Element> Kernel<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { layer, weights, packed } = self;
        let Packed { weights: all, projection, units, rounded, .. } = packed;
        let Direction { input_size, hidden_size, .. } = *layer;
        let blocks = layer.blocks();
        // With layer normalisation, biases are added after it.
        let biased = layer.bias && !layer.regular.layer_norm;
        all.resize_with(blocks.len(), Panels::default);
        for (block, panels) in blocks.iter().zip(all.iter_mut()) {
            let rows = block.gates * hidden_size;
            let columns = Columns { gates: block.gates, width: hidden_size };
            let parts = [
                (block.x, weights.weight_ih, input_size, weights.bias_ih),
                (block.h, weights.weight_hh, layer.output_size(), weights.bias_hh),
            ];
            let of_block = parts.iter().filter(|part| part.0.is_some());
            let k = of_block.map(|part| layer.k_of(part.2)).sum();
            reshape(s, layer, panels, k, columns)?;
            let (mut k, mut biases, mut count) = (0, [&[][..]; 2], 0);
            for (gate, weight, width, bias) in parts {
                if let Some(gate) = gate {
                    let weight = &weight[gate * hidden_size * width..];
                    let mut rounded = room(layer, rounded, rows, width)?;
                    let weight =
                        operand(s, Rows::new(weight, rows, width), &mut rounded, &mut false);
                    panels.pack_transposed(s, k, weight);
                    k += layer.k_of(width);
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
            let columns = Columns::plain(layer.proj_size);
            reshape(s, layer, projection, layer.k_of(hidden_size), columns)?;
            projection.pack_bias(s, &[]);
            let mut rounded = room(layer, rounded, layer.proj_size, hidden_size)?;
            projection.pack_transposed(s, 0, operand(s, weight_hr, &mut rounded, &mut false));
        }
        let padded = layer.padded(S::LANES);
        units.resize(layer.units().count * padded)?;
        units.fill(E::ZERO);
        for (own, (_, first, count)) in weights.units().into_iter().zip(layer.unit_parameters()) {
            let to = units[first * padded..].chunks_mut(padded.max(1));
            for (to, from) in to.zip(own.chunks_exact(hidden_size)).take(count) {
                to[..hidden_size].copy_from_slice(from);
            }
        }
        Ok(())
    }
}

/// Reshapes panels for the number type of a layer's products.
#[inline(always)]
fn reshape<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    panels: &mut Panels<E>,
    k: usize,
    columns: Columns,
) -> Result<()> {
    match layer.compute {
        Compute::Own => panels.reshape(s, k, columns),
        Compute::Bf16 => panels.reshape_pairs(s, k, columns),
    }
}

/// Temporary memory for rounded weights; no columns if the products do not round.
#[inline(always)]
fn room<'a, C: Cell, E: Element>(
    layer: &Direction<C>,
    memory: &'a mut Buffer<E>,
    rows: usize,
    width: usize,
) -> Result<RowsMut<'a, E>> {
    let columns = layer.rounded(width);
    memory.resize(rows * columns)?;
    Ok(RowsMut::new(memory, rows, columns))
}
