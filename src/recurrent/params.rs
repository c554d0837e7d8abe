//! The parameters of a recurrent layer: their names, shapes and places in memory.

use super::direction::{NAMES, Weights};
use super::{Compute, Recurrent};
use crate::cell::Cell;
use crate::error::{Result, ensure};
use crate::simd::Element;

/// The parameters of a layer, in the order of [`Recurrent::parameters`].
#[derive(Debug, Clone, Copy)]
pub enum Params<'a, E> {
    /// All in one slice.
    Flat(&'a [E]),
    /// Each in a slice of its own.
    Arrays(&'a [&'a [E]]),
}

impl<'a, E> From<&'a [E]> for Params<'a, E> {
    fn from(flat: &'a [E]) -> Self {
        Params::Flat(flat)
    }
}

impl<'a, E> From<&'a Vec<E>> for Params<'a, E> {
    fn from(flat: &'a Vec<E>) -> Self {
        Params::Flat(flat)
    }
}

impl<C: Cell> Recurrent<C> {
    /// The names and shapes of the parameters, in order. The names are torch's: `weight_ih_l0`, ...,
    /// `weight_ih_l0_reverse`, ..., `weight_ih_l1`, ...
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let gates = C::GATES * self.hidden_size;
        let (h, _) = self.state_sizes();
        let mut parameters = Vec::new();
        for (n, direction) in self.all_directions().enumerate() {
            let suffix = if direction.reverse { "_reverse" } else { "" };
            let layer = n / self.directions();
            let units = self.hidden_size;
            let shapes = [
                vec![gates, direction.input_size],
                vec![gates, h],
                vec![gates],
                vec![gates],
                vec![h, units],
                vec![direction.cell.unit_weights() * units],
                vec![gates],
                vec![gates],
                vec![units],
                vec![units],
            ];
            for ((name, shape), length) in NAMES.iter().zip(shapes).zip(direction.lengths()) {
                if length > 0 {
                    parameters.push((format!("{name}_l{layer}{suffix}"), shape));
                }
            }
        }
        parameters
    }

    /// The number of numbers in all parameters.
    pub fn parameter_len(&self) -> usize {
        self.all_directions().map(|direction| direction.lengths().iter().sum::<usize>()).sum()
    }

    /// The parameters of every direction of every layer.
    pub(super) fn weights<'a, E: Element>(
        &self,
        params: Params<'a, E>,
    ) -> Result<Vec<Weights<'a, E>>> {
        self.check_compute::<E>()?;
        let lengths = self.all_directions().flat_map(|direction| direction.lengths());
        let lengths: Vec<_> = lengths.filter(|&length| length > 0).collect();
        let count = lengths.len();
        let mut flat: &[E] = &[];
        match params {
            Params::Flat(all) => {
                self.check_len(all.len())?;
                flat = all;
            }
            Params::Arrays(arrays) => {
                ensure!(
                    arrays.len() == count,
                    "the layer has {count} parameter arrays, got {}",
                    arrays.len()
                );
                for (n, (array, length)) in arrays.iter().zip(lengths).enumerate() {
                    let got = array.len();
                    ensure!(got == length, "parameter {n} must have {length} numbers, got {got}");
                }
            }
        }
        let mut next = 0;
        let mut weights = Vec::with_capacity(self.num_layers * self.directions());
        for direction in self.all_directions() {
            let mut parts = [&[][..]; NAMES.len()];
            for (part, length) in parts.iter_mut().zip(direction.lengths()) {
                match params {
                    Params::Flat(_) => (*part, flat) = flat.split_at(length),
                    Params::Arrays(arrays) if length > 0 => {
                        *part = arrays[next];
                        next += 1;
                    }
                    Params::Arrays(_) => {}
                }
            }
            weights.push(Weights::new(parts));
        }
        Ok(weights)
    }

    /// Checks that the layer's products can use numbers of type `E`.
    pub(super) fn check_compute<E: Element>(&self) -> Result<()> {
        ensure!(
            E::PAIRS || self.compute == Compute::Own,
            "products in bf16 need float32, got {}; use float32, or a layer without bf16",
            E::NAME
        );
        Ok(())
    }

    pub(super) fn check_len(&self, given: usize) -> Result<()> {
        let len = self.parameter_len();
        ensure!(given == len, "the layer's parameters have {len} numbers, got {given}");
        Ok(())
    }
}
