//! Between the notebook's arrays and the flat parameters of this library's layers.
//!
//! ```text
//! RNN   U (H, V), V (H, H), W (V, H), b_hidden (H,), b_out (V,)
//!       weight_ih, weight_hh, weight, bias_ih, bias
//! LSTM  W_f, W_i, W_g, W_o (H, H + V), W_v (V, H), b_f, b_i, b_g, b_o (H,), b_v (V,)
//!       each W_? is [rows of weight_hh | rows of weight_ih]; gates go in the order i, f, g, o
//! ```
//!
//! bias_hh is the notebook's 1e-12.

use super::{EPSILON, Kind, LabNetwork};
use crate::error::{Result, ensure};

/// An array of the notebook: rows of one or two runs, each (first number in the flat slice, length of
/// a row).
struct Array {
    rows: usize,
    runs: Vec<(usize, usize)>,
}

impl LabNetwork {
    /// How many numbers bias_hh is, the last ones of the recurrent layer.
    pub(super) fn second_bias_len(&self) -> usize {
        match self.kind {
            Kind::Rnn => self.hidden,
            Kind::Lstm => 4 * self.hidden,
        }
    }

    /// Where the notebook's arrays lie, in its order.
    fn arrays(&self) -> Vec<Array> {
        let (h, v) = (self.hidden, self.vocab);
        let whole = |first, rows, columns| Array { rows, runs: vec![(first, columns)] };
        let linear = self.recurrent_len();
        let (weight, bias) = (whole(linear, v, h), whole(linear + v * h, v, 1));
        match self.kind {
            Kind::Rnn => {
                let (u, w, b) = (whole(0, h, v), whole(h * v, h, h), whole(h * (v + h), h, 1));
                vec![u, w, weight, b, bias]
            }
            Kind::Lstm => {
                let (weight_hh, bias_ih) = (4 * h * v, 4 * h * (v + h));
                // f, i, g, o among i, f, g, o.
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
    /// If an array is missing or has the wrong size.
    pub fn import(&self, given: &[&[f64]]) -> Result<Vec<f64>> {
        let arrays = self.arrays();
        ensure!(given.len() == arrays.len(), "got {} arrays, not {}", given.len(), arrays.len());
        let mut flat = vec![EPSILON; self.parameter_len()];
        for (array, &from) in arrays.iter().zip(given) {
            let len = array.len();
            ensure!(from.len() == len, "an array has {} numbers, not {len}", from.len());
            let mut from = from;
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
    /// If there are not as many as the network has.
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

    /// Calls `work` with the places of its numbers, in C order.
    fn for_each_run(&self, mut work: impl FnMut(std::ops::Range<usize>)) {
        for row in 0..self.rows {
            for &(first, columns) in &self.runs {
                let start = first + row * columns;
                work(start..start + columns);
            }
        }
    }
}
