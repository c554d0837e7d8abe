//! The layers that a model can be made of, and what can be asked of each.

use super::linear::Linear;
use crate::cell::GruResetFirst;
use crate::error::{Result, ensure};
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
    /// Keeps the last step of every sequence only, so that there is one output, and one target, for each.
    LastStep,
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
    /// The layer's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::OneHot(_) => "OneHot",
            Layer::RNN(_) => "RNN",
            Layer::LSTM(_) => "LSTM",
            Layer::GRU(_) | Layer::GRUResetFirst(_) => "GRU",
            Layer::Linear(_) => "Linear",
            Layer::LastStep => "LastStep",
        }
    }

    /// How many different tokens it takes; none for a layer that takes features.
    pub fn tokens(&self) -> Option<usize> {
        match self {
            Layer::OneHot(classes) => Some(*classes),
            _ => None,
        }
    }

    /// Features that the layer takes; none for tokens, and where any number will do.
    pub fn in_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.input_size()),
            Layer::OneHot(_) | Layer::LastStep => None,
            Layer::Linear(linear) => Some(linear.in_features()))
    }

    /// Features that the layer gives; none where it gives as many as it takes.
    pub fn out_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.output_size()),
            Layer::OneHot(classes) => Some(*classes),
            Layer::Linear(linear) => Some(linear.out_features()),
            Layer::LastStep => None)
    }

    /// D of a recurrent layer, 1 or 2; none for the others, which have no state.
    pub fn directions(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.directions()), _ => None)
    }

    /// Numbers that a row has in h and in c, of all layers and directions; (0, 0) without a state.
    pub(super) fn state_len(&self) -> (usize, usize) {
        recurrent!(self, layer => {
            let (n, (h, c)) = (layer.num_layers() * layer.directions(), layer.state_sizes());
            (n * h, n * c)
        },
        _ => (0, 0))
    }

    /// Names and shapes of the parameters in their order, the names torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        recurrent!(self, layer => layer.parameters(),
            Layer::OneHot(_) | Layer::LastStep => Vec::new(),
            Layer::Linear(linear) => linear.parameters())
    }

    /// How many numbers its parameters are.
    pub fn parameter_len(&self) -> usize {
        recurrent!(self, layer => layer.parameter_len(),
            Layer::OneHot(_) | Layer::LastStep => 0,
            Layer::Linear(linear) => linear.parameter_len())
    }
}

/// Of every layer of a model, the features that it takes (none for tokens) and gives.
///
/// # Errors
/// If the layers do not fit together, or none says how many features there are.
pub(crate) fn features(layers: &[Layer]) -> Result<Vec<(Option<usize>, usize)>> {
    ensure!(!layers.is_empty(), "a model needs at least one layer");
    ensure!(layers[0].tokens() != Some(0), "OneHot needs at least 1 class, got 0");
    // A layer that takes any number takes what the first one that does not wants.
    let mut given = layers.iter().find_map(Layer::in_features);
    let mut all = Vec::with_capacity(layers.len());
    let mut last_step = false;
    for (n, layer) in layers.iter().enumerate() {
        let name = layer.name();
        let takes = if layer.tokens().is_some() {
            ensure!(n == 0, "{name} takes tokens: it can only be the first layer");
            None
        } else {
            if let (Some(gives), Some(takes)) = (given, layer.in_features()) {
                let before = n.saturating_sub(1);
                ensure!(
                    gives == takes,
                    "layer {before} gives {gives} features, layer {n} takes {takes}"
                );
            }
            ensure!(
                given.is_some(),
                "no layer says how many features there are: {name} takes any number; add one that does, as \
                 Linear"
            );
            given
        };
        let sequences = layer.directions().is_some() || matches!(layer, Layer::LastStep);
        ensure!(
            !(last_step && sequences),
            "layer {n}, {name}, takes sequences, but after LastStep there is one step of each"
        );
        last_step |= matches!(layer, Layer::LastStep);
        let gives = layer.out_features().or(takes).expect("known");
        given = Some(gives);
        all.push((takes, gives));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_take_any_number_take_what_the_others_say() {
        let linear = Layer::Linear(Linear::new(3, 2, true).unwrap());
        assert_eq!(features(&[Layer::LastStep, linear]).unwrap(), [(Some(3), 3), (Some(3), 2)]);
        let tokens = features(&[Layer::OneHot(3), Layer::LastStep, linear]).unwrap();
        assert_eq!(tokens, [(None, 3), (Some(3), 3), (Some(3), 2)]);
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let linear = Layer::Linear(Linear::new(3, 2, true).unwrap());
        let rnn = Layer::RNN(RNN::new(3, 4, crate::cell::Nonlinearity::Tanh, true).unwrap());
        for (layers, message) in [
            (&[][..], "at least one layer"),
            (&[Layer::OneHot(0)], "at least 1 class"),
            (&[linear, linear], "layer 0 gives 2 features, layer 1 takes 3"),
            (&[linear, Layer::OneHot(2)], "OneHot takes tokens"),
            (&[Layer::LastStep], "no layer says"),
            (&[Layer::LastStep, rnn], "layer 1, RNN, takes sequences"),
            (&[Layer::LastStep, Layer::LastStep, linear], "layer 1, LastStep, takes sequences"),
        ] {
            let error = features(layers).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
