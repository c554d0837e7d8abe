//! The layers that a model can be made of, and what can be asked of each.

use super::linear::Linear;
use crate::cell::GruResetFirst;
use crate::sequence::{GRU, LSTM, RNN, Recurrent};

/// One layer of a model.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Turns tokens into one-hot vectors of this many classes; only as the first layer.
    OneHot(usize),
    /// A vanilla recurrent layer.
    RNN(RNN),
    /// A long short-term memory layer.
    LSTM(LSTM),
    /// A layer of gated recurrent units.
    GRU(GRU),
    /// One of the original form, with the reset before the product.
    GRUResetFirst(Recurrent<GruResetFirst>),
    /// A linear layer, on every step.
    Linear(Linear),
}

/// Runs `$body` with the recurrent layer, of whichever cell, or `$other`.
macro_rules! recurrent {
    ($layer:expr, $inner:ident => $body:expr, $($other:pat => $result:expr),+) => {
        match $layer {
            Layer::RNN($inner) => $body,
            Layer::LSTM($inner) => $body,
            Layer::GRU($inner) => $body,
            Layer::GRUResetFirst($inner) => $body,
            $($other => $result),+
        }
    };
}
pub(crate) use recurrent;

impl Layer {
    /// Features that the layer takes; none for tokens.
    pub fn in_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.input_size()),
            Layer::OneHot(_) => None,
            Layer::Linear(linear) => Some(linear.in_features()))
    }

    /// Features that the layer gives.
    pub fn out_features(&self) -> usize {
        recurrent!(self, layer => layer.output_size(),
            Layer::OneHot(classes) => *classes,
            Layer::Linear(linear) => linear.out_features())
    }

    /// D of a recurrent layer, 1 or 2; none for the others, which have no state.
    pub fn directions(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.directions()),
            Layer::OneHot(_) | Layer::Linear(_) => None)
    }

    /// Numbers that a row has in h and in c, of all layers and directions; (0, 0) without a state.
    pub(super) fn state_len(&self) -> (usize, usize) {
        recurrent!(self, layer => {
            let (n, (h, c)) = (layer.num_layers() * layer.directions(), layer.state_sizes());
            (n * h, n * c)
        },
        Layer::OneHot(_) | Layer::Linear(_) => (0, 0))
    }

    /// Names and shapes of the parameters in their order, the names torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        recurrent!(self, layer => layer.parameters(),
            Layer::OneHot(_) => Vec::new(),
            Layer::Linear(linear) => linear.parameters())
    }

    /// How many numbers its parameters are.
    pub fn parameter_len(&self) -> usize {
        recurrent!(self, layer => layer.parameter_len(),
            Layer::OneHot(_) => 0,
            Layer::Linear(linear) => linear.parameter_len())
    }
}
