//! The layout of the notebook's arrays, and of the flat parameters of this library's layers.
//!
//! ```text
//! RNN   U (H, V), V (H, H), W (V, H), b_hidden (H,), b_out (V,)
//!       weight_ih, weight_hh, weight, bias_ih, bias
//! LSTM  W_f, W_i, W_g, W_o (H, H + V), W_v (V, H), b_f, b_i, b_g, b_o (H,), b_v (V,)
//!       each W_? is [rows of weight_hh | rows of weight_ih]; gates go in the order i, f, g, o
//! ```
//!
//! bias_hh is the notebook's 1e-12.

use super::kind::{Kind, Sizes};
use super::network::LabNetwork;
use super::published::EPSILON;
use crate::error::{Result, ensure};

/// An array of the notebook. A row is one or two runs of numbers of the flat slice, each given by the place of the
/// first row's first number and by the length of a row.
struct Array {
    rows: usize,
    runs: Vec<(usize, usize)>,
}

impl LabNetwork {
    /// The places of the notebook's arrays, in its order.
    fn arrays(&self) -> Vec<Array> {
        let Sizes { kind, hidden: h, vocab: v } = self.sizes;
        let whole = |first, rows, columns| Array { rows, runs: vec![(first, columns)] };
        let linear = self.sizes.recurrent_len();
        let (weight, bias) = (whole(linear, v, h), whole(linear + v * h, v, 1));
        match kind {
            Kind::Rnn => {
                let (u, w, b) = (whole(0, h, v), whole(h * v, h, h), whole(h * (v + h), h, 1));
                vec![u, w, weight, b, bias]
            }
            Kind::Lstm => {
                let (weight_hh, bias_ih) = (4 * h * v, 4 * h * (v + h));
                // The notebook's order f, i, g, o, as places in the order i, f, g, o.
                let gates = [1, 0, 2, 3];
                let mut arrays: Vec<_> = gates
                    .map(|g| Array {
                        rows: h,
                        runs: vec![(weight_hh + g * h * h, h), (g * h * v, v)],
                    })
                    .into();
                arrays.push(weight);
                arrays.extend(gates.map(|g| whole(bias_ih + g * h, h, 1)));
                arrays.push(bias);
                arrays
            }
        }
    }

    /// The flat parameters of the notebook's arrays, each in C order.
    ///
    /// # Errors
    /// If the number of arrays or the size of one is wrong.
    pub fn import(&self, given: &[&[f64]]) -> Result<Vec<f64>> {
        let arrays = self.arrays();
        let (count, want) = (given.len(), arrays.len());
        ensure!(count == want, "got {count} arrays of parameters, this network has {want}");
        let mut flat = vec![EPSILON; self.parameter_len()];
        for (n, (array, &from)) in arrays.iter().zip(given).enumerate() {
            let (mut from, len, want) = (from, from.len(), array.len());
            ensure!(len == want, "array {n} of the parameters has {len} numbers, not {want}");
            array.for_each_run(|range| {
                let (row, rest) = from.split_at(range.len());
                flat[range].copy_from_slice(row);
                from = rest;
            });
        }
        Ok(flat)
    }

    /// The notebook's arrays of flat parameters or gradients.
    ///
    /// # Errors
    /// If their number is not [`LabNetwork::parameter_len`].
    pub fn export(&self, flat: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.check_params(flat.len())?;
        let export = |array: Array| {
            let mut to = Vec::with_capacity(array.len());
            array.for_each_run(|range| to.extend_from_slice(&flat[range]));
            to
        };
        Ok(self.arrays().into_iter().map(export).collect())
    }
}

impl Array {
    fn len(&self) -> usize {
        self.rows * self.runs.iter().map(|run| run.1).sum::<usize>()
    }

    /// Calls `work` with the place of every run of every row, in C order.
    fn for_each_run(&self, mut work: impl FnMut(std::ops::Range<usize>)) {
        for row in 0..self.rows {
            for &(first, columns) in &self.runs {
                let start = first + row * columns;
                work(start..start + columns);
            }
        }
    }
}
